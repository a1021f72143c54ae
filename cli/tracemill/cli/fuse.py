"""`tracemill fuse`: an adapter and its base as one model, to be taken anywhere.

In: an adapter. Out: a Hugging Face folder, quantized and as GGUF where that is asked for, with a model card.
Each form that is shipped is scored again and compared with the adapter it came from.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tracemill.cli import knobs, output
from tracemill.tracer.errors import TracemillError
from tracemill.tracer.units import size

if TYPE_CHECKING:
    from tracemill.curate.dataset import Dataset
    from tracemill.train.fuse import Fused
    from tracemill.train.known import Known
    from tracemill.train.modelcard import Measured


def fuse(
    to: Annotated[Path, typer.Option(help="Folder to write, which is not there yet.")],
    adapter: Annotated[
        str | None,
        typer.Argument(help="Folder or name of an adapter; without one, the promoted adapter is fused."),
    ] = None,
    quantize: Annotated[
        Literal["4", "8"] | None,
        typer.Option(help="Quantize the weights to so many bits after they were fused."),
    ] = None,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Write a GGUF file for llama.cpp too, in half precision.")
    ] = False,
    base: Annotated[str | None, typer.Option(help="Where the adapter's base is now, if it moved.")] = None,
    score: Annotated[
        Path | None,
        typer.Option(help="Data set whose test split scores the forms; without it, the one it learned from."),
    ] = None,
    no_score: Annotated[
        bool, typer.Option("--no-score", help="Write it unscored; the card says so.")
    ] = False,
    max_tokens: knobs.MaxTokens = knobs.MAX_TOKENS,
    as_json: knobs.AsJson = False,
) -> None:
    """Fuse an adapter into its base: a folder any Hugging Face or MLX program reads, with a model card.

    The base is dequantized first, because what is fused into 4-bit weights is
    mostly rounded away. Every form that is written is scored again and
    compared with the adapter: what is shipped is what is known.
    """
    if score is not None and no_score:
        raise typer.BadParameter("give --score or --no-score.")
    from tracemill.cli.fresh import fresh_home
    from tracemill.cli.loop import fast_blas
    from tracemill.curate.dataset import load
    from tracemill.train.finding import base_of, find_adapter
    from tracemill.train.known import known
    from tracemill.train.promotion import promoted

    home = fresh_home()
    fast_blas(home)
    rows = load(score) if score else None
    if rows is not None and not rows.rows("test"):
        raise TracemillError(f"{score} has no rows in test.jsonl; name another data set, or give --no-score.")
    which = find_adapter(home, adapter) if adapter else promoted(home)
    from tracemill.cli.fuse_scores import measure
    from tracemill.train.fuse import fuse as make
    from tracemill.train.modelcard import write_card

    with output.progress() as progress:
        on = base_of(home, which, base, progress)
        bits = int(quantize) if quantize else None
        made = make(which, on, to.expanduser().absolute(), bits=bits, with_gguf=gguf, progress=progress)
        facts = known(home, which)
        # A card first: scoring takes minutes, and whoever interrupts it keeps a model that says what it is.
        page = write_card(made, on, facts, [])
        asked = rows or (facts.dataset if facts.dataset and facts.dataset.rows("test") else None)
        found = [] if no_score else measure(home, made, which, on, asked, max_tokens, progress)
        page = write_card(made, on, facts, found)
    if as_json:
        output.emit_json(
            {
                "folder": made.path,
                "card": page,
                "reused": made.reused,
                "forms": [asdict(one) for one in found],
            }
            | {"scored_on": found[0].asked if found else None, **made.card}
        )
    else:
        _show(made, facts, asked, found, no_score=no_score)


def _show(made: Fused, facts: Known, asked: Dataset | None, found: list[Measured], *, no_score: bool) -> None:
    if made.reused:
        output.say("This very model was there already.")
    if found:
        output.table(
            ("form", "size", "same completions", "largest difference of a logit", "of the adapter's change"),
            [
                (
                    one.name,
                    size(one.size),
                    f"{one.same} of {one.completions}",
                    one.fidelity.largest,
                    f"{100 * one.fidelity.of_change:.2g}%",
                )
                for one in found
            ],
        )
    for one in found:
        if one.changes:
            _show_changes(one)
    if no_score:
        output.hint("Not scored, and its card says so; the same command without --no-score scores it.")
    elif asked is None:
        output.hint(
            f"{facts.missing or 'Its data set has no test split.'} So the completions of made-up prompts "
            "were compared and nothing was scored; --score DATASET scores it."
        )
    output.say(str(made.path))
    output.hint(f"`tracemill serve --base {made.path}` serves it; README.md says what it is.")


def _show_changes(one: Measured) -> None:
    output.table(
        (f"{one.name} on {one.asked}", "items", "adapter", "this form", "difference, points", "p"),
        [
            (
                group.name,
                group.n,
                f"{100 * group.adapter.estimate:.1f}%",
                f"{100 * group.form.estimate:.1f}%",
                f"{100 * group.difference.estimate:+.1f} "
                f"({100 * group.difference.low:+.1f} to {100 * group.difference.high:+.1f})",
                f"{group.p:.2g}",
            )
            for group in one.changes
        ],
    )
    first = one.changes[0]
    if first.p < 0.05 and first.difference.estimate < 0:
        output.say(f"{one.name} is worse than the adapter it came from; ship another form.", style="bold")
