"""Sessions for a person: found by the beginning of an id, listed, read; and the reference of the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from session_events import AnyDict, session, spool
from tracemill.tracer.home import Home
from tracemill.warehouse.describe import markdown, relations
from tracemill.warehouse.errors import QueryError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.sessions import find, overview, short_ids, transcript


def test_a_session_is_found_by_the_beginning_of_its_id(home: Home) -> None:
    spool(home, session("abc-1"), session("abc-12"), session("xyz"))
    ingest(home)
    assert find(home, "x") == "xyz"
    assert find(home, "abc-12") == "abc-12"
    assert find(home, "abc-1") == "abc-1", "a whole id is itself, though another begins with it"
    with pytest.raises(
        QueryError, match=r"Several session ids begin with 'a' \(abc-1, abc-12\); write more of it"
    ):
        find(home, "a")
    with pytest.raises(QueryError, match="No session id begins with '%'"):
        find(home, "%")


def test_short_ids_find_their_session(home: Home) -> None:
    names = ["a", "same-beginning-1", "same-beginning-2", "same-beginning", "long-and-alone"]
    spool(home, *(session(name, steps=1) for name in names))
    ingest(home)
    short = short_ids(home)
    assert short["long-and-alone"] == "long-and"
    assert short["same-beginning-2"] == "same-beginning-2"
    assert {name: find(home, beginning) for name, beginning in short.items()} == {
        name: name for name in names
    }


def test_the_list_is_newest_first_and_filtered(home: Home) -> None:
    spool(
        home,
        session("old", outcome="bad"),
        session("new", at=1_800_000_000.0, agent="other"),
        session("none", at=1_750_000_000.0, outcome=None),
    )
    ingest(home)
    assert [row["session_id"] for row in overview(home)] == ["new", "none", "old"]
    assert [row["session_id"] for row in overview(home, limit=1)] == ["new"]
    assert [row["session_id"] for row in overview(home, agent="coder")] == ["none", "old"]
    assert [row["session_id"] for row in overview(home, outcome="none")] == ["none"]
    assert [row["session_id"] for row in overview(home, outcome="bad")] == ["old"]


def test_a_transcript_has_every_message_and_call_once(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    found = transcript(home, "s1")
    (run,) = found["runs"]
    assert [[message["content"] for message in step["messages"]] for step in run["steps"]] == [
        ["You search.", "Find s1."],
        ["hit 0"],
        ["hit 1"],
    ]
    assert [step["response"]["content"] for step in run["steps"]] == ["", "", "Done with s1."]
    assert [[call["call_id"] for call in step["calls"]] for step in run["steps"]] == [
        ["s1-call0"],
        ["s1-call1"],
        [],
    ]
    assert run["other_calls"] == []
    assert found["outcomes"][0]["outcome"] == "good"


def test_what_was_recorded_in_part_is_still_shown(home: Home) -> None:
    made: list[AnyDict] = session("s1")
    spool(home, [event for event in made if event["kind"] in ("tool_start", "request")])
    ingest(home)
    (run,) = transcript(home, "s1")["runs"]
    assert (run["run_id"], run["status"], len(run["steps"])) == ("s1-run", "unfinished", 3)
    assert run["steps"][0]["response"] is None
    home.warehouse.unlink()
    for file in home.spool.iterdir():
        file.unlink()
    spool(home, [event for event in made if event["kind"] == "tool_start"])
    ingest(home)
    (run,) = transcript(home, "s1")["runs"]
    assert [call["call_id"] for call in run["other_calls"]] == ["s1-call0", "s1-call1"]


def test_the_reference_of_the_schema_is_true() -> None:
    written = (Path(__file__).parents[2] / "docs" / "schema.md").read_text(encoding="utf-8")
    assert written == markdown(), "make it anew: python -m tracemill.warehouse.describe > docs/schema.md"
    names = [relation.name for relation in relations()]
    assert {"conversations", "session_overview", "sessions", "events", "evaluation_items"} <= set(names)
    assert all(relation.comment and relation.columns for relation in relations())
