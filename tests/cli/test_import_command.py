"""`tracemill import`: a few records, and two hundred real sessions of an airline agent."""

from __future__ import annotations

import json
import time
from pathlib import Path

from command_line import Run
from tracemill.tracer.home import Home
from tracemill.warehouse.read import conversations, query

RECORD = {
    "chat": [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"what": "it"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "here"},
        {"role": "assistant", "content": "Here."},
    ],
    "worked": True,
    "name": "finding",
}  # fmt: skip


def test_records_become_sessions(home: Home, tracemill: Run, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(RECORD) + "\n")
    fields = [
        "--messages-field",
        "chat",
        "--outcome-field",
        "worked",
        "--task-field",
        "name",
        "--agent",
        "finder",
    ]
    ended = tracemill("import", "openai-chat", str(path), *fields)
    assert ended.code == 0
    assert ended.out == (
        "1 openai-chat sessions with 4 messages, 1 tool calls and 1 outcomes; 1 sessions are new or have grown.\n"
    )
    assert query(home, "SELECT agent, source, task, outcome, tool_calls FROM session_overview").rows() == [
        ("finder", "openai-chat", "finding", "good", 1)
    ]
    assert tracemill("import", "openai-chat", str(path), *fields).out.endswith(
        "; 0 sessions are new or have grown.\n"
    )


def test_a_file_that_is_none_is_refused(home: Home, tracemill: Run, tmp_path: Path) -> None:
    assert tracemill("import", "openai-chat", str(tmp_path / "missing")).code == 2
    path = tmp_path / "broken.json"
    path.write_text('[{"messages": ')
    ended = tracemill("import", "openai-chat", str(path))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: Cannot import {path}: ")
    assert query_is_empty(tracemill)


def query_is_empty(tracemill: Run) -> bool:
    return json.loads(tracemill("sql", "SELECT count(*) AS n FROM sessions", "-f", "json").out) == [{"n": 0}]


def test_two_hundred_real_sessions(home: Home, tracemill: Run, shared_data: Path) -> None:
    path = shared_data / "tau-bench" / "gpt-4o-airline.json.gz"
    words = [
        "import",
        "openai-chat",
        str(path),
        "--messages-field",
        "traj",
        "--outcome-field",
        "reward",
        "--task-field",
        "task_id",
    ]
    started = time.process_time()
    assert tracemill(*words).code == 0
    assert time.process_time() - started < 20
    answer = json.loads(tracemill("sql", "SELECT count(*) AS n FROM tool_calls", "-f", "json").out)
    assert answer == [{"n": 1164}]
    assert query(home, "SELECT outcome, count(*) FROM session_overview GROUP BY 1 ORDER BY 1").rows() == [
        ("bad", 116),
        ("good", 84),
    ]
    # Each session is one conversation, word for word what was in the file up to the last answer.
    frame = conversations(home).collect()
    assert frame.height == 200
    assert sum(len(json.loads(calls)) for calls in frame["calls"]) == 1164
    before = query(home, "SELECT count(*) FROM events").item()
    assert tracemill(*words).out.endswith("; 0 sessions are new or have grown.\n")
    assert query(home, "SELECT count(*) FROM events").item() == before
