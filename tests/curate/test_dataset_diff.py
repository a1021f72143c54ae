"""What `dataset diff` pairs: each row once, with the one that is the same before one that changed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat_sets import call_text, pair, structured, talk, write
from tracemill.curate.datasets.differences import Difference, compare
from tracemill.curate.datasets.facts import scan
from tracemill.curate.datasets.filtering import sieve
from tracemill.curate.datasets.opened import find
from tracemill.curate.datasets.sides import Line, messages_of, side_by_side
from tracemill.curate.recipe import parse
from tracemill.tracer.home import Home


def diff(home: Home, a: Path, b: Path) -> Difference:
    return compare(scan(find(a, home)).rows, scan(find(b, home)).rows)


def test_every_way_in_which_rows_differ(tmp_path: Path, home: Home) -> None:
    a = write(
        tmp_path / "a",
        {
            "train": [
                talk("same"),
                talk("moved"),
                talk("changed", "old"),
                talk("gone"),
                talk("twice"),
                talk("twice"),
            ],
            "test": [talk("renamed", "x", id="7")],
        },
    )
    b = write(
        tmp_path / "b",
        {
            "train": [talk("new"), talk("changed", "new"), talk("same", id="else"), talk("twice")],
            "valid": [talk("moved"), talk("other words", "y", id="7")],
        },
    )
    found = diff(home, a, b)
    assert found.counts() == {
        "a": 7,
        "b": 6,
        "same": 3,
        "moved": 1,
        "moved_between": {"train to valid": 1},
        "changed": 2,
        "only_a": 2,
        "only_a_again": 1,
        "only_b": 1,
        "only_b_again": 0,
    }
    assert found.changed.select("file_a", "line_a", "file_b", "line_b").rows() == [
        ("test.jsonl", 1, "valid.jsonl", 2),
        ("train.jsonl", 3, "train.jsonl", 2),
    ]
    assert found.only_a["prompt"].to_list() == ["gone", "twice"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (talk("q", "a"), talk("q", "a ")),
        (talk("q", call_text(path="a")), talk("q", call_text(path="b"))),
        (structured("q"), structured("q", '{"path": "b.py"}')),
        (structured("q"), structured("q") | {"tools": []}),
        (
            {
                "messages": [
                    *talk("q")["messages"][:1],
                    {"role": "assistant", "content": "Done.", "weight": 0},
                ]
            },
            talk("q"),
        ),
        (pair("q", "a", "b"), pair("q", "a", "c")),
    ],
)
def test_the_smallest_difference_is_one(
    tmp_path: Path, home: Home, a: dict[str, Any], b: dict[str, Any]
) -> None:
    folders = [write(tmp_path / name, {"train": [row]}) for name, row in (("a", a), ("b", b))]
    counts = diff(home, *folders).counts()
    assert (counts["same"], counts["changed"]) == (0, 1)


LETTERS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=10)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LETTERS, LETTERS, st.randoms(use_true_random=False))
def test_each_row_is_paired_once_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, home: Home, a: Any, b: Any, rng: random.Random
) -> None:
    root = tmp_path_factory.mktemp("sets")
    left, right, mixed = (
        write(root / name, {"train": [talk(*said) for said in listed]})
        for name, listed in (("a", a), ("b", b), ("c", rng.sample(b, len(b))))
    )
    counts = diff(home, left, right).counts()
    assert counts == diff(home, left, mixed).counts()
    assert (counts["a"], counts["b"]) == (len(a), len(b))
    assert counts["same"] == sum(min(a.count(said), b.count(said)) for said in set(a))
    back = diff(home, right, left).counts()
    assert (back["same"], back["changed"], back["only_b"]) == (
        counts["same"],
        counts["changed"],
        counts["only_a"],
    )
    itself = diff(home, left, left).counts()
    assert (itself["same"], itself["changed"], itself["only_a"]) == (len(a), 0, 0)


def test_side_by_side_shows_what_differs_and_a_little_around_it() -> None:
    code = [f"line {number}" for number in range(9)]
    left: Any = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "\n".join(code)}]
    changed = "\n".join([*code[:4], "line four", *code[5:]])
    right: Any = [{"role": "user", "content": "q"}, {"role": "tool", "content": changed}]
    assert list(side_by_side(left, right)) == [
        Line("[1] assistant", "[1] tool", same=True),
        Line("line 2", "line 2", same=True),
        Line("line 3", "line 3", same=True),
        Line("line 4", "line four", same=False),
        Line("line 5", "line 5", same=True),
        Line("line 6", "line 6", same=True),
    ]
    assert list(side_by_side(left[:1], left))[:2] == [
        Line(None, "[1] assistant", same=True),
        Line(None, "line 0", same=False),
    ]
    far: Any = [[{"role": "user", "content": "a" * 1000 + end}] for end in ("x", "y")]
    (_, line) = side_by_side(far[0], far[1])
    assert line == Line("... " + "a" * 40 + "x", "... " + "a" * 40 + "y", same=False)


def test_the_messages_of_a_pair_are_shown(tmp_path: Path, home: Home) -> None:
    folder = write(tmp_path / "a", {"train": [pair("q", "yes", "no")]})
    found = messages_of(find(folder, home), pl.DataFrame({"file": ["train.jsonl"], "line": [1]}))
    assert [one["content"] for one in found["train.jsonl", 1]] == ["q", "yes", "no"]


def test_two_steps_come_near_to_what_people_cleaned_by_hand(
    shared_data: Path, home: Home, tmp_path: Path
) -> None:
    recipe = parse('name = "two"\n[rewrites.preambles]\n[steps.duplicates]\n', "two")
    sieve(find(shared_data / "punie" / "phase27-augmented", home), recipe, tmp_path / "two", home)
    counts = diff(home, tmp_path / "two", shared_data / "punie" / "phase27-cleaned").counts()
    assert (counts["a"], counts["b"], counts["same"]) == (1040, 1036, 967)
    assert (counts["changed"], counts["only_a"], counts["only_b"]) == (69, 4, 0)
