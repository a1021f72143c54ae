"""The items of a report, ready to be read: what was asked, expected and written, and where that differs.

In: the results of both models. Out: sections of entries, what the adapter changed first, by category. Long
texts are cut, and say by how much; the data set and the result files hold all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from tracemill.curate.chat.codec import calls_of, encode
from tracemill.evaluate.holdout import ItemResult
from tracemill.tracer.messages import Message

CUT = 2_000
"""Characters shown of a message of the history."""
MOST_PIECES = 400
"""Words and signs of a text up to which a difference is looked for: the work grows with their square."""
ALIKE = 0.5
"""How much of two texts must be the same for a difference to tell anything."""

Part = tuple[Literal["same", "extra", "missing"], str]


@dataclass(frozen=True)
class Entry:
    """One item on the page: what came before the user's last words, those, what happened since, three turns.

    base_parts, adapter_parts: what was written, piece by piece, against what was expected.
    """

    base: ItemResult
    adapter: ItemResult
    before: list[tuple[str, str]]
    asked: str
    since: list[tuple[str, str]]
    tools: list[str]
    expected: str
    base_parts: list[Part]
    adapter_parts: list[Part]


@dataclass(frozen=True)
class Section:
    """Entries under a heading, by category where they are `grouped`."""

    name: str
    open: bool
    groups: list[tuple[str, list[Entry]]]

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(len(entries) for _, entries in self.groups)


def sections(base: Sequence[ItemResult], adapter: Sequence[ItemResult]) -> list[Section]:
    """Flips first: they are what the adapter changed. Sections without an entry are left out."""
    pairs = list(zip(base, adapter, strict=True))
    names = {
        (False, True): "Gained: wrong before, right with the adapter",
        (True, False): "Lost: right before, wrong with the adapter",
        (False, False): "Wrong with both",
        (True, True): "Right with both",
    }
    found: list[Section] = []
    for outcome, name in names.items():
        some = [pair for pair in pairs if (pair[0].score.right, pair[1].score.right) == outcome]
        flipped = outcome[0] != outcome[1]
        kinds = sorted({group_of(one) for one, _ in some}) if flipped else [""]
        groups = [
            (kind, [_entry(one, other) for one, other in some if not kind or group_of(one) == kind])
            for kind in kinds
        ]
        if some:
            found.append(Section(name, flipped, groups))
    return found


def group_of(result: ItemResult) -> str:
    """What an item counts under: direct answers, or its category."""
    return "direct answers" if result.item.kind == "direct" else result.item.category or "no category"


def turn_text(message: Message) -> str:
    """A message as it stands in a data set row: tool calls as the text a model writes."""
    return (
        encode(message["content"], calls_of(message))
        if message["role"] == "assistant"
        else message["content"]
    )


def difference(expected: str, got: str) -> list[Part]:
    """What was written against what was expected; in one piece where they are equal, long or unlike."""
    left, right = _pieces(expected), _pieces(got)
    if expected == got or max(len(left), len(right)) > MOST_PIECES:
        return [("same", got)]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.ratio() < ALIKE:
        return [("same", got)]
    parts: list[Part] = []
    for word, a, b, c, d in matcher.get_opcodes():
        if word == "equal":
            parts.append(("same", "".join(right[c:d])))
            continue
        if b > a:
            parts.append(("missing", "".join(left[a:b])))
        if d > c:
            parts.append(("extra", "".join(right[c:d])))
    return parts


def cut(text: str, most: int = CUT) -> str:
    """The text, or its beginning and how much is left out."""
    return text if len(text) <= most else f"{text[:most]}\n({len(text) - most} more characters)"


def _entry(base: ItemResult, adapter: ItemResult) -> Entry:
    history, expected = base.item.messages, turn_text(base.item.expected)
    last = max((i for i, message in enumerate(history) if message["role"] == "user"), default=-1)

    def parts(result: ItemResult) -> list[Part]:
        alike = result.item.kind == "call" and not result.score.right
        return difference(expected, result.text) if alike else [("same", result.text)]

    return Entry(
        base=base,
        adapter=adapter,
        before=_shown(history[: max(last, 0)]),
        asked=history[last]["content"] if last >= 0 else "",
        since=_shown(history[last + 1 :]),
        tools=[tool["name"] for tool in base.item.tools],
        expected=expected,
        base_parts=parts(base),
        adapter_parts=parts(adapter),
    )


def _shown(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(message.get("name", message["role"]), cut(turn_text(message))) for message in messages]


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s+|\w+|[^\w\s]", text)
