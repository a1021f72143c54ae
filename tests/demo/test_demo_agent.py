"""The coding agent with real tools: its schemas, a readable session of every kind, and the scripted policy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.demo.agent import INSTRUCTIONS, coding_agent
from tracemill.demo.kinds import KINDS
from tracemill.demo.rollout import Rollout, rollout
from tracemill.demo.tasks import Task, tasks
from tracemill.demo.verify import done
from tracemill.tracer.redact import Redactor

GOLDEN = Path(__file__).parent / "golden"


def _golden(name: str, text: str) -> None:
    """Compare with a golden file; delete the file to have it written anew, then read it."""
    path = GOLDEN / name
    if not path.exists():
        path.write_text(text, "utf-8")
        pytest.fail(f"{path} was missing and is written now; read it and run the test again")
    assert text == path.read_text("utf-8")


def _readable(played: Rollout) -> str:
    lines: list[str] = []
    for message in played.messages:
        for call in message.get("tool_calls", []):
            lines.append(f"assistant -> {call['name']} {json.dumps(call['arguments'])}")
        if "tool_calls" not in message:
            lines.append(f"{message['role']}: " + message["content"].replace("\n", "\n    "))
    return "\n".join(lines) + "\n"


def test_the_tools_are_offered_in_few_words(tmp_path: Path) -> None:
    seen: list[AgentInfo] = []

    def look(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen.append(info)
        return ModelResponse([TextPart("ok")])

    asyncio.run(coding_agent(tmp_path, FunctionModel(look)).run("hi"))
    offered: list[dict[str, Any]] = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters_json_schema}
        for tool in seen[0].function_tools
    ]
    _golden("tools.json", "[\n" + ",\n".join(json.dumps(tool) for tool in offered) + "\n]\n")
    assert seen[0].instructions == INSTRUCTIONS


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_scripted_policy_does_the_tasks_of_a_kind(kind: str, every: int, tmp_path: Path) -> None:
    redactor = Redactor()
    for task in [task for task in tasks() if task.kind == kind][::every]:
        folder = tmp_path / task.id
        folder.mkdir()
        played = asyncio.run(rollout(task, folder))
        assert done(task, folder, played.calls, played.answer), task
        # The calls come from real results, the plan was known beforehand: both must agree.
        made = [(call.tool, call.arguments) for call in played.calls]
        assert made == [(step.tool, dict(step.arguments)) for step in task.plan]
        assert len(played.answer.split()) <= 20, played.answer
        assert str(tmp_path) not in _readable(played)
        assert [redactor.redact_message(message) for message in played.messages] == played.messages


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_of_each_kind_reads_well(kind: str, tmp_path: Path) -> None:
    task = next(task for task in tasks() if task.kind == kind and task.split == "test")
    texts: list[str] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        texts.append(_readable(asyncio.run(rollout(task, tmp_path / name))))
    assert texts[0] == texts[1]
    _golden(f"{kind}.txt", texts[0])


def test_a_refused_call_goes_back_to_the_model_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("found\n")
    answers = iter(
        [
            [ToolCallPart("read_file", {"path": "../there.txt"}, "call_1")],
            [ToolCallPart("read_file", {"path": "there.txt"}, "call_2")],
            [TextPart("found")],
        ]
    )
    heard: list[str] = []

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append(str(messages[-1].parts[-1]))
        return ModelResponse(next(answers))

    result = asyncio.run(coding_agent(tmp_path, FunctionModel(model)).run("Read it."))
    assert result.output == "found"
    assert "outside the project" in heard[1]


def _played(kind: str, folder: Path) -> tuple[Task, Rollout]:
    task = next(task for task in tasks() if task.kind == kind and task.split == "test")
    return task, asyncio.run(rollout(task, folder))


def test_a_task_is_not_done_without_its_calls(tmp_path: Path) -> None:
    task, played = _played("search_read_test", tmp_path)
    assert done(task, tmp_path, played.calls, played.answer)
    for missing in range(3):
        assert not done(task, tmp_path, played.calls[:missing] + played.calls[missing + 1 :], played.answer)
    assert not done(task, tmp_path, played.calls[::-1], played.answer)
    assert not done(task, tmp_path, played.calls, "  ")


def test_a_task_is_not_done_while_the_files_are_not_right(tmp_path: Path) -> None:
    task, played = _played("write", tmp_path)
    file = tmp_path / task.slots["path"]
    right = file.read_text()
    file.write_text(right.upper())
    assert not done(task, tmp_path, played.calls, played.answer)
    file.write_text(right)
    (tmp_path / "extra.txt").write_text("more\n")
    assert not done(task, tmp_path, played.calls, played.answer)


@pytest.mark.parametrize(
    ("kind", "tool", "arguments"),
    [
        ("read", "read_file", {"path": "."}),
        ("list", "list_files", {"path": "."}),
        ("script", "run_command", {"command": "cat {path}"}),
        ("search", "search", {"text": "zebra"}),
    ],
)
def test_another_call_does_not_do_the_task(
    kind: str, tool: str, arguments: dict[str, str], tmp_path: Path
) -> None:
    task = next(task for task in tasks() if task.kind == kind and task.split == "test")
    filled = {name: value.format(**task.slots) for name, value in arguments.items()}

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        again = any(part.part_kind == "tool-call" for message in messages for part in message.parts)
        return ModelResponse([TextPart("Done.")] if again else [ToolCallPart(tool, filled, "call_1")])

    played = asyncio.run(rollout(task, tmp_path, FunctionModel(model)))
    assert len(played.calls) == 1
    assert not done(task, tmp_path, played.calls, played.answer)


def test_a_greeting_is_answered_without_a_call(tmp_path: Path) -> None:
    task, played = _played("direct", tmp_path)
    assert played.calls == []
    assert done(task, tmp_path, [], played.answer)
    other, busy = _played("list", tmp_path / "other")
    assert other.plan
    assert not done(task, tmp_path, busy.calls, played.answer)
