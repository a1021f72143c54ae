"""One task done once: the agent runs in a folder, and what happened comes back.

In: a task, an empty folder and a model (the scripted policy where none is given). Out: a `Rollout`: the
conversation in neutral form, the calls that were carried out and the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic_ai import UsageLimits
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model

from tracemill.demo.agent import INSTRUCTIONS, coding_agent
from tracemill.demo.policy import scripted_policy
from tracemill.demo.tasks import Task
from tracemill.evaluate.live_results import ExecutedCall, executed_calls
from tracemill.tracer.conversion import from_model_messages
from tracemill.tracer.messages import Message

MOST_REQUESTS = 12
"""Requests to the model before a run is given up; the longest plan needs four."""


@dataclass(frozen=True)
class Rollout:
    """What a run left behind, besides the files in its folder."""

    messages: list[Message]
    calls: list[ExecutedCall]
    answer: str


async def rollout(
    task: Task,
    folder: Path,
    model: Model | None = None,
    *,
    capabilities: Sequence[AbstractCapability[None]] = (),
) -> Rollout:
    """Write the task's project into `folder` and do the task there; raises what the agent raises."""
    task.project().write(folder)
    chosen = model or scripted_policy(task)
    agent = coding_agent(folder, chosen, capabilities=capabilities)
    result = await agent.run(task.prompt, usage_limits=UsageLimits(request_limit=MOST_REQUESTS))
    history = result.all_messages()
    messages = from_model_messages(history, [InstructionPart(content=INSTRUCTIONS)], chosen)
    return Rollout(messages, executed_calls(history), result.output)
