"""From live agents to a data set: recorder, spool, warehouse and export, all real but the model."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.curate.chat.codec import decode
from tracemill.curate.chat.proof import Row, learned_turns
from tracemill.curate.dataset import Dataset
from tracemill.curate.export import export
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.tracer.recorder import Recorder
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.store import label


class Answer(BaseModel):
    text: str


def searching(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Calls since the last prompt: a path that does not exist, a tool that does not exist, the right call, text."""
    done = 0
    for message in messages:
        for part in message.parts:
            done = 0 if part.part_kind == "user-prompt" else done + (part.part_kind == "tool-call")
    plan = [("read", {"path": "none"}), ("open", {}), ("read", {"path": "a.py"})]
    if done < len(plan):
        return ModelResponse([ToolCallPart(*plan[done])])
    if info.output_tools:
        return ModelResponse([ToolCallPart(info.output_tools[0].name, {"text": "hello"})])
    return ModelResponse([TextPart(f"It says hello, {len(messages)} messages in.")])


def searcher(home: Home, session: str, output: type = str) -> Agent[None, object]:
    agent = Agent(
        FunctionModel(searching),
        output_type=output,
        instructions="Be brief.",
        capabilities=[Recorder(home, agent="searcher", session_id=session)],
        retries=3,
    )

    @agent.tool_plain
    def read(path: str) -> str:
        if path == "none":
            raise ModelRetry("There is no such file.")
        return "hello"

    return agent


def rows(dataset: Dataset) -> list[Row]:
    return [row for split in SPLITS for row in dataset.rows(split)]


def learned(row: Row) -> list[str]:
    """What the loss sees: the tool of every learned call, the text of every learned answer."""
    decoded = [decode(row["messages"][position]["content"]) for position in learned_turns(row["messages"])]
    return [turn.calls[0].name if turn.calls else turn.content for turn in decoded]


def test_failed_calls_stay_as_context_and_the_recovery_is_learned(home: Home) -> None:
    asyncio.run(searcher(home, "text").run("Find it."))
    asyncio.run(searcher(home, "typed", Answer).run("Find it, please."))
    ingest(home)
    for session in ("text", "typed"):
        label(home, session, outcome="good")
    found = {row["session_id"]: row for row in rows(export(home))}
    assert [message["role"] for message in found["text"]["messages"]] == [
        "system", "user", *("assistant", "tool") * 3, "assistant"
    ]  # fmt: skip
    assert learned(found["text"]) == ["read", "It says hello, 7 messages in."]
    assert learned(found["typed"]) == ["read", "final_result"]
    assert [tool["name"] for tool in found["typed"]["tools"]] == ["read", "final_result"]


def test_what_two_branches_share_is_learned_once(home: Home) -> None:
    agent = searcher(home, "tree")
    first = asyncio.run(agent.run("Find it."))
    asyncio.run(agent.run("Left?", message_history=first.all_messages()))
    asyncio.run(agent.run("Right?", message_history=first.all_messages()))
    ingest(home)
    label(home, "tree", outcome="good")
    dataset = export(home)
    one, other = sorted(rows(dataset), key=lambda row: len(learned_turns(row["messages"])))
    assert {row["messages"][9]["content"] for row in (one, other)} == {"Left?", "Right?"}
    shared, own = ["read", "It says hello, 7 messages in."], ["read", "It says hello, 15 messages in."]
    assert learned(one) == own
    assert learned(other) == shared + own
    assert dataset.manifest is not None
    assert {count.step: count.context for count in dataset.manifest.steps}["branches"] == 2


def test_a_session_without_a_verdict_is_not_learned_from_until_it_is_labelled(home: Home) -> None:
    asyncio.run(searcher(home, "one").run("Find it."))
    asyncio.run(searcher(home, "two").run("Where else would you look for what it says, and why there?"))
    ingest(home)
    label(home, "one", outcome="good")
    label(home, "two", outcome="bad")
    assert [row["session_id"] for row in rows(export(home))] == ["one"]
    label(home, "two", outcome="good")
    assert sorted(row["session_id"] for row in rows(export(home))) == ["one", "two"]
