"""`tracemill dataset import`: a public data set of the Hugging Face hub, made a data set folder here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson

if TYPE_CHECKING:
    from tracemill.curate.datasets.importing import Imported


def import_dataset(
    source: Annotated[
        str,
        typer.Argument(
            help="Id of a data set of the Hugging Face hub (org/name), or a folder laid out as one."
        ),
    ],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    split: Annotated[
        list[str] | None,
        typer.Option(help="A split of it to read; may be given more than once. All, if not given."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Which of its configurations; the default one, if not given.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; the newest, if not given.")
    ] = None,
    as_found: Annotated[
        bool, typer.Option("--as-found", help="Leave calls in the wire format they are written in.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import a public data set as chat JSONL: messages, conversations, prompt and completion, instructions.

    Reads Parquet and JSON and nothing else: no code of it is run. Says what was read as what, and why not the
    rest; origin.json keeps that, the revision and the licence.
    """
    from tracemill.curate.datasets.hub import Wanted
    from tracemill.curate.datasets.importing import import_dataset as read
    from tracemill.tracer.home import Home

    with output.progress() as progress:
        made = read(source, to, Home.find(), Wanted(config, split or (), revision), as_found, progress)
    if as_json:
        output.emit_json(_object(made))
        return
    output.table(
        ("file", "split", "read as", "rows", "messages normalised", "not read"),
        [
            (one.file, one.split, one.shape or "nothing", one.rows, one.normalised, _listed(one.reasons))
            for one in made.files
        ],
    )
    for shape, others in dict.fromkeys(
        (one.shape, ", ".join(one.others)) for one in made.files if one.others
    ):
        output.hint(f"Rows that could be read as {others} too were read as {shape}.")
    unread = [told for one in made.files for told in one.told]
    for told in unread[:3]:
        output.hint(f"not read: {told}")
    if made.fetched.note:
        output.hint(made.fetched.note)
    where = f"{made.fetched.source}{f' at {made.fetched.revision[:12]}' if made.fetched.revision else ''}"
    output.say(f"{where}; licence: {made.fetched.licence or 'its card names none'}")
    output.say(f"{made.folder}{' (it was there already)' if made.reused else ''}")


def _object(made: Imported) -> dict[str, Any]:
    fetched = made.fetched
    return {
        "folder": made.folder,
        "reused": made.reused,
        "source": fetched.source,
        "revision": fetched.revision,
        "config": fetched.layout.config,
        "licence": fetched.licence,
        "read": [
            {"file": one.file, "split": one.split, "shape": one.shape, "other_shapes": one.others}
            | {
                "rows": one.rows,
                "normalised": one.normalised,
                "unread": one.reasons,
                "first_unread": one.told,
            }
            for one in made.files
        ],
    }


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))
