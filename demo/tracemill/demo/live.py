"""The held-out tasks as live tasks: a model that was trained must really do them.

In: how many. Out: objects of the shape that `tracemill.evaluate.live` runs, spread over the categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic_ai import Agent
from pydantic_ai.models import Model

from tracemill.demo.agent import coding_agent
from tracemill.demo.tasks import Task, tasks
from tracemill.demo.verify import done
from tracemill.evaluate.live_results import ExecutedCall


@dataclass(frozen=True)
class DemoLiveTask:
    """One held-out task, ready to be done in an empty folder."""

    task: Task

    @property
    def id(self) -> str:
        """Name of the task."""
        return self.task.id

    @property
    def category(self) -> str:
        """Category of the task."""
        return self.task.category

    @property
    def prompt(self) -> str:
        """What the user asks."""
        return self.task.prompt

    def prepare(self, folder: Path) -> None:
        """Write the scratch project into `folder`."""
        self.task.project().write(folder)

    def agent(self, folder: Path, model: Model) -> Agent[None, str]:
        """The coding agent at work in `folder`."""
        return coding_agent(folder, model)

    def check(self, folder: Path, calls: Sequence[ExecutedCall], answer: str) -> bool:
        """Whether the task was done: by the files on disk and the results of the calls."""
        return done(self.task, folder, calls, answer)


def live_tasks(n: int = 12, seed: int = 0) -> list[DemoLiveTask]:
    """`n` test tasks, one of each category in turn, those of more calls first; inside it one of each kind."""
    held_out = [task for task in tasks(seed) if task.split == "test"]
    hardest = sorted(held_out, key=lambda task: -len(task.plan))
    categories = _in_turn(_in_turn(hardest, lambda task: task.kind), lambda task: task.category)
    return [DemoLiveTask(task) for task in categories[:n]]


def _in_turn(ordered: Sequence[Task], key: Callable[[Task], str]) -> list[Task]:
    """The first task of every key, then the second of every key, and so on."""
    seen = Counter[str]()
    ranked: list[tuple[int, Task]] = []
    for task in ordered:
        ranked.append((seen[key(task)], task))
        seen[key(task)] += 1
    return [task for _, task in sorted(ranked, key=lambda pair: pair[0])]
