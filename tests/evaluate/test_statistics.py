"""Intervals and tests against published and hand-computed values, and their coverage by simulation."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.evaluate.statistics import (
    by_session,
    detectable_gain,
    graded_difference,
    holm,
    mcnemar,
    paired_difference,
    pass_at_k,
    pass_hat_k,
    permutation,
    power,
    proportion,
)


def alone(n: int) -> list[str]:
    return [f"session {i}" for i in range(n)]


def share(right: int, n: int) -> list[bool]:
    return [i < right for i in range(n)]


def table(both: int, only_after: int, only_before: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Outcomes before and after of a paired two by two table."""
    before = [True] * both + [False] * only_after + [True] * only_before + [False] * neither
    after = [True] * both + [True] * only_after + [False] * only_before + [False] * neither
    return before, after


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998_table_1(
    right: int, n: int, low: float, high: float
) -> None:
    found = proportion(share(right, n), alone(n))
    assert (found.estimate, round(found.low, 4), round(found.high, 4)) == (right / n, low, high)


def test_newcombe_gives_the_published_interval_of_a_paired_table() -> None:
    """Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850: airway hyper-responsiveness of Bentur et al."""
    before, after = table(both=1, only_after=1, only_before=7, neither=12)
    found = paired_difference(before, after, alone(21))
    assert found.estimate == pytest.approx(-6 / 21)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.507, -0.026)


def test_newcombe_with_correlated_pairs_by_hand() -> None:
    """both 20, gained 5, lost 1, neither 10 of 36; Wilson 25/36 [0.5314, 0.8200], 21/36 [0.4220, 0.7286].

    ad - bc = 195, less n/2 = 177; phi = 177 / sqrt(25 * 11 * 21 * 15) = 0.601388
    """
    before, after = table(both=20, only_after=5, only_before=1, neither=10)
    found = paired_difference(before, after, alone(36))
    below, above = (25 / 36 - 0.5314, 0.7286 - 21 / 36), (0.8200 - 25 / 36, 21 / 36 - 0.4220)
    for (a, b), limit, sign in ((below, found.low, -1), (above, found.high, 1)):
        assert limit == pytest.approx(4 / 36 + sign * (a * a + b * b - 2 * 0.601388 * a * b) ** 0.5, abs=2e-4)


def test_every_item_gained_is_not_taken_as_certainty() -> None:
    found = paired_difference([False] * 36, [True] * 36, alone(36))
    wilson_low = proportion([True] * 36, alone(36)).low
    assert found.estimate == found.high == 1
    assert found.low == pytest.approx(1 - (2 * (1 - wilson_low) ** 2) ** 0.5)


def test_mcnemar_by_hand_and_published() -> None:
    before, after = table(both=3, only_after=10, only_before=2, neither=4)
    test = mcnemar(before, after)
    assert (test.n, test.gained, test.lost) == (19, 10, 2)
    assert test.p == pytest.approx(2 * (comb(12, 0) + comb(12, 1) + comb(12, 2)) / 2**12)
    # Cavo et al. 2012 in Fagerland et al. 2017, "Statistical Analysis of Contingency Tables", chapter 8
    assert round(mcnemar(*table(59, 6, 16, 80)).p, 6) == 0.052479
    assert mcnemar(*table(4, 0, 0, 4)).p == 1


def test_a_session_is_right_when_all_its_items_are() -> None:
    assert by_session([True, False, True, True], ["a", "a", "b", "c"]) == {"a": False, "b": True, "c": True}


def test_items_that_repeat_each_other_widen_the_interval_to_that_of_sessions() -> None:
    sessions = [name for name in alone(30) for _ in range(5)]
    outcomes = [right for right in share(21, 30) for _ in range(5)]
    clustered, as_if_alone = proportion(outcomes, sessions), proportion(outcomes, alone(150))
    one_a_session = proportion(share(21, 30), alone(30))
    assert clustered.low < one_a_session.low < as_if_alone.low
    assert clustered.high > one_a_session.high > as_if_alone.high


def test_one_session_tells_nothing_of_others() -> None:
    assert (proportion([True] * 9, ["a"] * 9).low, proportion([True] * 9, ["a"] * 9).high) == (0, 1)
    found = paired_difference([False] * 9, [True] * 9, ["a"] * 9)
    assert (found.low, found.high) == (-1, 1)


def test_no_items_no_share() -> None:
    with pytest.raises(ValueError, match="no items"):
        proportion([], [])


OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=1, max_size=60)


@given(OUTCOMES)
def test_intervals_hold_their_estimate_and_turn_with_the_question(rows: list[tuple[bool, bool, int]]) -> None:
    before, after = [row[0] for row in rows], [row[1] for row in rows]
    sessions = [str(row[2]) for row in rows]
    one = proportion(after, sessions)
    assert 0 <= one.low <= one.estimate + 1e-9 and one.estimate - 1e-9 <= one.high <= 1
    gain, loss = paired_difference(before, after, sessions), paired_difference(after, before, sessions)
    assert -1 <= gain.low <= gain.estimate + 1e-9 and gain.estimate - 1e-9 <= gain.high <= 1
    assert (gain.low, gain.high) == (pytest.approx(-loss.high), pytest.approx(-loss.low))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_tail(gained: int, lost: int) -> None:
    n = gained + lost
    tail = sum(comb(n, i) for i in range(min(gained, lost) + 1)) / 2**n
    assert mcnemar(*table(2, gained, lost, 3)).p == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize(("rate", "correlation"), [(0.3, 0.5), (0.9, 0.3), (0.97, 0.6)])
def test_intervals_of_clustered_items_hold_the_truth_95_times_in_100(rate: float, correlation: float) -> None:
    rng = np.random.default_rng(1)
    spread = (1 - correlation) / correlation
    held = held_by_naive = 0
    for _ in range(400):
        sizes = rng.integers(1, 7, 20)
        rates = rng.beta(rate * spread, (1 - rate) * spread, 20)
        sessions = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
        outcomes = [bool(x) for size, p in zip(sizes, rates, strict=True) for x in rng.random(size) < p]
        found, naive = proportion(outcomes, sessions), proportion(outcomes, alone(len(outcomes)))
        held += found.low <= rate <= found.high
        held_by_naive += naive.low <= rate <= naive.high
    assert held / 400 > 0.92
    assert held_by_naive / 400 < 0.92


def test_intervals_of_a_difference_hold_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        sizes = rng.integers(1, 7, 20)
        old, new = rng.beta(0.9, 2.1, 20), rng.beta(1.8, 1.2, 20)
        sessions = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
        draws = [rng.random(size) for size in sizes]
        before = [bool(x) for draw, p in zip(draws, old, strict=True) for x in draw < p]
        after = [bool(x) for draw, p in zip(draws, new, strict=True) for x in draw < p]
        found = paired_difference(before, after, sessions)
        held += found.low <= 0.3 <= found.high
    assert held / 400 > 0.92


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(3)
    draws = rng.multinomial(30, [0.3, 0.05, 0.65], size=2000)
    found = np.mean([mcnemar(*table(0, a, b, c)).p < 0.05 and a > b for a, b, c in draws.tolist()])
    assert power(30, 0.3, 0.05) == pytest.approx(found, abs=0.03)


def test_detectable_gain() -> None:
    """Six one-way changes are the fewest that reach 5%: 2 / 2**6 = 0.031."""
    assert detectable_gain(5) is None
    assert detectable_gain(6) == pytest.approx(0.8 ** (1 / 6), abs=0.001)
    gain = detectable_gain(36)
    assert gain is not None and power(36, gain, 1e-9) >= 0.8 > power(36, gain - 0.002, 1e-9)
    noisy = detectable_gain(36, lost=0.1)
    assert noisy is not None and noisy > gain


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_of_right_and_wrong_the_permutation_test_is_mcnemars(pairs: list[tuple[bool, bool]]) -> None:
    before, after = [one for one, _ in pairs], [other for _, other in pairs]
    exact = mcnemar(before, after)
    found = permutation([*map(float, before)], [*map(float, after)], alone(len(pairs)))
    assert (found.n, found.gained, found.lost) == (exact.n, exact.gained, exact.lost)
    assert found.p == pytest.approx(exact.p)


def test_graded_scores_of_one_session_count_once() -> None:
    """30 items, all a little better, of 3 sessions: 2 / 2**3 is all that can be shown."""
    sessions = [str(i % 3) for i in range(30)]
    before, after = [0.2] * 30, [0.3 + 0.01 * (i % 3) for i in range(30)]
    assert permutation(before, after, sessions).p == 0.25
    found = graded_difference(before, after, sessions)
    assert found.estimate == pytest.approx(0.11) and found.low <= 0.1 and found.high >= 0.12


def test_intervals_of_graded_differences_hold_the_truth_and_are_always_the_same() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(60):
        index = np.repeat(np.arange(20), rng.integers(1, 7, 20))
        before = rng.uniform(0.3, 0.5, len(index))
        after = before + rng.normal(0.1, 0.15, 20)[index]
        sessions = [str(i) for i in index]
        found = graded_difference(before.tolist(), after.tolist(), sessions)
        held += found.low <= 0.1 <= found.high
    assert held >= 53
    twice = [graded_difference([0.1, 0.5, 0.3], [0.4, 0.2, 0.9], ["a", "b", "c"]) for _ in range(2)]
    assert twice[0] == twice[1]


def test_equal_gains_are_not_taken_for_certainty() -> None:
    found = graded_difference([0.5] * 10, [0.5] * 10, alone(10))
    assert (found.estimate, found.low, found.high) == (0.0, -0.3, 0.3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_correction_for_several_never_helps_and_keeps_the_order(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= q <= min(1.0, p * len(ps)) for p, q in zip(ps, found, strict=True))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [found[i] for i in order] == sorted(found)


def test_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02]) == [0.02]


@given(st.integers(1, 8), st.data())
def test_pass_at_k_and_pass_hat_k_are_shares_of_all_draws(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(combinations([i < right for i in range(n)], k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_hat_k(n, right, k) == pytest.approx(sum(map(all, draws)) / len(draws))
