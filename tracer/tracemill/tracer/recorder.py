"""Records what an agent does: `Agent(..., capabilities=[Recorder()])`, or for one run
`agent.run(..., capabilities=[Recorder()])`.

In: the hooks of Pydantic AI (1.107 and 2). Out: events in the spool. The recorder stands innermost, so it
sees the messages after every other capability has changed them. It never breaks the agent: a fault inside it
is caught, counted in `faults` and logged once.

The order of the hooks differs between versions, so a request is taken where it is last seen before it is sent
(`tracer/sending.py`): from the model itself, else from whichever of `before_model_request` and
`wrap_model_request` stands inside the other; answers come from whichever of `wrap_model_request` and
`after_model_request` has them first, and errors from the wraps.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_ai.capabilities import CapabilityOrdering
from pydantic_ai.tools import DeferredToolRequests, RunContext

from tracemill.tracer import sending
from tracemill.tracer.acp_deps import EditorSession, editor_session
from tracemill.tracer.conversion import jsonable
from tracemill.tracer.events import new_id
from tracemill.tracer.home import Home
from tracemill.tracer.inner_calls import enclosing_run
from tracemill.tracer.journal import shared_journal
from tracemill.tracer.process import session_metadata, working_folder
from tracemill.tracer.recorded_tools import RecordedTools
from tracemill.tracer.run_record import RunRecord
from tracemill.tracer.work_tree import WorkTreeWatch

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext
    from pydantic_ai.run import AgentRunResult

logger = logging.getLogger("tracemill")

T = TypeVar("T")
Session = str | Callable[[RunContext[Any]], str]

_recorded: set[str] = set()
"""Runs being recorded in this process; a second recorder on the same run keeps silent."""


class Recorder(RecordedTools):
    """A capability that writes every run of its agent to the spool."""

    # Durable execution asks this of capabilities that are added to a run: it brings no tools of its own.
    _safe_at_runtime = True

    def __init__(
        self,
        home: Home | None = None,
        agent: str | None = None,
        session_id: Session | None = None,
        metadata: Mapping[str, Any] | None = None,
        work_tree: bool = False,
        keep_files: bool = False,
    ) -> None:
        """`agent` names the agent, by default as it calls itself.

        `session_id` groups runs: a text, or a function of the run context. Without it the runs of a
        conversation are a session, and so are those of one session of an editor (`tracer/acp_deps.py`); a
        sub-agent belongs to the session of the agent that called it.
        `metadata` is stored with the session; the keys `task`, `category` and `split` mean something to
        curation; `process` is overwritten where the recorder itself says which process it was.
        With `work_tree` the state of the git work tree that the process stands in is kept too: git runs for
        it as a child of this process. With `keep_files` the bytes of images and files are kept, of which
        otherwise only hash and size are.
        """
        self.faults = 0
        """Faults inside the recorder that the agent was spared."""
        self._agent = agent
        self._session_id = session_id
        self._metadata = dict(metadata or {})
        self._journal = shared_journal(home)
        self._keep_files = keep_files
        self._work_tree = WorkTreeWatch(self._journal.spool) if work_tree else None
        self._runs: dict[str, RunRecord] = {}

    @property
    def dropped(self) -> int:
        """Events of this process that could not be written, by whichever recorder."""
        return self._journal.spool.dropped

    def get_ordering(self) -> CapabilityOrdering | None:
        """Innermost: what every other capability made of the request is what the model gets."""
        return CapabilityOrdering(position="innermost")

    async def wrap_run(
        self, ctx: RunContext[Any], *, handler: Callable[[], Awaitable[AgentRunResult[Any]]]
    ) -> AgentRunResult[Any]:
        """Record the start and the end of a run."""
        run = self._spare(self._begin, ctx)
        if run is None:
            return await handler()
        try:
            result = await handler()
        except BaseException as error:
            self._spare(self._end, run, ctx, None, error)
            raise
        self._spare(self._end, run, ctx, result, None)
        return result

    async def before_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """See to it that the request is recorded before it is sent: now, where no later place is reached."""
        if (run := self._run(ctx)) is not None:
            self._spare(run.settle, request_context.messages)
            if not run.wrapped:
                run.prepared = True
            elif not self._spare(sending.watch, request_context, functools.partial(self._spare, run.ask)):
                self._spare(run.ask, request_context, False)
        return request_context

    def get_wrapper_model(self, model: Model) -> Model | None:
        """Record each attempt at a request just before it is sent."""
        return self._spare(sending.watched, model)

    async def wrap_model_request(
        self,
        ctx: RunContext[Any],
        *,
        request_context: ModelRequestContext,
        handler: Callable[[ModelRequestContext], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """Record the answer or the failure of a request; the request too, where all other hooks have run."""
        run = self._run(ctx)
        if run is None:
            return await handler(request_context)
        if run.prepared:
            self._spare(run.ask, request_context)
        run.prepared, run.wrapped = False, True
        try:
            response = await handler(request_context)
        except BaseException as error:
            self._spare(run.no_answer, error)
            raise
        finally:
            run.wrapped = False
            sending.stop()
        self._spare(run.answer, response)
        return response

    async def after_model_request(
        self,
        ctx: RunContext[Any],
        *,
        request_context: ModelRequestContext,
        response: ModelResponse,
    ) -> ModelResponse:
        """Record the answer before other capabilities change it."""
        if (run := self._run(ctx)) is not None:
            self._spare(sending.answered, request_context)
            self._spare(run.answer, response)
        return response

    def _run(self, ctx: RunContext[Any]) -> RunRecord | None:
        return self._runs.get(ctx.run_id or "")

    def _begin(self, ctx: RunContext[Any]) -> RunRecord | None:
        run_id = ctx.run_id or new_id()
        if run_id in _recorded:
            return None
        parent = enclosing_run()
        editor = editor_session(ctx.deps, self._spare)
        run = RunRecord(
            self._journal,
            session_id=self._journal.spool.redactor.clean_id(self._session_of(ctx, parent, editor)),
            run_id=run_id,
            parent_run_id=None if parent is None else parent.run_id,
            agent=self._agent or getattr(ctx.agent, "name", None) or "agent",
            model=ctx.model.model_name,
            about=functools.partial(self._about, {} if editor is None else editor.metadata),
            keep_files=self._keep_files,
        )
        if editor is not None:
            editor.run_begins(run)
        _recorded.add(run_id)
        self._runs[run_id] = run
        if self._work_tree is not None:
            self._work_tree.run_starts(run.session_id)
        return run

    def _about(self, told: Mapping[str, Any]) -> tuple[str, Any]:
        """The project and the metadata of a session, of which an editor may have told some."""
        here = session_metadata()
        # Which process it was joins a session to its recording.
        process = {"process": here["process"]} if here else {}
        return working_folder(), jsonable({**here, **told, **self._metadata, **process})

    def _end(
        self,
        run: RunRecord,
        ctx: RunContext[Any],
        result: AgentRunResult[Any] | None,
        error: BaseException | None,
    ) -> None:
        _recorded.discard(run.run_id)
        self._runs.pop(run.run_id, None)
        output: object = None if result is None else result.output
        deferred: frozenset[str] = frozenset()
        if isinstance(output, DeferredToolRequests):
            deferred = frozenset(part.tool_call_id for part in (*output.calls, *output.approvals))
        if run.editor is not None and error is None:
            run.editor.run_is_over(run, output)
        run.end(error, ctx.messages if result is None else result.all_messages(), deferred)
        others = any(other.session_id == run.session_id for other in self._runs.values())
        if self._work_tree is not None and not others:
            self._work_tree.run_ends(run.session_id)

    def _session_of(
        self, ctx: RunContext[Any], parent: RunRecord | None, editor: EditorSession | None
    ) -> str:
        if callable(self._session_id):
            return str(self._session_id(ctx))
        if self._session_id is not None:
            return self._session_id
        if parent is not None:
            return parent.session_id
        if editor is not None:
            return editor.session_id
        return ctx.conversation_id or new_id()

    def _jsonable(self, value: object) -> Any:
        return jsonable(value, keep_files=self._keep_files)

    def _spare(self, work: Callable[..., T], *arguments: Any) -> T | None:
        """Do the recorder's own work; a fault in it is nothing to the agent."""
        try:
            return work(*arguments)
        except Exception as error:
            self.faults += 1
            if self.faults == 1:
                logger.warning(
                    "Tracemill's recorder failed (%s: %s); the agent goes on, its record may have gaps.",
                    type(error).__name__,
                    error,
                )
            return None
