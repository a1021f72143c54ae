"""What became of a tool call.

In: the calls of a response, what the hooks saw of them, and the parts that answer them in the next request or
at the end of the run. Out: for each call its status, result and error. Most calls are followed by the hooks;
a call to an unknown tool, one that was denied, answered from outside or passed over fires none, and only its
answer tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pydantic_ai import exceptions

from tracemill.tracer.conversion import jsonable
from tracemill.tracer.events import ToolStatus, new_id
from tracemill.tracer.messages import parse_arguments

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart


@dataclass
class Verdict:
    """How a call ended."""

    status: ToolStatus
    result: Any = None
    error: str | None = None
    latency_ms: float | None = None


@dataclass
class Call:
    """One tool call of a run, from the response that asked for it to its end."""

    request_id: str | None
    tool_call_id: str
    tool: str
    raw_arguments: Any
    call_id: str = field(default_factory=new_id)
    arguments: Any = None
    """The validated arguments as the tool gets them, once there are any."""
    validated: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    """Gives the validated arguments where the tool does not get any."""
    refused: Verdict | None = None
    """Validation failed; final only if nobody mends the arguments and runs the tool after all."""
    returned: Verdict | None = None
    """What the tool itself returned, before another capability made something else of it."""
    parent_call_id: str | None = None
    """The call whose code makes this one."""
    started: bool = False
    executing: bool = False
    ended: bool = False
    part: ToolCallPart | None = field(default=None, repr=False, compare=False)
    """The part that asks for it: ids repeat, even in one answer."""

    @classmethod
    def of(cls, part: ToolCallPart, request_id: str | None, *, started: bool = False) -> Call:
        """The call that a part of a response asks for; `started` where its start is written at once."""
        raw: Any = part.args if isinstance(part.args, str) else jsonable(part.args)
        return cls(request_id, part.tool_call_id, part.tool_name, raw, started=started, part=part)


def named(part: ToolCallPart, arguments: Any) -> Any:
    """Validated arguments as an object: the one argument of an output function comes without its name."""
    if isinstance(arguments, dict):
        return arguments  # pyright: ignore[reportUnknownVariableType]
    written = parse_arguments(part.args)
    if not isinstance(written, dict) or len(cast("Any", written)) != 1:
        return arguments
    return dict.fromkeys(cast("dict[str, Any]", written), arguments)


def describe(error: BaseException) -> str:
    """An exception as one text."""
    return f"{type(error).__name__}: {error}"


def refusal(error: BaseException) -> Verdict:
    """What it means that validating the arguments raised `error`."""
    verdict = failure(error)
    if verdict.status == "retry" or type(error).__name__ == "ValidationError":
        return Verdict("invalid", error=verdict.error)
    return verdict


def failure(error: BaseException) -> Verdict:
    """What it means that running the tool raised `error`."""
    if isinstance(error, (exceptions.ToolRetryError, exceptions.ModelRetry)):
        return Verdict("retry", error=str(error))
    if isinstance(error, (exceptions.CallDeferred, exceptions.ApprovalRequired)):
        return Verdict("deferred")
    if isinstance(error, exceptions.SkipToolExecution):
        return Verdict("ok", result=jsonable(error.result))
    if is_cancellation(error):
        return Verdict("cancelled")
    # Pydantic AI 2 has these two for a tool that failed on purpose; their text says it all.
    if type(error).__name__ in ("ToolFailed", "ToolFailedError"):
        return Verdict("error", error=str(error))
    return Verdict("error", error=describe(error))


def is_cancellation(error: BaseException) -> bool:
    """Whether somebody stopped the work, as opposed to the work failing."""
    return isinstance(error, (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt))


def native_calls(response: ModelResponse, request_id: str) -> list[tuple[Call, Verdict | None]]:
    """The calls in a response that the provider made itself, with what it says became of them."""
    parts = cast("Sequence[Any]", response.parts)
    returned = {part.tool_call_id: part for part in parts if part.part_kind == "builtin-tool-return"}
    return [
        (Call.of(part, request_id), _native(returned.get(part.tool_call_id)))
        for part in parts
        if part.part_kind == "builtin-tool-call"
    ]


def _native(part: Any) -> Verdict | None:
    if part is None:
        return None
    outcome: str = getattr(part, "outcome", "success")
    if outcome == "success":
        return Verdict("ok", result=jsonable(part.content))
    return Verdict("denied" if outcome == "denied" else "error", error=part.model_response_str())


def answers(messages: Sequence[ModelMessage]) -> dict[str, Any]:
    """The parts after the last response that answer tool calls, by tool call id."""
    found: dict[str, Any] = {}
    for message in reversed(messages):
        if message.kind == "response":
            break
        for part in cast("Iterable[Any]", message.parts):
            if part.part_kind == "tool-return" or (part.part_kind == "retry-prompt" and part.tool_name):
                found[part.tool_call_id] = part
    return found


def answered(call: Call, part: Any, offered: frozenset[str]) -> Verdict:
    """What the answer to a call that no hook followed to its end tells."""
    if call.refused is not None:
        return call.refused
    if part.part_kind == "retry-prompt":
        text = part.content if isinstance(part.content, str) else part.model_response()
        return Verdict(_retry_status(call, offered, isinstance(part.content, str)), error=text)
    outcome: str = getattr(part, "outcome", "success")
    text = part.model_response_str()
    if outcome == "retried":
        retry = getattr(part, "retry", None)
        return Verdict(_retry_status(call, offered, getattr(retry, "cause", "") == "model_retry"), error=text)
    if outcome == "success":
        # The agent's own words for a call it passed over because the run already had its result.
        if "a final result was already processed" in text:
            return Verdict("cancelled", error=text)
        return Verdict("ok", result=jsonable(part.content))
    failed: dict[str, ToolStatus] = {"denied": "denied", "failed": "error"}
    return Verdict(failed.get(outcome, "cancelled"), error=text)


def unanswered(call: Call, offered: frozenset[str], deferred: frozenset[str]) -> Verdict | None:
    """What became of a call without an answer when its run is over; None where nothing is known."""
    if call.refused is not None:
        return call.refused
    if call.tool_call_id in deferred:
        return Verdict("deferred")
    if call.tool not in offered:
        return Verdict("unknown", error=f"No tool named {call.tool!r} was offered.")
    return None


def _retry_status(call: Call, offered: frozenset[str], asked: bool) -> ToolStatus:
    if call.tool not in offered:
        return "unknown"
    return "retry" if asked else "invalid"
