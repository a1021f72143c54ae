"""Two rows side by side: which lines of which messages differ.

In: the messages of both. Out: `Line`s, left and right, of the messages that are not the same, with a few of
the lines around what differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile, zip_longest
from typing import Any

import polars as pl

from tracemill.curate.chat.codec import calls_of
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.datasets.reading import Read, read_rows, these
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message, common_prefix

_AROUND = 2
_LONG, _EARLY, _BEFORE = 400, 100, 40
"""Most characters of a line, how late it differs to be cut, and what is left before that place."""


@dataclass(frozen=True)
class Line:
    """A line of the left and of the right row; None where one has none. `same` where both say the same."""

    left: str | None
    right: str | None
    same: bool


def messages_of(data: Opened, places: pl.DataFrame) -> dict[tuple[str, int], list[Message]]:
    """The messages of some rows (columns `file`, `line`) by their place; both answers of a pair."""
    found: dict[tuple[str, int], list[Message]] = {}
    names = places.select("file", "line").rows()
    for lines, within in these(data, places):
        for at, (_, read) in zip(within, read_rows(lines), strict=True):
            if isinstance(read, Read):
                found[names[at]] = _all(read)
    return found


def _all(read: Read) -> list[Message]:
    """The messages of a row; of a pair those of the chosen answer, then what else is rejected."""
    chosen, rejected = read.found.talk.messages, read.rejected or []
    same = takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))
    return [*chosen, *rejected[len(list(same)) :]]


def side_by_side(left: Sequence[Message], right: Sequence[Message]) -> Iterator[Line]:
    """The messages that differ, each under its number and role."""
    texts = [[(one["role"], _text(one)) for one in side] for side in (left, right)]
    matcher = SequenceMatcher(None, texts[0], texts[1], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        for at, other in zip_longest(range(a, b), range(c, d)):
            heads = [_head(side, number) for side, number in ((left, at), (right, other))]
            yield Line(heads[0], heads[1], same=True)
            yield from _lines(
                None if at is None else texts[0][at][1], None if other is None else texts[1][other][1]
            )


def _head(side: Sequence[Message], at: int | None) -> str | None:
    return None if at is None else f"[{at}] {side[at]['role']}"


def _text(message: Message) -> str:
    """A message as text: what is said, the calls beside it, and that it is out of the loss."""
    parts = [message["content"]] if message["content"] else []
    try:
        calls: Sequence[Any] = calls_of(message)
        parts += [f"{call.name} {json.dumps(call.arguments, ensure_ascii=False)}" for call in calls]
    except CodecError:
        parts.append(json.dumps(message.get("tool_calls"), ensure_ascii=False))
    plain: Mapping[str, Any] = {**message}
    parts += ["(weight 0: out of the loss)"] if plain.get("weight", 1) == 0 else []
    return "\n".join(parts)


def _lines(left: str | None, right: str | None) -> Iterator[Line]:
    sides = [[] if text is None else text.split("\n") for text in (left, right)]
    matcher = SequenceMatcher(None, sides[0], sides[1], autojunk=False)
    for group in matcher.get_grouped_opcodes(_AROUND):
        for tag, a, b, c, d in group:
            for one, other in zip_longest(sides[0][a:b], sides[1][c:d]):
                start = 0 if tag == "equal" else _start(one or "", other or "")
                yield Line(_cut(one, start), _cut(other, start), same=tag == "equal")


def _start(left: str, right: str) -> int:
    """Where to begin to show two lines that differ: at the start, or a little before they do."""
    shared = common_prefix(left, right)
    return shared - _BEFORE if shared > _EARLY else 0


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    end = start + _LONG
    more = f" ... ({len(text)} characters)" if end < len(text) else ""
    return ("... " if start else "") + text[start:end] + more
