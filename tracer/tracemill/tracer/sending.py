"""Where a request is seen as its model gets it, on Pydantic AI 2.62 and up.

In: the model that is about to serve an attempt at a request. Out: a model that does the same, and tells of
the request just before it is sent.

After the last hook that it calls, Pydantic AI makes the history ready for its model: it merges messages,
states instructions and tools that changed, puts retries into words. To read it after that is exact, and
spares doing this work a second time, which in a long session is most of what a step costs. Pydantic AI 1
has it done when it calls `wrap_model_request`. From 2.62 on a capability may wrap the model. In between there
is no such place: what the agent is going to do is done ahead of it (`conversion.prepared_messages`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_ai.models import Model
from pydantic_ai.models.wrapper import WrapperModel

from tracemill.tracer.outgoing import Request

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import ModelRequestContext, ModelRequestParameters, StreamedResponse
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.tools import RunContext

Tell = Callable[["ModelRequestContext | Request"], object]
"""Takes a request whose messages are those the model gets; never raises."""


@dataclass
class _Step:
    """A step of a run, of which one or more attempts are sent."""

    context: ModelRequestContext
    tell: Tell
    attempts: int = 0
    told: bool = False


_step: ContextVar[_Step | None] = ContextVar("tracemill_step", default=None)


def watch(context: ModelRequestContext, tell: Tell) -> bool:
    """Have `tell` called for each attempt at this step that is sent; False where it would not be.

    The models of durable execution send their requests from elsewhere, and some refuse to be wrapped.
    """
    sends_itself = getattr(Model, "_with_serving_wrapper", None)
    can = (
        sends_itself is not None
        and getattr(type(context.model), "_with_serving_wrapper", None) is sends_itself
    )
    _step.set(_Step(context, tell) if can else None)
    return can


def watched(model: Model) -> Model | None:
    """The model that serves the next attempt, watched; None where nobody watches or somebody does already."""
    step = _step.get()
    inner: Any = model
    while isinstance(inner, WrapperModel):
        if isinstance(inner, _Watched):
            return None
        inner = inner.wrapped
    if step is None:
        return None
    step.attempts += 1
    return _Watched(model, step)


def answered(context: ModelRequestContext) -> None:
    """An attempt was answered: tell of it now if the wrapper of somebody else sent it past ours."""
    step = _step.get()
    if step is not None and not step.told:
        step.told = True
        step.tell(context)


def stop() -> None:
    """The step is over."""
    _step.set(None)


class _Watched(WrapperModel):
    """Serves one attempt. Its answer may take several requests to the provider; the first tells it all."""

    def __init__(self, model: Model, step: _Step) -> None:
        super().__init__(model)
        self._step: _Step | None = step
        """None once it was told of."""
        self._attempt = step.attempts

    async def __aenter__(self) -> _Watched:
        """Serving one attempt; the wrapped model is somebody else's to enter and to leave."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """The attempt is over."""

    def prepare_messages(self, *arguments: Any, **named: Any) -> list[ModelMessage]:
        """As the wrapped model does it; then nobody needs to enter this one, in a scope of its own."""
        context: Any = self._step and self._step.context
        serving = getattr(context, "_serving_wrapper", None)
        # To enter and to leave it does nothing, and would cost half as much as to record the request.
        if serving is not None and serving[0] is self:
            context._serving_wrapper = None
        return self.wrapped.prepare_messages(*arguments, **named)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Tell of the request, then make it."""
        self._sends(messages, model_settings, model_request_parameters)
        return await self.wrapped.request(messages, model_settings, model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Tell of the request, then make it."""
        self._sends(messages, model_settings, model_request_parameters)
        async with self.wrapped.request_stream(
            messages, model_settings, model_request_parameters, run_context
        ) as stream:
            yield stream

    def _sends(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> None:
        # The context of the step has this model: let go, it is freed at once, without the garbage collector.
        step, self._step = self._step, None
        if step is not None:
            step.told = True
            step.tell(Request(self.wrapped, messages, settings, parameters, self._attempt))
