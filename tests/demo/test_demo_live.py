"""The live tasks: a fair choice of the held-out ones, judged by what was done."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.demo.kinds import KINDS
from tracemill.demo.live import live_tasks
from tracemill.demo.policy import scripted_policy
from tracemill.demo.tasks import tasks
from tracemill.evaluate.live import LiveTask
from tracemill.evaluate.live_results import executed_calls


def test_they_are_held_out_and_spread_over_the_categories() -> None:
    held_out = {task.id for task in tasks() if task.split == "test"}
    chosen = live_tasks(12)
    assert {task.id for task in chosen} <= held_out
    assert len({task.id for task in chosen}) == 12
    counts = Counter(task.category for task in chosen)
    assert counts.keys() == {kind.category for kind in KINDS.values()}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts["three calls"] == counts["two calls"] == 2
    assert {task.task.kind for task in live_tasks(60)} == KINDS.keys()
    assert [task.id for task in live_tasks(12)] == [task.id for task in chosen]


def test_the_policy_does_them_and_a_model_of_words_only_the_direct_ones(tmp_path: Path) -> None:
    def talk(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("Done.")])

    for task in live_tasks(16):
        for model, right in (
            (scripted_policy(task.task), True),
            (FunctionModel(talk), task.category == "direct"),
        ):
            assert _is_done(task, model, tmp_path / f"{task.id}-{model.model_name}") == right


def _is_done(task: LiveTask, model: Model, folder: Path) -> bool:
    folder.mkdir()
    task.prepare(folder)
    result = asyncio.run(task.agent(folder, model).run(task.prompt))
    return task.check(folder, executed_calls(result.all_messages()), result.output)
