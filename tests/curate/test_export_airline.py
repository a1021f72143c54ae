"""Two hundred live GPT-4o sessions with verified outcomes, from the spool to a data set.

The file holds no tool schemas, so the names and arguments that were used stand in for them.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversations import record
from tracemill.curate.export import export
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool, ToolCall, parse_arguments
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query


def neutral(openai: dict[str, Any]) -> Message:
    message: Message = {"role": openai["role"], "content": openai.get("content") or ""}
    if openai.get("tool_calls"):
        message["tool_calls"] = [called(call) for call in openai["tool_calls"]]
    if openai["role"] == "tool":
        message["tool_call_id"], message["name"] = openai["tool_call_id"], openai["name"]
    return message


def called(openai: dict[str, Any]) -> ToolCall:
    wanted = openai["function"]
    return {"id": openai["id"], "name": wanted["name"], "arguments": parse_arguments(wanted["arguments"])}


def used(conversations: Sequence[list[Message]]) -> list[Tool]:
    arguments: dict[str, set[str]] = defaultdict(set)
    for messages in conversations:
        for message in messages:
            for call in message.get("tool_calls", []):
                arguments[call["name"]].update(call["arguments"])
    return [
        {"name": name, "description": "", "parameters": {"type": "object", "properties": {key: {} for key in sorted(keys)}}}
        for name, keys in sorted(arguments.items())
    ]  # fmt: skip


def test_of_200_airline_sessions_the_84_good_ones_are_learned(home: Home, shared_data: Path) -> None:
    with gzip.open(shared_data / "tau-bench" / "gpt-4o-airline.json.gz", "rt", encoding="utf-8") as file:
        sessions: list[dict[str, Any]] = json.load(file)
    talks = [[neutral(message) for message in session["traj"]] for session in sessions]
    tools = used(talks)
    assert len(tools) == 14
    for session, messages in zip(sessions, talks, strict=True):
        task = f"airline-{session['task_id']}"
        good = session["reward"] == 1.0
        # As many importers would leave it: the trials numbered 3 come without their tools.
        offered = [] if session["trial"] == 3 else tools
        name = f"{task}-{session['trial']}"
        record(home, name, messages, tools=offered, outcome="good" if good else "bad", task=task)
    ingest(home)
    manifest = export(home).manifest
    assert manifest is not None
    told = {count.step: (count.rows_in, count.kept, count.reasons) for count in manifest.steps}
    assert told["outcome"] == (200, 84, {"bad outcome": 116})
    bare = sum(
        session["reward"] == 1.0 and session["trial"] == 3 and any(message.get("tool_calls") for message in messages)
        for session, messages in zip(sessions, talks, strict=True)
    )  # fmt: skip
    assert bare == 20
    assert told["calls"] == (84, 64, {"no toolset": 20})
    # Trials of a task begin alike, but no two of the good ones are the same throughout.
    assert [told[step][:2] for step in ("duplicates", "branches", "learnable", "form")] == [(64, 64)] * 4
    by_task: dict[str | None, set[str]] = defaultdict(set)
    for row in manifest.rows:
        by_task[row.task].add(row.split)
    assert all(len(splits) == 1 for splits in by_task.values())
    assert {split for splits in by_task.values() for split in splits} == set(SPLITS)
    turns = query(
        home, "SELECT count(*) FROM responses WHERE session_id IN (SELECT session_id FROM dataset_rows)"
    )
    learned = sum(count.learned + count.context for count in manifest.splits.values())
    assert learned == turns.item()
