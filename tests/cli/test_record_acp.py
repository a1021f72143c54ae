"""`tracemill record --acp`: an editor and an agent that know nothing of it, and what is known of them then."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import acp
import pytest
from acp import schema

from command_line import Run
from tracemill.tracer.home import Home
from tracemill.warehouse.read import connect

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ACP over pipes is recorded on Unix only")

RECORD = ["-c", "from tracemill.cli.main import main; main()", "record", "--acp"]
CODER = str(Path(__file__).resolve().parents[1] / "acp_coder.py")


class Editor(acp.Client):
    """Allows to write a.py and rejects the rest, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_connect(self, conn: acp.Agent) -> None:
        pass

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> acp.RequestPermissionResponse:
        chosen = "yes" if tool_call.title == "Writing a.py" else "no"
        return acp.RequestPermissionResponse(
            outcome=schema.AllowedOutcome(outcome="selected", option_id=chosen)
        )

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.told.append(update)


async def converse(command: list[str], prompts: list[str], stderr: Path) -> tuple[Editor, int | None]:
    """An editor starts the agent, has it work at some prompts, and closes it; what it saw, the exit code."""
    editor = Editor()
    with stderr.open("wb") as errors:
        spawned = acp.spawn_agent_process(
            editor,
            sys.executable,
            *command,
            env=dict(os.environ),
            transport_kwargs={"stderr": errors, "shutdown_timeout": 30},
        )
        async with spawned as (connection, process):
            await connection.initialize(
                protocol_version=acp.PROTOCOL_VERSION,
                client_info=schema.Implementation(name="test-editor", version="3"),
            )
            session = await connection.new_session(cwd="/project", mcp_servers=[])
            assert session.field_meta == {"resume_token": "resume-5d41402abc4b"}
            for text in prompts:
                answer = await connection.prompt(session_id=session.session_id, prompt=[acp.text_block(text)])
                assert answer.stop_reason == "end_turn"
    return editor, process.returncode


@pytest.mark.slow
def test_a_conversation_is_recorded_at_both_ends_and_is_one(
    home: Home, tracemill: Run, tmp_path: Path
) -> None:
    prompts = ["Write a.py", "Now write b.py and c.py"]
    command = [*RECORD, "--task", "write", "--", sys.executable, CODER]
    editor, code = asyncio.run(converse(command, prompts, tmp_path / "stderr"))
    plain, _ = asyncio.run(converse([CODER], prompts, tmp_path / "stderr of the agent alone"))
    assert code == 0
    told = (tmp_path / "stderr").read_text()
    assert "Between editor and agent: 2 prompts, 3 tool calls, 3 decisions." in told
    assert "Inside the agent: Recorded 1 session with 2 runs and 3 tool calls" in told

    def without_ids(updates: list[Any]) -> list[Any]:
        return [update.model_dump(exclude={"tool_call_id"}) for update in updates]

    assert without_ids(editor.told) == without_ids(plain.told), "the editor saw what it would have seen"

    listed = json.loads(tracemill("sessions", "--json").out)
    assert {row["source"]: (row["runs"], row["tool_calls"]) for row in listed} == {
        "acp": (2, 3),
        "pydantic-ai": (2, 3),
    }
    assert {row["same_as"] for row in listed} == {row["session_id"] for row in listed}
    heading, *_ = [line for line in tracemill("sessions").out.splitlines() if line.strip()]
    assert heading.split()[-2:] == ["same", "as"]

    with connect(home) as connection:
        decided = connection.execute(
            "SELECT p.title, p.decision, p.score, t.raw_arguments, t.tool_call_id, t.tool, a.matched "
            "FROM permissions AS p JOIN tool_calls AS t ON t.call_id = p.inner_call_id "
            "JOIN acp_calls AS a ON a.call_id = p.call_id ORDER BY p.given"
        ).fetchall()
        (talked,) = connection.execute(
            "SELECT messages->>'$[*].content' FROM conversations WHERE source = 'acp'"
        ).fetchall()
        told_of = connection.execute(
            "SELECT project, agent, metadata->>'$.client.name', metadata->>'$.task' FROM sessions WHERE source = 'acp'"
        ).fetchall()
        statuses = connection.execute(
            "SELECT status, result, error FROM tool_calls WHERE title = 'Writing b.py'"
        ).fetchall()
        plans = connection.execute("SELECT entries->>'$[*].content' FROM plans").fetchall()
    assert [row[:3] for row in sorted(decided)] == [
        ("Writing a.py", "allow_once", 1.0),
        ("Writing b.py", "reject_once", -1.0),
        ("Writing c.py", "reject_once", -1.0),
    ]
    for title, _, _, arguments, tool_call_id, tool, matched in decided:
        assert json.loads(arguments) == {"path": title.removeprefix("Writing ")}
        assert (tool_call_id[:5], tool, matched) == ("call_", "write_file", "arguments")
    answer = "All done; the password is password='[REDACTED:password:1]'."
    assert talked[0] == [prompts[0], answer, prompts[1], answer]
    assert told_of == [("/project", "coder", "test-editor", "write")]
    assert statuses == [("denied", None, '{"written": false}')]
    assert plans == [(["Write them"],), (["Write them"],)]

    shown = tracemill("show", next(row["session_id"] for row in listed if row["source"] == "acp")).out
    for part in ("Write a.py", "edit() Writing a.py", "allow_once", "reject_once", "end_turn", "same_as"):
        assert part in shown
    for path in home.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"hunter2" not in data
            assert b"resume-5d41" not in data


def record(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *RECORD, *command], input=given, capture_output=True, check=False)


def test_an_agent_without_python_is_recorded_from_outside(home: Home) -> None:
    script = 'read line; echo \'{"id":1,"result":{"stopReason":"end_turn"}}\'; exit 4'
    prompt = b'{"id":1,"method":"session/prompt","params":{"sessionId":"s","prompt":[{"type":"text","text":"Hi"}]}}\n'
    done = record("--", "sh", "-c", script, given=prompt)
    assert (done.returncode, done.stdout) == (4, b'{"id":1,"result":{"stopReason":"end_turn"}}\n')
    told = done.stderr.decode()
    assert told.startswith(
        "Between editor and agent: 1 prompt, 0 tool calls, 0 decisions. Inside the agent: "
    )
    assert "Nothing was recorded" in told


def test_a_program_that_speaks_no_acp(home: Home) -> None:
    done = record("--", "sh", "-c", "echo hello; echo there")
    assert (done.returncode, done.stdout) == (0, b"hello\nthere\n")
    told = done.stderr.decode()
    assert "no prompt passed (is this an ACP agent, and an ACP client that speaks to it?)" in told
    assert "Not recorded: 2 lines that are no JSON." in told


def test_a_program_that_does_not_exist(home: Home) -> None:
    done = record("--", "no-such-agent")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: Cannot run no-such-agent: No such file or directory")


def test_for_machines(home: Home) -> None:
    done = record("--json", "--", "sh", "-c", "read line", given=b"{}\n")
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["exit_code"] == 0
    assert told["acp"]["counted"]["prompts"] == 0
    assert (told["acp"]["lost_bytes"], told["acp"]["failure"]) == (0, None)
