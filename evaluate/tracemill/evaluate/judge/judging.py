"""What the answers of judges come to: who is preferred, how surely, and how far the judges can be believed.

In: pairs and the answers of each judge. Out: a `Judging`. A model is asked in both orders and an item counts
for a side only where the orders agree; else it is a tie. A person sees each item once, in an order drawn by a
hash. The test and the interval count sessions, as those of a comparison do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tracemill.evaluate.costs import total
from tracemill.evaluate.judge.agreement import cohen_kappa, krippendorff_alpha
from tracemill.evaluate.judge.kept import Answer
from tracemill.evaluate.judge.pairs import Pair, Prompt
from tracemill.evaluate.statistics import ALPHA, Interval, PairedTest, graded_difference, permutation
from tracemill.evaluate.verdict import MARGIN, Verdict, p_value, points

HUMAN = "human"
Side = Literal["a", "b", "tie"]
BIASED = 0.1
"""How far from a half the share of "first" may be before it is warned of."""
FEW_AGREE = 0.4
"""Agreement below which it is warned of: less than fair (Landis and Koch 1977, Biometrics 33:159)."""
VALUE: Mapping[Side, float] = {"a": 0.0, "tie": 0.5, "b": 1.0}
"""What a ruling counts: the preference for B."""


@dataclass(frozen=True)
class Ruling:
    """What a judge thinks of an item; `agreed` is False where that changed with the order."""

    item: str
    side: Side
    agreed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Judge:
    """What a judge said of all items.

    same: items for which both wrote the same, ties that nobody was asked about; changed: items whose answers
    changed with the order, among the ties; first: the share of "first" in the choices that were no tie, None
    without one; missing: items without an answer; cost in US dollars, None where a price is not known.
    """

    name: str
    rulings: list[Ruling]
    a: int
    b: int
    ties: int
    same: int
    changed: int
    first: float | None
    missing: int
    input_tokens: int
    output_tokens: int
    cost: float | None


@dataclass(frozen=True)
class Judging:
    """What all judges said together.

    net: the share that prefers b less the share that prefers a, over judges and items; agreement: Cohen's
    kappa or Krippendorff's alpha, called `measure`, None where it is not defined or there is one judge.
    """

    judges: list[Judge]
    items: int
    sessions: int
    net: Interval
    test: PairedTest
    measure: str | None
    agreement: float | None
    verdict: Verdict
    warnings: list[str]


def prompts_of(judge: str, pair: Pair, criterion: str) -> list[Prompt]:
    """What a judge is asked about a pair: both orders, a person the drawn one; nothing of equal texts."""
    if pair.same:
        return []
    return [pair.drawn(criterion)] if judge == HUMAN else [pair.prompt(one, criterion) for one in ("a", "b")]


def judging(
    pairs: Sequence[Pair], said: Mapping[str, Mapping[str, Answer]], criterion: str
) -> Judging | None:
    """What the answers of each judge (by the key of the prompt) come to; None where no item was judged."""
    judges = [_judge(name, pairs, answers, criterion) for name, answers in said.items()]
    by_judge: list[dict[str, Side]] = [{one.item: one.side for one in judge.rulings} for judge in judges]
    values = {pair.id: [VALUE[sides[pair.id]] for sides in by_judge if pair.id in sides] for pair in pairs}
    judged = [pair for pair in pairs if values[pair.id]]
    if not judged:
        return None
    after = [sum(values[pair.id]) / len(values[pair.id]) for pair in judged]
    before = [1 - value for value in after]
    sessions = [pair.session_id for pair in judged]
    net, test = graded_difference(before, after, sessions), permutation(before, after, sessions)
    measure = {1: None, 2: "Cohen's kappa"}.get(len(judges), "Krippendorff's alpha")
    asked = [pair.id for pair in judged if not pair.same]
    words = [[sides.get(item) for item in asked] for sides in by_judge]
    spoken = sum(word is not None for row in words for word in row)
    agreement = None
    if measure:
        agreement = cohen_kappa(*words) if len(words) == 2 else krippendorff_alpha(words)
    return Judging(
        judges,
        len(judged),
        len(set(sessions)),
        net,
        test,
        measure,
        agreement,
        _verdict(net, test, sum(one.changed for one in judges), spoken),
        [*(told for judge in judges for told in _doubts(judge)), *_disagreement(measure, agreement)],
    )


def _judge(name: str, pairs: Sequence[Pair], answers: Mapping[str, Answer], criterion: str) -> Judge:
    rulings: list[Ruling] = []
    used: list[Answer] = []
    for pair in pairs:
        asked = prompts_of(name, pair, criterion)
        found = [(prompt, answers[prompt.key]) for prompt in asked if prompt.key in answers]
        used += [answer for _, answer in found]
        if len(found) == len(asked):
            rulings.append(_ruling(pair, found))
    same = sum(pair.same for pair in pairs)
    firsts = sum(answer.choice == "first" for answer in used)
    decided = firsts + sum(answer.choice == "second" for answer in used)
    sides = [one.side for one in rulings]
    return Judge(
        name,
        rulings,
        sides.count("a"),
        sides.count("b"),
        sides.count("tie"),
        same,
        sum(not one.agreed for one in rulings),
        firsts / decided if decided else None,
        len(pairs) - len(rulings),
        sum(answer.input_tokens for answer in used),
        sum(answer.output_tokens for answer in used),
        total(answer.cost for answer in used),
    )


def _ruling(pair: Pair, found: Sequence[tuple[Prompt, Answer]]) -> Ruling:
    """One side where all orders name it, else a tie."""
    sides: list[Side] = [_side(prompt, answer) for prompt, answer in found]
    agreed = len(set(sides)) <= 1
    side = sides[0] if sides and agreed else "tie"
    return Ruling(pair.id, side, agreed, tuple(answer.reason for _, answer in found))


def _side(prompt: Prompt, answer: Answer) -> Side:
    if answer.choice == "tie":
        return "tie"
    return prompt.first if answer.choice == "first" else ("b" if prompt.first == "a" else "a")


def _verdict(net: Interval, test: PairedTest, changed: int, asked: int) -> Verdict:
    """In words; judgements that mostly change with the order exclude nothing."""
    evidence = (
        f"{points(net.estimate)} points of preference "
        f"(95% interval {points(net.low)} to {points(net.high)}), "
        f"{test.gained} sessions for B and {test.lost} for A of {test.n}, {p_value(test.p)}"
    )
    if test.p < ALPHA and net.estimate < 0:
        return Verdict("worse", f"A is preferred: {evidence}.")
    if test.p < ALPHA and net.estimate > 0:
        return Verdict("better", f"B is preferred: {evidence}.")
    if changed > asked / 2:
        told = f"{changed} of {asked} judgements changed with the order, so they exclude nothing"
        return Verdict("undecided", f"{told}: {evidence}.")
    if net.high < MARGIN:
        return Verdict("not better", f"More than {MARGIN * 100:.0f} points for B are excluded: {evidence}.")
    return Verdict("undecided", f"The judgements do not tell: {evidence}.")


def _doubts(judge: Judge) -> list[str]:
    told: list[str] = []
    asked = len(judge.rulings) - judge.same
    if judge.first is not None and abs(judge.first - 0.5) > BIASED and judge.name != HUMAN:
        which = "first" if judge.first > 0.5 else "second"
        share = judge.first if judge.first > 0.5 else 1 - judge.first
        told.append(
            f"{judge.name} prefers a place: it chose the {which} answer in {share:.0%} of its choices, "
            "where half is fair; do not rely on it."
        )
    if asked and judge.changed > asked / 2:
        told.append(
            f"{judge.name} changed its mind with the order on {judge.changed} of {asked} items, which count "
            "as ties."
        )
    if judge.missing and judge.name != HUMAN:
        told.append(f"{judge.name} gave no answer on {judge.missing} items, which do not count for it.")
    return told


def _disagreement(measure: str | None, agreement: float | None) -> list[str]:
    if agreement is None or agreement >= FEW_AGREE:
        return []
    return [f"The judges agree little ({measure} {agreement:.2f}): what they prefer is a matter of taste."]
