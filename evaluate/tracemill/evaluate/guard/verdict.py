"""What an adapter lost of its base's general ability.

In: the results of both on the same items. Out: a `GuardVerdict`: for every category how much changed, whether
that is more than is allowed, and whether it could be chance. The rule is strict on purpose: a loss beyond
what is allowed blocks also where it could be chance, for who ships an adapter has to show that nothing broke.
Training chooses by the items of the smallest size, so a larger one is judged by the others alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.items import CHOOSING, guard_items, passages
from tracemill.evaluate.guard.run import GuardResult, GuardResults, by_category, by_kind, predicted
from tracemill.evaluate.guard.text import LOST, TextResult, mean_interval
from tracemill.evaluate.statistics import ALPHA, Interval, mcnemar, paired_difference
from tracemill.evaluate.verdict import points

ALLOWED_LOSS = 0.10
CHOSE = (
    f"Training chooses checkpoints, and how much of them is kept, by these very items of guard/{CHOOSING}: "
    "what they find of an adapter is a little too kind. Size standard is judged by other items."
)


@dataclass(frozen=True)
class GuardChange:
    """One category: what base and adapter reached, and the change.

    Of items the change is the difference of the shares right; of texts the relative change of the inverse
    perplexity, -0.1 for a tenth less. gained, lost: items right with only one of the two, 0 for texts.
    blocks: more was lost than is allowed. found: the change is no chance, by the paired test.
    """

    name: str
    n: int
    base: float
    adapter: float
    change: Interval
    gained: int
    lost: int
    blocks: bool
    found: bool


@dataclass(frozen=True)
class GuardVerdict:
    """`kept` where no category lost more than allowed; `reason` is a sentence that says so or names them.

    lost_items: ids of the items that only the base got right.
    """

    kept: bool
    reason: str
    changes: list[GuardChange]
    lost_items: list[str]


@dataclass(frozen=True)
class GuardComparison:
    """What base and adapter did on the items that judge, and the verdict on it."""

    base: GuardResults
    adapter: GuardResults
    verdict: GuardVerdict

    @property
    def notes(self) -> list[str]:
        """What a reader of the verdict has to know: what was left out, and whether these items chose."""
        return [*self.base.notes, *[CHOSE] * (self.base.size == CHOOSING)]

    def flips(self, right: bool) -> list[tuple[GuardResult, GuardResult]]:
        """The items of which one got it right: the adapter where `right`, else the base."""
        pairs = zip(self.base.answers, self.adapter.answers, strict=True)
        return [pair for pair in pairs if (pair[0].right, pair[1].right) == (not right, right)]


def compare_guard(
    base: GuardResults, adapter: GuardResults, allowed_loss: float = ALLOWED_LOSS
) -> GuardComparison:
    """Both results, without what chose the checkpoint, and their verdict; errors as `guard_verdict`."""
    before, after = judging(base), judging(adapter)
    return GuardComparison(before, after, guard_verdict(before, after, allowed_loss))


def judging(results: GuardResults) -> GuardResults:
    """What of `results` may judge an adapter: all of the smallest size, of a larger one what that has not."""
    if results.size == CHOOSING:
        return results
    chose = {one.id for one in (*guard_items(CHOOSING), *passages(CHOOSING))}
    answers = [one for one in results.answers if one.item.id not in chose]
    return replace(results, answers=answers, texts=[one for one in results.texts if one.id not in chose])


def guard_verdict(
    base: GuardResults, adapter: GuardResults, allowed_loss: float = ALLOWED_LOSS
) -> GuardVerdict:
    """Compare results of one size; `allowed_loss` is a share, 0.1 for ten points, or for a tenth of a text's.

    EvaluationError for results of other items, or where there is nothing to compare.
    """
    if _asked(base) != _asked(adapter):
        raise EvaluationError(
            "Base and adapter answered different items of the guard; score both with one version and size."
        )
    before, after = by_category(base.answers), by_category(adapter.answers)
    changes = [_of_items(name, before[name], after[name], allowed_loss) for name in before]
    if len(changes) > 1:
        changes.append(_of_items("all answers", base.answers, adapter.answers, allowed_loss))
    old, new = by_kind(base.texts), by_kind(adapter.texts)
    changes += [_of_texts(f"text in {kind}", old[kind], new[kind], allowed_loss) for kind in old]
    if not changes:
        raise EvaluationError("The guard has no items to compare; choose a size.")
    blocking = [one for one in changes if one.blocks]
    pairs = zip(base.answers, adapter.answers, strict=True)
    return GuardVerdict(
        kept=not blocking,
        reason=_lost(blocking, allowed_loss) if blocking else _kept(changes, allowed_loss),
        changes=changes,
        lost_items=[one.item.id for one, other in pairs if one.right and not other.right],
    )


def _asked(results: GuardResults) -> list[str]:
    return [one.item.digest for one in results.answers] + [one.digest for one in results.texts]


def _of_items(
    name: str, base: Sequence[GuardResult], adapter: Sequence[GuardResult], allowed: float
) -> GuardChange:
    before, after = [one.right for one in base], [one.right for one in adapter]
    change = paired_difference(before, after, [one.item.id for one in base])
    test = mcnemar(before, after)
    return GuardChange(
        name=name,
        n=len(before),
        base=sum(before) / len(before),
        adapter=sum(after) / len(after),
        change=change,
        gained=test.gained,
        lost=test.lost,
        blocks=change.estimate < -allowed - 1e-9,
        found=test.p < ALPHA,
    )


def _of_texts(
    name: str, base: Sequence[TextResult], adapter: Sequence[TextResult], allowed: float
) -> GuardChange:
    gains = mean_interval([one.loss - other.loss for one, other in zip(base, adapter, strict=True)])
    change = Interval(*(math.expm1(min(value, LOST)) for value in (gains.estimate, gains.low, gains.high)))
    return GuardChange(
        name=name,
        n=len(base),
        base=predicted(base).estimate,
        adapter=predicted(adapter).estimate,
        change=change,
        gained=0,
        lost=0,
        blocks=change.estimate < -allowed - 1e-9,
        found=change.high < 0 or change.low > 0,
    )


def _lost(blocking: Sequence[GuardChange], allowed: float) -> str:
    parts = [
        f"{one.name} {points(one.change.estimate)} {'%' if one.name.startswith('text') else 'points'}"
        f"{'' if one.found else ' (may be chance)'}"
        for one in blocking
    ]
    return f"General ability fell by more than {100 * allowed:g}: {', '.join(parts)}."


def _kept(changes: Sequence[GuardChange], allowed: float) -> str:
    worst = min(changes, key=lambda one: one.change.estimate)
    items = sum(one.n for one in changes if one.name != "all answers")
    return (
        f"No category of general ability lost more than {100 * allowed:g} points ({items} items and texts); "
        f"the largest change down is {points(min(worst.change.estimate, 0.0))} ({worst.name})."
    )
