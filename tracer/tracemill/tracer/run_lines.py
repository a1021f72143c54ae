"""The lines of the spool that tell of one run, put together from JSON.

In: a request that is sent, its answer, a call that begins or ends. Out: its line, redacted, in the spool.
Nearly always one look shows that nothing is to be hidden (`SessionRedactor.cleared`); then the JSON that was
looked at is the line's too, and no event is made only to be looked through and written. Otherwise the event
goes the way of all others, and a line made here is to the byte what that way would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tracemill.tracer import events
from tracemill.tracer.messages import compact_json, quoted

if TYPE_CHECKING:
    from tracemill.tracer.redact import SessionRedactor
    from tracemill.tracer.spool import Spool
    from tracemill.tracer.tool_calls import Call, Verdict

_json = compact_json()


class RunLines:
    """Writes the requests and the tool calls of one run. All ids but those of tool calls are our own."""

    def __init__(self, spool: Spool, session_id: str, run_id: str) -> None:
        self._spool = spool
        self._session_id = session_id
        self._run_id = run_id
        self._cleared_by: object = None
        """The look that has cleared these two ids: there is another one when the environment changes."""
        self._of_session = f',"session_id":{quoted(session_id)},'
        self._of_run = f'","run_id":{quoted(run_id)},'

    def run_start(self, parent_run_id: str | None, agent: str, model: str) -> None:
        """The run begins."""
        redactor = self._redactor()
        if (
            redactor is None
            or (named := redactor.cleared(agent)) is None
            or (name := redactor.cleared(model)) is None
            or not (parent_run_id is None or redactor.clears_id(parent_run_id))
        ):
            self._spool.write(
                events.run_start(
                    self._session_id, self._run_id, parent_run_id=parent_run_id, agent=agent, model=model
                )
            )
            return
        parent = "null" if parent_run_id is None else quoted(parent_run_id)
        self._append(
            "run_start",
            f'"run_id":{quoted(self._run_id)},"parent_run_id":{parent},"agent":{named},"model":{name}',
        )

    def run_end(self, status: events.RunStatus, error: str | None, latency_ms: float) -> None:
        """The run is over."""
        redactor = self._redactor()
        if redactor is None or (why := redactor.cleared(error)) is None:
            self._spool.write(
                events.run_end(
                    self._session_id, self._run_id, status=status, error=error, latency_ms=latency_ms
                )
            )
            return
        self._append(
            "run_end",
            f'"run_id":{quoted(self._run_id)},"status":"{status}","error":{why},"latency_ms":{latency_ms!r}',
        )

    def request(
        self,
        request_id: str,
        *,
        step: int,
        model: str,
        previous: str | None,
        kept: int,
        added: Sequence[str],
        toolset_id: str | None,
    ) -> None:
        """A model is asked."""
        redactor = self._redactor()
        if redactor is None or (name := redactor.cleared(model)) is None:
            self._spool.write(
                events.request(
                    self._session_id,
                    request_id,
                    run_id=self._run_id,
                    step=step,
                    model=model,
                    previous=previous,
                    kept=kept,
                    added=added,
                    toolset_id=toolset_id,
                )
            )
            return
        new = '","'.join(added)
        self._append(
            "request",
            f'"request_id":"{request_id}{self._of_run}"step":{step},"model":{name},'
            f'"previous":{_own(previous)},"kept":{kept},"added":[{new and _own(new)}],'
            f'"toolset_id":{_own(toolset_id)}',
        )

    def response(
        self,
        request_id: str,
        *,
        message_id: str,
        finish_reason: str | None,
        input_tokens: int | None,
        output_tokens: int | None,
        latency_ms: float,
        model: str | None,
    ) -> None:
        """A model answered; `model` where it is another than was asked."""
        redactor = self._redactor()
        if (
            redactor is None
            or (reason := redactor.cleared(finish_reason)) is None
            or (name := redactor.cleared(model)) is None
        ):
            self._spool.write(
                events.response(
                    self._session_id,
                    request_id,
                    message_id=message_id,
                    finish_reason=finish_reason,
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    latency_ms=latency_ms,
                    model=model,
                )
            )
            return
        other = "" if model is None else f',"model":{name}'
        self._append(
            "response",
            f'"request_id":"{request_id}","message_id":"{message_id}","finish_reason":{reason},'
            f'"input_tokens":{_json(input_tokens)},"output_tokens":{_json(output_tokens)},'
            f'"latency_ms":{latency_ms!r},"error":null{other}',
        )

    def start(self, call: Call) -> None:
        """A call begins; its `tool_call_id` is whatever the model made up."""
        self.starts((call,))

    def starts(self, calls: Iterable[Call]) -> None:
        """Some calls begin."""
        redactor = self._redactor()
        for call in calls:
            self._starts(call, redactor)

    def _starts(self, call: Call, redactor: SessionRedactor | None) -> None:
        if (
            redactor is None
            or not redactor.clears_id(call.tool_call_id)
            or (tool := redactor.cleared(call.tool)) is None
            or (arguments := redactor.cleared(call.raw_arguments)) is None
        ):
            self._spool.write(
                events.tool_start(
                    self._session_id,
                    call.call_id,
                    run_id=self._run_id,
                    request_id=call.request_id,
                    tool_call_id=call.tool_call_id,
                    tool=call.tool,
                    raw_arguments=call.raw_arguments,
                    parent_call_id=call.parent_call_id,
                )
            )
            return
        parent = "" if call.parent_call_id is None else f',"parent_call_id":"{call.parent_call_id}"'
        self._append(
            "tool_start",
            f'"call_id":"{call.call_id}{self._of_run}"request_id":{_own(call.request_id)},'
            f'"tool_call_id":{quoted(call.tool_call_id)},"tool":{tool},"raw_arguments":{arguments}{parent}',
        )

    def end(self, call: Call, verdict: Verdict) -> None:
        """A call has its result."""
        redactor = self._redactor()
        if (
            redactor is None
            or (arguments := redactor.cleared(call.arguments)) is None
            or (result := redactor.cleared(verdict.result)) is None
            or (error := redactor.cleared(verdict.error)) is None
        ):
            self._spool.write(
                events.tool_end(
                    self._session_id,
                    call.call_id,
                    status=verdict.status,
                    arguments=call.arguments,
                    result=verdict.result,
                    error=verdict.error,
                    latency_ms=verdict.latency_ms,
                )
            )
            return
        latency = "null" if verdict.latency_ms is None else repr(verdict.latency_ms)
        self._append(
            "tool_end",
            f'"call_id":"{call.call_id}","status":"{verdict.status}","arguments":{arguments},'
            f'"result":{result},"error":{error},"latency_ms":{latency}',
        )

    def _append(self, kind: str, fields: str) -> None:
        self._spool.append(
            f'{{"v":{events.VERSION},"id":"{events.new_id()}","ts":{events.now()},"kind":"{kind}"'
            f"{self._of_session}{fields}}}\n",
            self._session_id,
        )

    def _redactor(self) -> SessionRedactor | None:
        """The redactor of the session, if it has nothing against the ids of session and run."""
        redactor = self._spool.redactor.session(self._session_id)
        look = self._spool.redactor.detector.look
        if look is not self._cleared_by:
            if not (redactor.clears_id(self._session_id) and redactor.clears_id(self._run_id)):
                return None
            self._cleared_by = look
        return redactor


def _own(id: str | None) -> str:
    return "null" if id is None else f'"{id}"'
