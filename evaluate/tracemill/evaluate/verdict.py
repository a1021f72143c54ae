"""The verdict on an adapter: better, not better, worse or undecided, with the reason in a sentence.

In: the paired test and intervals of a comparison. Out: a `Verdict`. The rules, in this order:

1. worse: the test finds a difference at 5% and it is a loss;
2. not better: direct answers fell by more than 10 points, whatever the calls gained;
3. better: the test finds a difference at 5%, and both sessions and items gained;
4. not better: the interval excludes a gain above 5 points;
5. undecided: the interval is too wide to tell.

Where the guard was asked too (`with_guard`), an adapter that lost general ability is never better and never
undecided, also where the loss may be chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracemill.evaluate.statistics import ALPHA, Interval, PairedTest, detectable_gain

MARGIN = 0.05
DIRECT_MARGIN = 0.10
ASSUMED_LOSS = 0.02
"""The share of sessions that get worse while others get better, where nothing is known yet."""
Word = Literal["better", "not better", "worse", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """A word, and a full sentence that says why."""

    word: Word
    reason: str


def judge(
    test: PairedTest,
    gain: Interval,
    direct_change: float | None,
    detectable: float | None,
    *,
    what: str = "exact tool calls",
    several: int = 1,
) -> Verdict:
    """Weigh a comparison; `direct_change` is None where no direct answer was asked for.

    `what` was compared; the p value is corrected for being one of `several`.
    """
    found = test.p < ALPHA
    evidence = (
        f"{points(gain.estimate)} points of {what} "
        f"(95% interval {points(gain.low)} to {points(gain.high)}), "
        f"{test.gained} sessions gained and {test.lost} lost of {test.n}, {p_value(test.p)}"
        + f" (corrected for {several} comparisons)"
        * (several > 1)
    )
    if found and test.gained < test.lost:
        return Verdict("worse", f"The adapter loses: {evidence}.")
    if direct_change is not None and direct_change < -DIRECT_MARGIN - 1e-9:
        return Verdict(
            "not better",
            f"Direct answers changed by {points(direct_change)} points, beyond the limit of "
            f"{points(-DIRECT_MARGIN)}: the adapter calls tools, or says nothing, where it should answer; "
            f"{evidence}.",
        )
    if found and gain.estimate > 0:
        unasked = "; no direct answer was asked for" if direct_change is None else ""
        return Verdict("better", f"The adapter gains: {evidence}{unasked}.")
    if gain.high < MARGIN:
        return Verdict("not better", f"A gain above {MARGIN * 100:.0f} points is excluded: {evidence}.")
    limit = "no gain at all" if detectable is None else f"a gain of {detectable * 100:.0f} points or more"
    return Verdict("undecided", f"The data do not tell: {evidence}; {test.n} sessions reliably find {limit}.")


def with_guard(verdict: Verdict, kept: bool, reason: str) -> Verdict:
    """The verdict with what the guard found (`guard.verdict`): whether all was kept, and its sentence."""
    if kept or verdict.word == "worse":
        return Verdict(verdict.word, f"{verdict.reason} {reason}")
    return Verdict("not better", f"{reason} {verdict.reason}")


def foreseen(sessions: int) -> str:
    """What so many independent sessions can show, to be said before anything is run."""
    gain = detectable_gain(sessions, ASSUMED_LOSS)
    if gain is None:
        return f"{sessions} sessions cannot show a gain reliably; more are needed."
    return (
        f"{sessions} sessions show a gain of {gain * 100:.0f} points or more in 4 of 5 repetitions "
        f"({ASSUMED_LOSS * 100:.0f} in 100 taken to get worse)."
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{share * 100:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def p_value(p: float) -> str:
    """`p = 0.012`, two digits, or `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
