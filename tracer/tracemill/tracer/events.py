"""The events of a session: what the spool holds, one JSON object a line.

In: the fields of one happening. Out: a dict with exactly the fields that `docs/architecture.md` lists for its
kind, stamped with version, id and time. `fault` tells a reader what is wrong with an object that claims to be
an event. Ids default to a fresh UUID and times to now; importers pass both, so that importing is repeatable.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from tracemill.tracer.messages import Message, Tool, message_id, toolset_id

VERSION = 1

RunStatus = Literal["ok", "error", "cancelled"]
ToolStatus = Literal["ok", "error", "retry", "invalid", "unknown", "denied", "deferred", "cancelled"]
FeedbackTarget = Literal["session", "run", "tool_call"]
Verdict = Literal["good", "bad"]


class Event(TypedDict):
    """What every event has; `ts` is in Unix seconds."""

    v: int
    id: str
    ts: float
    kind: str


class SessionEvent(Event):
    """A session is known; the latest event of a session id counts."""

    session_id: str
    agent: str
    project: str
    source: str
    metadata: dict[str, Any]


class MessageEvent(Event):
    """The body of a message, written once per process."""

    message_id: str
    message: Message


class ToolsetEvent(Event):
    """The body of a list of offered tools, written once per process."""

    toolset_id: str
    tools: list[Tool]


class RunStartEvent(Event):
    """One run of an agent begins; `parent_run_id` is the run whose tool started it."""

    session_id: str
    run_id: str
    parent_run_id: str | None
    agent: str
    model: str


class RunEndEvent(Event):
    """A run is over; latency in milliseconds, null where nobody measured it."""

    session_id: str
    run_id: str
    status: RunStatus
    error: str | None
    latency_ms: float | None


class RequestEvent(Event):
    """A model is asked: the first `kept` messages of request `previous`, then `added`."""

    session_id: str
    request_id: str
    run_id: str
    step: int
    model: str
    previous: str | None
    kept: int
    added: list[str]
    toolset_id: str


class ResponseEvent(Event):
    """A model answered, or failed to: then `error` is set and `message_id` is null."""

    session_id: str
    request_id: str
    message_id: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None
    error: str | None


class ToolStartEvent(Event):
    """A tool call begins; `raw_arguments` is what the model wrote, text or object."""

    session_id: str
    call_id: str
    run_id: str
    request_id: str | None
    tool_call_id: str
    tool: str
    raw_arguments: Any


class ToolEndEvent(Event):
    """A tool call is over; `arguments` are the validated ones, null where validation failed or never ran."""

    session_id: str
    call_id: str
    status: ToolStatus
    arguments: Any
    result: Any
    error: str | None
    latency_ms: float | None


class FeedbackEvent(Event):
    """Somebody's opinion of a session, a run or a tool call; `score` from -1 to 1."""

    session_id: str
    target: FeedbackTarget
    target_id: str
    score: float
    note: str


class OutcomeEvent(Event):
    """How a session turned out, as told by `source` (a test suite, a benchmark, a person)."""

    session_id: str
    outcome: Verdict
    score: float | None
    source: str
    note: str


AnyEvent = (
    SessionEvent
    | MessageEvent
    | ToolsetEvent
    | RunStartEvent
    | RunEndEvent
    | RequestEvent
    | ResponseEvent
    | ToolStartEvent
    | ToolEndEvent
    | FeedbackEvent
    | OutcomeEvent
)

FIELDS: dict[str, frozenset[str]] = {
    "session": SessionEvent.__required_keys__,
    "message": MessageEvent.__required_keys__,
    "toolset": ToolsetEvent.__required_keys__,
    "run_start": RunStartEvent.__required_keys__,
    "run_end": RunEndEvent.__required_keys__,
    "request": RequestEvent.__required_keys__,
    "response": ResponseEvent.__required_keys__,
    "tool_start": ToolStartEvent.__required_keys__,
    "tool_end": ToolEndEvent.__required_keys__,
    "feedback": FeedbackEvent.__required_keys__,
    "outcome": OutcomeEvent.__required_keys__,
}
"""The fields of each kind, all of them required."""


def new_id() -> str:
    """A fresh identifier: 32 hex digits."""
    return uuid.uuid4().hex


def _stamp(kind: str, id: str | None, ts: float | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "v": VERSION,
        "id": id or new_id(),
        "ts": time.time() if ts is None else ts,
        "kind": kind,
        **fields,
    }


def session(
    session_id: str,
    *,
    agent: str,
    project: str,
    source: str,
    metadata: Mapping[str, Any] | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> SessionEvent:
    """A session event; `project` is the folder the agent works in, `source` names who recorded it."""
    fields = {
        "session_id": session_id,
        "agent": agent,
        "project": project,
        "source": source,
        "metadata": dict(metadata or {}),
    }
    return cast("SessionEvent", _stamp("session", id, ts, fields))


def message(body: Message, *, ts: float | None = None) -> MessageEvent:
    """The body of a message that is already redacted; its id follows from its content."""
    name = message_id(body)
    fields = {"message_id": name, "message": body}
    return cast("MessageEvent", _stamp("message", f"message-{name}", ts, fields))


def toolset(tools: Sequence[Tool], *, ts: float | None = None) -> ToolsetEvent:
    """The body of a list of tools that is already redacted; its id follows from its content."""
    name = toolset_id(tools)
    fields = {"toolset_id": name, "tools": list(tools)}
    return cast("ToolsetEvent", _stamp("toolset", f"toolset-{name}", ts, fields))


def run_start(
    session_id: str,
    run_id: str,
    *,
    parent_run_id: str | None,
    agent: str,
    model: str,
    id: str | None = None,
    ts: float | None = None,
) -> RunStartEvent:
    """A run begins."""
    fields = {
        "session_id": session_id,
        "run_id": run_id,
        "parent_run_id": parent_run_id,
        "agent": agent,
        "model": model,
    }
    return cast("RunStartEvent", _stamp("run_start", id, ts, fields))


def run_end(
    session_id: str,
    run_id: str,
    *,
    status: RunStatus,
    error: str | None,
    latency_ms: float | None,
    id: str | None = None,
    ts: float | None = None,
) -> RunEndEvent:
    """A run is over."""
    fields = {
        "session_id": session_id,
        "run_id": run_id,
        "status": status,
        "error": error,
        "latency_ms": latency_ms,
    }
    return cast("RunEndEvent", _stamp("run_end", id, ts, fields))


def request(
    session_id: str,
    request_id: str,
    *,
    run_id: str,
    step: int,
    model: str,
    previous: str | None,
    kept: int,
    added: Sequence[str],
    toolset_id: str,
    id: str | None = None,
    ts: float | None = None,
) -> RequestEvent:
    """A model is asked."""
    fields = {
        "session_id": session_id,
        "request_id": request_id,
        "run_id": run_id,
        "step": step,
        "model": model,
        "previous": previous,
        "kept": kept,
        "added": list(added),
        "toolset_id": toolset_id,
    }
    return cast("RequestEvent", _stamp("request", id, ts, fields))


def response(
    session_id: str,
    request_id: str,
    *,
    message_id: str | None,
    finish_reason: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    latency_ms: float | None = None,
    error: str | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> ResponseEvent:
    """A model answered, or failed to."""
    fields = {
        "session_id": session_id,
        "request_id": request_id,
        "message_id": message_id,
        "finish_reason": finish_reason,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "latency_ms": latency_ms,
        "error": error,
    }
    return cast("ResponseEvent", _stamp("response", id, ts, fields))


def tool_start(
    session_id: str,
    call_id: str,
    *,
    run_id: str,
    request_id: str | None,
    tool_call_id: str,
    tool: str,
    raw_arguments: Any,
    id: str | None = None,
    ts: float | None = None,
) -> ToolStartEvent:
    """A tool call begins."""
    fields = {
        "session_id": session_id,
        "call_id": call_id,
        "run_id": run_id,
        "request_id": request_id,
        "tool_call_id": tool_call_id,
        "tool": tool,
        "raw_arguments": raw_arguments,
    }
    return cast("ToolStartEvent", _stamp("tool_start", id, ts, fields))


def tool_end(
    session_id: str,
    call_id: str,
    *,
    status: ToolStatus,
    arguments: Any = None,
    result: Any = None,
    error: str | None = None,
    latency_ms: float | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> ToolEndEvent:
    """A tool call is over."""
    fields = {
        "session_id": session_id,
        "call_id": call_id,
        "status": status,
        "arguments": arguments,
        "result": result,
        "error": error,
        "latency_ms": latency_ms,
    }
    return cast("ToolEndEvent", _stamp("tool_end", id, ts, fields))


def feedback(
    session_id: str,
    *,
    target: FeedbackTarget,
    target_id: str,
    score: float,
    note: str = "",
    id: str | None = None,
    ts: float | None = None,
) -> FeedbackEvent:
    """Somebody's opinion; ValueError unless -1 <= score <= 1."""
    if not -1 <= score <= 1:
        raise ValueError(f"a feedback score lies between -1 and 1, not {score}")
    fields = {
        "session_id": session_id,
        "target": target,
        "target_id": target_id,
        "score": score,
        "note": note,
    }
    return cast("FeedbackEvent", _stamp("feedback", id, ts, fields))


def outcome(
    session_id: str,
    *,
    outcome: Verdict,
    score: float | None = None,
    source: str,
    note: str = "",
    id: str | None = None,
    ts: float | None = None,
) -> OutcomeEvent:
    """How a session turned out."""
    fields = {"session_id": session_id, "outcome": outcome, "score": score, "source": source, "note": note}
    return cast("OutcomeEvent", _stamp("outcome", id, ts, fields))


def fault(value: object) -> str | None:
    """What keeps a decoded line from being an event of this version, or None where nothing does."""
    if not isinstance(value, dict):
        return "not a JSON object"
    found = cast("dict[str, object]", value)
    if found.get("v") != VERSION:
        return f"event version {found.get('v')!r}, this Tracemill reads version {VERSION}"
    kind = found.get("kind")
    wanted = FIELDS.get(kind) if isinstance(kind, str) else None
    if wanted is None:
        return f"unknown kind {kind!r}"
    missing = wanted - found.keys()
    if missing:
        return f"{kind} event without {', '.join(sorted(missing))}"
    return None
