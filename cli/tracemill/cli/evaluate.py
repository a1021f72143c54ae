"""`tracemill evaluate`: how much does a model get right, and is an adapter better than its base?

In: a model, here or behind a URL, a suite and, to compare, an adapter. Out: how much of it is right and, for
an adapter, the verdict, with `--report` as a page to read. Every completion is on disk when it is made, so an
evaluation that was killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.curate.splits import Split
    from tracemill.evaluate.comparison import Comparison, Group
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.report import Report
    from tracemill.evaluate.sampling import Sampling
    from tracemill.evaluate.suites import Size
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import Adapter


def evaluate(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="Base model: smollm2-135m, a folder or a Hugging Face id; what a server calls it, with "
            "--endpoint; or PROVIDER:NAME, as in anthropic:claude-haiku-4-5 or openai:gpt-5-mini."
        ),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of a data set, as `tracemill export` makes it, for holdout.")
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="holdout (of --dataset), bfcl, bfcl-steps, guard (general ability), or a .toml or .jsonl "
            "file; see `tracemill suite`."
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
    ] = 64,
    samples: Annotated[
        int, typer.Option(min=1, help="Completions of each item, for pass@k and pass^k; needs --temperature.")
    ] = 1,
    temperature: Annotated[
        float,
        typer.Option(min=0, max=5, help="0 takes the likeliest token each time; above, they are drawn."),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of what is drawn, 0 if not given: the same again gives the same."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Ask an OpenAI-compatible server, as in http://127.0.0.1:8080/v1, not a model here."
        ),
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(help="Environment variable with the key of --endpoint; none is sent otherwise."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Requests at once, to --endpoint or a provider.")
    ] = 8,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for an answer of --endpoint or a provider.")
    ] = 120.0,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Ask --endpoint or a provider anew, such as after the model behind it changed."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a model on a suite, strictly; with --adapter, say whether it is better than its base.

    What was generated before is not generated again, also where it was broken off. With --endpoint or a
    provider's model, calls may come back structured or as text; items without an answer are counted apart and
    not scored, and where they are more than 5 in 100, nothing is.

    tracemill evaluate my-model --endpoint http://127.0.0.1:8080/v1 --suite bfcl --size quick

    tracemill evaluate smollm2-135m --suite bfcl --samples 5 --temperature 0.7
    """
    remote, guarding, name = _is_remote(model, endpoint), suite == "guard", model or ""
    for wrong, told, where in (
        (suite == "holdout" and dataset is None, "holdout is a split of a data set; name one.", "--dataset"),
        (report and adapter is None, "a report compares two models; add --adapter.", "--report"),
        (
            report and (report.suffix != ".html" or report.is_dir()),
            "name an .html file; its numbers go to the .json beside it.",
            "--report",
        ),
        (guarding and report, "the guard prints its table, or JSON with --json.", "--report"),
        (guarding and temperature, "the guard is asked greedily.", "--temperature"),
        (remote and guarding, "the guard asks a model here; name a base model.", "--suite"),
        (remote and adapter, "an adapter goes with a base model here; name that.", "--adapter"),
        (not remote and not model, "name a model, or a server with --endpoint.", "MODEL"),
        (key_variable and not endpoint, "it is for --endpoint; add that.", "--key-variable"),
        (samples > 1 and not temperature, "they would be alike; add --temperature 0.7.", "--samples"),
        (seed is not None and not temperature, "nothing is drawn; add --temperature 0.7.", "--seed"),
    ):
        if wrong:
            raise typer.BadParameter(told, param_hint=where)
    _refuse_idle(context, guarding=guarding, holdout=suite == "holdout", remote=remote)
    from tracemill.cli.alone import ask, score_alone
    from tracemill.cli.guarded import guard
    from tracemill.cli.loop import fast_blas
    from tracemill.evaluate.sampling import Sampling
    from tracemill.evaluate.verdict import foreseen
    from tracemill.tracer.home import Home
    from tracemill.train.adapter import load_adapter

    home = Home.find()
    if not remote:
        fast_blas(home)
    tuned = load_adapter(adapter) if adapter else None
    if guarding:
        guard(home, name, tuned, size or "standard", as_json)
        return
    sampling = Sampling(samples, temperature, seed or 0)
    plan = _plan(suite, size, dataset, split, max_tokens, batch_size, sampling)
    asked = plan.items()
    sessions = len({item.session_id for item in asked})
    told = f"{len(asked) // samples} items of {sessions} sessions"
    told += f", {samples} samples each" * (samples > 1)
    output.hint(f"{plan.name}: {told}. {foreseen(sessions)}")
    if plan.asked and plan.asked.note:
        output.hint(plan.asked.note)
    if remote:
        ask(home, plan, (endpoint, model, key_variable), timeout, concurrency, fresh, as_json)
    elif tuned is None:
        score_alone(home, plan, name, as_json)
    else:
        _against_base(home, plan, name, tuned, report, as_json)


def _refuse_idle(context: typer.Context, *, guarding: bool, holdout: bool, remote: bool) -> None:
    """BadParameter for an option that was given and would do nothing."""
    for idle, names, told in (
        (guarding, ("dataset", "split", "max_tokens", "batch_size"), "the guard has its own; leave it out."),
        (not holdout, ("dataset", "split"), "only holdout is taken from a data set; leave it out."),
        (remote, ("batch_size",), "it is for a model here; name --concurrency."),
        (not remote, ("concurrency", "timeout", "fresh"), "it is for --endpoint or a provider's model."),
    ):
        for name in names if idle else ():
            source = context.get_parameter_source(name)
            if source and source.name == "COMMANDLINE":
                raise typer.BadParameter(told, param_hint=f"--{name.replace('_', '-')}")


def _is_remote(model: str | None, endpoint: str | None) -> bool:
    """Whether the model is behind a URL, or is a provider's: `provider:name`, and no folder here."""
    return endpoint is not None or (model is not None and ":" in model and not Path(model).exists())


def _plan(
    which: str,
    size: Size | None,
    dataset: Path | None,
    split: Split,
    max_tokens: int,
    batch_size: int,
    sampling: Sampling,
) -> Suite:
    from tracemill.curate.dataset import load
    from tracemill.evaluate.evaluation import Suite
    from tracemill.evaluate.suites import load_suite

    if which != "holdout":
        with output.progress() as progress:
            found = load_suite(which, size or "standard", progress=progress)
        return Suite(None, split, max_tokens, batch_size, found, sampling)
    data = load(dataset) if dataset else None
    found = load_suite(which, size or "full", data, split)
    # All of a split has the name and the results that `improve` gave it.
    return Suite(data, split, max_tokens, batch_size, None if found.size == "full" else found, sampling)


def _against_base(
    home: Home, suite: Suite, model: str, adapter: Adapter, report: Path | None, as_json: bool
) -> None:
    from tracemill.cli.guarded import hint_unasked, show_notes
    from tracemill.evaluate.evaluation import make_report, remember
    from tracemill.evaluate.recall import score_once
    from tracemill.evaluate.report import as_plain, write_report
    from tracemill.evaluate.stored_comparison import stored_guard
    from tracemill.train.base import resolve

    with output.progress() as progress:
        base = resolve(model, home, progress)
        after = score_once(home, suite, base, adapter, progress)
        found = make_report(suite, base, adapter, score_once(home, suite, base, None, progress), after)
        guard = stored_guard(home, (base.digest, None), (base.digest, adapter.card["weights_sha256"]))
        found = found.guarded(guard) if guard else found
    if guard:
        show_notes(guard)
    else:
        hint_unasked(model, str(adapter.path))
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
                output.percent(group.base.estimate),
                output.percent(group.adapter.estimate),
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
