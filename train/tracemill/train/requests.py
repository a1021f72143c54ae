"""What an OpenAI client asks, as the messages and tools that a training row holds.

In: `messages` and `tools` of a chat completion. Out: the neutral form, so that a conversation that is served
becomes the very tokens that it would be trained as.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tracemill.curate.chat.codec import calls_of, from_row, to_row
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message, Tool, ToolCall


def neutral(messages: Sequence[dict[str, Any]]) -> list[Message]:
    """OpenAI's chat messages as those a training row holds; CodecError for unreadable arguments."""
    names: dict[str, str] = {}
    result: list[Message] = []
    for message in messages:
        role = "system" if message["role"] == "developer" else message["role"]
        made: Message = {"role": role, "content": _text(message.get("content"))}
        if calls := message.get("tool_calls"):
            made["tool_calls"] = [_call(call) for call in calls]
            names |= {call["id"]: call["name"] for call in made["tool_calls"]}
        if role == "tool":
            made["tool_call_id"] = message.get("tool_call_id", "")
            made["name"] = names.get(made["tool_call_id"], "")
        result.append(made)
    try:
        return from_row(to_row(result))  # the very messages that a training row of these would hold
    except CodecError:
        for message in result:
            calls_of(message)
        return result  # an earlier answer holds a call nobody could read: it stays the text it was


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


def _call(call: dict[str, Any]) -> ToolCall:
    function = call["function"]
    arguments: object = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = function["arguments"]
    return {"id": call["id"], "name": function["name"], "arguments": arguments}


def toolset(tools: Sequence[dict[str, Any]]) -> list[Tool]:
    """OpenAI's tool definitions as the neutral ones."""
    functions = [tool["function"] for tool in tools]
    return [
        {
            "name": function["name"],
            "description": function.get("description") or "",
            "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        }
        for function in functions
    ]
