"""Two hundred live sessions of an airline agent, from the real data beside the checkout, in the neutral form.

The file holds no tool schemas, so the names and arguments that were used stand in for them.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracemill.tracer.messages import Message, Tool, ToolCall, parse_arguments


def airline(shared_data: Path) -> list[dict[str, Any]]:
    """The sessions (`task_id`, `trial`, `reward`), each with `messages` and the `tools` of all."""
    with gzip.open(shared_data / "tau-bench" / "gpt-4o-airline.json.gz", "rt", encoding="utf-8") as file:
        sessions: list[dict[str, Any]] = json.load(file)
    talks = [[neutral(message) for message in session["traj"]] for session in sessions]
    tools = used(talks)
    return [
        session | {"messages": talk, "tools": tools} for session, talk in zip(sessions, talks, strict=True)
    ]


def neutral(openai: dict[str, Any]) -> Message:
    message: Message = {"role": openai["role"], "content": openai.get("content") or ""}
    if openai.get("tool_calls"):
        message["tool_calls"] = [called(call) for call in openai["tool_calls"]]
    if openai["role"] == "tool":
        message["tool_call_id"], message["name"] = openai["tool_call_id"], openai["name"]
    return message


def called(openai: dict[str, Any]) -> ToolCall:
    wanted = openai["function"]
    return {"id": openai["id"], "name": wanted["name"], "arguments": parse_arguments(wanted["arguments"])}


def used(conversations: Sequence[list[Message]]) -> list[Tool]:
    arguments: dict[str, set[str]] = defaultdict(set)
    for messages in conversations:
        for message in messages:
            for call in message.get("tool_calls", []):
                arguments[call["name"]].update(call["arguments"])
    return [
        {"name": name, "description": "", "parameters": {"type": "object", "properties": {key: {} for key in sorted(keys)}}}
        for name, keys in sorted(arguments.items())
    ]  # fmt: skip
