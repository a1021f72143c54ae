"""The loop as one piece: export, train, evaluate on holdout and guard, compare, and live runs of live tasks.

In: the home with its recorded sessions, and how to train. Out: a `Turn`: the data set, the adapter, the
report. What an earlier turn of the same loop made is reused. Says each stage as it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracemill.cli import output
from tracemill.cli.export import show as show_export
from tracemill.tracer.home import Home

if TYPE_CHECKING:
    from tracemill.curate.dataset import Dataset
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.guard.items import Size
    from tracemill.evaluate.live import LiveTask
    from tracemill.evaluate.report import Report
    from tracemill.train.base import BaseModel
    from tracemill.train.finetune import Finetuned


@dataclass(frozen=True)
class Plan:
    """How the loop turns."""

    model: str
    asked: Mapping[str, Any]
    """Fields of the settings of training; the others are chosen by the number of rows."""
    max_tokens: int
    recipe: str = "default"
    where: str | None = None
    live_tasks: Sequence[LiveTask] = ()
    guard: Size = "quick"
    """How much of general ability is asked."""
    quiet: bool = False
    """Say nothing on standard output: it is kept for JSON."""


@dataclass(frozen=True)
class Turn:
    """What one turn of the loop made."""

    dataset: Dataset
    made: Finetuned
    report: Report
    page: Path
    suite: Suite
    """What both models were asked: the held-out split."""
    base: BaseModel


def turn(home: Home, plan: Plan) -> Turn:
    """Export, train, evaluate, compare, report. The BLAS must be active (`tracemill.train.blas`)."""
    from tracemill.cli.evaluate import show_comparison
    from tracemill.cli.guarded import show_notes, show_verdict
    from tracemill.cli.trained import show as show_training
    from tracemill.cli.tuning import fine_tune
    from tracemill.curate.chat.template import Chat
    from tracemill.curate.export import export
    from tracemill.evaluate.evaluation import Suite, make_report, remember
    from tracemill.evaluate.guard.recall import guard_against_base
    from tracemill.evaluate.holdout import check_rows
    from tracemill.evaluate.live import Limits
    from tracemill.evaluate.live_results import compare_live
    from tracemill.evaluate.recall import live_once, score_once
    from tracemill.evaluate.report import write_report
    from tracemill.train.base import resolve
    from tracemill.train.defaults import choose

    with output.progress() as progress:
        base = resolve(plan.model, home, progress)
        chat = Chat.load(base.path)
        dataset = export(home, recipe=plan.recipe, where=plan.where, chat=chat, progress=progress)
    suite = Suite(dataset, "test", plan.max_tokens)
    # What cannot be scored is found out before training, not after.
    if not check_rows(suite.rows(), chat):
        output.hint(
            f"No turn of {dataset.folder}/test.jsonl asks for a tool call that an agent would execute: "
            "what can be compared is whether a model answers in words and calls nothing."
        )
    _stage(plan, "Curated")
    if not plan.quiet:
        show_export(dataset)
    settings, _ = choose(len(dataset.rows("train")), plan.asked)
    with output.progress() as progress:
        made = fine_tune(home, dataset, base, settings, plan.max_tokens, progress)
    _stage(plan, "Trained")
    if not plan.quiet:
        show_training(made)
    adapter = made.adapter
    with output.progress() as progress:
        before = score_once(home, suite, base, None, progress)
        after = score_once(home, suite, base, adapter, progress)
        report = make_report(suite, base, adapter, before, after)
        guard = guard_against_base(home, plan.guard, base, adapter, progress)
        report = report.guarded(guard)
        if plan.live_tasks:
            limits = Limits(max_tokens=plan.max_tokens)
            lives = [
                live_once(home, plan.live_tasks, base, which, limits, progress) for which in (None, adapter)
            ]
            report = replace(report, live=compare_live(*lives))
    page = write_report(home.reports / f"{adapter.path.name}-{dataset.name}.html", report)
    remember(home, suite, base, adapter, after, report=report, path=str(page))
    _stage(plan, "Evaluated")
    show_notes(guard)
    if not plan.quiet:
        show_verdict(plan.guard, guard.verdict)
        show_comparison(suite, report)
    return Turn(dataset, made, report, page, suite, base)


def fast_blas(home: Home) -> None:
    """Activate the BLAS, and say so where training would be tens of times slower than it could be."""
    from tracemill.train import blas

    info = blas.activate(home)
    if not info.fast:
        output.hint(f"MLX runs on the {info.name}, tens of times slower: {info.reason}")


def _stage(plan: Plan, name: str) -> None:
    if not plan.quiet:
        output.say(f"\n{name}", style="bold")
