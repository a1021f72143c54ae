"""What is asked of a model: one item per assistant turn worth learning.

In: data set rows. Out: `Item`s. The prompt of an item is the history before the turn as it was recorded
(next action), so a mistake in one turn does not spoil the items after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tracemill.curate.chat.codec import from_row
from tracemill.curate.chat.proof import Row, learned_turns
from tracemill.curate.errors import CodecError
from tracemill.evaluate.errors import EvaluationError
from tracemill.tracer.messages import Message, Tool


@dataclass(frozen=True)
class Item:
    """A prompt, and the turn that was right: tool calls (`call`) or an answer in words (`direct`)."""

    id: str
    session_id: str
    category: str
    kind: Literal["call", "direct"]
    messages: list[Message]
    tools: list[Tool]
    expected: Message


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
        )
