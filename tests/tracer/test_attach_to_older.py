"""Runs of a Pydantic AI that is too old for the recorder, and of durable execution; real programs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.tracer import launch
from tracemill.tracer.attaching import _followed
from tracemill.tracer.home import Home
from tracemill.tracer.older_pydantic_ai import MISSING, OlderRecorder
from tracemill.tracer.recorder import Recorder
from tracemill.tracer.recording import recording

Recorded = Any  # tests/tracer/conftest.py

CALLS: list[tuple[str, Any]] = [
    ("add", {"a": 1, "b": 2}),
    ("nothing", {}),
    ("add", {"a": "one"}),
    ("again", "{}"),
]


def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    said = sum(message.kind == "response" for message in messages)
    if said < len(CALLS):
        return ModelResponse(parts=[TextPart("So."), ToolCallPart(*CALLS[said], f"call-{said}")])
    return ModelResponse(parts=[TextPart("Done.")])


def agent(**more: Any) -> Agent[None, str]:
    made: Agent[None, str] = Agent(
        FunctionModel(answer), name="old", system_prompt="Be brief.", instructions="Add.", **more
    )

    @made.tool_plain(retries=3)
    def add(a: int, b: int) -> int:
        return a + b

    @made.tool_plain
    def again() -> None:
        raise ModelRetry("Try again.")

    return made


@pytest.fixture
def older(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[OlderRecorder]:
    """Follows every run as one of an older version."""
    recorder = OlderRecorder(home, {"task": "sums"})
    monkeypatch.setattr(Agent, "iter", _followed(Agent.iter, recorder))
    yield recorder
    assert (recorder.faults, recorder.dropped) == (0, 0)


def told(recorded: Recorded, request: dict[str, Any]) -> tuple[Any, ...]:
    (response,) = [one for one in recorded.of("response") if one["request_id"] == request["request_id"]]
    return recorded.messages(request), recorded.bodies[response["message_id"]], response["output_tokens"]


async def two_runs(agent: Agent[None, str]) -> None:
    first = await agent.run("One and two?")
    await agent.run("And now?", message_history=first.all_messages())


def test_messages_and_calls_are_those_the_recorder_sees(
    home: Home,
    older: OlderRecorder,
    recorded: Callable[[], Recorded],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    asyncio.run(two_runs(agent()))
    from_messages = recorded()
    monkeypatch.undo()
    other = Home(tmp_path / "other")
    asyncio.run(two_runs(agent(capabilities=[Recorder(other)])))
    from_hooks = type(from_messages)(other)
    for one in from_messages.of("request"):
        assert one["toolset_id"] is None
    assert [told(from_messages, one) for one in from_messages.of("request")] == [
        told(from_hooks, one) for one in from_hooks.of("request")
    ]
    calls, seen = (
        [
            (call["tool"], call["raw_arguments"], call["status"], call.get("result"))
            for call in which.tool_calls()
        ]
        for which in (from_messages, from_hooks)
    )
    assert calls == seen
    assert [call[2] for call in calls] == ["ok", "unknown", "invalid", "retry"]
    # The second run goes on with the first one's conversation.
    session = from_messages.one("session")
    assert (session["agent"], session["metadata"]["task"]) == ("old", "sums")
    assert [run["status"] for run in from_messages.of("run_end")] == ["ok", "ok"]


def test_how_a_run_ends(older: OlderRecorder, recorded: Callable[[], Recorded]) -> None:
    def fail(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise ConnectionError("gone")

    async def cancelled() -> None:
        async def wait(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            await asyncio.sleep(60)
            raise AssertionError

        task = asyncio.ensure_future(Agent(FunctionModel(wait)).run("Wait."))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def streamed() -> None:
        async def stream(messages: list[ModelMessage], info: AgentInfo) -> Any:
            yield "All "
            yield "well."

        async with Agent(FunctionModel(stream_function=stream)).run_stream("Go.") as result:
            assert await result.get_output() == "All well."

    with pytest.raises(ConnectionError):
        asyncio.run(Agent(FunctionModel(fail)).run("Go."))
    asyncio.run(cancelled())
    asyncio.run(streamed())
    ends = [(run["status"], run["error"]) for run in recorded().of("run_end")]
    assert ends == [("error", "ConnectionError: gone"), ("cancelled", None), ("ok", None)]
    assert "All well." in [body["content"] for body in recorded().bodies.values()]


PROGRAM = """
import asyncio
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

agent = Agent(TestModel(), name='old')

@agent.tool_plain
def double(number: int) -> int:
    return 2 * number

print(asyncio.run(agent.run('Double it.')).output)
"""


def environment_with(folder: Path, *packages: str) -> Path:
    """A virtual environment with these packages; the test is skipped where they cannot be installed."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install {' '.join(packages)}: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.40.*", "1.84.*"])
def test_an_older_version(
    home: Home,
    tmp_path: Path,
    recorded: Callable[[], Recorded],
    capfd: pytest.CaptureFixture[str],
    version: str,
) -> None:
    python = environment_with(tmp_path / "venv", f"pydantic-ai-slim=={version}")
    (tmp_path / "program.py").write_text(PROGRAM)
    with recording(home) as going_on:
        code = launch.run([str(python), str(tmp_path / "program.py")], going_on.environment())
        summary = going_on.summary()
    assert (code, capfd.readouterr().out) == (0, '{"double":0}\n')
    assert (summary.runs, summary.tool_calls, summary.faults) == (1, 1, 0)
    assert list(summary.missing.values()) == [MISSING]
    assert [call["status"] for call in recorded().tool_calls()] == ["ok"]
    assert [message["role"] for message in recorded().bodies.values()] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


IN_A_WORKFLOW = """
import asyncio, atexit, os, sys
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin, TemporalDurability

agent = Agent(TestModel(), name='durable', capabilities=[TemporalDurability()])

@workflow.defn
class Flow:
    @workflow.run
    async def run(self) -> str:
        return (await agent.run('go')).output

def event(number, kind, **attributes):
    words = kind.split('_')
    name = words[0].lower() + ''.join(word.title() for word in words[1:])
    return {'eventId': str(number), 'eventTime': '2026-01-01T00:00:00Z', 'eventType': f'EVENT_TYPE_{kind}',
            f'{name}EventAttributes': attributes}

HISTORY = {'events': [
    event(1, 'WORKFLOW_EXECUTION_STARTED', workflowType={'name': 'Flow'}, taskQueue={'name': 'q'},
          originalExecutionRunId='11111111-1111-1111-1111-111111111111', attempt=1, workflowId='w'),
    event(2, 'WORKFLOW_TASK_SCHEDULED', taskQueue={'name': 'q'}, attempt=1),
    event(3, 'WORKFLOW_TASK_STARTED', scheduledEventId='2', identity='x'),
    event(4, 'WORKFLOW_TASK_COMPLETED', scheduledEventId='2', startedEventId='3', identity='x'),
    event(5, 'WORKFLOW_EXECUTION_CANCELED', workflowTaskCompletedEventId='4'),
]}

async def main():
    try:
        await Replayer(workflows=[Flow], plugins=[PydanticAIPlugin()]).replay_workflow(
            WorkflowHistory.from_json('w', HISTORY))
    except Exception as error:
        print(type(error).__name__, error)

if __name__ == '__main__':
    if 'replay' not in sys.argv:  # a server would be needed to run it for the first time
        from tracemill.tracer import attaching
        attaching._replaying = lambda: False
    asyncio.run(main())
    sys.stdout.flush()
    # Temporal's own threads may still ask for the GIL while Python 3.11 ends, which aborts the process.
    atexit._run_exitfuncs()
    os._exit(0)
"""

IN_A_DURABLE_FLOW = """
import asyncio, sys
from dbos import DBOS, SetWorkflowID
from pydantic_ai import Agent
from pydantic_ai.durable_exec.dbos import DBOSDurability
from pydantic_ai.models.test import TestModel

DBOS(config={'name': 'flow', 'system_database_url': f'sqlite:///{sys.argv[1]}/dbos.db', 'log_level': 'ERROR'})
agent = Agent(TestModel(), name='durable', capabilities=[DBOSDurability()])

@agent.tool_plain
def double(number: int) -> int:
    return 2 * number

@DBOS.workflow()
async def flow():
    return (await agent.run('go')).output

async def main():
    for _ in range(2):
        with SetWorkflowID('one'):
            print(await flow())

DBOS.launch()
asyncio.run(main())
DBOS.destroy()
"""


@pytest.mark.slow
def test_durable_execution(
    home: Home, tmp_path: Path, recorded: Callable[[], Recorded], capfd: pytest.CaptureFixture[str]
) -> None:
    python = environment_with(tmp_path / "venv", "pydantic-ai-slim[temporal,dbos]>=2")

    def run(program: str, *words: str) -> tuple[Any, str]:
        path = tmp_path / "flow.py"
        path.write_text(program)
        with recording(home) as going_on:
            command = [str(python), "-W", "ignore", str(path), *words]
            assert launch.run(command, {**os.environ, **going_on.environment()}) == 0
            return going_on.summary(), capfd.readouterr().out

    summary, out = run(IN_A_DURABLE_FLOW, str(tmp_path))
    assert out == '{"double":0}\n' * 2
    assert (summary.runs, summary.tool_calls, summary.faults) == (1, 1, 0)
    # In the sandbox of a workflow, where nothing can be imported and no unsafe capability be added.
    summary, out = run(IN_A_WORKFLOW)
    assert "not supported" not in out
    assert (summary.runs, summary.faults) == (1, 0)
    summary, _ = run(IN_A_WORKFLOW, "replay")
    assert summary.runs == 0
    assert json.dumps([run["agent"] for run in recorded().of("run_start")]) == '["durable", "durable"]'
