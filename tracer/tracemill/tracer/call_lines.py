"""The lines of the spool that tell of the tool calls of one run, put together from JSON.

In: a call that begins or ends. Out: its line, redacted, in the spool. Nearly always one look shows that
nothing is to be hidden (`SessionRedactor.cleared`); then the JSON that was looked at is the line's too, and
no event is made only to be looked through and written. Otherwise the event goes the way of all others, and a
line made here is to the byte what that way would give.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tracemill.tracer import events
from tracemill.tracer.messages import quoted

if TYPE_CHECKING:
    from tracemill.tracer.redact import SessionRedactor
    from tracemill.tracer.spool import Spool
    from tracemill.tracer.tool_calls import Call, Verdict


class CallLines:
    """Writes the tool calls of one run."""

    def __init__(self, spool: Spool, session_id: str, run_id: str) -> None:
        self._spool = spool
        self._session_id = session_id
        self._run_id = run_id
        self._cleared_by: object = None
        """The look that has cleared these two ids: there is another one when the environment changes."""
        session, run = quoted(session_id), quoted(run_id)
        self._start = f'"kind":"tool_start","session_id":{session},"call_id":"'
        self._of_run = f'","run_id":{run},"request_id":'
        self._end = f'"kind":"tool_end","session_id":{session},"call_id":"'

    def start(self, call: Call) -> None:
        """A call begins."""
        redactor = self._redactor()
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
        request = "null" if call.request_id is None else f'"{call.request_id}"'
        parent = "" if call.parent_call_id is None else f',"parent_call_id":"{call.parent_call_id}"'
        self._spool.append(
            f'{{"v":{events.VERSION},"id":"{events.new_id()}","ts":{time.time()!r},{self._start}'
            f'{call.call_id}{self._of_run}{request},"tool_call_id":{quoted(call.tool_call_id)},'
            f'"tool":{tool},"raw_arguments":{arguments}{parent}}}\n',
            self._session_id,
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
        self._spool.append(
            f'{{"v":{events.VERSION},"id":"{events.new_id()}","ts":{time.time()!r},{self._end}'
            f'{call.call_id}","status":"{verdict.status}","arguments":{arguments},"result":{result},'
            f'"error":{error},"latency_ms":{latency}}}\n',
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
