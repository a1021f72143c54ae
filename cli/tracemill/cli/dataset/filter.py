"""`tracemill dataset filter`: the rows of a data set that meet a condition, or that a recipe leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output
from tracemill.cli.dataset.told import show_written, summary
from tracemill.cli.dataset.words import AsJson, Data, Model, To, chat_of

if TYPE_CHECKING:
    from tracemill.curate.datasets.filtering import Filtered


def filter_rows(
    data: Data,
    to: To,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition on a row, such as \"calls > 0 AND prompt NOT LIKE '%test%'\"."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe to apply: its name, or the path of a .toml file.")
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows that meet a condition, or that the steps of a recipe leave, into a new folder.

    A condition asks for split, id, session_id, task, category, outcome, messages, turns, characters, calls,
    tools (a list), formats, system, prompt, answer and more; one that is unknown names them all. Alone it
    leaves rows as they are, byte for byte; a recipe writes them as an export does. Each row stays in its
    split; made.json or manifest.json says which rows were left out, and why.
    """
    from tracemill.curate.datasets.filtering import narrow, sieve
    from tracemill.curate.datasets.opened import find
    from tracemill.curate.recipe import find as find_recipe
    from tracemill.tracer.home import Home

    if where is None and recipe is None:
        raise typer.BadParameter("give a --where, a --recipe or both.")
    home, target = Home.find(), Path(to).expanduser()
    opened = find(data, home)
    if recipe is None:
        with output.progress() as progress:
            done = narrow(opened, str(where), target, home, chat_of(model, home, progress), progress)
        if as_json:
            output.emit_json(summary(done))
        else:
            show_written(done)
        return
    steps = find_recipe(recipe)
    with output.progress() as progress:
        chat = chat_of(model, home, progress)
        made = sieve(opened, steps, target, home, where=where, chat=chat, progress=progress)
    _show(made, as_json=as_json)


def _show(made: Filtered, *, as_json: bool) -> None:
    manifest = made.manifest
    if as_json:
        parts = manifest.model_dump(include={"content", "where", "proof", "steps", "splits"})
        output.emit_json({"folder": made.folder, "reused": made.reused, **parts})
        return
    output.table(
        ("step", "in", "kept", "dropped", "turns out of the loss", "reasons"),
        [
            (step.step, step.rows_in, step.kept, step.dropped, step.context, _told(step.reasons))
            for step in manifest.steps
        ],
    )
    output.table(
        ("split", "rows", "turns learned", "turns as context"),
        [(split, one.rows, one.learned, one.context) for split, one in manifest.splits.items() if one.rows],
    )
    output.say(f"{made.folder}{' (it was there already)' if made.reused else ''}")


def _told(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())
