"""`tracemill record`: the program runs as it would alone, and at the end it is said what was recorded."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydantic_ai
import pytest

from command_line import Run, in_this_process
from tracemill.cli import record as record_command
from tracemill.tracer.home import Home
from tracemill.tracer.recording import Summary
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query

MAIN = [sys.executable, "-c", "from tracemill.cli.main import main; main()"]

AGENT = """
import asyncio, sys
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

agent = Agent(TestModel(), name='doubler')

@agent.tool_plain
def double(number: int) -> int:
    return 2 * number

for _ in range(int(sys.argv[1])):
    print(asyncio.run(agent.run('Double it.')).output)
"""


def record(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run([*MAIN, "record", *words], check=False, **options)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The launcher in this very process, and what it and its program say."""
    return in_this_process(monkeypatch, capfd, "record")


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program with an agent; its argument says how often it runs."""
    path = tmp_path / "program.py"
    path.write_text(AGENT)
    return str(path)


def test_what_was_recorded_and_what_to_do_next(home: Home, program: str, tracemill: Run) -> None:
    ended = record("--task", "sums", "--metadata", "split=test", "--", sys.executable, program, "1")
    assert (ended.returncode, ended.stdout) == (0, '{"double":0}\n')
    said = re.fullmatch(
        r"Recorded 1 session with 1 run and 1 tool call; `tracemill show (\S+)` shows it\.\n", ended.stderr
    )
    assert said
    assert "double" in tracemill("show", said[1]).out
    (row,) = query(home, "SELECT metadata, agent FROM sessions").rows()
    metadata = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    assert (metadata["task"], metadata["split"], row[1]) == ("sums", "test", "doubler")


def test_several_sessions_as_json(home: Home, here: Run, program: str) -> None:
    ended = here("--json", sys.executable, program, "3")
    assert ended.code == 0
    assert ended.out.count("\n") == 3
    told = json.loads(ended.err)
    assert (told["exit_code"], told["runs"], told["tool_calls"], len(told["sessions"])) == (0, 3, 3, 3)
    assert told["versions"] == [pydantic_ai.__version__]
    ingest(home)
    rows = query(home, "SELECT session_id FROM sessions").rows()
    assert {row[0] for row in rows} == set(told["sessions"])
    said = here("--", sys.executable, program, "2").err
    assert (
        said
        == "Recorded 2 sessions with 2 runs and 2 tool calls; `tracemill sessions --limit 2` lists them.\n"
    )


def test_two_recordings_in_one_home_count_their_own(home: Home, program: str) -> None:
    commands = [[*MAIN, "record", "--json", "--", sys.executable, program, str(n)] for n in (1, 3)]
    running = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for command in commands
    ]
    told = [json.loads(process.communicate(timeout=60)[1]) for process in running]
    assert [one["runs"] for one in told] == [1, 3]
    assert told[0]["recording"] != told[1]["recording"]


def test_a_recording_inside_a_recording(home: Home, program: str) -> None:
    ended = record("--", *MAIN, "record", "--", sys.executable, program, "1")
    inner, outer = ended.stderr.splitlines()
    assert inner.startswith("Recorded 1 session with 1 run")
    assert outer == "Nothing was recorded: 1 Python process ran, none imported Pydantic AI."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["sh", "-c", "exit 3"],
            "no Python ran that can be reached (under sudo, in a container or with -I,",
        ),
        ([sys.executable, "-I", "-c", "exit(3)"], "no Python ran that can be reached"),
        ([sys.executable, "-c", "exit(3)"], "1 Python process ran, none imported Pydantic AI."),
        (
            ["sh", "-c", f"{sys.executable} -c 'exit(3)'; {sys.executable} -c 'exit(3)'"],
            "2 Python processes ran, none imported Pydantic AI.",
        ),
        (
            [sys.executable, "-c", "import pydantic_ai; exit(3)"],
            f"Pydantic AI {pydantic_ai.__version__} was imported, but no agent ran.",
        ),
    ],
)
def test_why_nothing_was_recorded(home: Home, here: Run, words: list[str], said: str) -> None:
    ended = here("--", *words)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"Nothing was recorded: {said}")
    assert ended.err.count("\n") == 1
    assert list(home.spool.iterdir()) == []


def test_a_line_for_everything_that_can_go_wrong() -> None:
    def told(**what: Any) -> str:
        return record_command.told(Summary("r", **what))

    assert told(too_old=["3.8", "3.9"]) == (
        "Nothing was recorded: Python 3.8 and 3.9 is too old; it takes 3.10 or newer."
    )
    assert told(pythons=1, versions=["2.0"], faults=2) == "Nothing was recorded: the recorder failed 2 times."
    assert (
        told(pythons=1, versions=["2.0"], dropped=1) == "Nothing was recorded: 1 event could not be written."
    )
    assert told(pythons=1, failures=["ImportError: x"]) == (
        "Nothing was recorded: the tracer could not be loaded (ImportError: x)."
    )
    assert told(sessions=["a"], runs=1, failures=["ImportError: x"], missing={"1.40": "much is missing"}) == (
        "Recorded 1 session with 1 run and 0 tool calls; `tracemill show a` shows it. "
        "Pydantic AI 1.40 is older than 1.107: much is missing. "
        "Not recorded: a process where the tracer could not be loaded (ImportError: x)."
    )


def test_a_record_with_gaps_says_so(home: Home, here: Run, program: str) -> None:
    blocked = (
        Path(program).read_text()
        + f"""
import os, shutil
shutil.rmtree({str(home.spool)!r})
open({str(home.spool)!r}, 'w').close()
asyncio.run(agent.run('again'))
os.unlink({str(home.spool)!r})
os.mkdir({str(home.spool)!r}, 0o700)
asyncio.run(agent.run('and again'))
"""
    )
    Path(program).write_text(blocked)
    ended = here("--", sys.executable, program, "1")
    assert ended.code == 0
    assert re.search(
        r"The record has gaps: 0 faults of the recorder, \d+ events that could not be", ended.err
    )


def test_a_command_that_does_not_exist(home: Home, here: Run, tmp_path: Path) -> None:
    ended = here("--", "no-such-command", "x")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: Cannot run no-such-command: No such file or directory; nothing was started or recorded.\n"
    )
    (tmp_path / "plain.txt").write_text("")
    ended = here("--", str(tmp_path / "plain.txt"))
    assert ended.code == 1
    assert "Permission denied" in ended.err


def test_a_home_that_cannot_be_written(here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACEMILL_HOME", f"{tmp_path}/file/x")
    ended = here("--", "touch", str(tmp_path / "ran"))
    assert ended.code == 1
    assert ended.err.startswith("error: Cannot create ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("words", [[], ["--metadata", "novalue", "true"], ["--nonsense", "true"]])
def test_a_wrong_command_line(home: Home, tracemill: Run, words: list[str]) -> None:
    ended = tracemill("record", *words)
    assert (ended.code, ended.out) == (2, "")
    assert not home.root.exists()


def test_options_of_the_program_are_its_own(home: Home, here: Run) -> None:
    show = "import sys; print(sys.argv[1:])"
    for dashes in (["--"], []):
        ended = here(*dashes, sys.executable, "-c", show, "--task", "-v", "--", "--help")
        assert ended.out == "['--task', '-v', '--', '--help']\n"


@pytest.mark.parametrize("code", [0, 1, 2, 42, 255])
def test_the_exit_code_is_the_programs(home: Home, here: Run, code: int) -> None:
    assert here("--", "sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV", "SIGPIPE"])
def test_a_program_that_a_signal_ends(home: Home, here: Run, name: str) -> None:
    number = getattr(signal, name)
    assert here("--", "sh", "-c", f"kill -{int(number)} $$").code == 128 + number


def test_bytes_pass_unchanged(home: Home) -> None:
    data = random.Random(1).randbytes(3_000_000)
    copy = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    ended = record("--", sys.executable, "-c", copy, input=data, text=False)
    assert ended.stdout == data


def test_a_protocol_over_pipes_is_not_held_back(home: Home) -> None:
    echo = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    command = [*MAIN, "record", "--", sys.executable, "-c", echo]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as talk:
        assert talk.stdin is not None
        assert talk.stdout is not None
        for word in ("one", "two"):
            talk.stdin.write(word + "\n")
            assert talk.stdout.readline() == word.upper() + "\n"
        talk.stdin.close()
        assert talk.wait(30) == 0


def test_open_files_the_mask_and_the_folder_pass_on(home: Home, tmp_path: Path) -> None:
    read, write = os.pipe()
    show = f"import os; mask = os.umask(0); print(f'{{mask:04o}}', os.getcwd()); os.write({write}, b'passed')"
    ended = record("--", sys.executable, "-c", show, pass_fds=[write], cwd=tmp_path, umask=0o027)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "passed"
    assert ended.stdout == f"0027 {tmp_path.resolve()}\n"


WAITING = """
import os, signal, sys, time
def heard(number, _):  # the signal may come while `ready` is still being printed
    os.write(1, f'heard {signal.Signals(number).name}\\n'.encode())
    time.sleep(0.3)
    sys.exit(7)
for name in ('SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1'):
    signal.signal(getattr(signal, name), heard)
os.write(1, b'ready\\n')
time.sleep(30)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
def test_signals_reach_the_program(home: Home, name: str) -> None:
    command = [*MAIN, "record", "--", sys.executable, "-c", WAITING]
    # Without a terminal, and away from the process group of this test.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == (f"heard {name}\n", 7), err
    assert err.startswith("Nothing was recorded")


def test_an_ignored_signal_stays_ignored(home: Home) -> None:
    asked = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    command = ["sh", "-c", 'trap "" HUP; "$@"', "sh", *MAIN, "record", "--", sys.executable, "-c", asked]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


COUNTING = """
import sys, time
times, until = 0, time.monotonic() + 30
told = f'tty {sys.stdin.isatty()} {sys.stdout.isatty()}'
while time.monotonic() < until:
    try:
        if told:
            told = print(told, flush=True)
        time.sleep(0.05)
    except KeyboardInterrupt:
        times += 1
        until = time.monotonic() + 0.7
print('interrupted', times, flush=True)
sys.exit(5)
"""

IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def test_a_terminal_is_the_programs_and_ctrl_c_comes_once(home: Home) -> None:
    recorded = [*MAIN, "record", "--", sys.executable, "-c", COUNTING]
    command = [sys.executable, "-c", IN_A_TERMINAL, *recorded]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"tty True True\r\n"
        time.sleep(0.2)
        process.stdin.write(b"\x03")
        process.stdin.flush()
        seen = process.stdout.read()
        assert process.wait(30) == 5
    assert b"interrupted 1\r\n" in seen
    assert b"Nothing was recorded" in seen


def test_a_program_killed_at_work_leaves_what_it_wrote(home: Home, program: str) -> None:
    endless = (
        Path(program).read_text()
        + """
import os, signal
@agent.tool_plain
def stop() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(agent.run('Stop.'))
"""
    )
    Path(program).write_text(endless)
    ended = record("--json", "--", sys.executable, program, "1")
    assert ended.returncode == 137
    told = json.loads(ended.stderr)
    assert (told["exit_code"], told["runs"]) == (137, 2)


def test_nothing_is_left_behind(home: Home, program: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    ended = record(
        "--", sys.executable, program, "1", env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    )
    assert ended.returncode == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in home.root.iterdir()] == ["spool"]


def test_the_launcher_itself_starts_at_once(home: Home) -> None:
    slow = min(_seconds([*MAIN, "record", "--", "true"]) for _ in range(3))
    assert slow < 3


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


@pytest.mark.parametrize(
    "script",
    [
        'rm -rf "$(dirname "$TRACEMILL_STATUS")"',
        'printf \'{"pid": 1, "faults": "x", "dropped": null, "attached": [1], "failed": {}}\\n[]\\n\' > "$TRACEMILL_STATUS"',
        'ln -s gone "$TRACEMILL_HOME/spool/x.ndjson"',
        'rmdir "$TRACEMILL_HOME/spool"; touch "$TRACEMILL_HOME/spool"',
    ],
    ids=["no status", "odd status", "a spool file is gone", "no spool"],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_exit_code_whatever_becomes_of_the_summary(
    home: Home, here: Run, script: str, options: list[str]
) -> None:
    ended = here(*options, "--", "sh", "-c", f"{script}; exit 3")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    if options:
        assert json.loads(ended.err)["exit_code"] == 3


def test_the_exit_code_where_nobody_listens(home: Home) -> None:
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *MAIN, "record", "--", "sh", "-c", "exit 3"]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 3


def test_metadata_of_the_name_the_recorder_uses(home: Home, here: Run, program: str) -> None:
    own = "from tracemill.tracer import Recorder\n" + Path(program).read_text()
    own = own.replace("name='doubler'", "capabilities=[Recorder(metadata={'process': 'nightly'})]")
    Path(program).write_text(own)
    ended = here("--", sys.executable, program, "1")
    assert (ended.code, ended.err[:37]) == (0, "Recorded 1 session with 1 run and 1 t")


def test_the_launcher_looks_at_the_work_tree(home: Home, program: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project, check=True)
    more = """
import os, time
time.sleep(0.1)
try:
    print(os.waitpid(-1, 0))
except ChildProcessError:
    print('no children')
open('made.py', 'w').close()
"""
    Path(program).write_text(Path(program).read_text() + more)
    ended = record("--", sys.executable, program, "2", cwd=project)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "no children")
    ingest(home)
    found = query(
        home,
        "SELECT moment, branch, files, taken < s.started AS before, taken > r.ended AS after "
        "FROM git_states JOIN sessions AS s USING (session_id) JOIN runs AS r USING (session_id) "
        "ORDER BY session_id, taken",
    ).rows()
    assert found == 2 * [("start", "main", [], True, False), ("end", "main", ["made.py"], False, True)]
