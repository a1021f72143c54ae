"""The token proof: what is trained on, scored on and served are the same tokens, shown for the rows at hand.

In: a `Chat` and data set rows. Out: rendered sequences, or a `ProofError` that says what the template does
wrong. For every assistant turn to be learned:

1. the prompt a server would build is exactly how the training sequence begins (`render_turn`);
2. the turn ends with a stop token, and nothing that was recorded stands behind it (`render_turn`);
3. the learned tokens, decoded and parsed, are the recorded turn: same text, same calls by JSON value;
4. the template leaves nothing out: every tool offered and every message stands in the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypedDict

from tracemill.curate.chat.codec import Call, RowMessage, calls_of, decode, from_row
from tracemill.curate.chat.prefixes import THOUGHT
from tracemill.curate.chat.render import Rendered, render
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError, ProofError, TemplateError
from tracemill.tracer.messages import Message, Tool, canonical_json


class Row(TypedDict):
    """One line of `train.jsonl`, `valid.jsonl` or `test.jsonl`."""

    id: str
    session_id: str
    category: str
    messages: list[RowMessage]
    tools: list[Tool]


def learned_turns(messages: Sequence[RowMessage]) -> list[int]:
    """Positions of the assistant messages that bear loss."""
    return [
        i for i, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight", 1)
    ]


def prove(chat: Chat, row: Row) -> list[Rendered]:
    """Render a row and prove it; ProofError names the row and what differs."""
    try:
        messages = from_row(row["messages"])
        learn = learned_turns(row["messages"])
        rendered = render(chat, messages, row["tools"], learn)
        spans = [(part.tokens, span) for part in rendered for span in part.spans]
        for position, (tokens, (start, end)) in zip(learn, spans, strict=True):
            _same_turn(position, messages[position], chat.text(tokens[start:end]))
        if learn:
            _nothing_left_out(chat, messages[: learn[-1]], row["tools"])
    except (ProofError, CodecError, TemplateError) as error:
        raise ProofError(f"Row {row['id']}: {error}") from error
    return rendered


def _same_turn(position: int, message: Message, text: str) -> None:
    decoded = decode(text)
    expected = calls_of(message)
    # As JSON text: to Python, 1, 1.0 and true are equal.
    if decoded.errors or _as_json(decoded.calls) != _as_json(expected):
        raise ProofError(
            f"Turn {position}: the learned tokens do not parse back to the recorded tool calls: "
            f"{_of_calls(text, expected)}; give the model a chat_template.jinja that writes <tool_call> JSON."
        )
    if decoded.content != message["content"].strip():
        raise ProofError(
            f"Turn {position}: the learned tokens do not decode to the recorded text: "
            f"the template writes {_differs(decoded.content, message['content'].strip())}."
        )


def _as_json(calls: Sequence[Call]) -> list[bytes]:
    return [canonical_json(asdict(call)) for call in calls]


def _of_calls(text: str, expected: Sequence[Call]) -> str:
    if not any(call.name in text for call in expected):
        return "the template writes no call"
    return f"the template writes {text.strip()[:60]!r}"


def _differs(written: str, recorded: str) -> str:
    """The place from which on two texts differ, of each at most 30 characters."""
    pairs = enumerate(zip(written, recorded, strict=False))
    at = next((i for i, (one, other) in pairs if one != other), min(len(written), len(recorded)))
    return f"{written[at : at + 30]!r} where {recorded[at : at + 30]!r} was recorded"


def _nothing_left_out(chat: Chat, messages: Sequence[Message], tools: Sequence[Tool]) -> None:
    text = chat.written(messages, tools, add_generation_prompt=True)
    # Calls and prose name tools too, so what counts is what offering the tools adds.
    untooled = chat.written(messages, [], add_generation_prompt=True) if tools else ""
    for tool in tools:
        if text.count(tool["name"]) <= untooled.count(tool["name"]):
            raise ProofError(
                f"The chat template does not render the tool {tool['name']!r}; it knows no tools: "
                "give the model a chat_template.jinja that does."
            )
    names = {call["name"] for message in messages for call in message.get("tool_calls", [])}
    missing = {name for name in names if name not in text}
    place = 0
    for message in messages:
        found = _place(message, text, place)
        if found < 0:
            raise ProofError(f"The chat template leaves out or changes a {message['role']} message.")
        place = found
        if any(call["name"] in missing for call in message.get("tool_calls", [])):
            raise ProofError("The chat template leaves out an earlier tool call.")


def _place(message: Message, text: str, before: int) -> int:
    """Where a message stands in a prompt, as it is or as JSON text, as some write results; -1 for nowhere.

    It is looked for behind the place of the one `before` it first, for there it is in most templates.
    """
    content = message["content"].strip()
    if message["role"] == "assistant":  # reasoning models drop what was thought before an earlier answer
        content = content.rpartition(THOUGHT)[2].strip()
    forms = (content, json.dumps(content, ensure_ascii=False)[1:-1])
    places = (text.find(form, start) for start in (before, 0) for form in forms)
    return next((place for place in places if place >= 0), -1)
