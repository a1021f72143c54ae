"""The tee between real processes: no end is hidden, neither the agent's nor the editor's."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from acp_wire import AGENT, Start, eventually

if TYPE_CHECKING:
    from conftest import Recorded

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ACP over pipes is recorded on Unix only")


@pytest.mark.parametrize(
    ("code", "exit_code", "error"),
    [
        ("os._exit(3)", 3, "the agent exited with code 3 before it answered"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "the agent was killed by signal 9 before it answered"),
        ("os._exit(0)", 0, "the agent exited with code 0 before it answered"),
    ],
)
def test_an_agent_that_dies_in_a_prompt(
    start: Start, recorded: Callable[[], Recorded], code: str, exit_code: int, error: str
) -> None:
    wire = start(AGENT)
    wire.prompt(code)
    assert wire.fro.read() == b"", "the editor sees the end"
    assert wire.wait()["code"] == exit_code
    assert wire.process.returncode == exit_code
    found = recorded()
    assert (found.one("run_end")["status"], found.one("run_end")["error"]) == ("error", error)
    assert found.bodies[found.one("response")["message_id"]]["content"] == "before "


def test_an_editor_that_closes_its_end_in_a_prompt(start: Start, recorded: Callable[[], Recorded]) -> None:
    wire = start(AGENT)
    wire.prompt("sys.exit(0 if sys.stdin.read() == '' else 1)")
    wire.to.close()
    assert wire.wait()["code"] == 0
    assert (recorded().one("run_end")["status"], recorded().one("run_end")["error"]) == ("cancelled", None)


def test_an_editor_that_goes_away_is_missed_by_the_agent(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told"
    wire = start(
        "import os, time\ntry:\n while True: os.write(1, b'x' * 1000); time.sleep(0.01)\n"
        f"except BrokenPipeError: open({str(told)!r}, 'w').write('broken pipe')"
    )
    assert wire.fro.read(1) == b"x"
    wire.to.close()
    wire.fro.close()
    cast("BinaryIO", wire.process.stdout).close()
    assert wire.wait()["code"] == 0
    assert told.read_text() == "broken pipe"


def test_an_agent_that_stops_reading_is_missed_by_the_editor(start: Start) -> None:
    wire = start("import os, time\nos.close(0); os.write(1, b'closed'); time.sleep(60)")
    assert wire.fro.read(6) == b"closed"

    def refused() -> bool:
        try:
            wire.to.write(b"hello\n")
        except BrokenPipeError:
            return True
        return False

    eventually(refused)
    wire.process.terminate()
    assert wire.wait()["code"] == 143


def test_an_agent_that_stops_writing_goes_on_reading(start: Start, tmp_path: Path) -> None:
    got = tmp_path / "got"
    wire = start(f"import os, sys\nos.close(1); open({str(got)!r}, 'w').write(sys.stdin.read())")
    assert wire.fro.read() == b""
    wire.to.write(b"still here")
    wire.to.close()
    assert wire.wait()["code"] == 0
    assert got.read_text() == "still here"


def test_a_child_that_holds_the_pipe_does_not_hold_us(start: Start) -> None:
    wire = start(
        "import subprocess, sys\nprint('hi', flush=True)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'], stderr=subprocess.DEVNULL)"
    )
    began = time.monotonic()
    assert wire.fro.readline() == b"hi\n"
    assert wire.wait()["code"] == 0
    assert time.monotonic() - began < 15


def test_signals_and_standard_error_go_through(start: Start) -> None:
    wire = start(
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('got it', file=sys.stderr), sys.exit(7)))\n"
        "print('up', flush=True)\nsignal.pause()\n"
    )
    assert wire.fro.readline() == b"up\n"
    wire.process.terminate()
    assert wire.process.stderr is not None
    lines = wire.process.stderr.read().splitlines()
    assert lines[0] == b"got it"
    assert json.loads(lines[-1])["code"] == wire.process.wait() == 7


def test_the_keys_that_stop_the_agent_do_not_stop_its_record(
    start: Start, recorded: Callable[[], Recorded]
) -> None:
    wire = start(AGENT, start_new_session=True)
    wire.prompt("time.sleep(60)")
    # As a terminal does: to all of the group at once.
    os.killpg(wire.process.pid, signal.SIGINT)
    told = wire.wait()
    assert told["code"] in (1, 130), "Python's own exit code for it"
    assert recorded().one("run_end")["status"] == "error"
