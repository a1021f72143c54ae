"""Messages with structured `tool_calls`, as OpenAI, TRL and mlx-lm take them, and back into text rows.

In: neutral messages, or a row of a file. Out: the other one. Whoever reads a data set gets text rows, in
whichever form they are written, so that both forms are trained, proved and scored as the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from tracemill.curate.chat.codec import OPEN, Call, calls_of, decode, encode
from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message, Tool, ToolCall


def with_calls(messages: Iterable[Message]) -> list[Message]:
    """Messages whose `<tool_call>` text is made structured calls, which tool messages answer in order.

    CodecError where a call in text cannot be read.
    """
    made: list[Message] = []
    waiting: list[ToolCall] = []
    for message in messages:
        if message["role"] == "assistant":
            made.append(_with_calls(message, f"call_{len(made)}_"))
            waiting = list(made[-1].get("tool_calls", []))
        elif message["role"] == "tool" and waiting and "tool_call_id" not in message:
            call = waiting.pop(0)
            made.append({**message, "tool_call_id": call["id"], "name": call["name"]})
        else:
            waiting = [call for call in waiting if call["id"] != message.get("tool_call_id")]
            made.append(message)
    return made


def _with_calls(message: Message, name: str) -> Message:
    if message.get("tool_calls") or OPEN not in message["content"]:
        return message
    decoded = decode(message["content"])
    if decoded.errors:
        raise CodecError(f"An assistant turn holds a malformed tool call: {decoded.errors[0]}.")
    calls: list[ToolCall] = [
        {"id": f"{name}{number}", "name": call.name, "arguments": call.arguments}
        for number, call in enumerate(decoded.calls)
    ]
    return {**message, "content": decoded.content, "tool_calls": calls}


def openai_messages(messages: Iterable[Message], text_arguments: bool) -> list[dict[str, Any]]:
    """Neutral messages in OpenAI's form; arguments are JSON text where `text_arguments`, else objects."""
    return [_openai_message(message, text_arguments) for message in with_calls(messages)]


def _openai_message(message: Message, text_arguments: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [
            {"id": own["id"], "type": "function", "function": _function(call, text_arguments)}
            for own, call in zip(calls, calls_of(message), strict=True)
        ]
    plain = cast(Mapping[str, Any], message)
    return made | {
        key: plain[key] for key in ("tool_call_id", "name") if key in plain and made["role"] == "tool"
    }


def _function(call: Call, text_arguments: bool) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False) if text_arguments else call.arguments
    return {"name": call.name, "arguments": arguments}


def openai_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """A toolset as OpenAI's function schemas."""
    return [{"type": "function", "function": dict(tool)} for tool in tools]


def text_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a file with its structured calls as `<tool_call>` text and its tools plain.

    What is in no form that is known here stays as it is; CodecError for a call that has no text form.
    """
    made = dict(row)
    if isinstance(messages := row.get("messages"), list):
        made["messages"] = [_text_message(message) for message in cast("list[Any]", messages)]
    if isinstance(tools := row.get("tools"), list):
        made["tools"] = [_plain_tool(tool) for tool in cast("list[Any]", tools)]
    return made


def _text_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    found = cast("dict[str, Any]", message)
    if found.get("role") == "tool":
        return {key: value for key, value in found.items() if key not in ("tool_call_id", "name")}
    if found.get("role") != "assistant" or not found.get("tool_calls"):
        return found
    if not isinstance(listed := found["tool_calls"], list):
        raise CodecError("tool_calls is not a list")
    calls = [_call(call) for call in cast("list[Any]", listed)]
    rest = {key: value for key, value in found.items() if key not in ("tool_calls", "content")}
    return {"role": "assistant", "content": encode(found.get("content") or "", calls)} | rest


def _call(value: Any) -> Call:
    try:
        name, arguments = value["function"]["name"], value["function"]["arguments"]
        given: object = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (TypeError, KeyError, ValueError) as error:
        raise CodecError(
            f"a tool call has no function with a name and arguments that are JSON ({error})"
        ) from error
    if not isinstance(name, str) or not isinstance(given, dict):
        raise CodecError(f"a call of {name!r} has arguments that are not a JSON object: {arguments!r:.80}")
    return Call(name, cast("dict[str, Any]", given))


def _plain_tool(tool: Any) -> Any:
    """A tool without OpenAI's wrapping."""
    if isinstance(tool, dict) and isinstance(found := cast("dict[str, Any]", tool).get("function"), dict):
        return cast("dict[str, Any]", found)
    return tool
