"""Base against adapter on the same items: counts, flips, per category, verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.chat.proof import Row
from tracemill.evaluate.comparison import compare, corrected
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.items import Answer, items
from tracemill.evaluate.scoring import score

RIGHT = encode("", [Call("read_file", {"path": "a.py"})])
LOOSE = encode("", [Call("read_file", {"path": "./A.py"})])
WRONG = encode("", [Call("list_files", {"path": "a.py"})])
WORDS = "I would read it."


def results(texts: list[tuple[str, str, str, str]]) -> list[ItemResult]:
    """One result for each (session, category, expected, got)."""
    found: list[ItemResult] = []
    for number, (session, category, expected, got) in enumerate(texts):
        row: Row = {
            "id": f"r{number}",
            "session_id": session,
            "category": category,
            "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": expected}],
            "tools": [],
        }
        item = items([row])[0]
        found.append(ItemResult(item, got, score(item, got)))
    return found


BASE = results(
    [(f"s{i}", "read" if i < 6 else "list", RIGHT, RIGHT if i == 0 else WORDS) for i in range(12)]
    + [("d0", "chat", WORDS, "Yes."), ("d1", "chat", WORDS, RIGHT)]
)
ADAPTER = results(
    [(f"s{i}", "read" if i < 6 else "list", RIGHT, LOOSE if i == 0 else RIGHT) for i in range(12)]
    + [("d0", "chat", WORDS, "Yes."), ("d1", "chat", WORDS, "No.")]
)


def test_a_comparison_by_hand() -> None:
    found = compare(BASE, ADAPTER)
    calls = found.calls
    assert (calls.n, calls.sessions, calls.base.estimate, calls.adapter.estimate) == (12, 12, 1 / 12, 11 / 12)
    assert (calls.test.gained, calls.test.lost) == (11, 1)
    assert calls.test.p == pytest.approx(2 * 13 / 2**12)
    assert calls.difference.estimate == pytest.approx(10 / 12)
    assert found.lenient.adapter.estimate == 1
    assert [(group.name, group.n, group.adapter.estimate) for group in found.categories] == [
        ("list", 6, 1.0),
        ("read", 6, pytest.approx(5 / 6)),
    ]
    assert found.direct is not None
    assert (found.direct.n, found.direct.base.estimate, found.direct.adapter.estimate) == (2, 0.5, 1.0)
    assert found.gained == [f"r{i}#1" for i in range(1, 12)] + ["r13#1"]
    assert found.lost == ["r0#1"]
    assert found.failures == {"no-call": (11, 0), "unwanted-call": (1, 0), "wrong-value": (0, 1)}
    assert found.verdict.word == "better"
    assert "11 sessions gained and 1 lost of 12, p = 0.0063" in found.verdict.reason


def test_turned_round_it_is_worse() -> None:
    assert compare(ADAPTER, BASE).verdict.word == "worse"


def test_a_model_against_itself_is_never_better() -> None:
    found = compare(BASE, BASE)
    assert (found.gained, found.lost, found.calls.test.p) == ([], [], 1.0)
    assert found.verdict.word == "undecided"


def test_forty_items_of_four_sessions_do_not_pass_for_forty() -> None:
    """All 40 items are gained, but 4 sessions cannot reach 5%: 2 / 2**4 = 0.125."""
    texts = [(f"s{i % 4}", "read", RIGHT, WORDS) for i in range(40)]
    found = compare(results(texts), results([(*text[:3], RIGHT) for text in texts]))
    assert (found.calls.n, found.calls.sessions, found.calls.test.p) == (40, 4, 0.125)
    assert found.verdict.word == "undecided"
    assert found.detectable is None


def test_without_calls_what_there_is_is_compared() -> None:
    found = compare(BASE[12:], ADAPTER[12:])
    assert (found.calls.name, found.calls.n, found.calls.adapter.estimate) == ("direct answers", 2, 1.0)
    assert found.direct is None and found.verdict.word == "undecided"
    assert "points of direct answers" in found.verdict.reason


def test_graded_answers_are_compared_by_their_scores() -> None:
    """Every answer half right before and three quarters after: nothing is right, and much is better."""
    parts = Answer(partial=("one", "two", "three", "four"))
    asked = [
        replace(BASE[0].item, id=f"a{i}", session_id=f"a{i}", kind="answer", calls=(), answer=parts)
        for i in range(12)
    ]
    before = [ItemResult(item, "one two", score(item, "one two")) for item in asked]
    after = [ItemResult(item, "one two three", score(item, "one two three")) for item in asked]
    found = compare(before, after)
    assert (found.calls.base.estimate, found.calls.adapter.estimate) == (0.5, 0.75)
    assert found.calls.difference.estimate == 0.25 and found.calls.test.p == pytest.approx(2 / 2**12)
    assert found.verdict.word == "better" and found.gained == []


def test_one_of_many_adapters_is_better_only_beyond_chance() -> None:
    """8 gained of 12 is p = 0.0078 alone, and 0.078 as the best of ten."""
    some = results([(f"s{i}", "read", RIGHT, RIGHT if i < 8 else WORDS) for i in range(12)])
    none = results([(f"s{i}", "read", RIGHT, WORDS) for i in range(12)])
    assert compare(none, some).verdict.word == "better"
    ten = corrected([compare(none, some), *(compare(none, none) for _ in range(9))])
    assert ten[0].calls.test.p == pytest.approx(10 * 2 / 2**8)
    assert ten[0].verdict.word == "undecided"
    assert "(corrected for 10 comparisons)" in ten[0].verdict.reason


def test_results_on_other_items_or_on_none_are_refused() -> None:
    with pytest.raises(EvaluationError, match="different items"):
        compare(BASE, ADAPTER[1:])
    with pytest.raises(EvaluationError, match="nothing to compare"):
        compare([], [])
