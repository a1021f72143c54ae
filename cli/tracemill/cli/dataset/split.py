"""`tracemill dataset split`: a data set split anew, so that nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tracemill.cli import output
from tracemill.cli.dataset.told import show_written, summary, told_leaks
from tracemill.cli.dataset.words import AsJson, Data, To


def split(
    data: Data,
    to: To,
    recipe: Annotated[
        str | None,
        typer.Option(help=r"Recipe whose \[split] to take: its name, or the path of a .toml file."),
    ] = None,
    valid: Annotated[float | None, typer.Option(min=0, max=1, help="Share held out in valid (0.1).")] = None,
    test: Annotated[float | None, typer.Option(min=0, max=1, help="Share held out in test (0.1).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw (0).")] = None,
    repository: Annotated[
        bool | None, typer.Option("--repository", help="Keep the sessions of a project together.")
    ] = None,
    stratify: Annotated[
        bool | None, typer.Option("--stratify", help="Hold out some rows of every tool that is called.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw train, valid and test anew into a new folder; sessions, prompts, tasks, near copies stay together.

    Rows stay as they are, byte for byte. Only rows that are pinned (by a `split` in the row, or by their
    session when it was exported) are not drawn.
    """
    from pydantic import ValidationError

    from tracemill.curate.datasets.opened import find
    from tracemill.curate.datasets.splitting import divide
    from tracemill.curate.recipe import find as find_recipe
    from tracemill.curate.splits import SplitOptions
    from tracemill.tracer.home import Home

    given = {"valid": valid, "test": test, "seed": seed, "repository": repository, "stratify": stratify}
    options = find_recipe(recipe).split if recipe else SplitOptions()
    chosen = {key: value for key, value in given.items() if value is not None}
    try:
        options = SplitOptions.model_validate(options.model_dump() | chosen)
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(f"{told}.") from error
    home = Home.find()
    opened = find(data, home)
    with output.progress() as progress:
        done = divide(opened, Path(to).expanduser(), home, options, progress)
    if as_json:
        told = {"moved": done.moved, "leaks_before": done.before.counts(), "leaks": done.after.counts()}
        output.emit_json(summary(done.written) | told)
        return
    output.say(f"Before: {told_leaks(done.before.counts())}")
    output.say(f"Now: {told_leaks(done.after.counts())} {done.moved} rows changed their split.")
    show_written(done.written)
