"""How rows are written: calls as text or structured, one row a conversation or one a turn.

In: a row whose assistant turns are `<tool_call>` text, and its messages in the neutral form. Out: the rows
as they stand in a file, each with the text row that it is read back as (`chat/structured.py`). What is
learned is the same in every form: the same tokens after the same prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, model_validator

from tracemill.curate.chat.codec import RowMessage
from tracemill.curate.chat.proof import Row, learned_turns
from tracemill.curate.chat.structured import openai_messages, openai_tools
from tracemill.tracer.messages import Message


class FormatOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """How a data set is written.

    `calls`: `text` writes calls as `<tool_call>` text, `structured` as `tool_calls`, which OpenAI, TRL and
    mlx-lm read; their `arguments` are a JSON `object`, as TRL and mlx-lm want it, or `text`, as OpenAI does.
    `rows`: `conversation` writes one row each, `turn` one row for each learned turn with what came before it
    as context; `auto` does so where the chat template renders a history otherwise than it was trained.
    """

    calls: Literal["text", "structured"] = "text"
    arguments: Literal["object", "text"] = "object"
    rows: Literal["conversation", "turn", "auto"] = "conversation"

    @model_validator(mode="after")
    def _has_arguments(self) -> FormatOptions:
        if self.calls == "text" and self.arguments == "text":
            raise ValueError('arguments = "text" goes with calls = "structured" only')
        return self

    @property
    def structured(self) -> bool:
        """Whether calls stand apart from the text."""
        return self.calls == "structured"


def written(
    row: Row, messages: Sequence[Message], options: FormatOptions, by_turn: bool
) -> Iterator[tuple[Row, Mapping[str, Any]]]:
    """The text rows that `row` is, and each as it stands in the file; `messages` are its own, neutral."""
    shown: Sequence[Mapping[str, Any]] = row["messages"]
    if options.structured:
        shown = openai_messages(messages, options.arguments == "text")
    tools = openai_tools(row["tools"]) if options.structured else row["tools"]
    for position in learned_turns(row["messages"]) if by_turn else [None]:
        text = row["messages"] if position is None else only(row["messages"], position)
        weights = zip(text, shown, strict=False)
        held = [
            {**message, "weight": 0} if plain.get("weight", 1) == 0 else message for plain, message in weights
        ]
        name = row["id"] if position is None else f"{row['id']}@{position}"
        one: Row = {**row, "id": name, "messages": text}
        yield one, {**one, "messages": held, "tools": tools}


def only(messages: Sequence[RowMessage], position: int) -> list[RowMessage]:
    """The messages up to the assistant turn at `position`, which alone is learned."""
    return [
        {**message, "weight": 0} if message["role"] == "assistant" and at < position else message
        for at, message in enumerate(messages[: position + 1])
    ]
