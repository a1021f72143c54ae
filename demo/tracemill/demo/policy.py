"""The scripted policy: who demonstrates the tasks when no teacher model does.

In: a task. Out: a Pydantic AI model that is no language model at all: it makes the calls of the task's plan
one after another, takes what the plan leaves open from the results the tools really gave, and closes with a
short sentence about them. It is called a scripted policy wherever it is recorded.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tracemill.demo.kinds import Step, Taken
from tracemill.demo.tasks import Task

NAME = "scripted-policy"


def scripted_policy(task: Task) -> FunctionModel:
    """A model that does `task`; it looks at the conversation alone, so one object serves many runs."""

    async def respond(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        parts = [part for message in messages for part in message.parts]
        results = [str(part.content) for part in parts if isinstance(part, ToolReturnPart)]
        if len(results) == len(task.plan):
            return ModelResponse([TextPart(final_answer(task, results))])
        step = task.plan[len(results)]
        return ModelResponse(
            [ToolCallPart(step.tool, next_arguments(step, results), f"call_{len(results) + 1}")]
        )

    return FunctionModel(respond, model_name=NAME)


def next_arguments(step: Step, results: list[str]) -> dict[str, str]:
    """The arguments of a step: from the prompt, or from the earlier `results` where the plan says so."""
    return {name: _argument(value, step.taken.get(name), results) for name, value in step.arguments.items()}


def _argument(value: str, taken: Taken | None, results: list[str]) -> str:
    if taken is None:
        return value
    result = results[taken.step]
    return result if taken.part == "text" else _first(result).partition(":")[0]


def final_answer(task: Task, results: list[str]) -> str:
    """One short sentence about what came out; its wording is drawn by the task's id."""
    if not results:
        return task.answer
    names = ", ".join(line.rstrip("/").rpartition("/")[2] for line in results[0].splitlines())
    facts: Mapping[str, str] = {
        "names": names,
        "found": _first(results[0]).partition(":")[0],
        "first": _first(results[-1]),
        "verdict": "pass" if results[-1].endswith("OK") else "fail",
    }
    return random.Random(task.id).choice(_ANSWERS[task.kind]).format(**facts | dict(task.slots))


def _first(text: str) -> str:
    return text.partition("\n")[0]


_ANSWERS = {
    "list": ("`{folder}` holds {names}.", "In `{folder}`: {names}.", "There I see {names}."),
    "read": (
        "`{path}` begins with `{first}`.",
        "Its first line is `{first}`.",
        "There it is; it starts `{first}`.",
    ),
    "search": ("`{text}` is in `{found}`.", "I found it in `{found}`.", "The first match is in `{found}`."),
    "write": ("`{path}` now holds the line.", "Done: `{path}` is written.", "I wrote `{path}`."),
    "script": ("It printed: {first}", "The output is `{first}`.", "`{path}` prints `{first}`."),
    "tests": ("The tests in `{path}` {verdict}.", "They {verdict}.", "I ran them: they {verdict}."),
    "search_read": ("`{text}` is in `{found}`.", "It is in `{found}`.", "I found it and read the file."),
    "copy": ("`{target}` is a copy now.", "Copied to `{target}`.", "I copied `{path}` to `{target}`."),
    "write_run": ("`{path}` printed: {first}", "Written and run; it printed `{first}`."),
    "search_read_test": ("Found and read; the tests {verdict}.", "It is in `{found}`. The tests {verdict}."),
}
