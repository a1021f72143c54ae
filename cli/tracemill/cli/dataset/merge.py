"""`tracemill dataset merge`: several data sets made one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracemill.cli import output
from tracemill.cli.dataset.told import show_written, summary, told_leaks
from tracemill.cli.dataset.words import AsJson, DataSets, To


def merge(
    data: DataSets,
    to: To,
    splits: Annotated[
        Literal["keep", "move", "reassign"],
        typer.Option(
            help="What becomes of rows that say what is held out: left out, moved to where it is held out, "
            "or all splits are drawn anew."
        ),
    ] = "keep",
    seed: Annotated[int, typer.Option(help="Seed of the draw with --splits reassign.")] = 0,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Write rows that repeat another, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Merge data sets into a new folder: exact duplicates once, ids unique, nothing in two splits.

    Rows stay as they are, byte for byte; made.json says where each comes from and which were left out.
    """
    from tracemill.curate.datasets.merging import merge as join
    from tracemill.curate.datasets.opened import find
    from tracemill.tracer.home import Home

    if len(data) < 2:
        raise typer.BadParameter("name two data sets or more.", param_hint="DATASET...")
    home = Home.find()
    sets = [find(one, home) for one in data]
    with output.progress() as progress:
        done = join(
            sets,
            Path(to).expanduser(),
            home,
            splits=splits,
            seed=seed,
            keep_duplicates=keep_duplicates,
            progress=progress,
        )
    if as_json:
        told = {"moved": done.moved, "renamed": done.renamed, "leaks": done.report.counts()}
        output.emit_json(summary(done.written) | told)
        return
    if done.moved:
        output.say(f"{done.moved} rows changed their split, so that nothing stands in two.")
    if done.renamed:
        output.say(f"{done.renamed} rows got a new id, for theirs stood in another row.")
    output.say(told_leaks(done.report.counts()))
    show_written(done.written)
