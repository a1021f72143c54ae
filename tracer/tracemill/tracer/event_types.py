"""The shapes of the events: what `docs/architecture.md` lists, as types.

Out: a TypedDict for each kind, the fields of each kind, and `fault`, which tells a reader what is wrong with
an object that claims to be an event. `tracemill.tracer.events` makes events.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

from tracemill.tracer.messages import Message, Tool

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
