"""`tracemill dataset sample`: some rows of a data set, drawn by a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracemill.cli import output
from tracemill.cli.dataset.told import show_written, summary
from tracemill.cli.dataset.words import AsJson, Data


def sample(
    data: Data,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    by: Annotated[
        Literal["category", "tool", "split"] | None,
        typer.Option(help="Give each category, set of tools called or split its share, at least one row."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Folder to write; without it the lines go to standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw rows of a data set, to read them or to try something on a few.

    Rows stay as they are, byte for byte. Without --to they are printed, a JSON line each.
    """
    from tracemill.curate.datasets.facts import scan
    from tracemill.curate.datasets.opened import find
    from tracemill.curate.datasets.sampling import lines_of, write_sample
    from tracemill.curate.datasets.sampling import sample as draw
    from tracemill.tracer.home import Home

    home = Home.find()
    opened = find(data, home)
    with output.progress() as progress:
        drawn = draw(scan(opened, progress), rows, seed, by)
        if to is not None:
            options = {"rows": rows, "seed": seed, "by": by}
            written = write_sample(opened, drawn, Path(to).expanduser(), home, options, progress)
            if as_json:
                output.emit_json(summary(written))
            else:
                show_written(written)
            return
    target = output.data()
    for line in lines_of(opened, drawn):
        target.write(line)
