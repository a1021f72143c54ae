"""Live tasks: the agent itself, with its real tools, driven by the model behind a server of our own.

In: tasks and the model they are done with. Out: a `LiveResult` a task, in the order of the tasks. Each task
gets an empty temporary folder. A task that fails in any way is a failed task with the reason kept; only a
server that is gone ends the evaluation. At every request the server's count of prompt tokens is held against
that of `Chat` for the same messages and tools: what is scored is what is served.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent, UsageLimits, capture_run_messages
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from tracemill.curate.chat.codec import from_row, to_row
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError
from tracemill.evaluate.live_results import ExecutedCall, LiveResult, executed_calls
from tracemill.tracer.conversion import payload
from tracemill.tracer.home import Home
from tracemill.tracer.recorder import Recorder
from tracemill.train.server import ModelServer

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model, ModelRequestContext
    from pydantic_ai.tools import RunContext

Progress = Callable[[str, int, int], None]


class LiveTask(Protocol):
    """A job for an agent, and how to tell that it was done."""

    @property
    def id(self) -> str:
        """Unique name of the task."""
        ...

    @property
    def category(self) -> str:
        """The kind of job, for the report."""
        ...

    @property
    def prompt(self) -> str:
        """What the user asks."""
        ...

    def prepare(self, folder: Path) -> None:
        """Put what the task needs into the empty `folder`."""
        ...

    def agent(self, folder: Path, model: Model) -> Agent[None, str]:
        """The agent at work in `folder`."""
        ...

    def check(self, folder: Path, calls: Sequence[ExecutedCall], answer: str) -> bool:
        """Whether the job was done."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a model may spend on one task."""

    requests: int = 6
    max_tokens: int = 256
    seconds: float = 300


def run_live(
    tasks: Sequence[LiveTask],
    *,
    base_path: Path,
    adapter_path: Path | None,
    home: Home,
    limits: Limits | None = None,
    concurrency: int = 4,
    record: bool = False,
    progress: Progress | None = None,
) -> list[LiveResult]:
    """Do every task with the model of `base_path` and `adapter_path`; ServerError where its server dies.

    With `record` the runs go to the spool as sessions with the metadata `live`, which curation leaves alone.
    """
    chat = Chat.load(base_path, adapter_path)
    with ModelServer(base_path, adapter_path, home=home) as server:
        driver = _Driver(
            server, chat, limits or Limits(), asyncio.Semaphore(concurrency), home if record else None
        )
        return asyncio.run(driver.run(tasks, progress))


@dataclass(frozen=True)
class _Driver:
    server: ModelServer
    chat: Chat
    limits: Limits
    turnstile: asyncio.Semaphore
    recorded_in: Home | None

    async def run(self, tasks: Sequence[LiveTask], progress: Progress | None) -> list[LiveResult]:
        done = 0

        async def one(task: LiveTask) -> LiveResult:
            nonlocal done
            async with self.turnstile:
                result = await self._attempt(task, model)
            done += 1
            if progress:
                progress("live tasks", done, len(tasks))
            return result

        async with AsyncOpenAI(
            base_url=self.server.base_url,
            api_key="none",
            max_retries=0,
            # A proxy of the environment would carry the prompts off this machine.
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        ) as client:
            model = OpenAIChatModel(
                self.server.model,
                provider=OpenAIProvider(openai_client=client),
                # OpenAI's own schema rewriting would offer other tools than those that were recorded.
                profile=OpenAIModelProfile(json_schema_transformer=None),
            )
            try:
                async with asyncio.TaskGroup() as group:
                    running = [group.create_task(one(task)) for task in tasks]
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from errors
        self.server.check()
        return [task.result() for task in running]

    async def _attempt(self, task: LiveTask, model: Model) -> LiveResult:
        """One task in a folder of its own; ServerError where it failed because the server is gone."""
        watch = _TokenCheck(self.chat)
        failure = answer = ""
        with tempfile.TemporaryDirectory(prefix="tracemill-live-") as name, capture_run_messages() as history:
            folder = Path(name)
            task.prepare(folder)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    answer = await self._run_agent(task, folder, model, watch)
            except Exception as error:  # whatever stops an agent is a fact about the model, not about us
                self.server.check()
                failure = _reason(error, self.limits)
            calls = executed_calls(history)
            right = not failure and task.check(folder, calls, answer)
        return LiveResult(
            task.id, task.category, task.prompt, right, failure, calls, answer, watch.checked, watch.agreed
        )

    async def _run_agent(self, task: LiveTask, folder: Path, model: Model, watch: _TokenCheck) -> str:
        capabilities: list[AbstractCapability[None]] = [watch]
        if self.recorded_in is not None:
            metadata = {"live": True, "task": task.id, "category": task.category}
            capabilities.append(Recorder(self.recorded_in, metadata=metadata))
        result = await task.agent(folder, model).run(
            task.prompt,
            model_settings=ModelSettings(temperature=0, max_tokens=self.limits.max_tokens),
            usage_limits=UsageLimits(request_limit=self.limits.requests),
            capabilities=capabilities,
        )
        return result.output


class _TokenCheck(AbstractCapability[None]):
    """Counts the requests of a run, and those with as many prompt tokens at the server as in `Chat`."""

    def __init__(self, chat: Chat):
        self.chat = chat
        self.checked = self.agreed = 0

    def get_ordering(self) -> CapabilityOrdering | None:
        """Innermost: the request as the model gets it."""
        return CapabilityOrdering(position="innermost")

    async def after_model_request(
        self,
        ctx: RunContext[None],  # noqa: ARG002 (the hook's signature)
        *,
        request_context: ModelRequestContext,
        response: ModelResponse,
    ) -> ModelResponse:
        """Compare the counts of one request."""
        sent = payload(request_context)
        try:
            messages = from_row(to_row(sent.messages))
        except CodecError:  # an earlier answer holds a call nobody could read
            messages = sent.messages
        self.checked += 1
        self.agreed += response.usage.input_tokens == len(self.chat.prompt(messages, sent.tools))
        return response


def _reason(error: Exception, limits: Limits) -> str:
    if isinstance(error, TimeoutError):
        return f"Not done within {limits.seconds:g} seconds."
    return f"{type(error).__name__}: {error}"
