"""The views that put sessions together again: messages of a request, conversations, what became of calls."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from session_events import SEARCH, AnyDict, session, spool
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, message_id, toolset_id
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import conversations, query


def rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    return query(home, sql).rows()


def said(home: Home, where: str | None = None) -> list[list[str]]:
    """The texts of every conversation, oldest first."""
    found = conversations(home, where).collect()["messages"]
    return [[message["content"] for message in json.loads(text)] for text in found]


def talk(
    *turns: tuple[str, str | None, int, list[Message], Message | None], tools: bool = True
) -> list[AnyDict]:
    """Requests as (id, previous, kept, added messages, answer)."""
    made: list[Any] = [events.session("s", agent="a", project="/", source="test")]
    if tools:
        made.append(events.toolset([SEARCH]))
    for number, (name, previous, kept, added, answer) in enumerate(turns):
        at = 1_700_000_000.0 + number
        made += [events.message(message) for message in (*added, *([answer] if answer else []))]
        ids = [message_id(message) for message in added]
        made.append(
            events.request(
                "s",
                name,
                run_id="r",
                step=number,
                model="m",
                previous=previous,
                kept=kept,
                added=ids,
                toolset_id=toolset_id([SEARCH]),
                ts=at,
            )
        )
        answered = message_id(answer) if answer else None
        made.append(
            events.response("s", name, message_id=answered, error=None if answer else "refused", ts=at + 0.5)
        )
    return cast("list[AnyDict]", made)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def test_a_session_of_many_requests_is_one_conversation(home: Home) -> None:
    spool(home, session("s1", steps=3, task="t"), session("s2", steps=1, outcome="bad", at=1_800_000_000.0))
    ingest(home)
    assert said(home) == [
        ["You search.", "Find s1.", "", "hit 0", "", "hit 1", "Done with s1."],
        ["You search.", "Find s2.", "Done with s2."],
    ]
    frame = conversations(home).collect()
    assert frame.columns == [
        "conversation_id",
        "session_id",
        "run_id",
        "agent",
        "source",
        "task",
        "category",
        "split",
        "outcome",
        "started",
        "messages",
        "tools",
        "calls",
    ]
    first = frame.row(0, named=True)
    assert (first["conversation_id"], first["outcome"], first["task"]) == ("s1-request2", "good", "t")
    assert json.loads(first["tools"]) == [SEARCH]
    assert json.loads(first["messages"])[2]["tool_calls"] == [
        {"id": "call_0", "name": "search", "arguments": {"query": "s1 0"}}
    ]
    # Both calls have the same id; each is told from the other by the request that asked for it.
    assert json.loads(first["calls"]) == [
        {"position": 2, "tool_call_id": "call_0", "tool": "search", "status": "ok"},
        {"position": 4, "tool_call_id": "call_0", "tool": "search", "status": "ok"},
    ]
    assert rows(
        home,
        "SELECT position, call_id FROM conversation_calls WHERE conversation_id = 's1-request2' ORDER BY 1",
    ) == [
        (2, "s1-call0"),
        (4, "s1-call1"),
    ]
    assert (
        rows(home, "SELECT assistant_turns FROM conversations WHERE session_id = 's2'")[0][0][0]["position"]
        == 2
    )
    assert said(home, "outcome = 'bad' -- a comment") == [["You search.", "Find s2.", "Done with s2."]]


def test_the_messages_of_every_request(home: Home) -> None:
    spool(home, session("s1"))
    ingest(home)
    found = rows(home, "SELECT request_id, position, content FROM request_messages ORDER BY ALL")
    assert [(request[-1], position) for request, position, _ in found] == [
        *(("0", at) for at in range(2)),
        *(("1", at) for at in range(4)),
        *(("2", at) for at in range(6)),
    ]


def test_a_branch_keeps_what_it_shares(home: Home) -> None:
    a, b, c = assistant("a"), assistant("b"), assistant("c")
    spool(
        home,
        talk(
            ("r1", None, 0, [user("1")], a),
            ("r2", "r1", 1, [a, user("2")], b),
            ("r3", "r2", 2, [user("other")], c),  # goes back to after the first answer
        ),
    )
    ingest(home)
    assert said(home) == [["1", "a", "2", "b"], ["1", "a", "other", "c"]]


def test_cutting_back_twice_takes_the_shortest(home: Home) -> None:
    spool(
        home,
        talk(
            ("r1", None, 0, [user("1"), user("2"), user("3")], None),
            ("r2", "r1", 1, [user("4"), user("5"), user("6")], None),
            ("r3", "r2", 2, [user("7")], assistant("a")),
        ),
    )
    ingest(home)
    assert said(home, "conversation_id = 'r3'") == [["1", "4", "7", "a"]]


def test_a_request_asked_again_keeps_both_answers(home: Home) -> None:
    spool(
        home,
        talk(
            ("r1", None, 0, [user("1")], assistant("first")),
            ("r2", "r1", 1, [], assistant("second")),
            ("r3", "r2", 1, [assistant("second"), user("2")], assistant("end")),
        ),
    )
    ingest(home)
    assert said(home) == [["1", "first"], ["1", "second", "2", "end"]]


def test_a_failed_request_is_continued_by_its_repetition(home: Home) -> None:
    spool(home, talk(("r1", None, 0, [user("1")], None), ("r2", "r1", 1, [], assistant("there"))))
    ingest(home)
    assert said(home) == [["1", "there"]]


def test_a_conversation_without_all_its_parts_is_not_offered(home: Home) -> None:
    made = talk(("r1", None, 0, [user("1"), user("2")], assistant("a")))
    lost = message_id(user("1"))
    spool(home, [event for event in made if event.get("message_id") != lost or event["kind"] != "message"])
    ingest(home)
    assert rows(home, "SELECT complete FROM conversations") == [(False,)]
    assert said(home) == []
    assert rows(home, "SELECT position, role FROM request_messages ORDER BY 1") == [(0, None), (1, "user")]
    spool(home, made, file="b.ndjson")
    ingest(home)
    assert said(home) == [["1", "2", "a"]]


def test_a_conversation_whose_previous_request_was_lost_is_not_offered(home: Home) -> None:
    spool(home, talk(("r2", "lost", 1, [user("2")], assistant("a"))))
    ingest(home)
    assert rows(home, "SELECT complete FROM conversations") == [(False,)]


def test_a_conversation_whose_tools_were_lost_is_not_offered(home: Home) -> None:
    spool(home, talk(("r1", None, 0, [user("2")], assistant("a")), tools=False))
    ingest(home)
    assert rows(home, "SELECT complete FROM conversations") == [(False,)]


@pytest.mark.timeout(30)
def test_a_request_that_is_its_own_ancestor_ends(home: Home) -> None:
    spool(home, talk(("r1", "r2", 1, [user("1")], None), ("r2", "r1", 2, [user("2")], None)))
    ingest(home)
    assert rows(home, "SELECT count(*) < 100 FROM request_messages") == [(True,)]
    assert rows(home, "SELECT count(*) < 100 FROM conversation_messages") == [(True,)]


def test_a_call_that_nobody_executed_is_unknown(home: Home) -> None:
    made = [event for event in session("s1") if event.get("call_id") != "s1-call1"]
    spool(home, made)
    ingest(home)
    assert [row[0] for row in rows(home, "SELECT status FROM conversation_calls ORDER BY position")] == [
        "ok",
        "unknown",
    ]


def test_the_newest_outcome_counts(home: Home) -> None:
    made = session("s1", outcome="good")
    spool(home, [{**made[-1], "id": "older", "ts": made[-1]["ts"] - 5, "outcome": "bad"}], made)
    ingest(home)
    assert rows(home, "SELECT outcome FROM session_overview") == [("good",)]
    spool(home, [{**made[-1], "id": "newer", "ts": made[-1]["ts"] + 5, "outcome": "bad", "score": 0.0}])
    ingest(home)
    assert rows(home, "SELECT outcome FROM conversations") == [("bad",)]
    assert rows(home, "SELECT outcome, score, source FROM session_outcomes") == [("bad", 0.0, "test")]


def test_the_overview_counts(home: Home) -> None:
    spool(home, session("s1", steps=4, status="error"))
    ingest(home)
    assert rows(
        home,
        "SELECT turns, tool_calls, failed_calls, input_tokens, output_tokens, duration_s FROM session_overview",
    ) == [(4, 3, 3, 40, 8, 26.0)]
    assert rows(home, "SELECT tool, calls, errors, median_ms FROM tool_stats") == [("search", 3, 3, 1.5)]
    assert rows(home, "SELECT model, requests, input_tokens FROM model_stats") == [("m", 4, 40)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tree_of_requests_expands_to_what_was_sent(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    sent: list[list[str]] = []
    turns: list[tuple[str, str | None, int, list[Message], Message | None]] = []
    for number in range(data.draw(st.integers(1, 8))):
        parent = data.draw(st.none() | st.integers(0, number - 1)) if number else None
        kept = data.draw(st.integers(0, len(sent[parent]))) if parent is not None else 0
        added = [f"{number}.{at}" for at in range(data.draw(st.integers(0, 3)))]
        sent.append((sent[parent][:kept] if parent is not None else []) + added)
        turns.append(
            (
                f"r{number}",
                None if parent is None else f"r{parent}",
                kept,
                [user(text) for text in added],
                None,
            )
        )
    home = Home(tmp_path_factory.mktemp("home"))
    spool(home, talk(*turns))
    ingest(home)
    found = rows(
        home,
        "SELECT request_id, list(content ORDER BY position), list(position ORDER BY position) "
        "FROM request_messages GROUP BY request_id",
    )
    assert {request: texts for request, texts, _ in found} == {
        f"r{number}": texts for number, texts in enumerate(sent) if texts
    }
    assert all(positions == list(range(len(positions))) for _, _, positions in found)
    whole = dict(
        rows(
            home,
            "SELECT conversation_id, list(content ORDER BY position) FROM conversation_messages GROUP BY 1",
        )
    )
    assert all(texts == sent[int(name[1:])] for name, texts in whole.items())
