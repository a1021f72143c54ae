"""The shapes in which public data sets hold conversations, each made chat messages.

In: a record of a file. Out: a record with `messages` (and `tools`), as `chat_lines.read_record` takes it. A
shape is recognised by its keys; what a record lacks is a `ShapeError` with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

Record = Mapping[str, Any]
_ROLES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "function-response": "tool",
    "tool_response": "tool",
}
_CALLING = ("function_call", "tool_call")
_PASSED_ON = ("tools", "functions", "id", "session_id", "category", "task")


class ShapeError(Exception):
    """A record that is not what its shape promises; `reason` in two or three words."""

    def __init__(self, reason: str, evidence: str):
        super().__init__(evidence)
        self.reason = reason


def recognised(keys: Record | list[str]) -> list[str]:
    """The shapes that a record with these keys may have, the most telling first."""
    held = set(keys)
    return [shape for shape, (needed, _) in SHAPES.items() if needed <= held]


def conversation(record: Record, shape: str) -> dict[str, Any]:
    """The record with `messages` and `tools`; ShapeError where it does not hold what it should."""
    made = {key: record[key] for key in _PASSED_ON if record.get(key) is not None}
    messages = SHAPES[shape][1](record)
    system = record.get("system")
    if isinstance(system, str) and system.strip() and (not messages or messages[0].get("role") != "system"):
        messages = [{"role": "system", "content": system}, *messages]
    tools = _listed(made.pop("tools", None) or made.pop("functions", None) or [], "tools")
    return {**made, "messages": messages, "tools": [_tool(tool) for tool in tools]}


def _messages(record: Record) -> list[dict[str, Any]]:
    return [_openai(one) for one in _dicts(record["messages"], "messages")]


def _turns(record: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, one in enumerate(_dicts(record["conversations"], "conversations")):
        if "from" not in one:
            found.append(_openai(one))
            continue
        who, said = one["from"], one.get("value")
        if not isinstance(who, str) or who not in _ROLES:
            raise ShapeError("unknown role", f"turn {number} is from {who!r}")
        if not isinstance(said, str):
            raise ShapeError("no text", f"the value of turn {number} is a {type(said).__name__}")
        found.append(_calling(said, number) if who in _CALLING else {"role": _ROLES[who], "content": said})
    return found


def _prompt_and(*answers: str) -> Callable[[Record], list[dict[str, Any]]]:
    def read(record: Record) -> list[dict[str, Any]]:
        answer = next(record[key] for key in answers if key in record)
        return [*_said(record["prompt"], "user", "prompt"), *_said(answer, "assistant", "answer")]

    return read


def _instruction(record: Record) -> list[dict[str, Any]]:
    given = record.get("input")
    asked = [record["instruction"], *([given] if isinstance(given, str) and given.strip() else [])]
    if not all(isinstance(text, str) for text in asked):
        raise ShapeError("no text", "its instruction is no text")
    output = next(record[key] for key in ("output", "response") if key in record)
    return [{"role": "user", "content": "\n\n".join(asked)}, *_said(output, "assistant", "output")]


def _question(record: Record) -> list[dict[str, Any]]:
    return [
        *_said(record["question"], "user", "question"),
        *_said(record["answer"], "assistant", "answer"),
    ]


SHAPES: Mapping[str, tuple[frozenset[str], Callable[[Record], list[dict[str, Any]]]]] = {
    "messages": (frozenset({"messages"}), _messages),
    "conversations": (frozenset({"conversations"}), _turns),
    "prompt and completion": (frozenset({"prompt", "completion"}), _prompt_and("completion")),
    "prompt and response": (frozenset({"prompt", "response"}), _prompt_and("response")),
    "instruction and output": (frozenset({"instruction", "output"}), _instruction),
    "instruction and response": (frozenset({"instruction", "response"}), _instruction),
    "question and answer": (frozenset({"question", "answer"}), _question),
}
"""Each shape: the keys it needs, and how its messages are read."""
COLUMNS = frozenset().union(*(needed for needed, _ in SHAPES.values())) | {*_PASSED_ON, "input", "system"}
"""Every key that a shape reads."""


def _said(value: Any, role: str, what: str) -> list[dict[str, Any]]:
    """A text as one message, a list of messages as it is."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return [_openai(one) for one in _dicts(cast("list[Any]", value), what)]
    raise ShapeError("no text", f"its {what} is a {type(value).__name__}")


def _dicts(value: Any, what: str) -> list[dict[str, Any]]:
    found = _listed(value, what)
    if not found or not all(isinstance(one, dict) for one in found):
        raise ShapeError("no messages", f"its {what} are no list of objects")
    return cast("list[dict[str, Any]]", found)


def _listed(value: Any, what: str) -> list[Any]:
    """A list, or the list that a JSON text holds."""
    found: object = value
    if isinstance(value, str):
        try:
            found = json.loads(value) if value.strip() else []
        except (ValueError, RecursionError) as error:
            raise ShapeError("not JSON", f"its {what} are text that is not JSON ({error})") from error
    if isinstance(found, dict):
        return [cast("dict[str, Any]", found)]
    if not isinstance(found, list):
        raise ShapeError(f"no {what}", f"its {what} are a {type(found).__name__}, not a list")
    return cast("list[Any]", found)


def _openai(message: dict[str, Any]) -> dict[str, Any]:
    """A message with its calls in OpenAI's form, whether they stand as a list, as text, or flat."""
    made = {key: value for key, value in message.items() if key != "tool_calls"}
    if calls := _listed(message.get("tool_calls") or [], "tool_calls"):
        made["tool_calls"] = [_call(call) for call in calls]
    return made


def _call(value: Any) -> dict[str, Any]:
    call = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    inner = call.get("function", call)
    function = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {"name": inner, **call}
    if not isinstance(function.get("name"), str):
        raise ShapeError("broken call", "a tool call names no function")
    given = next((function[key] for key in ("arguments", "parameters") if key in function), None)
    made = {"type": "function", "function": {"name": function["name"], "arguments": given or {}}}
    return made | ({"id": call["id"]} if call.get("id") else {})


def _calling(said: str, number: int) -> dict[str, Any]:
    """A turn whose text is the JSON of its calls."""
    calls = [_call(call) for call in _listed(said, f"calls of turn {number}")]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _tool(value: Any) -> Any:
    """A tool, or the one in a JSON text; its parameters may be JSON text too."""
    found = _listed(value, "tools")[0] if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise ShapeError("broken tools", "a tool is no object")
    inner = cast("dict[str, Any]", found).get("function", found)
    tool = dict(cast("dict[str, Any]", inner)) if isinstance(inner, dict) else {}
    if isinstance(given := tool.get("parameters"), str):
        tool["parameters"] = _listed(given, "parameters of a tool")[0]
    return tool
