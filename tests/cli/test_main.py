"""The frame of the command line: help, exit codes, one line for an error, a quick start."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time

import pytest

from command_line import Run
from session_events import session, spool
from tracemill.cli.main import COMMANDS
from tracemill.tracer.home import Home

MAIN = [sys.executable, "-c", "from tracemill.cli.main import main; main()"]


def test_help_names_every_command(tracemill: Run) -> None:
    ended = tracemill("--help")
    assert ended.code == 0
    for name, *_ in COMMANDS:
        assert f" {name} " in ended.out


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, _, example in COMMANDS])
def test_every_command_has_help_and_an_example_that_begins_with_it(
    tracemill: Run, name: str, example: str
) -> None:
    ended = tracemill(name, "--help")
    assert ended.code == 0
    words = shlex.split(example)
    assert words[:2] == ["tracemill", name]
    assert "Example: tracemill" in ended.out
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if option not in ended.out] == []


def test_nothing_heavy_is_imported_for_help() -> None:
    script = (
        "import sys\nfrom tracemill.cli.main import app\n"
        "heavy = {'duckdb', 'polars', 'numpy', 'mlx', 'matplotlib', 'transformers', 'pydantic_ai', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_options_stand_before_a_command_and_a_wrong_name_is_put_right(tracemill: Run) -> None:
    ended = tracemill("-v", "dataset", "stats", "--help")
    assert (ended.code, "Usage: tracemill dataset stats " in ended.out) == (0, True)
    wrong = tracemill("shw", "latest")
    assert (wrong.code, "Did you mean 'show'?" in wrong.err) == (2, True)


def test_the_version(tracemill: Run) -> None:
    ended = tracemill("--version")
    assert (ended.code, ended.out) == (0, "0.1.0\n")


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["sessions", "--nonsense"],
        ["sessions", "--limit", "0"],
        ["show"],
        ["label", "x"],
        ["sql"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(home: Home, tracemill: Run, words: list[str]) -> None:
    ended = tracemill(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert not home.root.exists(), "nothing is done before the words are understood"


def test_an_error_is_one_line_and_exit_code_1(tracemill: Run, home: Home) -> None:
    ended = tracemill("show", "abc")
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err == "error: No session id begins with 'abc'; `tracemill sessions` lists the sessions.\n"
    assert "There is no session yet" in tracemill("show", "latest").err


def test_a_home_that_cannot_be_written_is_one_line(
    tracemill: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.root.parent.joinpath("file").write_text("")
    monkeypatch.setenv("TRACEMILL_HOME", str(home.root.parent / "file" / "home"))
    for command in (["ingest"], ["sessions"], ["sql", "SELECT 1"]):
        ended = tracemill(*command)
        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert ended.err.startswith("error: Cannot create ")


def test_verbose_logs_to_standard_error(home: Home) -> None:
    spool(home, session())
    loud = subprocess.run([*MAIN, "-v", "ingest", "--json"], capture_output=True, text=True, check=True)
    assert loud.stdout.startswith("{")
    assert "DEBUG tracemill.warehouse.ingest: " in loud.stderr
    assert "lines of ['a.ndjson']" in loud.stderr
    spool(home, session("s2"))
    quiet = subprocess.run([*MAIN, "ingest", "--json"], capture_output=True, text=True, check=True)
    assert "DEBUG" not in quiet.stderr


def test_an_interrupted_query_ends_at_once_with_one_line(home: Home) -> None:
    spool(home, session())
    endless = "SELECT count(*) FROM range(10000000) AS a(x), range(10000000) AS b(y) WHERE x * y % 7 = 3"
    process = subprocess.Popen(
        [*MAIN, "sql", endless], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not home.snapshot.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "error: interrupted."
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    spool(home, *(session(f"s{number}", steps=10) for number in range(60)))
    words = [*MAIN, "sql", "SELECT * FROM events", "--format", "csv"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "event_id,kind,ts,session_id,file,byte_offset\n"
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err
