"""How often a comparison is wrong, and how often it finds what is there: `python benchmarks/aa.py`.

In: the airline agent's 200 sessions (50 tasks, 4 trials each, a verified outcome) beside this checkout, in
`../shared/data/tau-bench`, and the questions of bfcl-eval (`--bfcl FOLDER`, installed there without
dependencies). Out: `benchmarks/results/aa.md`. Each simulated comparison draws tasks anew, whole, and goes
through the same `compare` as a user's. A/A: the same outcomes twice; a twin of another seed (other trials of
the same tasks: nothing is made up). Planted: as many wrong sessions become right as the foreseen gain says,
while 2 in 100 get worse; and the same as a loss. The guard is asked of made-up models on its real items: what
is planted there has to keep an adapter from being promoted, whatever its calls gained.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tracemill.evaluate.comparison import compare, guarded
from tracemill.evaluate.guard.items import Size, guard_items, passages
from tracemill.evaluate.guard.recall import word_of
from tracemill.evaluate.guard.run import GuardResult, GuardResults, by_category
from tracemill.evaluate.guard.text import TextResult
from tracemill.evaluate.guard.verdict import ALLOWED_LOSS, GuardComparison, compare_guard, judging
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.items import Item
from tracemill.evaluate.scoring import Score
from tracemill.evaluate.statistics import detectable_gain
from tracemill.evaluate.suites.bfcl import load_bfcl
from tracemill.evaluate.suites.suite import sized
from tracemill.evaluate.verdict import ASSUMED_LOSS
from tracemill.train.adapter import Adapter
from tracemill.train.promotion import Verdict, objection

TAU = Path(__file__).parents[2] / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json.gz"
RESULT = Path(__file__).parent / "results" / "aa.md"
TIMES = 200
Outcomes = list[tuple[str, bool]]
"""Session and outcome, item by item."""
Draw = Callable[[np.random.Generator], tuple[Outcomes, Outcomes]]


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bfcl", type=Path, help="folder that bfcl-eval was installed into")
    folder = parser.parse_args().bfcl
    start = time.process_time()
    rows: list[str] = []
    if TAU.exists():
        trials = airline()
        rows += row("airline, 50 tasks", "the same twice", lambda rng: twice(trials, rng))
        rows += row("airline, 50 tasks", "a twin, one trial a task", lambda rng: twins(trials, rng, 1))
        rows += row("airline, 50 tasks of 2", "a twin, two trials a task", lambda rng: twins(trials, rng, 2))
        for sign, name in ((1, "planted gain"), (-1, "planted loss")):
            rows += row(
                "airline, 50 tasks", f"{name}, as foreseen", lambda rng, s=sign: planted(trials, rng, s)
            )
            rows += row(
                "airline, 50 tasks", f"{name}, half", lambda rng, s=sign: planted(trials, rng, s, 0.5)
            )
    if folder:
        items = sized(load_bfcl(folder / "bfcl_eval" / "data"), "standard").items
        sessions = [item.session_id for item in items]
        rows += row(
            "bfcl standard, 240 items of 206",
            "a twin, rates drawn a session",
            lambda rng: drawn(sessions, rng),
        )
    text = [
        "# How often a comparison is wrong, and how often it finds what is there",
        "",
        f"{TIMES} simulated comparisons a row, each through `compare`, tasks drawn anew. Made by "
        f"`python benchmarks/aa.py --bfcl FOLDER` in {time.process_time() - start:.0f} s of CPU.",
        "",
        "| items | B is | gain | better | worse | not better | undecided |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "In A/A rows `better` and `worse` together may be at most 5%. `as foreseen` is the gain that is told "
        "before a run, which is to be found in 4 of 5.",
    ]
    text += [
        "",
        "## The guard",
        "",
        f"{TIMES} made-up models a row on the guard's own items, their calls found better every time. A "
        f"category that lost more than {100 * ALLOWED_LOSS:g} points blocks, also by chance: twins pay for "
        "that. `standard` is judged by the items that `quick` has not.",
        "",
        "| guard | B is | general ability kept | fell | verdict better | promoted |",
        "|---|---|---|---|---|---|",
        *(
            guard_row(size, what, change)
            for what, change in CHANGES.items()
            for size in ("quick", "standard")
        ),
    ]
    RESULT.write_text("\n".join(text) + "\n")
    print(RESULT.read_text())


def airline() -> dict[str, list[bool]]:
    """The outcomes of every task, trial by trial."""
    with gzip.open(TAU) as file:
        sessions = json.load(file)
    trials: dict[str, list[bool]] = {}
    for one in sorted(sessions, key=lambda one: (one["task_id"], one["trial"])):
        trials.setdefault(str(one["task_id"]), []).append(one["reward"] == 1.0)
    return trials


def some_tasks(trials: dict[str, list[bool]], rng: np.random.Generator) -> list[tuple[str, list[bool]]]:
    """As many tasks as there are, drawn with repetition, each a session of its own."""
    names = rng.choice(sorted(trials), len(trials))
    return [(f"{number} {name}", trials[name]) for number, name in enumerate(names)]


def twice(trials: dict[str, list[bool]], rng: np.random.Generator) -> tuple[Outcomes, Outcomes]:
    """A model that answers the same each time."""
    same = [(name, done[0]) for name, done in some_tasks(trials, rng)]
    return same, same


def twins(trials: dict[str, list[bool]], rng: np.random.Generator, each: int) -> tuple[Outcomes, Outcomes]:
    """Trials of the same model on the same tasks, `each` on either side."""
    one: Outcomes = []
    other: Outcomes = []
    for name, done in some_tasks(trials, rng):
        order = rng.permutation(len(done))
        one += [(name, done[i]) for i in order[:each]]
        other += [(name, done[i]) for i in order[each : 2 * each]]
    return one, other


def planted(
    trials: dict[str, list[bool]], rng: np.random.Generator, sign: int, part: float = 1.0
) -> tuple[Outcomes, Outcomes]:
    """A model, and what it is after a true gain (or loss) of the foreseen size, or a part of it."""
    before = [(name, bool(rng.choice(done))) for name, done in some_tasks(trials, rng)]
    gain = part * (detectable_gain(len(before), ASSUMED_LOSS) or 1.0)
    right = np.mean([outcome for done in trials.values() for outcome in done])
    up, down = (gain + ASSUMED_LOSS) / (1 - right), ASSUMED_LOSS / right
    if sign < 0:
        up, down = ASSUMED_LOSS / (1 - right), (gain + ASSUMED_LOSS) / right
    after = [(name, rng.random() >= down if was else rng.random() < up) for name, was in before]
    return before, [(name, bool(done)) for name, done in after]


def drawn(sessions: list[str], rng: np.random.Generator) -> tuple[Outcomes, Outcomes]:
    """Two models as good as each other, whose chance on a session's items is one they share."""
    rates = {session: rng.beta(1.2, 0.8) for session in sorted(set(sessions))}
    one = [(session, bool(rng.random() < rates[session])) for session in sessions]
    return one, [(session, bool(rng.random() < rates[session])) for session in sessions]


def row(items: str, what: str, draw: Draw) -> list[str]:
    """One line of the table."""
    rng = np.random.default_rng(6)
    words: Counter[str] = Counter()
    gains: list[float] = []
    for _ in range(TIMES):
        before, after = draw(rng)
        found = compare(results(before), results(after))
        words[found.verdict.word] += 1
        gains.append(found.calls.difference.estimate)
    told = [f"{100 * words[word] / TIMES:.1f}%" for word in ("better", "worse", "not better", "undecided")]
    return [f"| {items} | {what} | {100 * float(np.mean(gains)):+.1f} points | {' | '.join(told)} |"]


Change = Callable[[GuardResults, np.random.Generator], GuardResults]


def guard_row(size: Size, what: str, change: Change) -> str:
    """One line of the table of the guard."""
    rng = np.random.default_rng(6)
    kept, better, promoted = 0, 0, 0
    for _ in range(TIMES):
        before = able(size, rng)
        found = compare_guard(before, change(before, rng))
        kept += found.verdict.kept
        word, against = with_better_calls(found)
        better += word == "better"
        promoted += word == "better" and against is None
    shares = [kept, TIMES - kept, better, promoted]
    return f"| {size} | {what} | {' | '.join(f'{100 * share / TIMES:.1f}%' for share in shares)} |"


def with_better_calls(found: GuardComparison) -> tuple[str, str | None]:
    """The verdict of an adapter whose calls all became right, and why it may not be promoted."""
    sessions = [str(number) for number in range(30)]
    calls = compare(results([(one, False) for one in sessions]), results([(one, True) for one in sessions]))
    word = guarded(calls, found.verdict).verdict.word
    # Promotion asks the warehouse for the verdict on the calls alone, too.
    verdicts = [Verdict(calls.verdict.word, "holdout", ""), Verdict(word_of(found), "guard", "")]
    return word, objection(Adapter(Path("adapter"), {}), verdicts)


def able(size: Size, rng: np.random.Generator) -> GuardResults:
    """A model on what judges of a size: a rate for each category, texts at losses of their own."""
    rates = {name: rng.uniform(0.2, 1.0) for name in ("direct answers", "reasoning", "code")}
    answers = [
        GuardResult(item, "", "" if rng.random() < rates[item.category] else "wrong-answer")
        for item in guard_items(size)
    ]
    texts = [
        TextResult(text.id, text.kind, text.digest, 100, float(rng.uniform(1.0, 3.5)))
        for text in passages(size)
    ]
    return judging(GuardResults(size, answers, texts, []))


def guard_twin(before: GuardResults, rng: np.random.Generator) -> GuardResults:
    """As able: one answer in ten is drawn anew from those of its category, texts move by 2% at random."""
    groups = by_category(before.answers)
    answers = [
        replace(one, failure=groups[one.item.category][rng.integers(len(groups[one.item.category]))].failure)
        if rng.random() < 0.1
        else one
        for one in before.answers
    ]
    texts = [replace(text, loss=text.loss + float(rng.normal(0, 0.02))) for text in before.texts]
    return replace(before, answers=answers, texts=texts)


def guard_loss(before: GuardResults, rng: np.random.Generator) -> GuardResults:
    """One category, drawn by chance, loses just more than is allowed; of the others some gain."""
    groups = by_category(before.answers)
    right = {name: [one.item.id for one in group if one.right] for name, group in groups.items()}
    due = {name: math.floor(ALLOWED_LOSS * len(group)) + 1 for name, group in groups.items()}
    able_to = [name for name in groups if len(right[name]) >= due[name]]
    hit = str(rng.choice([*able_to, *sorted({text.kind for text in before.texts})]))
    fallen = set(rng.permutation(right[hit])[: due[hit]]) if hit in groups else set[str]()
    answers = [
        replace(one, failure="wrong-answer")
        if one.item.id in fallen
        else replace(one, failure="")
        if one.item.category != hit and rng.random() < 0.2
        else one
        for one in before.answers
    ]
    more = -math.log(1 - ALLOWED_LOSS) + 1e-6
    texts = [replace(text, loss=text.loss + more) if text.kind == hit else text for text in before.texts]
    return replace(before, answers=answers, texts=texts)


CHANGES: dict[str, Change] = {
    "the same twice": lambda before, _rng: before,
    "a twin, one answer in ten drawn anew": guard_twin,
    "planted loss in one category": guard_loss,
}


def results(outcomes: Outcomes) -> list[ItemResult]:
    """Outcomes as results, which is all that a comparison looks at."""
    found: list[ItemResult] = []
    for number, (session, right) in enumerate(outcomes):
        item = Item(str(number), session, "", "call", [], [], {"role": "assistant", "content": ""})
        score = Score(True, right, right, right, False, right, "" if right else "no-call", float(right))
        found.append(ItemResult(item, "", score))
    return found


if __name__ == "__main__":
    main()
