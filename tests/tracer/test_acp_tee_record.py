"""The tee between real processes: what it records, and that recording holds up nobody."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from acp_wire import AGENT, Start, eventually
from tracemill.tracer.home import Home

if TYPE_CHECKING:
    from conftest import Recorded

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ACP over pipes is recorded on Unix only")


def test_a_conversation_is_recorded(start: Start, recorded: Callable[[], Recorded]) -> None:
    wire = start(AGENT)
    wire.prompt("pass")
    assert wire.receive()["params"]["update"]["content"]["text"] == "after"
    assert wire.receive() == {"jsonrpc": "2.0", "id": 1, "result": {"stopReason": "end_turn"}}
    wire.to.close()
    told = wire.wait()
    assert told["counted"] == {
        **dict.fromkeys(["broken", "too_long", "faults", "dropped", "tool_calls", "decisions"], 0),
        **{"sessions": 1, "prompts": 1, "unknown": {}, "fault": ""},
    }
    assert (told["code"], told["lost"], told["failure"]) == (0, 0, "")
    found = recorded()
    session = found.one("session")
    assert session["source"] == "acp"
    assert session["metadata"]["task"] == "t"
    assert session["metadata"]["process"]["recording"] == "recording1"
    assert found.bodies[found.one("response")["message_id"]]["content"] == "before after"
    assert found.one("run_end")["status"] == "ok"
    assert oct(Path(cast("str", os.environ["TRACEMILL_HOME"]), "spool").stat().st_mode)[-3:] == "700"


def test_a_tee_that_is_killed_takes_nothing_with_it(
    start: Start, recorded: Callable[[], Recorded], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    wire = start(AGENT)
    wire.prompt(f"sys.stdin.read(); open({str(gone)!r}, 'w').write('end of input'); sys.exit()")
    wire.process.kill()
    wire.process.wait()
    eventually(lambda: gone.exists() and gone.read_text() == "end of input")
    eventually(lambda: recorded().of("response"))
    found = recorded()
    assert found.bodies[found.one("response")["message_id"]]["content"] == "before "
    assert found.of("run_end") == [], "nobody saw how it ended"


def writer_of(tee: int) -> int:
    """The process that records for a tee."""
    for pid in Path(f"/proc/{tee}/task/{tee}/children").read_text().split():
        if b"tracemill.tracer.acp.writer" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    return 0


only_linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the writer in /proc")


@only_linux
def test_a_writer_that_stands_still_holds_up_nobody(start: Start, recorded: Callable[[], Recorded]) -> None:
    wire = start(AGENT)
    wire.prompt("[os.write(1, b'x' * 999 + b'\\n') for _ in range(80_000)]")
    writer = eventually(lambda: writer_of(wire.process.pid))
    os.kill(writer, signal.SIGSTOP)
    try:
        got = b"".join(wire.fro.read(1000) for _ in range(80_000))
        assert got == (b"x" * 999 + b"\n") * 80_000
        assert wire.receive()["params"]["update"]["content"]["text"] == "after"
        assert wire.receive()["id"] == 1
    finally:
        os.kill(writer, signal.SIGCONT)
    time.sleep(2)  # the writer catches up
    wire.send("session/prompt", 2, sessionId="s", prompt=[{"type": "text", "text": "pass"}])
    assert [wire.receive().get("id") for _ in range(3)] == [None, None, 2]
    wire.to.close()
    told = wire.wait()
    assert told["lost"] > 5_000_000
    found = recorded()
    assert found.of("run_end")[-1]["status"] == "ok", "what came after the gap is recorded again"
    assert found.bodies[found.of("response")[-1]["message_id"]]["content"] == "before after"


@only_linux
def test_a_writer_that_dies_is_missed_by_nobody(start: Start) -> None:
    wire = start(AGENT)
    wire.prompt("pass")
    os.kill(eventually(lambda: writer_of(wire.process.pid)), signal.SIGKILL)
    assert [wire.receive().get("id") for _ in range(2)] == [None, 1]
    for number in range(2, 5):
        wire.send("session/prompt", number, sessionId="s", prompt=[{"type": "text", "text": "pass"}])
        assert [wire.receive().get("id") for _ in range(3)] == [None, None, number]
    wire.to.close()
    told = wire.wait()
    assert (told["code"], told["counted"], told["failure"]) == (0, None, "it ended with code -9")


def test_a_spool_that_cannot_be_written_is_counted(start: Start, home: Home) -> None:
    wire = start(AGENT)
    wire.prompt("pass")
    home.spool.rmdir()
    home.spool.write_text("in the way")
    assert [wire.receive().get("id") for _ in range(2)] == [None, 1]
    wire.to.close()
    told = wire.wait()
    assert told["code"] == 0
    assert told["counted"]["dropped"] > 0
