"""Rows as a card shows them: every message with what it is to the loss.

In: the rows that were chosen, and the draws of those to show. Out: `Shown` rows, long texts cut.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from tracemill.curate.card.reading import Rows, draw
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat_lines import Found, read_lines
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message

Loss = Literal["learned", "context", "masked"]
_MOST = 1_500
_MESSAGES = 24


@dataclass(frozen=True)
class Line:
    """A message: who says it, its text, whether it is learned, context, or masked as no model wrote it."""

    role: str
    text: str
    loss: Loss


@dataclass(frozen=True)
class Shown:
    """A row by its messages; `more` are left out at its end."""

    lines: list[Line]
    more: int

    def first(self, role: str) -> str:
        """The first text of a role; '' where there is none."""
        return next((line.text for line in self.lines if line.role == role), "")


def texts(rows: Rows, draws: Collection[int]) -> dict[int, Shown]:
    """The rows of these draws."""
    found: dict[int, Shown] = {}
    for _, lines in rows.parts:
        wanted = [
            (number, line) for number, line in lines.lines if (at := draw(line)) in draws and at not in found
        ]
        for (_, line), one in zip(wanted, read_lines(replace(lines, lines=wanted, long=[])), strict=True):
            if isinstance(one, Found):
                found[draw(line)] = shown(one.talk.messages)
    return found


def shown(messages: list[Message]) -> Shown:
    """A row, at most 24 messages of it and 1,500 characters of each."""
    return Shown([_line(message) for message in messages[:_MESSAGES]], max(0, len(messages) - _MESSAGES))


def _line(message: Message) -> Line:
    text = _text(message)
    cut = text if len(text) <= _MOST else f"{text[:_MOST]} ... ({len(text) - _MOST:,} characters more)"
    return Line(message["role"], cut, _loss(message))


def _loss(message: Any) -> Loss:
    if message["role"] != "assistant":
        return "masked"
    return "context" if message.get("weight", 1) == 0 else "learned"


def _text(message: Message) -> str:
    """The text with structured calls as a row has them."""
    calls = message.get("tool_calls", [])
    if not calls:
        return message["content"]
    known = [Call(one["name"], one["arguments"]) for one in calls if isinstance(one["arguments"], dict)]
    try:
        return encode(message["content"], known)
    except CodecError:
        return f"{message['content']}\n{calls}"
