"""What is asked of a model: a prompt, and what is right.

In: data set rows, or the items of a suite (`tracemill.evaluate.suites`). Out: `Item`s. Of a row every
assistant turn worth learning is one; its prompt is the history before the turn as it was recorded (next
action), so a mistake in one turn does not spoil the items after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tracemill.curate.chat.codec import Call, calls_of, from_row
from tracemill.curate.chat.proof import Row, learned_turns
from tracemill.curate.errors import CodecError
from tracemill.evaluate.errors import EvaluationError
from tracemill.tracer.messages import Message, Tool

Kind = Literal["call", "direct", "answer"]


@dataclass(frozen=True)
class WantedCall:
    """A call that is due: for each argument the JSON values that are right; some are `optional`."""

    name: str
    arguments: Mapping[str, Sequence[Any]]
    optional: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """What an answer in words has to satisfy, every condition that is given.

    keywords: all of them, whatever their case; regexes: each is found; exact: the whole answer; numeric: its
    last number, within `tolerance`; partial: parts, of which the share found is the score; scorer:
    `FILE.py:FUNCTION`, called with the item (a dict) and the text, gives a bool or 0..1.
    """

    keywords: Sequence[str] = ()
    regexes: Sequence[str] = ()
    exact: str | None = None
    numeric: float | None = None
    tolerance: float = 1e-6
    partial: Sequence[str] = ()
    scorer: str | None = None


@dataclass(frozen=True)
class Item:
    """A prompt, and what is right: tool calls (`call`), any words without one (`direct`), or an `answer`.

    session_id: what items that are not independent have in common; expected: a right turn, to be shown;
    calls, answer: what is scored; alternatives: other calls that would be as right; source: where the item
    comes from.
    """

    id: str
    session_id: str
    category: str
    kind: Kind
    messages: list[Message]
    tools: list[Tool]
    expected: Message
    calls: Sequence[WantedCall] = ()
    answer: Answer | None = None
    source: str = ""
    alternatives: Sequence[Sequence[WantedCall]] = ()

    @property
    def asked(self) -> str:
        """What the user said last, "" where the user said nothing."""
        return next((one["content"] for one in reversed(self.messages) if one["role"] == "user"), "")

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked and what is right: items of equal digest can be compared."""
        parts: dict[str, Any] = {"messages": self.messages, "tools": self.tools, "kind": self.kind}
        wanted = [asdict(call) for call in self.calls]
        answer = asdict(self.answer) if self.answer else None
        if answer and answer["scorer"]:
            answer["scorer"] = _scorer_digest(answer["scorer"])
        parts |= {"calls": wanted, "answer": answer}
        if self.alternatives:
            parts["alternatives"] = [[asdict(call) for call in calls] for calls in self.alternatives]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _scorer_digest(place: str) -> str:
    """A scorer by its function and its file's content, wherever that is."""
    file, _, function = place.rpartition(":")
    return f"{function} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def exactly(calls: Iterable[Call]) -> tuple[WantedCall, ...]:
    """These calls and no others: each argument has one right value."""
    return tuple(
        WantedCall(call.name, {key: (value,) for key, value in call.arguments.items()}) for call in calls
    )


def items(rows: Iterable[Row]) -> list[Item]:
    """One item per assistant turn of weight other than 0, named `<row id>#<position of the turn>`.

    EvaluationError for a row whose turns cannot be read.
    """
    return [item for row in rows for item in _of_row(row)]


def _of_row(row: Row) -> Iterator[Item]:
    try:
        messages = from_row(row["messages"])
    except CodecError as error:
        raise EvaluationError(f"Row {row['id']} cannot be scored: {error}") from error
    for position in learned_turns(row["messages"]):
        expected = messages[position]
        yield Item(
            id=f"{row['id']}#{position}",
            session_id=row["session_id"],
            category=row["category"],
            kind="call" if expected.get("tool_calls") else "direct",
            messages=messages[:position],
            tools=row["tools"],
            expected=expected,
            calls=exactly(calls_of(expected)),
            source=f"row {row['id']}, turn {position}",
        )
