"""What came of live tasks: an agent that really called its tools, and whether the job was done.

In: results of `live.run_live`. Out: `LiveResult`, and base against adapter as a `Group`, one task a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tracemill.evaluate.comparison import Group, make_group
from tracemill.evaluate.errors import EvaluationError
from tracemill.tracer.messages import parse_arguments

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage


@dataclass(frozen=True)
class ExecutedCall:
    """A tool call the agent executed, and what came back; `ok` is False where it failed or was refused."""

    tool: str
    arguments: Any
    result: str
    ok: bool


@dataclass(frozen=True)
class LiveResult:
    """One task: right when its own check says so; `failure` is why the run ended early, or "".

    checked, agreed: requests of the run, and how many of them had as many prompt tokens at the server as
    `Chat` gives the same messages and tools.
    """

    task: str
    category: str
    prompt: str
    right: bool
    failure: str
    calls: list[ExecutedCall]
    answer: str
    checked: int
    agreed: int

    def asdict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LiveComparison:
    """The same tasks done with the base and with the adapter."""

    base: list[LiveResult]
    adapter: list[LiveResult]
    group: Group


def executed_calls(history: Sequence[ModelMessage]) -> list[ExecutedCall]:
    """The calls of a run in the order of their results, refused and unknown ones as not ok."""
    parts = [part for message in history for part in message.parts]
    asked = {part.tool_call_id: part for part in parts if part.part_kind == "tool-call"}
    calls: list[ExecutedCall] = []
    for part in parts:
        if part.part_kind == "tool-return":
            ok, text = part.outcome == "success", part.model_response_str()
        elif part.part_kind == "retry-prompt" and part.tool_name is not None:
            ok, text = False, part.model_response()  # how Pydantic AI 1 tells a refused call
        else:
            continue
        call = asked[part.tool_call_id]
        calls.append(ExecutedCall(call.tool_name, parse_arguments(call.args), text, ok))
    return calls


def compare_live(base: Sequence[LiveResult], adapter: Sequence[LiveResult]) -> LiveComparison:
    """Compare results of the same tasks in the same order; EvaluationError for other tasks or none."""
    tasks = [result.task for result in base]
    if not tasks or tasks != [result.task for result in adapter]:
        raise EvaluationError(
            "Base and adapter did different live tasks; run both on the same, at least one."
        )
    before, after = [result.right for result in base], [result.right for result in adapter]
    return LiveComparison(list(base), list(adapter), make_group("live tasks", before, after, tasks))
