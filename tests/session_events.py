"""Whole sessions as lists of events, and spool files made of them, for the tests of warehouse and cli."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool, message_id, toolset_id

SEARCH: Tool = {"name": "search", "description": "Search the project.", "parameters": {"type": "object"}}
AnyDict = dict[str, Any]


def session(
    name: str = "s1",
    *,
    steps: int = 3,
    at: float = 1_700_000_000.0,
    agent: str = "coder",
    status: events.ToolStatus = "ok",
    outcome: events.Verdict | None = "good",
    prompt: str | None = None,
    **metadata: str,
) -> list[AnyDict]:
    """One run of `steps` requests; every answer but the last calls a tool. Times are a second apart."""
    clock = iter(range(1, 10_000))
    made: list[Any] = []

    def add(kind: Any, *positional: Any, **fields: Any) -> None:
        now = next(clock)
        event = kind(*positional, **fields, ts=at + now)
        # Messages and toolsets are named by content; everything else by session and number.
        made.append(event if event["kind"] in ("message", "toolset") else {**event, "id": f"{name}-{now}"})

    def body(message: Message) -> str:
        add(events.message, message)
        return message_id(message)

    add(events.session, name, agent=agent, project="/work", source="pydantic-ai", metadata=metadata)
    add(events.toolset, [SEARCH])
    add(events.run_start, name, f"{name}-run", parent_run_id=None, agent=agent, model="m")
    added = [
        body({"role": "system", "content": "You search."}),
        body({"role": "user", "content": prompt or f"Find {name}."}),
    ]
    previous, kept = None, 0
    for step in range(steps):
        request = f"{name}-request{step}"
        add(
            events.request,
            name,
            request,
            run_id=f"{name}-run",
            step=step,
            model="m",
            previous=previous,
            kept=kept,
            added=added,
            toolset_id=toolset_id([SEARCH]),
        )
        previous, kept = request, kept + len(added)
        # Every answer calls its tool by the same id, as some models do.
        call_id, arguments = "call_0", {"query": f"{name} {step}"}
        last = step == steps - 1
        answer: Message = {"role": "assistant", "content": f"Done with {name}." if last else ""}
        if not last:
            answer["tool_calls"] = [{"id": call_id, "name": "search", "arguments": arguments}]
        answered = body(answer)
        add(
            events.response,
            name,
            request,
            message_id=answered,
            input_tokens=10,
            output_tokens=2,
            latency_ms=5.0,
        )
        if last:
            break
        call = f"{name}-call{step}"
        add(
            events.tool_start,
            name,
            call,
            run_id=f"{name}-run",
            request_id=request,
            tool_call_id=call_id,
            tool="search",
            raw_arguments=json.dumps(arguments),
        )
        add(
            events.tool_end,
            name,
            call,
            status=status,
            arguments=arguments,
            result={"hits": step},
            latency_ms=1.5,
        )
        result: Message = {
            "role": "tool",
            "content": f"hit {step}",
            "tool_call_id": call_id,
            "name": "search",
        }
        added = [answered, body(result)]
    add(events.run_end, name, f"{name}-run", status="ok", error=None, latency_ms=99.0)
    if outcome is not None:
        add(events.outcome, name, outcome=outcome, source="test", note="")
    return cast("list[AnyDict]", made)


def lines(made: Iterable[AnyDict]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in made)


def spool(home: Home, *parts: Sequence[AnyDict] | bytes, file: str = "a.ndjson") -> Path:
    """Append events, or bytes as they are, to a spool file."""
    path = home.ensure(home.spool) / file
    with path.open("ab") as out:
        for part in parts:
            out.write(part if isinstance(part, bytes) else lines(part))
    return path
