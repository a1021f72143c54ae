"""The same conversation seen by the editor and by the agent: which sessions and calls are the same."""

from __future__ import annotations

from typing import Any

import pytest

from acp_talk import Talk
from session_events import session as recorded_session
from session_events import spool
from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import connect
from tracemill.warehouse.sessions import overview

PROCESS = {"pid": 7, "recording": "recording1"}


def ask(home: Home, sql: str) -> list[tuple[Any, ...]]:
    ingest(home)
    with connect(home) as connection:
        return connection.execute(sql).fetchall()


class Inside:
    """What a recorder inside the agent writes of the same session; times are those of the talk."""

    def __init__(self, name: str = "inside", *, acp_session: str = "s", **process: Any) -> None:
        self.name = name
        metadata = {"acp_session": acp_session, "process": {**PROCESS, **process}}
        self.events: list[Any] = [
            events.session(
                name, agent="coder", project="/project", source="pydantic-ai", metadata=metadata, ts=1000.0
            )
        ]

    def call(
        self,
        call_id: str,
        started: float,
        ended: float | None,
        *,
        tool: str = "write_file",
        arguments: Any = None,
        tool_call_id: str = "model's own",
        parent: str | None = None,
        latency_ms: float | None = None,
    ) -> None:
        start = events.tool_start(
            self.name,
            call_id,
            run_id="run",
            request_id="request",
            tool_call_id=tool_call_id,
            tool=tool,
            raw_arguments=arguments,
            parent_call_id=parent,
            ts=started,
        )
        self.events.append(start)
        if ended is not None:
            # Of a text nobody made an object: it was not validated.
            validated = arguments if isinstance(arguments, dict) else None
            self.events.append(
                events.tool_end(
                    self.name, call_id, status="ok", arguments=validated, latency_ms=latency_ms, ts=ended
                )
            )


@pytest.fixture
def talk() -> Talk:
    made = Talk()
    made.open()
    made.prompt()
    return made


def test_sessions_of_the_same_recording_and_name_are_the_same(home: Home, talk: Talk) -> None:
    spool(home, talk.events, Inside().events)
    spool(home, Inside("other name", acp_session="t").events, Inside("other recording", recording="r").events)
    spool(home, recorded_session("unrelated"))
    ((outside, name, recording, inside),) = ask(
        home, "SELECT session_id, acp_session, recording, inner_session_id FROM acp_sessions"
    )
    assert (name, recording, inside) == ("s", "recording1", "inside")
    same = {row["session_id"]: row["same_as"] for row in overview(home)}
    assert same == {
        outside: "inside",
        "inside": outside,
        "other name": None,
        "other recording": None,
        "unrelated": None,
    }


def test_a_session_that_only_the_editor_saw(home: Home, talk: Talk) -> None:
    talk.permission({"toolCallId": "c", "title": "Write a.py"}, "yes")
    spool(home, talk.events)
    assert ask(home, "SELECT inner_session_id FROM acp_sessions") == [(None,)]
    assert ask(home, "SELECT title, inner_call_id, matched FROM acp_calls") == [("Write a.py", None, None)]
    assert ask(home, "SELECT title, decision, score, inner_call_id FROM permissions") == [
        ("Write a.py", "allow_once", 1.0, None)
    ]


def test_of_two_processes_that_number_alike_the_one_spoken_to_counts(home: Home, talk: Talk) -> None:
    spool(home, talk.events, Inside("child", pid=8).events, Inside("parent").events)
    assert ask(home, "SELECT inner_session_id FROM acp_sessions") == [("parent",)]
    assert len(overview(home)) == 3


class TestBridges:
    """The editor's bridge is recorded by one `tracemill record`, the server behind it by another."""

    def run(self, inside: Inside, name: str, started: float) -> Inside:
        inside.events.append(
            events.run_start(inside.name, name, parent_run_id=None, agent="coder", model="m", ts=started)
        )
        return inside

    def answered(self) -> Talk:
        talk = Talk()
        talk.open()
        talk.now = 1100.0
        for _ in range(2):
            name = talk.prompt()
            talk.now += 10
            talk.agent_answers(name, {"stopReason": "end_turn"})
        return talk

    def test_all_that_the_server_was_asked_the_editor_asked(self, home: Home) -> None:
        talk = self.answered()
        server = Inside("server", recording="another")
        for number, run in enumerate(talk.of("run_start")):
            self.run(server, f"r{number}", run["ts"] + 1)
        spool(home, talk.events, server.events)
        assert ask(home, "SELECT inner_session_id FROM acp_sessions") == [("server",)]

    def test_one_question_from_elsewhere_and_they_are_not_the_same(self, home: Home) -> None:
        talk = self.answered()
        server = self.run(Inside("server", recording="another"), "r1", talk.of("run_start")[0]["ts"] + 1)
        self.run(server, "r2", 1050.0)
        spool(home, talk.events, server.events)
        assert ask(home, "SELECT inner_session_id FROM acp_sessions") == [(None,)]

    def test_what_was_recorded_together_comes_first(self, home: Home) -> None:
        talk = self.answered()
        server = self.run(Inside("server", recording="another"), "r1", talk.of("run_start")[0]["ts"] + 1)
        spool(home, talk.events, server.events, Inside("together").events)
        assert ask(home, "SELECT inner_session_id FROM acp_sessions") == [("together",)]


class TestCalls:
    def pairs(self, home: Home, talk: Talk, inside: Inside) -> list[tuple[Any, ...]]:
        spool(home, talk.events, inside.events)
        return ask(home, "SELECT title, inner_call_id, matched FROM acp_calls ORDER BY started, title")

    def test_by_id(self, home: Home, talk: Talk) -> None:
        talk.update("tool_call", toolCallId="x", title="one", status="completed")
        talk.update("tool_call", toolCallId="y", title="two", status="completed")
        inside = Inside()
        # The ids match though neither was running when the editor was told of them.
        inside.call("b", talk.now + 10, talk.now + 11, tool_call_id="y")
        inside.call("a", talk.now + 12, talk.now + 13, tool_call_id="x")
        assert self.pairs(home, talk, inside) == [("one", "a", "id"), ("two", "b", "id")]

    def test_ids_that_repeat_match_the_nearest(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        for title in ("first", "second"):
            inside.call(title, talk.now + 0.5, talk.now + 1.5, tool_call_id="call_0")
            talk.update("tool_call", toolCallId="call_0", title=title, status="completed")
        assert self.pairs(home, talk, inside) == [("first", "first", "id"), ("second", "second", "id")]

    def test_by_time_where_one_call_was_running(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        inside.call("before", talk.now - 1, talk.now + 0.5)
        inside.call("during", talk.now + 0.5, None)
        talk.update("tool_call", toolCallId="made up", title="Working", status="in_progress")
        inside.call("after", talk.now + 0.1, talk.now + 1)
        assert self.pairs(home, talk, inside) == [("Working", "during", "time")]

    def test_by_time_where_the_calls_of_an_answer_ran_one_after_another(self, home: Home, talk: Talk) -> None:
        asked, inside = talk.now + 0.5, Inside()
        for number in range(3):
            for name, shown in (("working", {}), ("writing", {"path": "same.py"})):
                ended = asked + 2 * number + 1 + (name == "writing")
                inside.call(f"{name}{number}", asked, ended, arguments=shown, latency_ms=999)
                title = " ".join(("Working", *shown.values()))
                talk.update("tool_call", toolCallId=f"{number}{name}", title=title, status="in_progress")
        assert self.pairs(home, talk, inside) == [
            match
            for number in range(3)
            for match in (
                ("Working", f"working{number}", "time"),
                ("Working same.py", f"writing{number}", "arguments"),
            )
        ]

    def test_a_call_that_never_ended_ends_with_its_run(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        inside.call("abandoned", talk.now + 0.1, None)
        over = events.run_end("inside", "run", status="error", error="x", latency_ms=1, ts=talk.now + 0.2)
        inside.events.append(over)
        inside.call("running", talk.now + 0.5, talk.now + 9)
        talk.update("tool_call", toolCallId="x", title="Working", status="in_progress")
        assert self.pairs(home, talk, inside) == [("Working", "running", "time")]

    def test_by_arguments_where_several_were_running(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        for name in ("a", "b"):
            arguments = {"path": f"src/{name}.py", "content": "src", "n": 1}
            inside.call(name, talk.now + 0.5, talk.now + 9, arguments=arguments)
        inside.call("c", talk.now + 0.5, talk.now + 9, arguments='{"command": "make test"}')
        for title in ("Writing src/b.py", "Writing src/a.py", "Running make test", "Something"):
            talk.update("tool_call", toolCallId=title, title=title, status="in_progress")
        assert self.pairs(home, talk, inside) == [
            ("Writing src/b.py", "b", "arguments"),
            ("Writing src/a.py", "a", "arguments"),
            ("Running make test", "c", "arguments"),
            ("Something", None, None),
        ]

    def test_by_the_raw_input(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        inside.call("a", talk.now + 0.5, talk.now + 9, arguments={"path": "a.py"})
        inside.call("b", talk.now + 0.5, talk.now + 9, arguments={"path": "b.py"})
        talk.update("tool_call", toolCallId="x", title="Edit", rawInput={"file": "b.py"})
        assert self.pairs(home, talk, inside) == [("Edit", "b", "arguments")]

    def test_the_call_inside_a_call_is_the_one(self, home: Home, talk: Talk) -> None:
        inside = Inside()
        inside.call("outer", talk.now + 0.2, talk.now + 9, tool="execute_code")
        inside.call("inner", talk.now + 0.5, talk.now + 3, parent="outer")
        talk.update("tool_call", toolCallId="x", title="Writing", status="in_progress")
        talk.now += 5
        talk.update("tool_call", toolCallId="y", title="Done writing", status="in_progress")
        assert self.pairs(home, talk, inside) == [
            ("Writing", "inner", "time"),
            ("Done writing", "outer", "time"),
        ]


def test_a_decision_is_known_of_the_call_the_model_made(home: Home, talk: Talk) -> None:
    inside = Inside()
    inside.call("wrote", talk.now + 0.5, talk.now + 9, arguments={"path": "a.py", "content": "x"})
    inside.call("ran", talk.now + 10, talk.now + 20, tool="run_command", arguments={"command": "rm -r build"})
    # Inside the agent the same decision was seen too.
    inside.events.append(
        events.feedback(
            "inside", target="tool_call", target_id="wrote", score=1, note="allow_always", source="permission"
        )
    )
    talk.permission({"toolCallId": "x", "title": "Writing a.py", "kind": "edit"}, "ever")
    talk.now += 9
    talk.permission({"toolCallId": "y", "title": "Running rm -r build", "kind": "execute"}, "no")
    spool(home, talk.events, inside.events)
    assert ask(
        home,
        "SELECT tool, title, decision, score, inner_session_id, inner_call_id FROM permissions ORDER BY given",
    ) == [
        ("edit", "Writing a.py", "allow_always", 1.0, "inside", "wrote"),
        ("execute", "Running rm -r build", "reject_once", -1.0, "inside", "ran"),
    ]


def test_a_decision_that_only_the_agent_s_side_saw(home: Home) -> None:
    inside = Inside()
    inside.call("wrote", 1001, 1002)
    inside.events.append(
        events.feedback(
            "inside", target="tool_call", target_id="wrote", score=-1, note="reject_once", source="permission"
        )
    )
    by_hand = events.feedback("inside", target="tool_call", target_id="wrote", score=1, source="label")
    spool(home, [*inside.events, by_hand])
    found = ask(home, "SELECT call_id, tool, title, decision, inner_call_id FROM permissions")
    assert found == [("wrote", "write_file", None, "reject_once", None)]


def test_what_an_editor_saw_is_a_conversation_but_nothing_to_learn_from(home: Home) -> None:
    talk = Talk()
    talk.open()
    for text in ("Do it.", "Again."):
        name = talk.prompt(text)
        talk.chunk("Done.")
        talk.agent_answers(name, {"stopReason": "end_turn"})
    spool(home, talk.events)
    found = ask(home, "SELECT source, complete, messages->>'$[*].content' FROM conversations")
    assert found == [("acp", False, ["Do it.", "Done.", "Again.", "Done."])]


def test_many_calls_are_joined_in_no_time(home: Home) -> None:
    talk, inside = Talk(), Inside()
    talk.open()
    talk.prompt()
    for number in range(2000):
        inside.call(f"c{number}", talk.now + 0.5, talk.now + 1.5, arguments={"path": f"file{number}.py"})
        talk.update("tool_call", toolCallId=str(number), title=f"Writing file{number}.py", status="completed")
    spool(home, talk.events, inside.events)
    found = ask(home, "SELECT count(*), count(inner_call_id), any_value(matched) FROM acp_calls")
    assert found == [(2000, 2000, "arguments")]
