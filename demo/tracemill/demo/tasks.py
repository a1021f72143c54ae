"""The tasks of the demo: about four hundred small jobs, each with one right course of calls.

In: a seed. Out: `Task`s of three splits that share no wording, no path and no identifier. Each has a prompt,
a scratch project and a plan: the calls the prompt asks for, with what each must bring to light.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from typing import cast

from tracemill.demo.kinds import KINDS, Given, Step
from tracemill.demo.project import Project, Split, Vocabulary, project


@dataclass(frozen=True)
class Task:
    """A prompt, the project it is about and the calls that do it."""

    id: str
    split: Split
    category: str
    kind: str
    prompt: str
    seed: int
    """Seed of its scratch project."""
    plan: tuple[Step, ...]
    slots: Mapping[str, str]
    """What the prompt names: paths, folders, words."""
    answer: str = ""
    """The answer of a task that needs no call."""

    def project(self) -> Project:
        """The files the task starts from."""
        return project(self.seed, self.split)

    def files_after(self) -> dict[str, str]:
        """Every file and its text once the task is done."""
        written = {
            s.arguments["path"]: s.arguments["content"] + "\n" for s in self.plan if s.tool == "write_file"
        }
        return self.project().files | written


def tasks(seed: int = 0) -> list[Task]:
    """All tasks of a seed: train, then valid, then test, the kinds well mixed inside each."""
    made: dict[str, Task] = {}
    for split in ("train", "valid", "test"):
        rng = random.Random(f"tasks {split} {seed}")
        kinds = [name for name, kind in KINDS.items() for _ in range(getattr(kind, split))]
        rng.shuffle(kinds)
        decks: dict[str, list[str | list[str]]] = {}
        for number, name in enumerate(kinds):
            if not decks.get(name):
                wordings = _wordings(split)[name]
                decks[name] = rng.sample(wordings, len(wordings))
            wording = decks[name].pop()
            drafts = (_task(seed, split, number, name, wording, attempt) for attempt in count())
            task = next(draft for draft in drafts if draft.prompt not in made)
            made[task.prompt] = task
    return list(made.values())


def _task(seed: int, split: Split, number: int, name: str, wording: str | list[str], attempt: int) -> Task:
    task_id = f"{split}-{number:03}-{name.replace('_', '-')}"
    rng = random.Random(f"task {task_id} {seed}")
    project_seed = seed * 1000 + number + attempt * 1_000_000
    slots, plan = KINDS[name].draft(Given(project(project_seed, split), Vocabulary(split, rng), rng))
    text, answer = (wording, "") if isinstance(wording, str) else wording
    category, prompt = KINDS[name].category, text.format(**slots)
    return Task(task_id, split, category, name, prompt, project_seed, plan, slots, answer)


@cache
def _wordings(split: Split) -> dict[str, list[str | list[str]]]:
    text = files("tracemill.demo").joinpath("phrases.toml").read_text("utf-8")
    return cast(dict[str, dict[str, list[str | list[str]]]], tomllib.loads(text))[split]
