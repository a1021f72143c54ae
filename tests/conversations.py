"""Conversations for the tests of curation: as rows of a frame, or as a session in a real spool."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool, ToolCall
from tracemill.tracer.spool import Spool

SCHEMA = {
    "conversation_id": pl.String,
    "session_id": pl.String,
    "run_id": pl.String,
    "agent": pl.String,
    "source": pl.String,
    "task": pl.String,
    "category": pl.String,
    "split": pl.String,
    "outcome": pl.String,
    "started": pl.Datetime,
    "project": pl.String,
    "feedback": pl.Float64,
    "disliked": pl.List(pl.Int64),
    "cut_off": pl.List(pl.Int64),
    "messages": pl.String,
    "tools": pl.String,
    "calls": pl.String,
}
READ: Tool = {
    "name": "read_file",
    "description": "Read a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
GREEK = (
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "omicron",
)  # fmt: skip
"""Words that are like no other, for prompts that are no copies."""


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str, *calls: ToolCall) -> Message:
    return (
        {"role": "assistant", "content": content, "tool_calls": list(calls)}
        if calls
        else {
            "role": "assistant",
            "content": content,
        }
    )


def call(arguments: Any, call_id: str = "c1", name: str = "read_file") -> ToolCall:
    return {"id": call_id, "name": name, "arguments": arguments}


def answer(content: str, call_id: str = "c1", name: str = "read_file") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": call_id, "name": name}


def chat(prompt: str, path: str = "a.py") -> list[Message]:
    """A prompt, one call, its result, an answer."""
    return [user(prompt), assistant("", call({"path": path})), answer("print(1)"), assistant("It prints 1.")]


def conversation(
    number: int,
    messages: Sequence[Message],
    *,
    session: str | None = None,
    tools: Sequence[Tool] = (READ,),
    statuses: Sequence[tuple[int, str, str]] = (),
    **columns: Any,
) -> dict[str, Any]:
    """One row; `statuses` are (position, tool_call_id, status) and `columns` any other column."""
    ended = [
        {"position": at, "tool_call_id": ref, "tool": "read_file", "status": end} for at, ref, end in statuses
    ]
    return {
        "conversation_id": f"c{number}",
        "session_id": session or f"s{number}",
        "run_id": f"r{number}",
        "agent": "coder",
        "source": "pydantic-ai",
        "task": None,
        "category": None,
        "split": None,
        "outcome": "good",
        "started": datetime(2026, 1, 1) + timedelta(seconds=number),
        "messages": json.dumps(messages),
        "tools": json.dumps(tools),
        "calls": json.dumps(ended),
        **columns,
    }


def frame(*rows: dict[str, Any]) -> pl.LazyFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA).lazy()


def record(
    home: Home,
    session: str,
    messages: Sequence[Message],
    *,
    tools: Sequence[Tool] = (READ,),
    outcome: events.Verdict | None = "good",
    status: events.ToolStatus = "ok",
    at: float = 1e9,
    models: Sequence[str] = (),
    answered: str | None = None,
    **metadata: Any,
) -> None:
    """Write a session to the spool as an agent would have: a request for each assistant turn, every call done; `at` is Unix time.

    `models` are asked in turn, and `answered` names another that answered.
    """
    spool = Spool(home)
    spool.write(
        events.session(
            session, agent="coder", project="/p", source="test", metadata=metadata, ts=at, id=f"{session}-0"
        )
    )
    toolset = spool.toolset(tools)
    names = [spool.message(message) for message in messages]
    previous, kept = None, 0
    asked = iter(models)
    for position, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        request = f"{session}-{position}"
        spool.write(
            events.request(
                session,
                request,
                run_id=f"{session}-run",
                step=position,
                model=next(asked, "m"),
                previous=previous,
                kept=kept,
                added=names[kept:position],
                toolset_id=toolset,
                ts=at + position,
            )
        )
        spool.write(
            events.response(session, request, message_id=names[position], model=answered, ts=at + position)
        )
        for wanted in message.get("tool_calls", []):
            call_id = f"{request}-{wanted['id']}"
            start = {"run_id": f"{session}-run", "request_id": request, "tool_call_id": wanted["id"]}
            spool.write(
                events.tool_start(
                    session, call_id, **start, tool=wanted["name"], raw_arguments=wanted["arguments"]
                )
            )
            spool.write(events.tool_end(session, call_id, status=status))
        previous, kept = request, position
    if outcome:
        spool.write(events.outcome(session, outcome=outcome, source="test"))
    spool.close()


_some = st.sampled_from
_words = _some(
    [
        "read it (request 7)",
        "fix it (4)",
        "Done.",
        "I'll read it.",
        "```python\nprint 'x'\n```",
        "read it",
        "Read  it",
        "write it",
        "",
        "ﬁx it",
        "fix it",
        "<tool_call>",
    ]
)
_calls = st.builds(
    call,
    _some([{"path": "a"}, {"path": "b"}, {}, '{"path": ']),
    _some(["x", "y"]),
    _some(["read_file", "rm"]),
)
_assistant = st.builds(lambda text, calls: assistant(text, *calls), _words, st.lists(_calls, max_size=2))
_messages = st.lists(st.builds(user, _words) | _assistant | st.builds(answer, _words), max_size=6)


@st.composite
def frames(draw: st.DrawFn) -> pl.LazyFrame:
    """Frames of up to eight conversations of few sessions, prompts and tasks, good and bad in every way."""
    rows = [
        conversation(
            number,
            draw(_messages),
            session=draw(_some(["s1", "s2", "s3", "s4"])),
            tools=draw(_some([(READ,), ()])),
            statuses=draw(st.lists(st.tuples(st.integers(0, 5), _some(["x", "y"]), _some(["ok", "error"])))),
            task=draw(_some([None, "", "t1", "t2", "t3"])),
            split=draw(_some([None, None, None, "train", "valid", "test"])),
            outcome=draw(_some(["good", "good", "bad", None])),
            feedback=draw(_some([None, 1.0, -0.5])),
            disliked=draw(_some([None, [1]])),
            category=draw(_some([None, "read", "fix"])),
            project=draw(_some([None, "/p"])),
        )
        for number in range(draw(st.integers(0, 8)))
    ]
    return frame(*rows)
