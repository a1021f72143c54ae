"""`tracemill evaluate`: is an adapter better than its base?

In: a base model, a suite and, to compare, an adapter. Out: how much of it is right and, for an adapter, the
verdict, with `--report` as a page to read. Every completion is on disk when it is made, so an evaluation that
was killed goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.curate.splits import Split
    from tracemill.evaluate.comparison import Comparison, Group
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.report import Report
    from tracemill.evaluate.statistics import Interval
    from tracemill.evaluate.suites import Size
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter


def evaluate(
    model: Annotated[str, typer.Argument(help="Base model: smollm2-135m, a folder or a Hugging Face id.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of a data set, as `tracemill export` makes it, for holdout.")
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="holdout (of --dataset), bfcl, guard (general ability), or a .toml or .jsonl file; "
            "see `tracemill suite`."
        ),
    ] = "holdout",
    size: Annotated[
        Literal["quick", "standard", "full"] | None,
        typer.Option(help="At most 48 items, 240, or all; by default all of holdout, else standard."),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Folder of an adapter, to be compared with the base alone.")
    ] = None,
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="Which rows to score.")] = "test",
    report: Annotated[
        Path | None, typer.Option(help="Write the comparison to this HTML file, and its numbers as .json.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a completion.")] = 256,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Completions generated at once; changes the speed alone.")
    ] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a model on a suite, strictly; with --adapter, say whether it is better than its base.

    What was generated before is not generated again, also where it was broken off.
    """
    if suite == "holdout" and dataset is None:
        raise typer.BadParameter(
            "the suite holdout is a split of a data set; name one.", param_hint="--dataset"
        )
    if report is not None and adapter is None:
        raise typer.BadParameter("a report compares two models; add --adapter.", param_hint="--report")
    if report is not None and (report.suffix != ".html" or report.is_dir()):
        raise typer.BadParameter(
            "name an .html file; its numbers go to the .json beside it.", param_hint="--report"
        )
    if suite == "guard" and report is not None:
        raise typer.BadParameter("the guard prints its table, or JSON with --json.", param_hint="--report")
    from tracemill.cli.guarded import guard
    from tracemill.cli.loop import fast_blas
    from tracemill.evaluate.verdict import foreseen
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import load_adapter

    home = Home.find()
    fast_blas(home)
    tuned = load_adapter(adapter) if adapter else None
    if suite == "guard":
        guard(home, model, tuned, size or "standard", as_json)
        return
    plan = _plan(suite, size, dataset, split, max_tokens, batch_size)
    asked = plan.items()
    sessions = len({item.session_id for item in asked})
    output.hint(f"{plan.name}: {len(asked)} items of {sessions} sessions. {foreseen(sessions)}")
    if tuned is None:
        _alone(home, plan, model, as_json)
    else:
        _against_base(home, plan, model, tuned, report, as_json)


def _plan(
    which: str,
    size: Size | None,
    dataset: Path | None,
    split: Split,
    max_tokens: int,
    batch_size: int,
) -> Suite:
    from tracemill.curate.dataset import load
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.suites import load_suite

    if which != "holdout":
        found = load_suite(which, size or "standard")
        return Suite(None, split, max_tokens, batch_size, found)
    data = load(dataset) if dataset else None
    found = load_suite(which, size or "full", data, split)
    # All of a split has the name and the results that `improve` gave it.
    return Suite(data, split, max_tokens, batch_size, None if found.size == "full" else found)


def _alone(home: Home, suite: Suite, model: str, as_json: bool) -> None:
    from tracemill.evaluate.evaluation import identity
    from tracemill.evaluate.holdout import tally
    from tracemill.evaluate.recall import score_once
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        results = score_once(home, suite, base, None, progress)
    tallies = tally(results)
    name = identity(suite, base, None)
    if as_json:
        output.emit_json(
            {
                "evaluation": name,
                "base": base.name,
                "suite": suite.name,
                "shares": [asdict(one) for one in tallies],
                "items": [
                    {"id": result.item.id, "text": result.text, **asdict(result.score)} for result in results
                ],
            }
        )
        return
    output.table(
        (suite.name, "items", "right", "share", "95% interval"),
        [(one.name, one.n, one.right, _percent(one.share.estimate), _range(one.share)) for one in tallies],
    )
    failures = Counter(result.score.failure for result in results if result.score.failure)
    output.table(("what went wrong", "items"), failures.most_common())
    output.say(f"evaluation {name}")


def _against_base(
    home: Home, suite: Suite, model: str, adapter: Adapter, report: Path | None, as_json: bool
) -> None:
    from tracemill.evaluate.evaluation import make_report, remember
    from tracemill.evaluate.recall import score_once
    from tracemill.evaluate.report import as_plain, write_report
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        after = score_once(home, suite, base, adapter, progress)
        found = make_report(suite, base, adapter, score_once(home, suite, base, None, progress), after)
    path = str(report.absolute()) if report else None
    remember(home, suite, base, adapter, found.adapter, report=found, path=path)
    written = write_report(report.absolute(), found) if report else None
    if as_json:
        output.emit_json({"report": written, **as_plain(found)})
    else:
        show_comparison(suite, found)
        if written:
            output.say(str(written))


def show_comparison(suite: Suite, report: Report) -> None:
    """Print base against adapter: turns by category, live tasks, what went wrong, the verdict."""
    live = [report.live.group] if report.live else []
    show_groups(suite.name, report.comparison, ("base", "adapter"), live)
    output.say(f"{report.comparison.verdict.word}: {report.comparison.verdict.reason}", style="bold")


def show_groups(
    title: str, comparison: Comparison, names: tuple[str, str], more: Sequence[Group] = ()
) -> None:
    """Print two models side by side: shares by category, and what went wrong how often."""
    groups = [comparison.calls, comparison.lenient, *comparison.categories]
    groups += [comparison.direct] if comparison.direct else []
    output.table(
        (title, "items", *names, "difference, points", "sessions gained", "lost", "p"),
        [
            (
                group.name,
                group.n,
                _percent(group.base.estimate),
                _percent(group.adapter.estimate),
                f"{100 * group.difference.estimate:+.1f} "
                f"({100 * group.difference.low:+.1f} to {100 * group.difference.high:+.1f})",
                group.test.gained,
                group.test.lost,
                f"{group.test.p:.2g}",
            )
            for group in (*groups, *more)
        ],
    )
    output.table(
        ("what went wrong", *names),
        [(failure, *counts) for failure, counts in comparison.failures.items()],
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _range(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"
