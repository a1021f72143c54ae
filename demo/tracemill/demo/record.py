"""Record the demo's agent at work, one session a task."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model

from tracemill.demo.agent import INSTRUCTIONS, coding_agent
from tracemill.demo.policy import scripted_policy
from tracemill.demo.tasks import Task


def rollout(task: Task, folder: Path, model: Model | None = None) -> list[dict[str, Any]]:
    """Do `task` in the empty `folder` and return the whole conversation in the neutral form."""
    task.project().write(folder)
    agent = coding_agent(folder, model or scripted_policy(task))
    result = asyncio.run(agent.run(task.prompt))
    return [{"role": "system", "content": INSTRUCTIONS}] + [
        neutral for message in result.all_messages() for neutral in _neutral(message)
    ]


def _neutral(message: ModelMessage) -> list[dict[str, Any]]:
    if isinstance(message, ModelRequest):
        made: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolReturnPart):
                made.append(
                    {
                        "role": "tool",
                        "content": part.content,
                        "tool_call_id": part.tool_call_id,
                        "name": part.tool_name,
                    }
                )
            elif isinstance(part, UserPromptPart):
                made.append({"role": "user", "content": part.content})
            elif not isinstance(part, SystemPromptPart):
                made.append({"role": "tool", "content": str(part)})
        return made
    calls = [
        {"id": p.tool_call_id, "name": p.tool_name, "arguments": p.args_as_dict()}
        for p in message.parts
        if isinstance(p, ToolCallPart)
    ]
    text = "".join(p.content for p in message.parts if isinstance(p, TextPart))
    return [{"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})]
