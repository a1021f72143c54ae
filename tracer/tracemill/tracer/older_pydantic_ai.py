"""Records runs of a Pydantic AI that is too old for the recorder, from their messages once they are over.

In: runs as `Agent.iter` hands them out, of any version that has it. Out: events in the spool, of what the
messages tell: who said what, which tools were called and what became of it, and how the run ended. `MISSING`
names the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tracemill.tracer import events
from tracemill.tracer.conversion import jsonable
from tracemill.tracer.home import Home
from tracemill.tracer.journal import shared_journal
from tracemill.tracer.messages import Message, ToolCall, content_id, parse_arguments
from tracemill.tracer.process import session_metadata, working_folder
from tracemill.tracer.run_lines import RunLines
from tracemill.tracer.tool_calls import Call, answered, answers, describe, is_cancellation

logger = logging.getLogger("tracemill")

MISSING = (
    "runs are recorded when they are over, from their messages; the tools that were offered, times, which "
    "run started which, and runs of a process that was killed are missing"
)


class OlderRecorder:
    """Follows the runs that `Agent.iter` starts where no `Recorder` can be added to them."""

    def __init__(self, home: Home | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """`metadata` is stored with every session."""
        self.faults = 0
        """Faults inside the recorder that the agent was spared."""
        self._journal = shared_journal(home)
        self._metadata = dict(metadata or {})

    @property
    def dropped(self) -> int:
        """Events of this process that could not be written."""
        return self._journal.spool.dropped

    def follow(self, agent: Any, manager: Any) -> Any:
        """The context manager that `Agent.iter` returned, with its end recorded."""
        return _Followed(agent, manager, self._over)

    def _over(self, agent: Any, run: Any, error: BaseException | None, seconds: float) -> None:
        try:
            self._write(agent, run, error, seconds)
        except Exception as fault:
            self.faults += 1
            if self.faults == 1:
                logger.warning("Tracemill could not record a run (%s); the agent goes on.", describe(fault))

    def _write(self, agent: Any, run: Any, error: BaseException | None, seconds: float) -> None:
        history: list[Any] = list(run.ctx.state.message_history)
        first_new = min(int(getattr(run.ctx.deps, "new_message_index", 0)), len(history))
        session_id, run_id = _session_of(history), events.new_id()
        name = getattr(agent, "name", None) or "agent"
        model = str(getattr(run.ctx.deps.model, "model_name", "unknown"))
        metadata = jsonable({**session_metadata(), **self._metadata})
        self._journal.open_session(session_id, name, lambda: (working_folder(), metadata))
        lines = RunLines(self._journal.spool, session_id, run_id)
        lines.run_start(None, name, model)
        for step, at in enumerate(_answers_from(history, first_new)):
            self._write_turn(lines, session_id, step, model, history[: at + 1], history[at + 1 : at + 2])
        status: events.RunStatus = "ok"
        if error is not None:
            status = "cancelled" if is_cancellation(error) else "error"
        why = describe(error) if error is not None and status == "error" else None
        lines.run_end(status, why, round(seconds * 1000, 3))

    def _write_turn(
        self,
        lines: RunLines,
        session_id: str,
        step: int,
        model: str,
        upto: Sequence[Any],
        then: Sequence[Any],
    ) -> None:
        """A request, the response that ends `upto`, and its calls, answered in `then` or not at all."""
        request_id, response = events.new_id(), upto[-1]
        asked = [one for message in upto[:-1] for one in _neutral(message)]
        instructions = next((m.instructions for m in reversed(upto[:-1]) if _instructions(m)), None)
        if instructions:
            head = next((i for i, one in enumerate(asked) if one["role"] != "system"), len(asked))
            asked.insert(head, {"role": "system", "content": instructions})
        spool = self._journal.spool
        messages = tuple(spool.message(message, session_id) for message in asked)
        previous, kept = self._journal.chain(session_id, request_id, messages)
        lines.request(
            request_id,
            step=step,
            model=model,
            previous=previous,
            kept=kept,
            added=messages[kept:],
            toolset_id=None,
        )
        (said,) = _neutral(response)
        usage = response.usage
        spool.write(
            events.response(
                session_id,
                request_id,
                message_id=spool.message(said, session_id),
                input_tokens=_tokens(usage, "input_tokens", "request_tokens"),
                output_tokens=_tokens(usage, "output_tokens", "response_tokens"),
            )
        )
        found = answers(then)
        for part in response.parts:
            if part.part_kind == "tool-call":
                _write_call(lines, Call.of(part, request_id), found.get(part.tool_call_id))


class _Followed:
    """A context manager that behaves as the one it wraps, and tells when the run is over."""

    def __init__(self, agent: Any, manager: Any, over: Callable[..., None]) -> None:
        self._agent, self._manager, self._over = agent, manager, over
        self._run: Any = None
        self._started = time.perf_counter()

    async def __aenter__(self) -> Any:
        self._run = await self._manager.__aenter__()
        return self._run

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> Any:
        try:
            return await self._manager.__aexit__(kind, error, traceback)
        finally:
            self._over(self._agent, self._run, error, time.perf_counter() - self._started)


def _write_call(lines: RunLines, call: Call, answer: Any) -> None:
    """A call, and what became of it where `answer` tells."""
    lines.start(call)
    if answer is None:
        return
    unknown = str(answer.content).startswith("Unknown tool name")
    verdict = answered(call, answer, frozenset() if unknown else frozenset({call.tool}))
    if verdict.status == "ok":
        call.arguments = jsonable(parse_arguments(call.raw_arguments))
    lines.end(call, verdict)


def _session_of(history: Sequence[Any]) -> str:
    """A conversation is known by its first message, which has a time to the microsecond."""
    first = next((part for message in history[:1] for part in message.parts), None)
    if first is None or getattr(first, "timestamp", None) is None:
        return events.new_id()
    return content_id(["pydantic-ai", str(first.timestamp), str(jsonable(first.content))])


def _tokens(usage: Any, name: str, before_1_0: str) -> int | None:
    return getattr(usage, name) if hasattr(usage, name) else getattr(usage, before_1_0, None)


def _answers_from(history: Sequence[Any], start: int) -> list[int]:
    return [i for i in range(start, len(history)) if history[i].kind == "response"]


def _instructions(message: Any) -> str | None:
    return getattr(message, "instructions", None)


def _neutral(message: Any) -> Iterator[Message]:
    """A message of Pydantic AI, as the messages that it stands for."""
    if message.kind == "request":
        for part in message.parts:
            yield from _asked(part)
        return
    texts = [part.content for part in message.parts if part.part_kind == "text"]
    calls: list[ToolCall] = [
        {"id": part.tool_call_id, "name": part.tool_name, "arguments": jsonable(parse_arguments(part.args))}
        for part in message.parts
        if part.part_kind == "tool-call"
    ]
    said: Message = {"role": "assistant", "content": "\n\n".join(texts)}
    if calls:
        said["tool_calls"] = calls
    yield said


def _asked(part: Any) -> Iterator[Message]:
    kind: str = part.part_kind
    if kind == "system-prompt":
        yield {"role": "system", "content": part.content}
    elif kind == "user-prompt":
        pieces = [part.content] if isinstance(part.content, str) else part.content
        texts = [one if isinstance(one, str) else f"[{getattr(one, 'kind', 'file')}]" for one in pieces]
        yield {"role": "user", "content": "\n\n".join(texts)}
    elif kind == "tool-return":
        yield _result(part, part.model_response_str())
    elif kind == "retry-prompt" and part.tool_name is not None:
        yield _result(part, part.model_response())
    elif kind == "retry-prompt":
        yield {"role": "user", "content": part.model_response()}


def _result(part: Any, text: str) -> Message:
    return {"role": "tool", "tool_call_id": part.tool_call_id, "name": part.tool_name, "content": text}
