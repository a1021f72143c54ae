"""Two hundred live GPT-4o sessions with verified outcomes, from the spool to a data set."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from airline import airline
from conversations import record
from tracemill.curate.export import export
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query


def test_of_200_airline_sessions_the_84_good_ones_are_learned(home: Home, shared_data: Path) -> None:
    sessions = airline(shared_data)
    talks: list[list[Message]] = [session["messages"] for session in sessions]
    tools: list[Tool] = sessions[0]["tools"]
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
    assert [
        told[step][:2] for step in ("duplicates", "near_duplicates", "branches", "learnable", "form")
    ] == [(64, 64)] * 5
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
