"""What the requests of one run carry, told by ids: their messages and the tools they offer; and the answers.

In: each request as Pydantic AI hands it to the model. Out: ids; the bodies are written where the spool's file
does not have them. Request after request offers the same tools, so they are read again only if one of them
has changed, or the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tracemill.tracer.conversion import (
    Dialect,
    instruction_parts,
    offered_tools,
    prepared_messages,
)
from tracemill.tracer.freezing import same
from tracemill.tracer.message_ids import Histories, History
from tracemill.tracer.offer import Offer, but_instructions, frozen_for

if TYPE_CHECKING:
    from pydantic_ai.messages import InstructionPart, ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext, ModelRequestParameters
    from pydantic_ai.settings import ModelSettings

    from tracemill.tracer.spool import Spool


class Request(NamedTuple):
    """What counts of a request."""

    model: Model
    messages: Sequence[ModelMessage]
    model_settings: ModelSettings | None
    model_request_parameters: ModelRequestParameters
    attempt: int = 1

    @classmethod
    def of(cls, context: ModelRequestContext | Request) -> Request:
        """A request as it is now: Pydantic AI changes its own object as it goes on."""
        if isinstance(context, Request):
            return context
        return cls(
            context.model,
            context.messages,
            context.model_settings,
            context.model_request_parameters,
            getattr(context, "attempt", 1),
        )


@dataclass(frozen=True)
class Sent:
    """One request: the ids of its messages and of its toolset, and the names of the tools."""

    messages: tuple[str, ...]
    toolset_id: str
    tools: frozenset[str]


class Outgoing:
    """Reads the requests and the answers of one run."""

    def __init__(self, spool: Spool, session_id: str, histories: Histories, *, keep_files: bool) -> None:
        self._spool = spool
        self._session_id = session_id
        self._histories = histories
        self._keep_files = keep_files
        self._history: History | None = None
        self._start_afresh(None)

    def _start_afresh(self, generation: int | None) -> None:
        self._generation = generation
        self._offer: Offer | None = None
        self._told: dict[str, str] = {}
        """The ids of the instructions by their text."""

    def request(self, context: Request, model: Model, *, prepared: bool) -> Sent:
        """The next request, to the model of `context` or another candidate of it.

        `prepared` says whether the messages are those that the model of `context` gets.
        """
        before = self._spool.standing(), self._spool.dropped
        if before[0] is None or before[0] != self._generation:
            self._start_afresh(before[0])
        messages = context.messages
        if not prepared or model is not context.model:
            messages = prepared_messages(model, messages, context.model_request_parameters)
        spoken = self._dialect(model)
        earlier = None
        if self._history is None:
            earlier = self._histories.claim(self._session_id, messages, spoken, before[0])
            self._history = earlier or self._new_history()
            self._offer = self._history.offer
        ids, head = self._history.ids(messages, spoken, before[0], goes_on=earlier is not None)
        offer = self._offered(model, context)
        told = self._instructions(instruction_parts(model, messages, offer.prepared))
        if before != (self._spool.generation, self._spool.dropped):
            # A body may be in another file, or in none.
            self._start_afresh(None)
        return Sent((*ids[:head], *told, *ids[head:]), offer.toolset_id, offer.tools)

    def answer(self, response: ModelResponse, model: Model) -> str:
        """The id of a model's answer."""
        self._history = self._history or self._new_history()
        return self._history.answer(response, self._dialect(model))

    def close(self) -> None:
        """The run is over; another one may go on from its messages."""
        if self._history is not None:
            self._history.offer = self._offer
            self._histories.keep(self._history)
            self._history = None

    def _new_history(self) -> History:
        return History(self._spool, self._session_id, keep_files=self._keep_files)

    def _dialect(self, model: Model) -> Dialect:
        return self._histories.dialect(model)

    def _instructions(self, parts: Sequence[InstructionPart]) -> list[str]:
        texts = [part.content for part in parts]
        known = self._told
        self._told = {
            text: known.get(text)
            or self._spool.message({"role": "system", "content": text}, self._session_id)
            for text in texts
        }
        return [self._told[text] for text in texts]

    def _offered(self, model: Model, context: Request) -> Offer:
        parameters, settings = context.model_request_parameters, context.model_settings
        state = but_instructions(parameters)
        known = self._offer
        if known is not None and not known.is_of(model, settings, state):
            known = None
        if known is not None and same(parameters.instruction_parts, known.instructions):
            return known
        then = frozen_for(state, model) if known is None else known.parameters
        instructions = frozen_for(parameters.instruction_parts, model)
        _, prepared = model.prepare_request(settings, parameters)
        toolset_id, tools = self._toolset(prepared) if known is None else (known.toolset_id, known.tools)
        settings = dict(settings) if settings else settings
        self._offer = Offer(model, settings, then, instructions, prepared, toolset_id, tools)
        return self._offer

    def _toolset(self, prepared: ModelRequestParameters) -> tuple[str, frozenset[str]]:
        tools = offered_tools(prepared)
        return self._spool.toolset(tools, self._session_id), frozenset(tool["name"] for tool in tools)
