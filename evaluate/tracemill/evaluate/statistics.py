"""Intervals and the paired tests behind a verdict.

In: right or wrong (or a score, 0..1) per item, and the session each item came from. Out: intervals, a paired
test, the smallest gain that could have been found. Items of one session are not independent, so intervals
rest on the effective number of items, and the test on one outcome a session.

Intervals are Wilson's and Newcombe's on the effective number of items rather than a cluster bootstrap: with
12 to 40 sessions of 1 to 7 items, true rates 0.3 to 0.97 and correlation within sessions 0.2 and 0.6, the
percentile bootstrap held the true rate in 46 to 95 of 100 samples, these in 92 to 98;
`tests/evaluate/test_statistics.py` repeats the latter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import stats

ALPHA = 0.05
POWER = 0.8
Z = float(stats.norm.ppf(1 - ALPHA / 2))


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test: of `n` pairs, `gained` are right only after, `lost` only before."""

    n: int
    gained: int
    lost: int
    p: float


def proportion(outcomes: Sequence[bool], sessions: Sequence[str]) -> Interval:
    """The share of right items, with Wilson's score interval on the effective number of items.

    Wilson 1927, J. Am. Stat. Assoc. 22:209; the effective number as Korn and Graubard 1998, Survey
    Methodology 24:193. ValueError without items.
    """
    right = _array(outcomes)
    rate = float(right.mean())
    low, high = _wilson(rate, _effective(right, rate * (1 - rate), sessions))
    return Interval(rate, low, high)


def paired_difference(before: Sequence[bool], after: Sequence[bool], sessions: Sequence[str]) -> Interval:
    """The share right after less the share right before, on the same items, with Newcombe's interval.

    Newcombe 1998, Stat. Med. 17:2635, method 10 ("square and add"), on the effective number of items.
    """
    old, new = _array(before), _array(after)
    change = new - old
    gain = float(change.mean())
    n = _effective(change, float((change**2).mean()) - gain**2, sessions)
    low, high = _newcombe(
        both=n * float((new * old).mean()),
        only_after=n * float((new * (1 - old)).mean()),
        only_before=n * float((old * (1 - new)).mean()),
        neither=n * float(((1 - old) * (1 - new)).mean()),
    )
    return Interval(gain, low, high)


def by_session(outcomes: Sequence[bool], sessions: Sequence[str]) -> dict[str, bool]:
    """One outcome a session: right when all its items are."""
    result: dict[str, bool] = {}
    for outcome, session in zip(outcomes, sessions, strict=True):
        result[session] = result.get(session, True) and outcome
    return result


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> PairedTest:
    """McNemar's exact two-sided test on independent pairs: a sign test of the pairs that changed.

    McNemar 1947, Psychometrika 12:153, in the exact conditional form.
    """
    pairs = list(zip(before, after, strict=True))
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    p = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return PairedTest(len(pairs), gained, lost, p)


def graded_difference(before: Sequence[float], after: Sequence[float], sessions: Sequence[str]) -> Interval:
    """The mean gain of graded scores (0..1), with the bootstrap interval over sessions.

    Sessions are drawn, not items: 9999 draws, bias-corrected and accelerated, always the same ones (Efron
    1987, J. Am. Stat. Assoc. 82:171), widened for few sessions (Hesterberg 2015, Am. Stat. 69:371). Where all
    sessions agree, what was not seen in k of them may still be in 3 of k (Hanley 1983, J. Am. Med. Assoc.
    249:1743).
    """
    gains, sizes = _by_session_sums(before, after, sessions)
    mean = float(gains.sum() / sizes.sum())
    if np.ptp(gains / sizes) < 1e-12:
        unseen = 3 / len(gains)
        return Interval(mean, max(-1.0, mean - unseen), min(1.0, mean + unseen))

    def ratio(gain: NDArray[np.float64], size: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return gain.sum(axis=axis) / size.sum(axis=axis)

    found = stats.bootstrap((gains, sizes), ratio, paired=True, rng=np.random.default_rng(0))
    k = len(gains)
    wider = float(stats.t.ppf(1 - ALPHA / 2, k - 1)) / Z * (k / (k - 1)) ** 0.5
    low, high = (mean + wider * (float(end) - mean) for end in found.confidence_interval)
    return Interval(mean, max(-1.0, low), min(1.0, high))


def permutation(before: Sequence[float], after: Sequence[float], sessions: Sequence[str]) -> PairedTest:
    """Whether graded scores changed: the sign of each session's gain is as good as turned round by chance.

    Two-sided; every way to turn the signs is tried where there are at most 9999, else 9999 drawn ones, always
    the same. `gained` and `lost` count sessions.
    """
    gains, _ = _by_session_sums(before, after, sessions)
    gains = np.where(np.abs(gains) < 1e-12, 0.0, gains)
    changed = gains[gains != 0]
    p = 1.0
    if len(changed) > 1:
        found = stats.permutation_test(
            (changed,), np.sum, permutation_type="samples", vectorized=True, rng=np.random.default_rng(0)
        )
        p = float(found.pvalue)
    return PairedTest(len(gains), int((gains > 0).sum()), int((gains < 0).sum()), p)


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for being several, in their order: Holm 1979, Scand. J. Stat. 6:65."""
    corrected = [0.0] * len(ps)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = highest
    return corrected


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that one of `k` samples is right, where `right` of `n` were (Chen et al. 2021)."""
    return 1.0 - comb(n - right, k) / comb(n, k)


def pass_hat_k(n: int, right: int, k: int) -> float:
    """pass^k: the chance that `k` samples are all right, where `right` of `n` were (Yao et al. 2024)."""
    return comb(right, k) / comb(n, k)


def power(n: int, gained: float, lost: float) -> float:
    """The chance that `mcnemar` on `n` pairs finds a gain at 5%, given the rates of gained and lost pairs.

    `gained` is above 0. The number of changed pairs is binomial, and so is the number gained among them
    (Duffy 1984, Biometrics 40:1005).
    """
    changed = np.arange(n + 1)
    found = stats.binom.sf(_needed(n) - 1, changed, gained / (gained + lost))
    return float(np.sum(stats.binom.pmf(changed, n, gained + lost) * found))


@lru_cache(maxsize=256)
def _needed(n: int) -> NDArray[np.float64]:
    """How many of 0 to `n` changed pairs must be gained for the test to find a gain."""
    return stats.binom.isf(ALPHA / 2, np.arange(n + 1), 0.5) + 1


def detectable_gain(n: int, lost: float = 0.0) -> float | None:
    """The smallest true gain that `mcnemar` on `n` pairs finds in 4 of 5 repetitions, where `lost` is lost.

    Found by bisection of `power`, to a thousandth; None where no gain at all would be found that often.
    """
    low, high = 0.0, 1.0 - 2 * lost
    if high <= 0 or power(n, lost + high, lost) < POWER:
        return None
    while high - low > 0.0005:
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, lost + middle, lost) >= POWER else (middle, high)
    return high


def _array(outcomes: Sequence[float]) -> NDArray[np.float64]:
    if not outcomes:
        raise ValueError("no items to take a share of")
    return np.asarray(outcomes, dtype=np.float64)


def _by_session_sums(
    before: Sequence[float], after: Sequence[float], sessions: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The summed gain and the number of items of every session, in the order of their names."""
    gain = _array(after) - _array(before)
    _, index = np.unique(np.asarray(sessions), return_inverse=True)
    return np.bincount(index, weights=gain).astype(np.float64), np.bincount(index).astype(np.float64)


def _effective(values: NDArray[np.float64], variance: float, sessions: Sequence[str]) -> float:
    """How many independent items are worth as much as these, which share sessions.

    The variance of independent values over the one between sessions (linearised ratio estimator), never more
    than there are items, and scaled for the few degrees of freedom of few sessions; the number of sessions
    where the values do not vary. 0 for a single session of several items, which tells nothing of others.
    """
    _, index = np.unique(np.asarray(sessions), return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    n, k = float(len(values)), len(sizes)
    if k == n:
        return n
    if k == 1:
        return 0.0
    residuals = np.bincount(index, weights=values) - float(values.mean()) * sizes
    between = k / (k - 1) * float(residuals @ residuals) / n**2
    size = float(k) if variance < 1e-12 or between < 1e-12 else min(n, variance / between)
    return size * (Z / float(stats.t.ppf(1 - ALPHA / 2, k - 1))) ** 2


def _wilson(rate: float, n: float) -> tuple[float, float]:
    if n == 0:
        return 0.0, 1.0
    centre = rate + Z**2 / (2 * n)
    spread = Z * float(np.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2)))
    scale = 1 + Z**2 / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _newcombe(both: float, only_after: float, only_before: float, neither: float) -> tuple[float, float]:
    n = both + only_after + only_before + neither
    if n == 0:
        return -1.0, 1.0
    after, before = (both + only_after) / n, (both + only_before) / n
    low_a, high_a = _wilson(after, n)
    low_b, high_b = _wilson(before, n)
    margins = after * (1 - after) * before * (1 - before)
    agreement = both * neither - only_after * only_before
    agreement = max(agreement - n / 2, 0.0) if agreement > 0 else agreement
    phi = agreement / (n**2 * margins**0.5) if margins > 1e-12 else 0.0

    def spread(a: float, b: float) -> float:
        return float(np.sqrt(max(a**2 + b**2 - 2 * phi * a * b, 0.0)))

    gain = after - before
    return (
        max(-1.0, gain - spread(after - low_a, high_b - before)),
        min(1.0, gain + spread(high_a - after, before - low_b)),
    )
