"""Live tasks end to end: a real agent with real tools, a real server, a real (tiny) model that was taught.

The agent is run once by a script, what it was sent becomes training rows, the tiny model learns them by heart,
is served, and must then do the same tasks alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tiny import tiny_model
from tracemill.curate.chat.codec import from_row, to_row
from tracemill.curate.chat.render import render
from tracemill.curate.chat.template import Chat
from tracemill.evaluate.live import Limits, run_live
from tracemill.evaluate.live_results import ExecutedCall, LiveResult, compare_live
from tracemill.tracer.conversion import Payload, payload, response_message
from tracemill.tracer.home import Home
from tracemill.train.errors import ServerError
from tracemill.train.server import ModelServer


@dataclass(frozen=True)
class ReadTask:
    """Read the file that the prompt names; a task without a word to find asks for no call."""

    id: str
    prompt: str
    word: str
    category: str = "read"

    def prepare(self, folder: Path) -> None:
        assert list(folder.iterdir()) == []
        (folder / "a.txt").write_text(self.word)

    def agent(self, folder: Path, model: Model) -> Agent[None, str]:
        agent = Agent(model, name="reader", instructions="You code.")

        @agent.tool_plain
        def read_file(path: str) -> str:
            """Read a file."""
            return (folder / path).read_text()

        return agent

    def check(self, folder: Path, calls: Sequence[ExecutedCall], answer: str) -> bool:
        expected = [ExecutedCall("read_file", {"path": "a.txt"}, self.word, True)] if self.word else []
        return calls == expected and answer == "Done."


class Boom(ReadTask):
    """Its agent breaks while it is made."""

    def agent(self, folder: Path, model: Model) -> Agent[None, str]:
        raise LookupError("no such tool set")


READ = ReadTask("read", "Read a.txt", "x = 1")
DIRECT = ReadTask("direct", "Hi", "", "direct")


class Sent(AbstractCapability[None]):
    """Keeps the last request of a run and the answer to it."""

    payload: Payload
    answer: ModelResponse

    async def after_model_request(
        self, ctx: Any, *, request_context: Any, response: ModelResponse
    ) -> ModelResponse:
        self.payload, self.answer = payload(request_context), response
        return response


def script(messages: Any, info: AgentInfo) -> ModelResponse:
    if "Hi" in str(messages) or len(messages) > 1:
        return ModelResponse(parts=[TextPart("Done.")])
    return ModelResponse(parts=[ToolCallPart("read_file", {"path": "a.txt"})])


def recorded(task: ReadTask, folder: Path) -> tuple[list[Any], list[Any]]:
    """The messages and tools of a scripted run of `task`."""
    folder.mkdir()
    task.prepare(folder)
    sent, model = Sent(), FunctionModel(script)
    asyncio.run(task.agent(folder, model).run(task.prompt, capabilities=[sent]))
    return [*sent.payload.messages, response_message(sent.answer, model)], sent.payload.tools


def teach(folder: Path, conversations: Sequence[tuple[list[Any], list[Any]]]) -> None:
    """Train every weight of the model in `folder` until it knows the conversations by heart."""
    import mlx.core as mx
    import mlx.optimizers as optim
    from mlx import nn
    from mlx.utils import tree_flatten

    from tracemill.train.batches import make_batch
    from tracemill.train.finetune import load_base
    from tracemill.train.forward import Cut, batch_loss, lane_streams

    chat, model = Chat.load(folder), load_base(folder)
    parts = [
        part
        for messages, tools in conversations
        for part in render(
            chat,
            from_row(to_row(messages)),
            tools,
            [i for i, m in enumerate(messages) if m["role"] == "assistant"],
        )
    ]
    batch, optimizer = make_batch(parts, range(len(parts))), optim.Adam(learning_rate=5e-3)
    whole, streams = Cut(None, model, lambda logits: logits, 0, len(model.layers), True), lane_streams()
    loss_and_grad: Any = nn.value_and_grad(
        model, lambda: batch_loss(whole, None, batch, streams, batch.targets)
    )
    for _ in range(300):
        loss, grads = loss_and_grad()
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state)
        if loss.item() < 0.01:
            break
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"}
    )


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("live") / "tiny")


@pytest.fixture(scope="module")
def taught(untaught: Path) -> Path:
    folder = untaught.with_name("taught")
    shutil.copytree(untaught, folder)
    teach(folder, [recorded(task, untaught.with_name(task.id)) for task in (READ, DIRECT)])
    return folder


def test_a_taught_model_does_the_tasks_and_every_prompt_has_the_tokens_of_the_template(
    taught: Path, home: Home
) -> None:
    tasks = [READ, DIRECT, Boom("boom", "Hi", "")]
    seen: list[tuple[str, int, int]] = []
    results = run_live(
        tasks, base_path=taught, adapter_path=None, home=home, progress=lambda *step: seen.append(step)
    )
    read, direct, boom = results
    assert read == LiveResult(
        "read",
        "read",
        "Read a.txt",
        True,
        "",
        [ExecutedCall("read_file", {"path": "a.txt"}, "x = 1", True)],
        "Done.",
        2,
        2,
    )
    assert direct == LiveResult("direct", "direct", "Hi", True, "", [], "Done.", 1, 1)
    assert (boom.right, boom.failure, boom.checked) == (False, "LookupError: no such tool set", 0)
    assert seen == [("live tasks", done, 3) for done in (1, 2, 3)]
    assert not home.spool.exists()


def test_an_untaught_model_fails_with_its_words_kept_and_its_prompts_agree_too(
    untaught: Path, taught: Path, home: Home
) -> None:
    (before,) = run_live(
        [READ], base_path=untaught, adapter_path=None, home=home, limits=Limits(max_tokens=8)
    )
    assert (before.right, before.failure, before.calls) == (False, "", [])
    assert before.answer != ""
    assert (before.checked, before.agreed) == (1, 1)


def test_a_run_that_goes_on_too_long_is_a_failed_task_with_the_calls_it_made(
    taught: Path, home: Home
) -> None:
    (few,) = run_live([READ], base_path=taught, adapter_path=None, home=home, limits=Limits(requests=1))
    assert not few.right
    assert few.failure.startswith("UsageLimitExceeded: ")
    assert [call.tool for call in few.calls] == ["read_file"]
    (slow,) = run_live([READ], base_path=taught, adapter_path=None, home=home, limits=Limits(seconds=0.001))
    assert (slow.right, slow.failure) == (False, "Not done within 0.001 seconds.")


def test_a_template_that_differs_from_the_served_one_shows(
    taught: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Chat.prompt
    monkeypatch.setattr(Chat, "prompt", lambda self, messages, tools: [*real(self, messages, tools), 7])
    (result,) = run_live([READ], base_path=taught, adapter_path=None, home=home)
    assert result.right
    assert (result.checked, result.agreed) == (2, 0)


@dataclass(frozen=True)
class Killer(ReadTask):
    """Kills the model server before its agent starts."""

    servers: tuple[ModelServer, ...] | list[ModelServer] = ()

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        os.kill(self.servers[0].pid, signal.SIGKILL)


def test_a_server_that_dies_ends_the_evaluation_with_a_sentence(
    untaught: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers: list[ModelServer] = []
    start = ModelServer.start
    monkeypatch.setattr(ModelServer, "start", lambda self: (servers.append(self), start(self))[1])
    tasks = [Killer("killer", "Hi", "", servers=servers), READ]
    with pytest.raises(ServerError, match=r"The model server of tiny was killed by SIGKILL"):
        run_live(tasks, base_path=untaught, adapter_path=None, home=home, concurrency=1)


def test_runs_are_recorded_only_when_asked_and_then_marked_as_live(taught: Path, home: Home) -> None:
    run_live([READ], base_path=taught, adapter_path=None, home=home, record=True)
    events = [
        json.loads(line) for file in home.spool.glob("*.ndjson") for line in file.read_text().splitlines()
    ]
    (session,) = [event for event in events if event["kind"] == "session"]
    assert session["metadata"] == {"live": True, "task": "read", "category": "read"}
    assert [event["tool"] for event in events if event["kind"] == "tool_start"] == ["read_file"]


def test_live_results_are_compared_task_by_task() -> None:
    def result(task: str, right: bool) -> LiveResult:
        return LiveResult(task, "read", "?", right, "", [], "", 1, 1)

    found = compare_live(
        [result(str(i), i < 2) for i in range(10)], [result(str(i), i > 0) for i in range(10)]
    ).group
    assert (found.n, found.base.estimate, found.adapter.estimate) == (10, 0.2, 0.9)
    assert (found.test.gained, found.test.lost) == (8, 1)
