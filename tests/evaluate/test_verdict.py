"""Which evidence leads to which verdict, and that its reason says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.evaluate.statistics import Interval, PairedTest
from tracemill.evaluate.verdict import Verdict, Word, judge, p_value, points, with_guard

CLEAR = PairedTest(36, 30, 1, 2.98e-8)
UNCLEAR = PairedTest(12, 3, 1, 0.625)


def test_a_clear_gain_is_better_and_the_reason_holds_the_numbers() -> None:
    verdict = judge(CLEAR, Interval(0.806, 0.64, 0.89), direct_change=0.0, detectable=0.21)
    assert verdict.word == "better"
    assert verdict.reason == (
        "The adapter gains: +80.6 points of exact tool calls (95% interval +64.0 to +89.0), "
        "30 sessions gained and 1 lost of 36, p < 0.0001."
    )


def test_a_gain_paid_with_direct_answers_is_not_better() -> None:
    verdict = judge(CLEAR, Interval(0.806, 0.64, 0.89), direct_change=-0.17, detectable=0.21)
    assert verdict.word == "not better"
    assert verdict.reason.startswith("Direct answers changed by −17.0 points, beyond the limit of −10.0: ")


def test_ten_points_of_direct_answers_are_allowed() -> None:
    assert judge(CLEAR, Interval(0.8, 0.6, 0.9), direct_change=0.8 - 0.9, detectable=0.2).word == "better"


def test_better_without_direct_answers_says_so() -> None:
    assert "no direct answer was asked for" in judge(CLEAR, Interval(0.8, 0.6, 0.9), None, 0.2).reason


def test_a_clear_loss_is_worse() -> None:
    verdict = judge(PairedTest(36, 1, 20, 0.00002), Interval(-0.5, -0.7, -0.3), 0.0, 0.2)
    assert verdict.word == "worse"


def test_an_interval_below_the_margin_is_not_better_and_a_wide_one_undecided() -> None:
    assert judge(PairedTest(300, 4, 6, 0.75), Interval(-0.007, -0.03, 0.02), 0.0, 0.05).word == "not better"
    verdict = judge(UNCLEAR, Interval(0.17, -0.2, 0.45), 0.0, 0.6)
    assert verdict.word == "undecided"
    assert verdict.reason.endswith("12 sessions reliably find a gain of 60 points or more.")
    assert judge(UNCLEAR, Interval(0.17, -0.2, 0.45), 0.0, None).reason.endswith("find no gain at all.")


def test_sessions_gained_but_items_lost_is_not_called_better() -> None:
    assert judge(PairedTest(20, 8, 1, 0.04), Interval(-0.02, -0.2, 0.15), 0.0, 0.3).word == "undecided"


RATES = st.floats(-1, 1)


@given(
    st.floats(0, 1), st.integers(0, 40), st.integers(0, 40), st.tuples(RATES, RATES, RATES), st.none() | RATES
)
def test_nothing_without_significance_or_with_lost_answers_is_better(
    p: float, gained: int, lost: int, ends: tuple[float, float, float], direct: float | None
) -> None:
    low, middle, high = sorted(ends)
    word = judge(PairedTest(80, gained, lost, p), Interval(middle, low, high), direct, 0.2).word
    if word == "better":
        assert p < 0.05 and middle > 0 and gained >= lost and (direct is None or direct >= -0.101)
    if word == "worse":
        assert p < 0.05 and gained < lost


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "+50.0"), (-0.034, "−3.4"), (0.0, "0.0"), (-0.0001, "0.0")]
)
def test_points(share: float, text: str) -> None:
    assert points(share) == text


def test_p_value() -> None:
    assert [p_value(p) for p in (0.04321, 0.5, 1.0, 3e-11)] == ["p = 0.043", "p = 0.5", "p = 1", "p < 0.0001"]


@pytest.mark.parametrize("word", ["better", "not better", "worse", "undecided"])
def test_what_lost_general_ability_is_never_better_and_says_so_first(word: Word) -> None:
    before = Verdict(word, "The calls.")
    assert with_guard(before, True, "All was kept.") == Verdict(word, "The calls. All was kept.")
    after = with_guard(before, False, "Ability fell.")
    if word == "worse":
        assert after == Verdict("worse", "The calls. Ability fell.")
    else:
        assert after == Verdict("not better", "Ability fell. The calls.")
