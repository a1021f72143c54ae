"""The chat completions API on the wire: what is sent, and what comes back.

In: messages of the neutral form. Out: the JSON that an OpenAI-compatible server takes, nothing added and
nothing left out, and the shape of its answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from tracemill.tracer.messages import Message


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Neutral messages as the chat completions API takes them."""
    return [_wire_message(message) for message in messages]


def _wire_message(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if message["role"] == "tool":
        made["tool_call_id"] = message.get("tool_call_id", "")
    if message.get("tool_calls"):
        made["content"] = message["content"] or None
        made["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {
                    "name": call["name"],
                    "arguments": call["arguments"]
                    if isinstance(call["arguments"], str)
                    else json.dumps(call["arguments"], ensure_ascii=False),
                },
            }
            for call in message.get("tool_calls", [])
        ]
    return made


class _Function(BaseModel):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(BaseModel):
    function: _Function


class _Answer(BaseModel):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Answer
    finish_reason: str | None = None


class _Cached(BaseModel):
    cached_tokens: int | None = None


class Tokens(BaseModel):
    """The tokens that a server counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class Completion(BaseModel):
    """What a server answers, as far as it is used."""

    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    usage: Tokens | None = None


class _Named(BaseModel):
    id: str


class Models(BaseModel):
    """The list of what a server has."""

    data: list[_Named]
