"""The record of one run of an agent: its requests, responses and tool calls.

In: what the recorder's hooks see, in whatever order the major version of Pydantic AI calls them. Out: events,
each of them once. A tool call that no hook followed to its end is settled from its answer in the next
request, or when the run is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracemill.tracer import events
from tracemill.tracer.inner_calls import enclosing_call
from tracemill.tracer.journal import DeferredCall, Journal
from tracemill.tracer.model_requests import ModelRequests
from tracemill.tracer.run_lines import RunLines
from tracemill.tracer.tool_calls import (
    Call,
    Verdict,
    answered,
    answers,
    describe,
    is_cancellation,
    native_calls,
    unanswered,
)

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
    from pydantic_ai.models import ModelRequestContext

    from tracemill.tracer.acp_deps import EditorSession
    from tracemill.tracer.inner_calls import Executing
    from tracemill.tracer.outgoing import Request


class RunRecord:
    """Follows one run and writes its events."""

    def __init__(
        self,
        journal: Journal,
        *,
        session_id: str,
        run_id: str,
        parent_run_id: str | None,
        agent: str,
        model: str,
        about: Callable[[], tuple[str, Mapping[str, Any]]],
        keep_files: bool = False,
    ) -> None:
        """`about` gives the project and the metadata of the session, asked where it is new."""
        self.session_id = session_id
        self.run_id = run_id
        self._journal = journal
        self._started = time.perf_counter_ns()
        self._lines = RunLines(journal.spool, session_id, run_id)
        self._calls: list[Call] = []
        self._asked: dict[int, Call] = {}
        """The calls of the last answer by the identity of their parts."""
        self.prepared = self.wrapped = False
        """Whether `before_model_request` came ahead of `wrap_model_request`, and whether the latter runs."""
        self.executing: list[Executing] = []
        """The tool calls being executed now."""
        self.editor: EditorSession | None = None
        """The editor's session the run belongs to."""
        journal.open_session(session_id, agent, about)
        self._requests = ModelRequests(journal, self._lines, session_id, keep_files=keep_files)
        self._lines.run_start(parent_run_id, agent, model)

    def ask(self, context: ModelRequestContext | Request, prepared: bool = True) -> None:
        """A request is about to be sent; `prepared` says whether its messages are as the model gets them."""
        with self._journal.spool.together():
            self._requests.ask(context, prepared=prepared)

    def settle(self, messages: Sequence[ModelMessage]) -> None:
        """What the end of a history tells of calls that nothing else told of."""
        parts = answers(messages)
        known = {call.tool_call_id for call in self._calls}
        for tool_call_id in parts:
            if tool_call_id not in known and (call := self._adopted(tool_call_id)) is not None:
                self._calls.append(call)
        for call in self._calls:
            if not call.ended and call.tool_call_id in parts:
                offered = self._requests.offered or frozenset({call.tool})
                self.call_ends(call, answered(call, parts[call.tool_call_id], offered))

    def answer(self, response: ModelResponse) -> None:
        """The open request is answered; later sightings of the answer are ignored."""
        with self._journal.spool.together():
            request_id = self._requests.answer(response)
            if request_id is None:
                return
            # An output tool is called while its response still streams.
            early = {call.tool_call_id for call in self._calls if call.request_id == request_id}
            self._calls = [call for call in self._calls if not call.ended or call.tool_call_id in early]
            asked = [
                Call.of(part, request_id, started=True)
                for part in response.parts
                if part.part_kind == "tool-call" and part.tool_call_id not in early
            ]
            self._calls += asked
            self._asked = {id(call.part): call for call in asked}
            self._lines.starts(asked)
            for call, verdict in native_calls(response, request_id):
                self.call_starts(call)
                if verdict is not None:
                    self.call_ends(call, verdict)

    def no_answer(self, error: BaseException) -> None:
        """The open request failed."""
        self._requests.no_answer(error)

    def call_begins(self, part: ToolCallPart) -> Call:
        """A call is validated: the one asked for, an answer to a deferred one, or one that code makes."""
        call = self._open_call(part)
        if call is None:
            call = self._adopted(part.tool_call_id) or Call.of(part, self._requests.open_id)
            inside = enclosing_call(self)
            call.parent_call_id = None if inside is None else inside.call_id
            self._calls.append(call)
        call.refused = None
        self.call_starts(call)
        return call

    def call_starts(self, call: Call) -> None:
        """A call begins; said once."""
        if call.started:
            return
        call.started = True
        self._lines.start(call)

    def permission(self, call: Call, kind: str) -> None:
        """Somebody allowed a call or rejected it: `kind` is ACP's, such as allow_once or reject_always."""
        event = events.permission(self.session_id, call.call_id, kind)
        if event is not None:
            self._journal.spool.write(event)

    def call_is_over(self, part: ToolCallPart) -> bool:
        """Whether the record of this call is complete already."""
        return any(c.tool_call_id == part.tool_call_id and c.ended for c in self._calls)

    def call_ends(self, call: Call, verdict: Verdict) -> None:
        """A call has its result."""
        if call.ended:
            return
        self.call_starts(call)
        call.ended = True
        if call.arguments is None and call.validated is not None:
            call.arguments = call.validated()
        self._lines.end(call, verdict)
        if verdict.status == "deferred":
            # Whoever answers it makes it a call of its own, in this run or in a later one.
            self._calls = [other for other in self._calls if other is not call]
            self._journal.defer(
                self.session_id,
                DeferredCall(call.request_id, call.tool_call_id, call.tool, call.raw_arguments),
            )

    def end(
        self, error: BaseException | None, messages: Sequence[ModelMessage], deferred: frozenset[str]
    ) -> None:
        """The run is over; `deferred` are the ids of the calls it leaves to somebody else."""
        why = None if error is None else describe(error)
        self._requests.close(why or "abandoned")
        self.settle(messages)
        for call in [call for call in self._calls if not call.ended]:
            verdict = unanswered(call, self._requests.offered, deferred)
            if verdict is not None:
                self.call_ends(call, verdict)
            else:
                self.call_starts(call)
        status: events.RunStatus = "ok"
        if error is not None:
            status = "cancelled" if is_cancellation(error) else "error"
        self._write_end(status, why if status == "error" else None)

    def failed_afterwards(self, why: str) -> None:
        """What became of the run's result failed, as whoever asked was told; this end replaces the first."""
        self._write_end("error", why)

    def _write_end(self, status: events.RunStatus, error: str | None) -> None:
        self._lines.run_end(status, error, events.milliseconds_since(self._started))

    def _open_call(self, part: ToolCallPart) -> Call | None:
        asked = self._asked.get(id(part))
        if asked is not None and asked.part is part and not (asked.ended or asked.executing):
            return asked
        first: Call | None = None
        for call in self._calls:
            if call.part is not part and (first is not None or call.tool_call_id != part.tool_call_id):
                continue
            if call.ended or call.executing:
                continue
            if call.part is part:
                return call
            first = call
        return first

    def _adopted(self, tool_call_id: str) -> Call | None:
        """The call of an earlier run that this run answers."""
        earlier = self._journal.deferred(self.session_id, tool_call_id)
        if earlier is None:
            return None
        return Call(earlier.request_id, earlier.tool_call_id, earlier.tool, earlier.raw_arguments)
