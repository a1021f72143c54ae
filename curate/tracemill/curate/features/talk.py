"""One conversation as features and rewrites see it: parsed once, with what several of them ask for.

In: the JSON texts of a row of a source (`curate/sources.py`). Out: a `Talk`. It is never changed; a rewrite
makes another with `dataclasses.replace(talk, messages=...)`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, TypedDict

from tracemill.curate.chat.codec import Call, RowMessage, calls_of, decode, to_row
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message, Tool, content_id

_LONG_PROMPT = 1000
# Made once: `json.dumps` would make an encoder for every text.
_written = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class EndedCall(TypedDict):
    """How a tool call of the assistant message at `position` ended."""

    position: int
    tool_call_id: str
    tool: str
    status: str


@dataclass(frozen=True)
class Talk:
    """Messages, the tools offered and how its calls ended.

    `as_found` says that the messages come from chat JSONL: an assistant's text is then what stands in the
    file, calls and all, and goes into a row as it is. Only a message that a rewrite gave structured
    `tool_calls` is written in the `<tool_call>` form.
    """

    messages: list[Message]
    tools: list[Tool] = field(default_factory=list[Tool])
    ended: list[EndedCall] = field(default_factory=list[EndedCall])
    as_found: bool = False

    @classmethod
    def read(cls, messages: str, tools: str | None, calls: str | None, as_found: bool = False) -> Talk:
        """The conversation in the JSON texts of a source's columns."""
        return cls(json.loads(messages), _tools(tools or "[]"), json.loads(calls or "[]"), as_found)

    def messages_text(self) -> str:
        """The messages as JSON text."""
        return _written(self.messages)

    @cached_property
    def tools_text(self) -> str:
        """The tools offered as JSON text; keys stay in their order, for templates write them so."""
        return _written(self.tools) if self.tools else "[]"

    @cached_property
    def assistants(self) -> list[int]:
        """Positions of the assistant messages."""
        return [i for i, message in enumerate(self.messages) if message["role"] == "assistant"]

    @cached_property
    def called(self) -> list[tuple[int, Call, str]]:
        """Every call that can be read: position of its message, name and arguments, its id ('' in text).

        Those of a neutral message, or the `<tool_call>` JSON in text as found; CodecError never, as arguments
        that are no object count as none here (`text_fault` tells them).
        """
        found: list[tuple[int, Call, str]] = []
        for position in self.assistants:
            message = self.messages[position]
            if "tool_calls" in message:
                for call in message["tool_calls"]:
                    arguments = call["arguments"] if isinstance(call["arguments"], dict) else {}
                    found.append((position, Call(call["name"], arguments), call["id"]))
            elif self.as_found and "<tool_call>" in message["content"]:
                found.extend((position, call, "") for call in decode(message["content"]).calls)
        return found

    @cached_property
    def text_fault(self) -> str | None:
        """Why it cannot be written as the messages of a row; null where it can."""
        try:
            self.row_messages()
        except CodecError as error:
            return str(error)
        return None

    def row_messages(self) -> list[RowMessage]:
        """The messages of its data set row; CodecError for a turn that has no text form."""
        if not self.as_found:
            return to_row(self.messages)
        return [as_found(message) for message in self.messages]

    @cached_property
    def prompt(self) -> str:
        """What makes two prompts the same, see `prompt_key`."""
        return prompt_key(self.messages)

    @cached_property
    def toolset(self) -> str:
        """The name of the tools offered."""
        return _toolset(self.tools_text)


def prompt_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """The first user text, case, Unicode form and white space levelled: what makes two prompts the same."""
    first = next((message["content"] for message in messages if message["role"] == "user"), "")
    return " ".join(unicodedata.normalize("NFKC", first).casefold().split())


def prompt_key(messages: Sequence[Mapping[str, Any]]) -> str:
    """The same, short: a prompt above 1,000 characters is cut there and named by its hash."""
    prompt = prompt_of(messages)
    if len(prompt) <= _LONG_PROMPT:
        return prompt
    return f"{prompt[:_LONG_PROMPT]}... {sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()}"


def as_found(message: Message) -> RowMessage:
    """A message of chat JSONL as that of a row: its text as it stands, but for structured calls."""
    if message.get("tool_calls"):
        calls_of(message)
        return to_row([message])[0]
    return {"role": message["role"], "content": message["content"]}


# Few toolsets stand in very many conversations.
@lru_cache(maxsize=1024)
def _tools(text: str) -> list[Tool]:
    return json.loads(text)


@lru_cache(maxsize=1024)
def _toolset(text: str) -> str:
    return content_id(json.loads(text))
