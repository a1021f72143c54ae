"""`tracemill dataset rollouts`: rejection sampling, a data set of what a model does right by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import knobs, output
from tracemill.cli.dataset.told import show_written, summary
from tracemill.cli.dataset.words import AsJson, Data, To

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracemill.evaluate.rollout_rows import Kept
    from tracemill.evaluate.rollouts import Attempt
    from tracemill.evaluate.sampling import Passes


def rollouts(
    data: Data,
    to: To,
    model: Annotated[
        str | None, typer.Option(help="Base model: smollm2-135m (default), a folder or a Hugging Face id.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Adapter on it that makes the attempts, by folder or name.")
    ] = None,
    attempts: Annotated[int, typer.Option("--attempts", "-k", min=1, help="Attempts at each task.")] = 8,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Of sampling: the higher, the more attempts differ.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attempts.")] = 0,
    keep: Annotated[int, typer.Option(min=1, help="Most attempts that are kept of a task.")] = 4,
    verify: Annotated[
        str | None,
        typer.Option(
            help="Command that judges instead of the recorded call: it gets an attempt as JSON on standard "
            "input, and exit code 0 passes it. Turns in words are attempted too."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an attempt.")] = knobs.MAX_TOKENS,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Attempts made at once; changes the speed alone.")
    ] = 64,
    as_json: AsJson = False,
) -> None:
    """Let a model attempt every tool call of the training rows; write what passes as a data set to train on.

    An attempt passes where it makes the calls that were recorded, by the strict scorer. Distinct ones are
    kept, each as a row of its own that learns this turn alone; rows of valid and test are copied as they are.
    Attempts are on disk as they are made, so a run that was stopped goes on. To learn from the recorded rows
    as well, merge both data sets.
    """
    from tracemill.cli.loop import fast_blas
    from tracemill.cli.tuning import begin
    from tracemill.curate.chat.template import Chat
    from tracemill.curate.dataset import load
    from tracemill.curate.datasets.made import refuse_input
    from tracemill.curate.datasets.opened import find
    from tracemill.evaluate.errors import EvaluationError
    from tracemill.evaluate.rollout_rows import keep as choose
    from tracemill.evaluate.rollout_rows import write_rollouts
    from tracemill.evaluate.rollouts import draw, tasks, verified
    from tracemill.evaluate.sampling import Sampling, passes
    from tracemill.tracer.home import Home

    home, target = Home.find(), Path(to).expanduser()
    opened = find(data, home)
    refuse_input(target, [opened])
    dataset = load(opened.folder)
    rows = dataset.rows("train")
    asked = tasks(rows, every=verify is not None)
    if not asked:
        raise EvaluationError(
            f"No turn of {opened.folder}/train.jsonl calls a tool, so there is nothing to attempt; "
            "with --verify turns in words are tasks too."
        )
    fast_blas(home)
    sampling = Sampling(attempts, temperature, seed)
    with output.progress() as progress:
        base, tuned = begin(home, {"model": model, "adapter": adapter}, progress)
        made = draw(
            home, rows, asked, base, tuned, sampling,
            max_tokens=max_tokens, batch_size=batch_size, progress=progress,
        )  # fmt: skip
        if verify is not None:
            made = verified(made, verify, progress=progress)
        chat = Chat.load(base.path, tuned.path if tuned else None)
        kept = choose(rows, made, chat, most=keep, max_tokens=max_tokens)
        options = {
            "base": Path(base.name).name,
            "base_sha256": base.digest,
            "adapter": tuned.path.name if tuned else None,
            "adapter_sha256": tuned.card["weights_sha256"] if tuned else None,
            "attempts": attempts,
            "temperature": temperature,
            "seed": seed,
            "max_tokens": max_tokens,
            "keep": keep,
            "verify": verify,
        }
        written = write_rollouts(home, opened, dataset, made, kept, target, options, progress)
    found = passes([one.result for one in made], sampling)
    if as_json:
        output.emit_json(summary(written) | _told(made, kept, found))
    else:
        _show(made, kept, found, len(asked))
        show_written(written)


def _told(made: Sequence[Attempt], kept: Kept, found: Sequence[Passes]) -> dict[str, Any]:
    return {
        "attempts": len(made),
        "passed": sum(one.passed for one in made),
        "kept": kept.number,
        "tasks": {"attempted": len({one.task.id for one in made}), "gained": kept.tasks},
        "left_out": dict(kept.left_out),
        "pass_at_k": [
            {"tasks": one.name, "n": one.n, "k": one.k, "share": one.one.estimate, "low": one.one.low,
             "high": one.one.high}
            for one in found
        ],
    }  # fmt: skip


def _show(made: Sequence[Attempt], kept: Kept, found: Sequence[Passes], tasks: int) -> None:
    output.table(
        ("tasks", "n", "k", "pass@k", "95% interval"),
        [
            (
                one.name,
                one.n,
                one.k,
                output.percent(one.one.estimate),
                f"{output.percent(one.one.low)} to {output.percent(one.one.high)}",
            )
            for one in found
        ],
    )
    passed = sum(one.passed for one in made)
    output.say(
        f"{passed} of {len(made)} attempts passed; {kept.number} are kept, of {kept.tasks} of {tasks} tasks."
    )
    if kept.left_out:
        output.table(("passed, but left out because", "attempts"), kept.left_out.most_common())
