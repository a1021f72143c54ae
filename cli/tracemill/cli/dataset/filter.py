"""`tracemill dataset filter`: the rows of a data set that meet a condition, or that a recipe leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output
from tracemill.cli.dataset.told import show_written, summary, told_leaks
from tracemill.cli.dataset.words import AsJson, Data, Model, To, chat_of

if TYPE_CHECKING:
    from tracemill.curate.datasets.filtering import Filtered
    from tracemill.tracer.home import Home


def filter_rows(
    data: Data,
    to: To,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition on a row, such as \"calls > 0 AND prompt NOT LIKE '%test%'\"."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=r"Recipe whose \[rewrites], \[steps] and \[format] to apply: its name, or the path of a "
            ".toml file. Its sources, splits, order, replay and pairs are not used."
        ),
    ] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Write the rows that meet a condition, or that the steps of a recipe leave, into a new folder.

    A condition asks for split, id, session_id, task, category, outcome, messages, turns, characters, calls,
    tools (a list), formats, system, prompt, answer and more; one that is unknown names them all. Alone it
    leaves rows as they are, byte for byte; a recipe writes them as an export does. Each row stays in its
    split; made.json or manifest.json says which rows were left out, and why. It says
    what then stands in two splits.
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
            leaks = _leaks(target, done.made.splits, home, progress)
        if as_json:
            output.emit_json(summary(done) | {"leaks": leaks})
        else:
            _say(leaks, target)
            show_written(done)
        return
    steps = find_recipe(recipe)
    with output.progress() as progress:
        chat = chat_of(model, home, progress)
        made = sieve(opened, steps, target, home, where=where, chat=chat, progress=progress)
        sizes = {split: count.rows for split, count in made.manifest.splits.items()}
        leaks = _leaks(target, sizes, home, progress)
    if as_json:
        parts = made.manifest.model_dump(include={"content", "where", "proof", "steps", "splits"})
        output.emit_json({"folder": made.folder, "reused": made.reused, **parts, "leaks": leaks})
    else:
        _show(made)
        _say(leaks, target)
        output.say(f"{made.folder}{' (it was there already)' if made.reused else ''}")


def _leaks(
    folder: Path, splits: Mapping[str, int], home: Home, progress: output.ProgressCallback
) -> dict[str, int]:
    """How many leaks of each kind there are between the splits that have rows; {} where only one has."""
    from tracemill.curate.datasets.leaking import REPOSITORY, between_splits
    from tracemill.curate.datasets.opened import find

    if sum(map(bool, splits.values())) < 2:
        return {}
    counts = between_splits(find(folder, home), progress=progress).counts()
    return {kind: count for kind, count in counts.items() if kind != REPOSITORY}


def _say(leaks: Mapping[str, int], folder: Path) -> None:
    output.say(told_leaks(leaks) if leaks else "There is one split only, so nothing can stand in two.")
    if any(leaks.values()):
        output.hint(
            f"`tracemill dataset leaks {folder}` shows them; `tracemill dataset split` draws the splits anew."
        )


def _show(made: Filtered) -> None:
    manifest = made.manifest
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


def _told(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())
