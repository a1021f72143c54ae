"""Result files: what a killed run leaves, what is read back, and evaluations compared on the items they share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item, exactly
from tracemill.evaluate.results import (
    Header,
    Stored,
    folder,
    headers,
    known_texts,
    read_results,
    stored_item,
    streaming,
    write_results,
)
from tracemill.evaluate.scoring import score
from tracemill.evaluate.stored_comparison import compare_stored, find_evaluations
from tracemill.tracer.home import Home

RIGHT, WRONG = encode("", [Call("now", {})]), "It is noon \ud800."
HEADER = Header("0123456789abcdef", "mine/test", "s", "smollm2-135m", "b", None, None, 256)


def item(name: str, asked: str = "What time is it?") -> Item:
    return Item(
        name,
        name,
        "time",
        "call",
        [{"role": "user", "content": asked}],
        [],
        {"role": "assistant", "content": ""},
        calls=exactly([Call("now", {})]),
        source="here",
    )


def evaluated(header: Header, outcomes: dict[str, bool], asked: str = "What time is it?") -> Stored:
    rows = [(item(name, asked), RIGHT if right else WRONG) for name, right in outcomes.items()]
    return Stored(header, [stored_item(one, text, score(one, text), RIGHT) for one, text in rows])


def tuned(name: str, **changes: str) -> Header:
    return replace(
        HEADER, **{"evaluation": (name * 16)[:16], "adapter": name, "adapter_sha256": name} | changes
    )


def keep(home: Home, *evaluations: Stored) -> list[Path]:
    return [write_results(home, one.header, one.items) for one in evaluations]


def test_what_is_written_is_read_back_and_is_the_same_bytes_twice(home: Home) -> None:
    stored = evaluated(HEADER, {"a": True, "b": False})
    (path,) = keep(home, stored)
    first = path.read_bytes()
    assert read_results(path) == stored
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert keep(home, stored) == [path] and path.read_bytes() == first
    assert [header for _, header in headers(home)] == [HEADER]
    assert known_texts(home, HEADER.evaluation) == {"a": RIGHT, "b": WRONG.replace("\ud800", "?")}


def test_a_killed_run_leaves_every_completion_but_the_torn_one(home: Home) -> None:
    with pytest.raises(KeyboardInterrupt), streaming(home, "e") as add:
        add("a", "one\n")
        add("b", "two \ud800")
        raise KeyboardInterrupt
    (part,) = folder(home).iterdir()
    with part.open("ab") as file:
        file.write(b'\n{"id": "c", "te')
    assert known_texts(home, "e") == {"a": "one\n", "b": "two \ud800"}
    with streaming(home, "e") as add:
        add("c", "three")
    assert known_texts(home, "e") == {"a": "one\n", "b": "two \ud800", "c": "three"}
    write_results(home, replace(HEADER, evaluation="e"), [])
    assert [file.name for file in folder(home).iterdir()] == ["e.jsonl"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no result file"),
        ("not JSON\n", "is no result file"),
        ('{"version": 7}\n', "is a result file of version 7, and this is version 1: evaluate again"),
        ("[]\n", "of version None"),
        ('{"version": 1}\n', "is damaged"),
        (json.dumps({"version": 1, **asdict(HEADER)}) + '\n{"id": "a"}\n', "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text(text)
    with pytest.raises(EvaluationError) as found:
        read_results(file)
    assert told in str(found.value) and "\n" not in str(found.value)


def outcomes(right: Sequence[bool]) -> dict[str, bool]:
    return {f"i{number}": one for number, one in enumerate(right)}


def test_only_shared_items_are_compared_and_the_others_counted() -> None:
    base = evaluated(HEADER, outcomes([False] * 10) | {"mine": True})
    other = evaluated(tuned("aa"), outcomes([True] * 8 + [False] * 2) | {"yours": True, "too": True})
    (found,) = compare_stored([base, other])
    assert (found.shared, found.left_out, found.comparison.verdict.word) == (10, (1, 2), "better")
    assert [one.id for one, _ in found.flips] == [f"i{i}" for i in range(8)]
    changed = evaluated(tuned("bb"), outcomes([True] * 10), asked="What day is it?")
    with pytest.raises(EvaluationError, match="have no item in common"):
        compare_stored([base, changed])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_turned_round_gains_are_losses(pairs: list[tuple[bool, bool]]) -> None:
    one = evaluated(HEADER, outcomes([first for first, _ in pairs]))
    other = evaluated(tuned("aa"), outcomes([second for _, second in pairs]))
    (there,), (back,) = compare_stored([one, other]), compare_stored([other, one])
    assert there.comparison.gained == back.comparison.lost
    assert there.comparison.calls.test.p == back.comparison.calls.test.p
    if there.comparison.verdict.word == "better":
        assert back.comparison.verdict.word == "worse"


def test_an_adapter_a_base_an_evaluation_and_a_file_can_be_named(home: Home) -> None:
    base, other = evaluated(HEADER, outcomes([True])), evaluated(tuned("aa"), outcomes([True]))
    paths = keep(home, base, other)
    for names in (
        ("smollm2-135m", "aa"),
        ("01234567", "/project/adapters/aa"),
        (str(paths[0]), "aaaaaaaa"),
    ):
        assert find_evaluations(home, names) == [base, other]
    keep(home, evaluated(tuned("aa", evaluation="f" * 16, suite="bfcl (quick)"), outcomes([True])))
    assert find_evaluations(home, ["smollm2-135m", "aa"]) == [base, other]
    keep(home, evaluated(replace(HEADER, evaluation="e" * 16, suite="bfcl (quick)"), outcomes([True])))
    with pytest.raises(
        EvaluationError, match=r"was evaluated on bfcl \(quick\), mine/test; name one with --suite"
    ):
        find_evaluations(home, ["smollm2-135m", "aa"])
    found = find_evaluations(home, ["smollm2-135m", "aa"], "bfcl")
    assert {one.header.suite for one in found} == {"bfcl (quick)"}
    with pytest.raises(EvaluationError, match="There is no evaluation of bb"):
        find_evaluations(home, ["smollm2-135m", "bb"])
    with pytest.raises(EvaluationError, match="was not evaluated on guard"):
        find_evaluations(home, ["smollm2-135m", "aa"], "guard")
