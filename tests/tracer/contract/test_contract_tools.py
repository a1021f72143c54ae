"""The contract, by what becomes of a tool call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai import Agent, ModelRetry, RunContext, ToolReturn
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import TextPart, ToolCallPart

from message_lines import told
from witness import Witness

Recording = Callable[[], Any]
DONE = [TextPart("done")]


def run(agent: Agent[Any, Any], prompt: Any = "go", **options: Any) -> Any:
    return asyncio.run(agent.run(prompt, **options))


def agent_of(witness: Witness, *turns: Any, **options: Any) -> Agent[Any, Any]:
    """An agent with three tools: it adds, it doubts, it breaks."""
    agent: Agent[Any, Any] = Agent(witness.model(*turns), capabilities=[witness.recorder()], **options)

    @agent.tool_plain
    @witness.tool
    def add(a: int, b: int) -> int:
        return a + b

    @agent.tool_plain
    @witness.tool
    def flaky(n: int = 0) -> str:
        if n == 0:
            raise ModelRetry("not zero")
        return "fine"

    @agent.tool_plain
    @witness.tool
    def broken() -> str:
        raise OSError("no disk")

    return agent


def by_id(record: Any) -> dict[str, dict[str, Any]]:
    return {call["tool_call_id"]: call for call in record.tool_calls()}


def test_an_answer_and_all_that_it_asks_for_are_on_disk_before_a_tool_runs(
    witness: Witness, recorded: Recording
) -> None:
    agent = agent_of(witness, [ToolCallPart("look", {"n": n}, f"c{n}") for n in range(3)], DONE)
    seen: list[tuple[int, list[str], list[int]]] = []

    @agent.tool_plain
    async def look(n: int) -> str:
        record = recorded()
        started = [call["tool_call_id"] for call in record.tool_calls()]
        ended = [call["result"] for call in record.tool_calls() if call["status"] == "ok"]
        seen.append((len(record.of("response")), started, ended))
        return f"saw {n}"

    run(agent)
    # Each result is on disk before the next tool runs, too.
    assert seen == [(1, ["c0", "c1", "c2"], [f"saw {n}" for n in range(done)]) for done in range(3)]


def test_parallel_calls_keep_their_results_apart(witness: Witness, recorded: Recording) -> None:
    agent = agent_of(witness, [ToolCallPart("wait", {"n": n}, f"c{n}") for n in range(5)], DONE)
    together: list[int] = []

    @agent.tool_plain
    @witness.tool
    async def wait(n: int) -> int:
        together.append(n)
        while len(together) < 5:
            await asyncio.sleep(0)
        await asyncio.sleep(0.005 * (5 - n))
        return n * n

    run(agent)
    record = recorded()
    witness.agrees(record)
    calls = by_id(record)
    assert {name: call["result"] for name, call in calls.items()} == {f"c{n}": n * n for n in range(5)}
    assert calls["c0"]["latency_ms"] > calls["c4"]["latency_ms"]
    assert told(record.messages(record.of("request")[1]))[2:] == [
        f"tool wait#c{n}: {n * n}" for n in range(5)
    ]


def test_sequential_calls(witness: Witness, recorded: Recording) -> None:
    agent = agent_of(witness, [ToolCallPart("step", {"n": n}, f"c{n}") for n in range(3)], DONE)
    running: list[int] = []

    @agent.tool_plain(sequential=True)
    @witness.tool
    async def step(n: int) -> int:
        running.append(n)
        await asyncio.sleep(0)
        assert running == [n]
        running.clear()
        return n

    run(agent)
    record = recorded()
    witness.agrees(record)
    kinds = [event["kind"] for event in record.events if event["kind"] in ("tool_start", "tool_end")]
    assert kinds == ["tool_start", "tool_end"] * 3 or kinds == ["tool_start"] * 3 + ["tool_end"] * 3
    assert [call["result"] for call in record.tool_calls()] == [0, 1, 2]


def test_a_tool_that_asks_for_another_try(witness: Witness, recorded: Recording) -> None:
    run(agent_of(witness, [ToolCallPart("flaky", {}, "c1")], [ToolCallPart("flaky", {"n": 1}, "c2")], DONE))
    record = recorded()
    witness.agrees(record)
    first, second = record.tool_calls()
    assert (first["status"], first["error"], first["arguments"]) == ("retry", "not zero", {"n": 0})
    assert (second["status"], second["result"]) == ("ok", "fine")


def test_arguments_that_do_not_fit(witness: Witness, recorded: Recording) -> None:
    run(
        agent_of(
            witness,
            [ToolCallPart("add", {"a": "one"}, "c1")],
            [ToolCallPart("add", {"a": "1", "b": 2}, "c2")],
            DONE,
        )
    )
    record = recorded()
    witness.agrees(record)
    first, second = record.tool_calls()
    assert (first["status"], first["raw_arguments"], first["arguments"]) == ("invalid", {"a": "one"}, None)
    assert "unable to parse string as an integer" in first["error"]
    # What the model wrote, and what the tool got.
    assert (second["raw_arguments"], second["arguments"]) == ({"a": "1", "b": 2}, {"a": 1, "b": 2})


@pytest.mark.parametrize("written", ['{"a": 1', "[1, 2]", "nothing at all"])
def test_arguments_that_are_no_json_object(witness: Witness, recorded: Recording, written: str) -> None:
    run(agent_of(witness, [ToolCallPart("add", written, "c1")], DONE))
    record = recorded()
    witness.agrees(record)
    (call,) = record.tool_calls()
    assert (call["status"], call["raw_arguments"], call["arguments"]) == ("invalid", written, None)
    body = record.bodies[record.of("response")[0]["message_id"]]
    assert body["tool_calls"][0]["arguments"] == written


def test_a_tool_that_does_not_exist(witness: Witness, recorded: Recording) -> None:
    run(
        agent_of(
            witness,
            [ToolCallPart("nope", '{"q": 1}', "c1"), ToolCallPart("add", {"a": 1, "b": 2}, "c2")],
            DONE,
        )
    )
    record = recorded()
    witness.agrees(record)
    calls = by_id(record)
    assert (calls["c1"]["status"], calls["c1"]["raw_arguments"]) == ("unknown", '{"q": 1}')
    assert "Unknown tool name: 'nope'" in calls["c1"]["error"]
    assert calls["c2"]["status"] == "ok"
    assert {call["request_id"] for call in calls.values()} == {record.of("request")[0]["request_id"]}


def test_calls_that_exhaust_the_retries(witness: Witness, recorded: Recording) -> None:
    turns = [[ToolCallPart("nope", {}, f"c{n}")] for n in range(9)]
    with pytest.raises(UnexpectedModelBehavior):
        run(agent_of(witness, *turns, retries=1))
    record = recorded()
    witness.agrees(record)
    assert [call["status"] for call in record.tool_calls()] == ["unknown", "unknown"]
    assert record.one("run_end")["status"] == "error"


def test_a_tool_that_raises(witness: Witness, recorded: Recording) -> None:
    with pytest.raises(OSError, match="no disk"):
        run(agent_of(witness, [ToolCallPart("broken", {}, "c1")]))
    record = recorded()
    witness.agrees(record)
    (call,) = record.tool_calls()
    assert (call["status"], call["error"]) == ("error", "OSError: no disk")
    end = record.one("run_end")
    assert (end["status"], end["error"]) == ("error", "OSError: no disk")


def test_a_tool_that_takes_too_long(witness: Witness, recorded: Recording) -> None:
    agent = agent_of(witness, [ToolCallPart("slow", {}, "c1")], DONE)

    @agent.tool_plain(timeout=0.01)
    async def slow() -> str:
        await asyncio.sleep(60)
        return "late"

    run(agent)
    record = recorded()
    witness.agrees(record)
    (call,) = record.tool_calls()
    assert call["status"] == "retry"
    assert "Timed out" in call["error"]


def test_a_result_with_more_for_the_model_and_for_the_program(witness: Witness, recorded: Recording) -> None:
    agent = agent_of(witness, [ToolCallPart("look", {}, "c1")], DONE)

    @agent.tool_plain
    @witness.tool
    def look() -> Any:
        return ToolReturn(
            return_value={"seen": 1}, content="Look closer.", metadata={"secret": "of the program"}
        )

    run(agent)
    record = recorded()
    witness.agrees(record)
    (call,) = record.tool_calls()
    assert (call["status"], call["result"]) == ("ok", {"seen": 1})
    assert told(record.messages(record.of("request")[1]))[2:] == [
        'tool look#c1: {"seen":1}',
        "user: Look closer.",
    ]
    assert "of the program" not in str(record.events)


def test_a_tool_in_a_thread_and_one_with_the_context(witness: Witness, recorded: Recording) -> None:
    agent: Agent[str, Any] = Agent(
        witness.model([ToolCallPart("where", {}, "c1"), ToolCallPart("whose", {"n": 1}, "c2")], DONE),
        deps_type=str,
        capabilities=[witness.recorder()],
    )

    @agent.tool_plain
    @witness.tool
    def where() -> bool:
        return threading.current_thread() is not threading.main_thread()

    @agent.tool
    @witness.tool
    async def whose(ctx: RunContext[str], n: int) -> str:
        return ctx.deps * n

    run(agent, deps="mine")
    record = recorded()
    witness.agrees(record)
    calls = by_id(record)
    assert (calls["c1"]["result"], calls["c2"]["result"]) == (True, "mine")
    assert calls["c2"]["arguments"] == {"n": 1}
