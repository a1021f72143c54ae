"""The events of a session that is known only by its messages.

In: an `ImportedSession`. Out: the events a recorder would have written of it: one run, a request and a
response for every answer, the calls with their results, the outcome. Every id follows from the session's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracemill.tracer import events
from tracemill.tracer.importers.chat_messages import FoundCall
from tracemill.tracer.messages import Message, Tool, content_id, message_id, toolset_id


@dataclass(frozen=True)
class Outcome:
    """How a session turned out, as its record tells."""

    verdict: events.Verdict
    score: float | None
    source: str


@dataclass(frozen=True)
class ImportedSession:
    """A session of somebody else's, redacted."""

    session_id: str
    source: str
    agent: str
    model: str
    metadata: Mapping[str, Any]
    messages: Sequence[Message]
    calls: Sequence[FoundCall]
    tools: Sequence[Tool]
    outcome: Outcome | None


def session_events(session: ImportedSession, ts: float) -> Iterator[events.AnyEvent]:
    """All events of a session, in order; `ts` in Unix seconds is the time of each."""
    id = session.session_id
    run_id = _name(id, "run")
    yield events.session(
        id,
        agent=session.agent,
        project="",
        source=session.source,
        metadata=session.metadata,
        id=_name(id, "session"),
        ts=ts,
    )
    yield events.toolset(session.tools, ts=ts)
    for message in session.messages:
        yield events.message(message, ts=ts)
    yield events.run_start(
        id,
        run_id,
        parent_run_id=None,
        agent=session.agent,
        model=session.model,
        id=_name(id, "run_start"),
        ts=ts,
    )
    yield from _turns(session, run_id, ts)
    yield events.run_end(id, run_id, status="ok", error=None, latency_ms=None, id=_name(id, "run_end"), ts=ts)
    if session.outcome is not None:
        verdict, score, source = session.outcome.verdict, session.outcome.score, session.outcome.source
        yield events.outcome(
            id,
            outcome=verdict,
            score=score,
            source=source,
            id=_name(id, "outcome", verdict, score, source),
            ts=ts,
        )


def _turns(session: ImportedSession, run_id: str, ts: float) -> Iterator[events.AnyEvent]:
    id = session.session_id
    ids = [message_id(message) for message in session.messages]
    answers = [index for index, message in enumerate(session.messages) if message["role"] == "assistant"]
    previous, kept = None, 0
    for step, turn in enumerate(answers):
        request_id = _name(id, "request", step)
        yield events.request(
            id,
            request_id,
            run_id=run_id,
            step=step,
            model=session.model,
            previous=previous,
            kept=kept,
            added=ids[kept:turn],
            toolset_id=toolset_id(session.tools),
            id=_name(id, "asked", step),
            ts=ts,
        )
        yield events.response(id, request_id, message_id=ids[turn], id=_name(id, "answered", step), ts=ts)
        for number, made in enumerate(session.calls):
            if made.turn == turn:
                yield from _call(id, run_id, request_id, _name(id, "call", number), made, ts)
        previous, kept = request_id, turn


def _call(
    session_id: str, run_id: str, request_id: str, call_id: str, made: FoundCall, ts: float
) -> Iterator[events.AnyEvent]:
    arguments = made.call["arguments"]
    yield events.tool_start(
        session_id,
        call_id,
        run_id=run_id,
        request_id=request_id,
        tool_call_id=made.call["id"],
        tool=made.call["name"],
        raw_arguments=made.raw_arguments,
        id=_name(call_id, "start"),
        ts=ts,
    )
    if made.result is not None:
        yield events.tool_end(
            session_id,
            call_id,
            status="ok",
            arguments=arguments if isinstance(arguments, dict) else None,
            result=made.result,
            id=_name(call_id, "end"),
            ts=ts,
        )


def _name(*parts: object) -> str:
    return content_id(list(parts))
