"""Which checkpoint is kept and when a run ends: by calls and by the guard, never by loss."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.train.choice import (
    Checkpoint,
    Judged,
    best,
    diverged,
    guard_lost,
    half_width,
    mildest,
    most_lost,
    over,
    over_seeds,
)

BASE = Judged(0.1, 20, {"english": 0.2, "python": 0.4})


def checkpoint(step: int, score: float | None, english: float = 0.2, loss: float = 1.0) -> Checkpoint:
    return Checkpoint(step, Judged(score, 20, {"english": english, "python": 0.4}), loss, loss)


def test_the_lowest_loss_is_not_the_best_checkpoint() -> None:
    # What over-fitting looks like: both losses go on falling, the calls were best in between.
    found = [checkpoint(10, 0.4, loss=2.0), checkpoint(20, 0.9, loss=1.0), checkpoint(30, 0.6, loss=0.1)]
    assert min(found, key=lambda one: one.train_loss or 0).step == 30
    chosen = best(BASE, found, 0.05)
    assert chosen is not None and chosen.step == 20


def test_the_best_calls_are_not_bought_with_general_ability() -> None:
    found = [
        checkpoint(10, 0.5, english=0.195),
        checkpoint(20, 0.9, english=0.18),
        checkpoint(30, 0.95, english=0.16),
    ]
    assert [round(guard_lost(BASE.guard, one.judged.guard), 3) for one in found] == [0.025, 0.1, 0.2]
    steps = [
        one.step if (one := best(BASE, found, allowed)) else None for allowed in (0.01, 0.05, 0.1, 0.3, None)
    ]
    assert steps == [None, 10, 10, 30, 30]  # 0.2 to 0.18 is more than a tenth, in binary
    assert best(None, found, 0.05) is found[2], "where the base was not judged nothing is lost"


def test_one_measure_that_falls_is_enough_and_what_the_base_cannot_do_says_nothing() -> None:
    assert guard_lost({"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.4}) == pytest.approx(0.2)
    assert most_lost({"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.4}) == ("b", pytest.approx(0.2))
    assert guard_lost({"a": 0.0, "b": 0.5}, {"a": 0.0, "b": 0.6}) == pytest.approx(-0.2)
    assert guard_lost({}, {}) == 0.0


def test_where_all_lose_too_much_the_mildest_above_the_floor_is_left() -> None:
    found = [
        checkpoint(10, 0.5, english=0.17),
        checkpoint(20, 0.9, english=0.16),
        checkpoint(30, 0.9, english=0.1),
    ]
    assert best(BASE, found, 0.05) is None
    assert mildest(BASE, found, floor=0.7) is found[0]
    assert mildest(BASE, found, floor=0.9) is None


def test_of_equal_scores_the_later_and_without_scores_the_last() -> None:
    equal = [checkpoint(10, 0.5), checkpoint(20, 0.5), checkpoint(30, 0.4)]
    assert best(BASE, equal, 0.05) is equal[1]
    none = [checkpoint(10, None), checkpoint(20, None)]
    assert best(None, none, None) is none[1]
    assert over(None, none, 1, 0.7, None) is None


def test_patience_counts_from_the_first_of_the_best() -> None:
    scores = [0.5, 0.6, 0.6, 0.55, 0.6]
    found = [checkpoint(10 * at, score) for at, score in enumerate(scores, 1)]
    ends = [over(BASE, found[:count], 3, 0.7, 0.05) for count in range(1, 6)]
    assert ends[:4] == [None] * 4
    assert ends[4] == "The last 3 checkpoints were no better than the one at step 20."
    assert over(BASE, found, None, 0.7, 0.05) is None


def test_below_the_floor_training_stops_at_once() -> None:
    found = [checkpoint(10, 0.9, english=0.1)]
    assert over(BASE, found, 3, 0.7, 0.05) == (
        "At step 10 50% of the base's general ability (english) was gone, more than the 30% that the floor allows."
    )
    assert over(BASE, found, 3, 0.4, 0.05) is None
    assert over(BASE, found, 3, 0.7, None) is None, "nobody asked for a guard"


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.5)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_what_is_kept_is_allowed_and_nothing_allowed_is_better(
    measured: list[tuple[float, float]], allowed: float
) -> None:
    found = [checkpoint(step, score, english) for step, (score, english) in enumerate(measured, 1)]
    fine = [one for one in found if guard_lost(BASE.guard, one.judged.guard) <= allowed]
    chosen = best(BASE, found, allowed)
    assert (chosen is None) == (not fine)
    if chosen:
        assert chosen in fine
        assert all(
            (one.judged.score or 0, one.step) <= (chosen.judged.score or 0, chosen.step) for one in fine
        )


def test_a_loss_that_rises_and_stays_diverges_and_a_hard_batch_does_not() -> None:
    start = [2.0, 2.1, 1.9, 2.0, 2.0]
    assert not diverged([*start, *[9.0] * 9])
    assert diverged([*start, *[9.0] * 10])
    assert not diverged([*start, *[9.0] * 9, 1.0])
    chance = random.Random(0)
    assert not diverged([*start, *[chance.uniform(0.1, 6) for _ in range(200)][-30:], 1.0])


def test_a_small_selection_split_says_how_little_it_tells() -> None:
    # Wilson's interval for 12 of 24: 0.3143 to 0.6857.
    assert half_width(0.5, 24) == pytest.approx(0.1857, abs=1e-4)
    assert half_width(1.0, 3) > 0.25
    assert half_width(0.5, 2000) < 0.03


def test_seeds_have_a_mean_and_students_interval() -> None:
    mean, low, high = over_seeds([0.5, 0.6, 0.7])
    # t(2, 0.975) = 4.3027, standard error 0.1 / sqrt(3)
    assert (mean, low, high) == pytest.approx((0.6, 0.6 - 0.24841, 0.6 + 0.24841), abs=1e-4)
    assert over_seeds([1.0, 0.9])[2] == 1.0
    with pytest.raises(ValueError, match="one seed"):
        over_seeds([0.5])
