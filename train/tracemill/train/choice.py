"""Which checkpoint of a training run is kept, and when the run is over.

In: what was measured at step 0 (the base) and at every checkpoint since, in their order. Out: the one to
keep, or why to stop. Pure functions: neither model nor files. Loss never chooses: it may fall on while the
calls get worse (`tests/train/test_choice.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from scipy import stats

START = 5
"""Steps of which the lowest loss is where a run starts: a rate far too high may spoil it in the second."""
DIVERGED = 3.0
"""Times its start that a loss must exceed to count as diverging."""
LONG = 10
"""Steps in a row that it must."""


@dataclass(frozen=True)
class Judged:
    """What a judge found of the model at this moment."""

    score: float | None
    """Share of tool calls right on the selection split; None where it asks for none."""
    n: int = 0
    """How many tool calls that is a share of."""
    guard: dict[str, float] = field(default_factory=dict[str, float])
    """General ability by name, higher is better and 0 the worst."""


@dataclass(frozen=True)
class Checkpoint:
    """A model that was judged after `step` steps; losses are in nats per target token."""

    step: int
    judged: Judged
    train_loss: float | None = None
    """Mean since the checkpoint before."""
    valid_loss: float | None = None
    figures: dict[str, float] = field(default_factory=dict[str, float])
    """What else was measured on the validation part, by name."""

    def asdict(self) -> dict[str, Any]:
        """The checkpoint as plain values, for JSON."""
        return asdict(self)

    @classmethod
    def fromdict(cls, value: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint that `asdict` gave."""
        rest: dict[str, Any] = {**value, "judged": Judged(**value["judged"])}
        return cls(**rest)


def most_lost(base: Mapping[str, float], now: Mapping[str, float]) -> tuple[str, float] | None:
    """The measure that lost the largest share of the base's ability, and that share; below 0 is a gain.

    A measure in which the base has nothing to lose says nothing; None where none says anything.
    """
    lost = [(name, (worth - now[name]) / worth) for name, worth in base.items() if worth > 0 and name in now]
    return max(lost, key=lambda one: one[1], default=None)


def guard_lost(base: Mapping[str, float], now: Mapping[str, float]) -> float:
    """The largest share of the base's ability that a measure lost; below 0 where all gained."""
    found = most_lost(base, now)
    return found[1] if found else 0.0


def best(base: Judged | None, found: Sequence[Checkpoint], guard_loss: float | None) -> Checkpoint | None:
    """The most accurate of the checkpoints that lose at most `guard_loss` of the guard, if there is one.

    Among equals the later one: scores move in steps of one item, and of two models with the same calls right
    the later has learned more of the rest. So it is where nothing could be scored.
    """
    allowed = [one for one in found if base is None or guard_loss is None or lost(base, one) <= guard_loss]
    return max(allowed, key=lambda one: (_worth(one), one.step), default=None)


def mildest(base: Judged, found: Sequence[Checkpoint], floor: float) -> Checkpoint | None:
    """Of the checkpoints above the floor the one that loses least of the guard: for where `best` is None."""
    above = [one for one in found if lost(base, one) <= 1 - floor]
    return min(above, key=lambda one: (lost(base, one), -one.step), default=None)


def lost(base: Judged, one: Checkpoint) -> float:
    """`guard_lost` of a checkpoint."""
    return guard_lost(base.guard, one.judged.guard)


def over(
    base: Judged | None,
    found: Sequence[Checkpoint],
    patience: int | None,
    floor: float,
    allowed: float | None,
) -> str | None:
    """Why training stops after the last checkpoint of `found`, as a sentence; None where it goes on."""
    if not found:
        return None
    last = found[-1]
    worst = most_lost(base.guard, last.judged.guard) if base is not None and allowed is not None else None
    if worst and worst[1] > 1 - floor:
        return (
            f"At step {last.step} {100 * worst[1]:.0f}% of the base's general ability ({worst[0]}) was gone, "
            f"more than the {100 * (1 - floor):.0f}% that the floor allows."
        )
    if patience is None or last.judged.score is None:
        return None
    waited = _since_better(found)
    if waited < patience:
        return None
    return f"The last {waited} checkpoints were no better than the one at step {found[-1 - waited].step}."


def diverged(losses: Sequence[float]) -> bool:
    """Whether the last LONG losses are all over DIVERGED times where the run started.

    One batch may be far harder than another; so many in a row that are is a rate too high.
    """
    if len(losses) < START + LONG:
        return False
    return min(losses[-LONG:]) > DIVERGED * min(losses[:START])


def half_width(score: float, n: int) -> float:
    """Half of the 95% interval of a share of `n` items (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    At most: items of one session are not independent. n is above 0.
    """
    low, high = stats.binomtest(round(score * n), n).proportion_ci(method="wilson")
    return float(high - low) / 2


def over_seeds(scores: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the scores of several seeds, and its 95% interval by Student's t; ValueError for one."""
    if len(scores) < 2:
        raise ValueError("one seed has no interval")
    mean = fmean(scores)
    spread = float(stats.sem(scores)) * float(stats.t.ppf(0.975, len(scores) - 1))
    return mean, max(mean - spread, 0.0), min(mean + spread, 1.0)


def _worth(one: Checkpoint) -> float:
    return -math.inf if one.judged.score is None else one.judged.score


def _since_better(found: Sequence[Checkpoint]) -> int:
    """How many checkpoints came after the first of those with the highest score."""
    top = max(_worth(one) for one in found)
    first = next(at for at, one in enumerate(found) if _worth(one) == top)
    return len(found) - 1 - first
