"""`tracemill evaluate`: is an adapter better than its base?

In: a base model, a data set and, to compare, an adapter. Out: how many held-out turns are right and, for an
adapter, the verdict, with `--report` as a page to read.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.report import Report
    from tracemill.evaluate.statistics import Interval
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter


def evaluate(
    model: Annotated[str, typer.Argument(help="Base model: smollm2-135m, a folder or a Hugging Face id.")],
    dataset: Annotated[Path, typer.Option(help="Folder of a data set, as `tracemill export` makes it.")],
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
    """Score a model on held-out turns, strictly; with --adapter, say whether it is better than its base."""
    if report is not None and adapter is None:
        raise typer.BadParameter("a report compares two models; add --adapter.", param_hint="--report")
    if report is not None and (report.suffix != ".html" or report.is_dir()):
        raise typer.BadParameter(
            "name an .html file; its numbers go to the .json beside it.", param_hint="--report"
        )
    from tracemill.cli.loop import fast_blas
    from tracemill.curate.dataset import load
    from tracemill.evaluate.evaluation import Suite
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import load_adapter

    home = Home.find()
    fast_blas(home)
    suite = Suite(load(dataset), split, max_tokens, batch_size)
    suite.rows()
    if adapter is None:
        _alone(home, suite, model, as_json)
    else:
        _against_base(home, suite, model, load_adapter(adapter), report, as_json)


def _alone(home: Home, suite: Suite, model: str, as_json: bool) -> None:
    from tracemill.evaluate.evaluation import remember, score_model
    from tracemill.evaluate.holdout import tally
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        results = score_model(suite, base, None, progress)
    remember(home, suite, base, None, results)
    tallies = tally(results)
    if as_json:
        output.emit_json(
            {
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


def _against_base(
    home: Home, suite: Suite, model: str, adapter: Adapter, report: Path | None, as_json: bool
) -> None:
    from tracemill.evaluate.evaluation import compare_adapter, remember
    from tracemill.evaluate.report import as_plain, write_report
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        found = compare_adapter(suite, base, adapter, progress)
    path = str(report.absolute()) if report else None
    remember(home, suite, base, None, found.base)
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
    comparison = report.comparison
    groups = [comparison.calls, comparison.lenient, *comparison.categories]
    groups += [comparison.direct] if comparison.direct else []
    groups += [report.live.group] if report.live else []
    output.table(
        (suite.name, "items", "base", "adapter", "difference, points", "sessions gained", "lost", "p"),
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
            for group in groups
        ],
    )
    output.table(
        ("what went wrong", "base", "adapter"),
        [(failure, *counts) for failure, counts in comparison.failures.items()],
    )
    output.say(f"{comparison.verdict.word}: {comparison.verdict.reason}", style="bold")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _range(interval: Interval) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}"
