"""The tasks of the demo: what splits must not share, and that no call is a guess."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.resources import files
from itertools import combinations
from typing import get_args

import pytest

from tracemill.demo.kinds import KINDS
from tracemill.demo.project import Split, project, words
from tracemill.demo.tasks import Task, tasks

SPLITS: tuple[Split, ...] = get_args(Split)
PAIRS = list(combinations(SPLITS, 2))
WORDINGS: dict[str, dict[str, list[str | list[str]]]] = tomllib.loads(
    files("tracemill.demo").joinpath("phrases.toml").read_text("utf-8")
)


def _of(split: Split, seed: int = 0) -> list[Task]:
    return [task for task in tasks(seed) if task.split == split]


def _prompts(split: Split, kind: str) -> list[str]:
    return [wording if isinstance(wording, str) else wording[0] for wording in WORDINGS[split][kind]]


def test_there_are_enough_of_every_kind() -> None:
    assert {split: len(_of(split)) for split in SPLITS} == {"train": 400, "valid": 24, "test": 66}
    for split in SPLITS:
        assert {task.kind for task in _of(split)} == KINDS.keys()
    for name, kind in KINDS.items():
        assert kind.test >= 2, name
        # A kind of two or three calls is fewer tasks, but not fewer words of explanation to learn from.
        assert len(_prompts("train", name)) >= 10, name
    share = sum(not task.plan for task in _of("train")) / 400
    assert 0.12 < share < 0.15


def test_a_seed_gives_the_same_tasks_each_time_and_another_seed_others() -> None:
    assert tasks(0) == tasks(0)
    first, second = tasks(0), tasks(1)
    assert [task.id for task in first] != [task.id for task in second]
    fresh = {task.prompt for task in second if task.slots and task.plan} - {task.prompt for task in first}
    assert len(fresh) > 0.9 * sum(bool(task.slots and task.plan) for task in second)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_two_tasks_have_the_same_prompt_or_id(seed: int) -> None:
    made = tasks(seed)
    assert len({" ".join(task.prompt.casefold().split()) for task in made}) == len(made)
    assert len({task.id for task in made}) == len(made)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_word(one: Split, other: Split) -> None:
    mine, theirs = ({word for listed in words(split).values() for word in listed} for split in (one, other))
    assert mine & theirs == set()


@pytest.mark.parametrize("split", SPLITS)
def test_words_can_be_names_of_modules(split: Split) -> None:
    listed = [word for kind in words(split).values() for word in kind]
    assert all(re.fullmatch("[a-z_]+", word) for word in listed)
    assert len(listed) == len(set(listed))
    assert set(listed) & set(sys.stdlib_module_names) == set(), (
        "would shadow the standard library in a script"
    )


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_wording(one: Split, other: Split) -> None:
    """Also not one that differs in quotes, case, punctuation or a `please` only."""

    def plain(split: Split) -> set[str]:
        wordings = [prompt for kind in KINDS for prompt in _prompts(split, kind)]
        cleaned = (re.sub(r"[^a-z{} ]|\bplease\b", "", wording.casefold()) for wording in wordings)
        return {" ".join(wording.split()) for wording in cleaned}

    assert plain(one) & plain(other) == set()


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_path_and_no_identifier(one: Split, other: Split) -> None:
    def names(split: Split) -> set[str]:
        found: set[str] = set()
        for task in _of(split):
            made = task.project()
            found |= task.files_after().keys() | set(task.slots.values())
            found |= {folder for path in made.files for folder in path.split("/")}
            found |= {name for module in made.modules for name in module.names}
            found |= {f"tool argument {value}" for step in task.plan for value in step.arguments.values()}
        return found - {"tool argument ."}

    assert names(one) & names(other) == set()


def test_every_argument_stands_in_the_prompt_or_in_an_earlier_result() -> None:
    for task in tasks():
        for number, step in enumerate(task.plan):
            for name, value in step.arguments.items():
                if taken := step.taken.get(name):
                    told = task.plan[taken.step].shows[0]
                    assert taken.step < number
                    assert told.startswith(value), (task.id, told, value)
                elif task.kind == "root":
                    assert value == "."
                elif name == "command":
                    rule = re.fullmatch(r"(?:python(?: -m unittest)?|wc -l) (\S+)(?: (\S+))?", value)
                    assert rule, value
                    assert all(word in task.prompt for word in rule.groups() if word), (task.id, value)
                else:
                    assert value in task.prompt, (task.id, value)


def test_what_a_task_finds_is_in_one_place() -> None:
    for task in tasks():
        made = task.project()
        if task.kind.startswith("search_read") or task.kind == "phrase":
            assert len(task.plan[0].shows) == 1, task.id
        if task.kind in ("list_read", "list_copy"):
            assert made.entries(task.slots["folder"]) == [made.memo]
        if "target" in task.slots:
            assert task.slots["target"] not in made.files


def test_written_lines_are_short() -> None:
    lines = [task.slots["line"] for task in tasks() if task.kind == "write"]
    assert all(2 <= len(line.split()) <= 6 or re.fullmatch(r"\w+: \w+", line) for line in lines)
    assert len(set(lines)) == len(lines)


def test_a_project_is_the_same_each_time() -> None:
    assert project(7, "test") == project(7, "test")
    assert project(7, "test").files != project(8, "test").files
    made = project(7, "test")
    assert made.entries(".") == sorted({path.split("/")[0] + "/" * ("/" in path) for path in made.files})
