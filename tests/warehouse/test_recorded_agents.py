"""Live agents, recorded and put together again: the warehouse against what the model was really sent."""

from __future__ import annotations

import asyncio
import json

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.tracer.home import Home
from tracemill.tracer.recorder import Recorder
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import conversations, query
from tracemill.warehouse.sessions import transcript

PLAN = [
    [ToolCallPart("read", {"path": "none"}, "call_0")],
    [ToolCallPart("open", {}, "call_0")],
    [ToolCallPart("read", {"path": "a.py"}, "call_0"), ToolCallPart("read", {"path": "b.py"}, "call_1")],
]


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Works off the plan since the last prompt, with the same ids for its calls in every answer."""
    done = 0
    for message in messages:
        prompted = any(part.part_kind == "user-prompt" for part in message.parts)
        done = 0 if prompted else done + (message.kind == "response")
    return ModelResponse(list(PLAN[done])) if done < len(PLAN) else ModelResponse([TextPart("It prints 1.")])


def agent(home: Home, session: str) -> Agent[None, str]:
    made = Agent(
        FunctionModel(model), capabilities=[Recorder(home, agent="reader", session_id=session)], retries=3
    )

    @made.tool_plain
    def read(path: str) -> str:
        if path == "none":
            raise ModelRetry("There is no such file.")
        return f"print({path})"

    return made


def contents(home: Home) -> list[list[str]]:
    found = conversations(home).collect()["messages"]
    return [[message["content"] for message in json.loads(text)] for text in found]


def test_a_talk_of_two_runs_is_one_conversation(home: Home) -> None:
    reader = agent(home, "s1")
    first = asyncio.run(reader.run("What does it print?"))
    asyncio.run(reader.run("Are you sure?", message_history=first.all_messages()))
    ingest(home)
    (texts,) = contents(home)
    one_run = [
        "",
        '{"error":"There is no such file."}',
        "",
        texts[4],
        "",
        "print(a.py)",
        "print(b.py)",
        "It prints 1.",
    ]
    assert texts == ["What does it print?", *one_run, "Are you sure?", *one_run]
    assert "open" in texts[4]
    assert query(home, "SELECT count(*) FROM runs WHERE status = 'ok'").item() == 2
    calls = query(home, "SELECT tool, status FROM conversation_calls ORDER BY position, number").rows()
    assert calls == [("read", "retry"), ("open", "unknown"), ("read", "ok"), ("read", "ok")] * 2


def test_prompts_without_history_are_conversations_of_their_own(home: Home) -> None:
    answers = iter(["first", "second", "third"])
    reader = Agent(
        FunctionModel(lambda messages, info: ModelResponse([TextPart(next(answers))])),
        instructions="Be brief.",
        capabilities=[Recorder(home, agent="reader", session_id="s1")],
    )
    for prompt in ("Say a number.", "Say a number.", "Say another."):
        asyncio.run(reader.run(prompt))
    ingest(home)
    assert contents(home) == [
        ["Be brief.", "Say a number.", "first"],
        ["Be brief.", "Say a number.", "second"],
        ["Be brief.", "Say another.", "third"],
    ]


def test_the_transcript_shows_every_message_once(home: Home) -> None:
    reader = agent(home, "s1")
    first = asyncio.run(reader.run("What does it print?"))
    asyncio.run(reader.run("Are you sure?", message_history=first.all_messages()))
    ingest(home)
    runs = transcript(home, "s1")["runs"]
    shown = [
        message["content"]
        for run in runs
        for step in run["steps"]
        for message in (*step["messages"], step["response"])
    ]
    assert shown == contents(home)[0]
    assert [len(step["calls"]) for step in runs[0]["steps"]] == [1, 1, 2, 0]
