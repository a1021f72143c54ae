"""The requests of one run of an agent and their answers.

In: what the recorder's hooks see of each request. Out: a `request` event before a model is asked, and one
`response` event for it. Where there is a choice of models, each candidate that was asked is a request of its
own, with what that candidate was sent; those passed over are answered by their failure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracemill.tracer import events
from tracemill.tracer.attempts import PASSED_OVER, Attempt, at_failure, before_answer
from tracemill.tracer.conversion import serving_models
from tracemill.tracer.outgoing import Outgoing, Request
from tracemill.tracer.tool_calls import is_cancellation

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext

    from tracemill.tracer.journal import Journal
    from tracemill.tracer.run_lines import RunLines

CUT_OFF = "the stream was left before its end"


@dataclass(frozen=True)
class _Asked:
    request_id: str
    model: Model
    since: int


class ModelRequests:
    """Follows the requests of one run."""

    def __init__(self, journal: Journal, lines: RunLines, session_id: str, *, keep_files: bool) -> None:
        self.offered: frozenset[str] = frozenset()
        """The names of the tools offered last."""
        self._journal = journal
        self._session_id = session_id
        self._lines = lines
        self._outgoing = Outgoing(journal.spool, session_id, journal.histories, keep_files=keep_files)
        self._step = -1
        self._context: Request | None = None
        self._prepared = False
        self._candidates: list[Model] = []
        self._untried: list[Model] = []
        self._open: list[_Asked] = []
        """Requests without an answer; more than one where attempts at the same step follow each other."""
        self._settled = 0
        """Attempts at this step whose end is recorded."""
        self._cut_off_ms: float | None = None
        """How long the open request took until its stream was cancelled."""

    @property
    def open_id(self) -> str | None:
        """The request that is being answered."""
        return self._open[-1].request_id if self._open else None

    def ask(self, context: ModelRequestContext | Request, *, prepared: bool) -> None:
        """A request is about to be sent: a step of the run, or another attempt at the same step.

        `prepared` says whether its messages are as the model gets them.
        """
        if getattr(context, "attempt", 1) == 1:
            self._step += 1
            self._settled = 0
            self._open.clear()
        # The agent goes on to change the context it hands out.
        self._context = Request.of(context)
        self._prepared = prepared
        self._candidates = serving_models(context.model)
        self._untried = list(self._candidates)
        self._cut_off_ms = None
        self._send()

    def answer(self, response: ModelResponse) -> str | None:
        """The id of the request that is now answered; None where it was before, or is only in part."""
        if not self._open:
            return None
        total = events.milliseconds_since(self._open[-1].since)
        failed = before_answer(response, self._candidates)[self._settled :]
        self._fail(failed)
        self._fail([Attempt(PASSED_OVER)] * (len(self._open) - 1))
        latency = round(max(0, total - sum(attempt.latency_ms or 0 for attempt in failed)), 3)
        if response.state in ("incomplete", "interrupted"):
            # Half an answer is none: nobody is to learn to stop there.
            self._fail([Attempt(CUT_OFF, latency, response.usage.input_tokens, response.usage.output_tokens)])
            return None
        asked = self._next()
        self._settled += 1
        answered_by = response.model_name
        self._lines.response(
            asked.request_id,
            message_id=self._outgoing.answer(response, asked.model),
            finish_reason=response.finish_reason,
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
            latency_ms=latency,
            model=answered_by if answered_by != asked.model.model_name else None,
        )
        return asked.request_id

    def no_answer(self, error: BaseException) -> None:
        """The open request failed; a cancelled one waits for the end of the run to learn why."""
        if not self._open:
            return
        latency = events.milliseconds_since(self._open[-1].since)
        if is_cancellation(error):
            self._cut_off_ms = latency
            return
        *earlier, last = at_failure(error, self._candidates)[self._settled :] or [Attempt(PASSED_OVER)]
        self._fail(earlier)
        self._fail([Attempt(last.error, last.latency_ms or latency, last.input_tokens, last.output_tokens)])

    def close(self, why: str) -> None:
        """The run is over: what is still open failed."""
        for asked in list(self._open):
            latency = self._cut_off_ms
            self._fail([Attempt(why, events.milliseconds_since(asked.since) if latency is None else latency)])
        self._outgoing.close()

    def _send(self) -> None:
        assert self._context is not None
        model = self._untried.pop(0) if self._untried else self._candidates[0]
        sent = self._outgoing.request(self._context, model, prepared=self._prepared)
        request_id = events.new_id()
        self.offered = sent.tools
        previous, kept = self._journal.chain(self._session_id, request_id, sent.messages)
        self._lines.request(
            request_id,
            step=self._step,
            model=model.model_name,
            previous=previous,
            kept=kept,
            added=sent.messages[kept:],
            toolset_id=sent.toolset_id,
        )
        self._open.append(_Asked(request_id, model, time.perf_counter_ns()))

    def _next(self) -> _Asked:
        """The open request that was sent first; one that is sent only now where it was not seen before."""
        if not self._open:
            self._send()
        return self._open.pop(0)

    def _fail(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            asked = self._next()
            self._settled += 1
            self._journal.spool.write(
                events.response(
                    self._session_id,
                    asked.request_id,
                    message_id=None,
                    error=attempt.error,
                    input_tokens=attempt.input_tokens,
                    output_tokens=attempt.output_tokens,
                    latency_ms=attempt.latency_ms,
                )
            )
