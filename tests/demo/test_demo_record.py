"""Recording the demo: real sessions in a real spool, once each."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.demo.record import SOURCE, RecordReport, record
from tracemill.demo.tasks import Task, tasks
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.home import Home
from tracemill.tracer.spool import read_events, spool_files


def _some() -> list[Task]:
    """One test task of each kind."""
    return list({task.kind: task for task in tasks() if task.split == "test"}.values())


def _events(home: Home, kind: str) -> list[dict[str, Any]]:
    lines = [line for path in spool_files(home) for line in read_events(path)]
    assert not [line.fault for line in lines if line.fault]
    found = [cast(dict[str, Any], line.event) for line in lines]
    return [event for event in found if event["kind"] == kind]


def _by_session(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["session_id"]: event for event in found}


def test_each_task_becomes_one_verified_session(home: Home) -> None:
    chosen = _some()
    told: list[tuple[str, int, int]] = []

    def hear(what: str, number: int, total: int) -> None:
        told.append((what, number, total))

    report = record(home, chosen, progress=hear)
    assert report == RecordReport(good=len(chosen), bad=0, skipped=0)
    assert told[-1] == ("sessions recorded", len(chosen), len(chosen))
    sessions = _by_session(_events(home, "session"))
    assert len(sessions) == len(chosen)
    described = {tuple(session["metadata"].values()) for session in sessions.values()}
    assert described == {(task.id, task.category, task.split) for task in chosen}
    outcomes = _events(home, "outcome")
    assert {event["session_id"] for event in outcomes} == sessions.keys()
    assert {(event["outcome"], event["source"]) for event in outcomes} == {("good", SOURCE)}
    calls = _events(home, "tool_end")
    assert len(calls) == sum(len(task.plan) for task in chosen)
    assert {call["status"] for call in calls} == {"ok"}
    assert {run["model"] for run in _events(home, "run_start")} == {"scripted-policy"}


def test_a_second_recording_adds_nothing(home: Home) -> None:
    chosen = _some()[:3]
    record(home, chosen[:2])
    before = len(_events(home, "session"))
    assert record(home, chosen) == RecordReport(good=1, bad=0, skipped=2)
    assert record(home, chosen) == RecordReport(good=0, bad=0, skipped=3)
    assert len(_events(home, "session")) == before + 1


def test_an_interrupted_recording_goes_on_where_it_stopped(home: Home) -> None:
    chosen = _some()[:4]

    def interrupt(what: str, number: int, total: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(home, chosen, progress=interrupt)
    assert record(home, chosen) == RecordReport(good=2, bad=0, skipped=2)
    assert len(_by_session(_events(home, "outcome"))) == 4


def _teacher(folder: str, answer: str) -> FunctionModel:
    """A model that lists `folder`, then says `answer`, whatever it was asked."""

    def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        called = any(part.part_kind == "tool-call" for message in messages for part in message.parts)
        call = ToolCallPart("list_files", {"path": folder}, "call_1")
        return ModelResponse([TextPart(answer) if called else call])

    return FunctionModel(respond, model_name="a-teacher")


def test_what_a_teacher_does_wrong_gets_a_bad_outcome(home: Home) -> None:
    chosen = [task for task in _some() if task.kind in ("list", "read", "direct")]
    (folder,) = [task.slots["folder"] for task in chosen if task.kind == "list"]
    report = record(home, chosen, teacher=_teacher(folder, "There."))
    assert report == RecordReport(good=1, bad=2, skipped=0)
    sessions = _by_session(_events(home, "session"))
    good = [sessions[e["session_id"]] for e in _events(home, "outcome") if e["outcome"] == "good"]
    assert [session["metadata"]["category"] for session in good] == ["list"]
    assert {run["model"] for run in _events(home, "run_start")} == {"a-teacher"}
    # The policy's sessions are others than the teacher's.
    assert record(home, chosen) == RecordReport(good=3, bad=0, skipped=0)


def test_a_teacher_that_never_comes_to_an_end_is_stopped_and_bad(home: Home) -> None:
    def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([ToolCallPart("list_files", {"path": "."}, f"call_{len(messages)}")])

    assert record(home, _some()[:1], teacher=FunctionModel(respond)) == RecordReport(0, 1, 0)
    (outcome,) = _events(home, "outcome")
    assert "UsageLimitExceeded" in outcome["note"]


def test_a_teacher_out_of_reach_is_an_error_and_its_task_is_done_again(home: Home) -> None:
    reachable = False

    def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if not reachable:
            raise ModelHTTPError(401, "far-away")
        return ModelResponse([TextPart("Hello!")])

    teacher = FunctionModel(respond, model_name="far-away")
    chosen = [task for task in _some() if task.kind == "direct"]
    with pytest.raises(TracemillError, match="teacher did not answer"):
        record(home, chosen, teacher=teacher)
    assert _events(home, "outcome") == []
    reachable = True
    assert record(home, chosen, teacher=teacher) == RecordReport(1, 0, 0)
    (outcome,) = _events(home, "outcome")
    assert outcome["session_id"].endswith("~2")


def test_a_teacher_nobody_knows_is_an_error(home: Home) -> None:
    with pytest.raises(TracemillError, match="no-such-model"):
        record(home, _some()[:1], teacher="no-such-model")
