"""The half of the recorder that follows tool calls: function tools and output tools alike.

In: the hooks around the validation and the execution of a call. Out: what was asked for, what the tool really
got and what it really returned, to the run's record. Other capabilities may change arguments and results;
`before_` and `after_` hooks that run inside the wrap stand innermost, so they see them as the tool does.
"""

from __future__ import annotations

import functools
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic_ai
from pydantic_ai.capabilities import AbstractCapability

from tracemill.tracer.events import milliseconds_since
from tracemill.tracer.inner_calls import Executing, executing
from tracemill.tracer.tool_calls import Call, Verdict, failure, named, refusal

if TYPE_CHECKING:
    from types import CoroutineType

    from pydantic_ai.messages import ToolCallPart
    from pydantic_ai.output import OutputContext
    from pydantic_ai.tools import RunContext, ToolDefinition

    from tracemill.tracer.run_record import RunRecord

T = TypeVar("T")

_BEFORE_IS_INSIDE = not pydantic_ai.__version__.startswith("1.")
"""Whether what stands around the execution of a call stands around its `before_` hooks, which come last."""


class RecordedTools(AbstractCapability[Any]):
    """A capability that records the tool calls of the runs it knows."""

    @abstractmethod
    def _run(self, ctx: RunContext[Any]) -> RunRecord | None:
        """The record of a run, if it is recorded."""

    @abstractmethod
    def _spare(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Do the recorder's own work; a fault in it is nothing to the agent."""

    @abstractmethod
    def _jsonable(self, value: object) -> Any:
        """A value as it is recorded."""

    def wrap_tool_validate(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 (the hook's signature)
        args: str | dict[str, Any],
        handler: Callable[[str | dict[str, Any]], Awaitable[dict[str, Any]]],
    ) -> CoroutineType[Any, Any, dict[str, Any]]:
        """Record that a tool is called, and whether its arguments fit."""
        return self._validated(self._run(ctx), call, handler, args)

    def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 (the hook's signature)
        args: dict[str, Any],
        handler: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> CoroutineType[Any, Any, Any]:
        """Record that a tool is executed, and what it raised."""
        return self._executed(self._run(ctx), call, handler, args)

    async def before_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 (the hook's signature)
        args: dict[str, Any],
    ) -> dict[str, Any]:
        """Note what the tool gets."""
        self._spare(self._gets, ctx, call, args)
        return args

    async def after_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,  # noqa: ARG002 (the hook's signature)
        args: dict[str, Any],  # noqa: ARG002 (the hook's signature)
        result: Any,
    ) -> Any:
        """Note what the tool returned."""
        self._spare(self._returned, ctx, call, result)
        return result

    async def wrap_output_validate(
        self,
        ctx: RunContext[Any],
        *,
        output_context: OutputContext,
        output: str | dict[str, Any],
        handler: Callable[[str | dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        """Record the call of an output tool, and whether its arguments fit."""
        run, call = self._output_call(ctx, output_context)
        if call is None:
            return await handler(output)
        return await self._validated(run, call, handler, output)

    async def wrap_output_process(
        self,
        ctx: RunContext[Any],
        *,
        output_context: OutputContext,
        output: Any,
        handler: Callable[[Any], Awaitable[Any]],
    ) -> Any:
        """Record that an output tool is executed, and what it raised."""
        run, call = self._output_call(ctx, output_context)
        if call is None:
            return await handler(output)
        return await self._executed(run, call, handler, output)

    async def before_output_process(
        self, ctx: RunContext[Any], *, output_context: OutputContext, output: Any
    ) -> Any:
        """Note what the output tool gets."""
        self._spare(self._gets, ctx, output_context.tool_call, output)
        return output

    async def after_output_process(
        self, ctx: RunContext[Any], *, output_context: OutputContext, output: Any
    ) -> Any:
        """Note what the output tool made of it."""
        self._spare(self._returned, ctx, output_context.tool_call, output)
        return output

    async def _validated(
        self, run: RunRecord | None, part: ToolCallPart, handler: Callable[[Any], Awaitable[T]], written: Any
    ) -> T:
        call = None if run is None else self._spare(run.call_begins, part)
        try:
            arguments = await handler(written)
        except BaseException as error:
            if call is not None:
                call.refused = self._spare(refusal, error)
            raise
        if call is not None:
            call.validated = functools.partial(self._spare, self._arguments, part, arguments)
        return arguments

    async def _executed(
        self,
        run: RunRecord | None,
        part: ToolCallPart,
        handler: Callable[[Any], Awaitable[Any]],
        arguments: Any,
    ) -> Any:
        call = None if run is None else self._spare(run.call_begins, part)
        if run is None or call is None:
            return await handler(arguments)
        if not _BEFORE_IS_INSIDE:
            call.arguments = self._spare(self._arguments, part, arguments)
        started = time.perf_counter_ns()
        try:
            with Executing(run, call, self._spare):
                result = await handler(arguments)
        except BaseException as error:
            self._spare(self._failed, run, call, started, error)
            raise
        self._spare(self._succeeded, run, call, started, result)
        return result

    def _failed(self, run: RunRecord, call: Call, started: int, error: BaseException) -> None:
        latency = milliseconds_since(started)
        verdict = failure(error)
        verdict.latency_ms = latency
        run.call_ends(call, verdict)

    def _succeeded(self, run: RunRecord, call: Call, started: int, result: Any) -> None:
        latency = milliseconds_since(started)
        verdict = call.returned or self._success(result)
        verdict.latency_ms = latency
        run.call_ends(call, verdict)

    def _gets(self, ctx: RunContext[Any], part: ToolCallPart | None, arguments: Any) -> None:
        if part is not None and (call := self._executing(ctx, part)) is not None:
            call.arguments = self._arguments(part, arguments)

    def _returned(self, ctx: RunContext[Any], part: ToolCallPart | None, result: Any) -> None:
        if part is not None and (call := self._executing(ctx, part)) is not None:
            call.returned = self._success(result)

    def _executing(self, ctx: RunContext[Any], part: ToolCallPart) -> Call | None:
        """The call whose execution we stand in, where the hooks are nested like that."""
        found = executing()
        if found is None or found.run.run_id != ctx.run_id:
            return None
        return found.call if found.call.tool_call_id == part.tool_call_id else None

    def _arguments(self, part: ToolCallPart, arguments: Any) -> Any:
        return named(part, self._jsonable(arguments))

    def _success(self, result: Any) -> Verdict:
        # A tool may wrap what it returns to add content for the model; the result is what it wrapped.
        return Verdict("ok", result=self._jsonable(getattr(result, "return_value", result)))

    def _output_call(
        self, ctx: RunContext[Any], output_context: OutputContext
    ) -> tuple[RunRecord | None, ToolCallPart | None]:
        """The output tool's call, where there is one to record: not half a stream, and not twice."""
        run, part = self._run(ctx), output_context.tool_call
        if run is None or part is None or ctx.partial_output or run.call_is_over(part):
            return None, None
        return run, part
