"""Tool calls as `<tool_call>` text, and back.

In: assistant messages of the neutral form (`tracer/messages.py`), or the text of a model. Out: text like

    text around the calls, if any
    <tool_call>
    {"name": "read_file", "arguments": {"path": "a.py"}}
    </tool_call>

which Hermes and Qwen2.5 models write and mlx-lm's `json_tools` parser reads. `<` is written as `\\u003c`
where an argument contains a call tag or a special token (`<|...`), so no argument can end its own call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, cast

from tracemill.curate.errors import CodecError
from tracemill.tracer.messages import Message, ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_ESCAPED = (("<|", "\\u003c|"), (OPEN, "\\u003ctool_call>"), (CLOSE, "\\u003c/tool_call>"))


@dataclass(frozen=True)
class Call:
    """A tool call as a model writes it: no id."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Decoded:
    """What a completion says: text outside the calls, the calls, and what could not be read as one."""

    content: str
    calls: tuple[Call, ...]
    errors: tuple[str, ...]


class RowMessage(TypedDict):
    """A message of a data set row; `weight` 0 keeps an assistant turn out of the loss."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    weight: NotRequired[int]


def encode(content: str, calls: Sequence[Call]) -> str:
    """The text of an assistant turn; CodecError where no text could be read back as the same turn."""
    if OPEN in content or CLOSE in content:
        raise CodecError(f"Assistant text contains the tag {OPEN!r} or {CLOSE!r} outside a call.")
    return "\n".join([content] * bool(content) + [_encode_call(call) for call in calls])


def _encode_call(call: Call) -> str:
    try:
        text = json.dumps(
            {"name": call.name, "arguments": call.arguments}, ensure_ascii=False, allow_nan=False
        )
    except ValueError as error:
        raise CodecError(f"The arguments of a call of {call.name!r} are not JSON: {error}.") from error
    for plain, escaped in _ESCAPED:
        text = text.replace(plain, escaped)
    return f"{OPEN}\n{text}\n{CLOSE}"


def decode(text: str) -> Decoded:
    """Read a completion: every `<tool_call>` block is a call or an error, the rest is content."""
    content: list[str] = []
    calls: list[Call] = []
    errors: list[str] = []
    rest = text
    while OPEN in rest:
        before, _, rest = rest.partition(OPEN)
        content.append(before)
        block, closed, rest = rest.partition(CLOSE)
        found = _decode_call(block) if closed else f"no {CLOSE} after {OPEN}"
        if isinstance(found, Call):
            calls.append(found)
        else:
            errors.append(found)
    content.append(rest)
    if any(CLOSE in part for part in content):
        errors.append(f"{CLOSE} without {OPEN}")
    return Decoded("".join(content).strip(), tuple(calls), tuple(errors))


def _decode_call(block: str) -> Call | str:
    try:
        value: object = _STRICT.decode(block)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict):
        return "not a JSON object"
    found = cast(dict[str, Any], value)
    name, arguments = found.get("name"), found.get("arguments")
    if not isinstance(name, str) or not name:
        return 'no "name"'
    if not isinstance(arguments, dict):
        return '"arguments" is not an object'
    return Call(name, cast(dict[str, Any], arguments))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` would make a decoder for every text.
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


def calls_of(message: Message) -> list[Call]:
    """The structured calls of a neutral message; CodecError where arguments are not a JSON object."""
    calls: list[Call] = []
    for call in message.get("tool_calls", []):
        arguments = call["arguments"]
        if not isinstance(arguments, dict):
            raise CodecError(
                f"A call of {call['name']!r} has arguments that are not a JSON object: {arguments!r:.80}."
            )
        calls.append(Call(call["name"], arguments))
    return calls


def to_row(messages: Iterable[Message]) -> list[RowMessage]:
    """Neutral messages as the messages of a data set row; CodecError for a turn that has no text form."""
    return [
        {
            "role": message["role"],
            "content": encode(message["content"], calls_of(message))
            if message["role"] == "assistant"
            else message["content"],
        }
        for message in messages
    ]


def from_row(messages: Iterable[RowMessage]) -> list[Message]:
    """Row messages as neutral ones; CodecError for an assistant turn whose text cannot be read.

    Text holds no call ids, so calls are numbered and tool messages answer them in order.
    """
    result: list[Message] = []
    waiting: list[ToolCall] = []
    count = 0
    for row in messages:
        message: Message = {"role": row["role"], "content": row["content"]}
        if row["role"] == "assistant":
            decoded = decode(row["content"])
            if decoded.errors:
                raise CodecError(f"An assistant turn holds a malformed tool call: {decoded.errors[0]}.")
            waiting = []
            for call in decoded.calls:
                waiting.append({"id": f"call_{count}", "name": call.name, "arguments": call.arguments})
                count += 1
            message["content"] = decoded.content
            if waiting:
                message["tool_calls"] = list(waiting)
        elif row["role"] == "tool" and waiting:
            call = waiting.pop(0)
            message["tool_call_id"], message["name"] = call["id"], call["name"]
        result.append(message)
    return result
