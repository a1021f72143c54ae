"""The events of a session: what the spool holds, one JSON object a line.

In: the fields of one happening. Out: a dict with exactly the fields of its kind, stamped with version, id and
time. Ids default to a fresh UUID and times to now; importers pass both, so that importing is repeatable.
The types are those of `tracemill.tracer.event_types`, to be had from here as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tracemill.tracer.event_types import (
    FIELDS,
    VERSION,
    AnyEvent,
    Event,
    FeedbackEvent,
    FeedbackTarget,
    GitEvent,
    MessageEvent,
    Moment,
    OutcomeEvent,
    PlanEvent,
    RequestEvent,
    ResponseEvent,
    RunEndEvent,
    RunStartEvent,
    RunStatus,
    SessionEvent,
    ToolEndEvent,
    ToolsetEvent,
    ToolStartEvent,
    ToolStatus,
    Verdict,
    fault,
)
from tracemill.tracer.messages import Message, Tool, message_id, toolset_id

__all__ = [
    "FIELDS",
    "VERSION",
    "AnyEvent",
    "Event",
    "FeedbackEvent",
    "FeedbackTarget",
    "GitEvent",
    "MessageEvent",
    "Moment",
    "OutcomeEvent",
    "PlanEvent",
    "RequestEvent",
    "ResponseEvent",
    "RunEndEvent",
    "RunStartEvent",
    "RunStatus",
    "SessionEvent",
    "ToolEndEvent",
    "ToolStartEvent",
    "ToolStatus",
    "ToolsetEvent",
    "Verdict",
    "fault",
    "feedback",
    "git",
    "message",
    "milliseconds_since",
    "new_id",
    "now",
    "outcome",
    "permission",
    "plan",
    "request",
    "response",
    "run_end",
    "run_start",
    "session",
    "tool_end",
    "tool_start",
    "toolset",
]


_fresh: list[str] = []


def new_id() -> str:
    """A fresh identifier: 32 random hex digits."""
    try:
        return _fresh.pop()
    except IndexError:
        # One call of the system for many costs less than one for each.
        digits = os.urandom(16 * 64).hex()
        _fresh.extend(digits[at : at + 32] for at in range(32, len(digits), 32))
        return digits[:32]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh.clear)


def now() -> str:
    """The time as JSON, to the microsecond."""
    # To spell a float takes four times as long.
    digits = str(time.time_ns())
    return f"{digits[:-9]}.{digits[-9:-3]}"


def milliseconds_since(start: int) -> float:
    """Milliseconds since `time.perf_counter_ns()` was `start`, to the microsecond."""
    return (time.perf_counter_ns() - start) // 1000 / 1000


def _given(**optional: object) -> dict[str, Any]:
    """The fields that have a value: an optional one is left out where there is nothing to say."""
    return {name: value for name, value in optional.items() if value is not None}


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


def message(body: Message, name: str | None = None, *, ts: float | None = None) -> MessageEvent:
    """The body of a message that is already redacted; its id, `name` where it is known, follows from it."""
    name = name or message_id(body)
    fields = {"message_id": name, "message": body}
    return cast("MessageEvent", _stamp("message", f"message-{name}", ts, fields))


def toolset(tools: Sequence[Tool], name: str | None = None, *, ts: float | None = None) -> ToolsetEvent:
    """The body of a list of tools that is already redacted; its id, `name` where known, follows from it."""
    name = name or toolset_id(tools)
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
    stop_reason: str | None = None,
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
        **_given(stop_reason=stop_reason),
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
    toolset_id: str | None,
    id: str | None = None,
    ts: float | None = None,
) -> RequestEvent:
    """A model is asked."""
    return {
        "v": VERSION,
        "id": id or new_id(),
        "ts": time.time() if ts is None else ts,
        "kind": "request",
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
    model: str | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> ResponseEvent:
    """A model answered, or failed to."""
    event: ResponseEvent = {
        "v": VERSION,
        "id": id or new_id(),
        "ts": time.time() if ts is None else ts,
        "kind": "response",
        "session_id": session_id,
        "request_id": request_id,
        "message_id": message_id,
        "finish_reason": finish_reason,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "latency_ms": latency_ms,
        "error": error,
    }
    if model is not None:
        event["model"] = model
    return event


def tool_start(
    session_id: str,
    call_id: str,
    *,
    run_id: str,
    request_id: str | None,
    tool_call_id: str,
    tool: str,
    raw_arguments: Any,
    parent_call_id: str | None = None,
    title: str | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> ToolStartEvent:
    """A tool call begins."""
    event: ToolStartEvent = {
        "v": VERSION,
        "id": id or new_id(),
        "ts": time.time() if ts is None else ts,
        "kind": "tool_start",
        "session_id": session_id,
        "call_id": call_id,
        "run_id": run_id,
        "request_id": request_id,
        "tool_call_id": tool_call_id,
        "tool": tool,
        "raw_arguments": raw_arguments,
    }
    if parent_call_id is not None:
        event["parent_call_id"] = parent_call_id
    if title is not None:
        event["title"] = title
    return event


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
    return {
        "v": VERSION,
        "id": id or new_id(),
        "ts": time.time() if ts is None else ts,
        "kind": "tool_end",
        "session_id": session_id,
        "call_id": call_id,
        "status": status,
        "arguments": arguments,
        "result": result,
        "error": error,
        "latency_ms": latency_ms,
    }


def feedback(
    session_id: str,
    *,
    target: FeedbackTarget,
    target_id: str,
    score: float,
    note: str = "",
    source: str | None = None,
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
        **_given(source=source),
    }
    return cast("FeedbackEvent", _stamp("feedback", id, ts, fields))


def permission(
    session_id: str, call_id: str, kind: str, *, id: str | None = None, ts: float | None = None
) -> FeedbackEvent | None:
    """Somebody allowed a call or rejected it: `kind` is ACP's, such as allow_once. None for any other."""
    score = {"allow": 1, "reject": -1}.get(kind.partition("_")[0])
    if score is None:
        return None
    return feedback(
        session_id,
        target="tool_call",
        target_id=call_id,
        score=score,
        note=kind,
        source="permission",
        id=id,
        ts=ts,
    )


def outcome(
    session_id: str,
    *,
    outcome: Verdict,
    score: float | None = None,
    source: str,
    note: str = "",
    evidence: Mapping[str, Any] | None = None,
    id: str | None = None,
    ts: float | None = None,
) -> OutcomeEvent:
    """How a session turned out."""
    fields = {
        "session_id": session_id,
        "outcome": outcome,
        "score": score,
        "source": source,
        "note": note,
        **_given(evidence=evidence),
    }
    return cast("OutcomeEvent", _stamp("outcome", id, ts, fields))


def git(
    session_id: str,
    *,
    moment: Moment,
    root: str,
    commit: str | None,
    branch: str | None,
    files: Sequence[str],
    id: str | None = None,
    ts: float | None = None,
) -> GitEvent:
    """The state of a git work tree, dirty if `files` have changed."""
    fields = {
        "session_id": session_id,
        "moment": moment,
        "root": root,
        "commit": commit,
        "branch": branch,
        "dirty": bool(files),
        "files": list(files[:200]),
    }
    return cast("GitEvent", _stamp("git", id, ts, fields))


def plan(
    session_id: str,
    run_id: str,
    *,
    entries: Sequence[Mapping[str, Any]],
    id: str | None = None,
    ts: float | None = None,
) -> PlanEvent:
    """What the agent says it is going to do."""
    fields = {"session_id": session_id, "run_id": run_id, "entries": [dict(entry) for entry in entries]}
    return cast("PlanEvent", _stamp("plan", id, ts, fields))
