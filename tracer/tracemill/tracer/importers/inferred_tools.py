"""The tools that sessions must have been offered, where the file does not say which.

In: the tool calls of a whole file. Out: one tool per name that was called, with the arguments that were seen
and their JSON types; an argument is required if every call gave it. Descriptions, tools nobody called and
arguments nobody gave cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from tracemill.tracer.messages import Tool, ToolCall

_TYPES = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object",
    type(None): "null",
}  # fmt: skip


def infer_tools(calls: Iterable[ToolCall]) -> list[Tool]:
    """The tools of `calls`, sorted by name; calls whose arguments are no object tell their name alone."""
    seen: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        given = seen.setdefault(call["name"], [])
        if isinstance(call["arguments"], dict):
            given.append(cast("dict[str, Any]", call["arguments"]))
    return [_tool(name, given) for name, given in sorted(seen.items())]


def _tool(name: str, given: list[dict[str, Any]]) -> Tool:
    names = list(dict.fromkeys(key for arguments in given for key in arguments))
    properties = {key: _schema([arguments[key] for arguments in given if key in arguments]) for key in names}
    required = [key for key in names if all(key in arguments for arguments in given)]
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": "", "parameters": schema}


def _schema(values: list[Any]) -> dict[str, Any]:
    types = sorted({_TYPES[type(value)] for value in values})
    return {"type": types[0] if len(types) == 1 else types}
