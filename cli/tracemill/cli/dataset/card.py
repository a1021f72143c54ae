"""`tracemill dataset card`: a page that says what is in a data set, what looks wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output
from tracemill.cli.dataset.words import AsJson, chat_of

if TYPE_CHECKING:
    from tracemill.curate.card.reading import Data
    from tracemill.curate.chat.template import Chat
    from tracemill.tracer.home import Home


def card(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A data set folder, a folder of several, a JSONL file, or the name of a data set in "
            "$TRACEMILL_HOME/datasets.",
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where card.md and card.html go; by default beside the data."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Base model whose tokens are counted: smollm2-135m, a folder or a Hugging Face id. By "
            "default the one that the data set was exported for, if it is on this machine."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write card.md and card.html: what is in a data set, what looks wrong with it and what to do.

    Any chat JSONL will do. Of more than 10,000 rows a sample is looked at, which the card says.
    """
    from tracemill.curate.card import make
    from tracemill.curate.card.place import place, write
    from tracemill.curate.card.reading import opened
    from tracemill.tracer.home import Home

    home = Home.find()
    sets = opened(data, home)
    folder = place(data, sets, to)
    with output.progress() as progress:
        chat = chat_of(model, home, progress) or _proved(sets, home)
        made = make(sets, sets[0].name if len(sets) == 1 else Path(data).resolve().name, chat, progress)
    pages = write(folder, sets, made)
    if as_json:
        output.emit_json({"pages": pages, **made.plain()})
    else:
        from tracemill.curate.card.told import about, counted

        output.say(about(made.facts))
        if made.wrong:
            output.table(
                ("", "what looks wrong", "how often"),
                [
                    ("mend" if one.level == "bad" else "look", one.ill.title, counted(one))
                    for one in made.wrong
                ],
            )
        else:
            output.say("Nothing looks wrong.")
        output.say(f"{pages[-1]}")
    if open_page:
        import webbrowser

        webbrowser.open(pages[-1].resolve().as_uri())


def _proved(sets: Sequence[Data], home: Home) -> Chat | None:
    """The template that the only data set was proved for, where its base model is on this machine."""
    from tracemill.curate.chat.template import Chat
    from tracemill.tracer.errors import TracemillError
    from tracemill.train.base import cached

    manifest = sets[0].manifest if len(sets) == 1 else None
    folder = cached(manifest.proof.base, home) if manifest and manifest.proof else None
    try:
        return Chat.load(folder) if folder else None
    except TracemillError as error:
        output.hint(f"No tokens are counted: {error}")
        return None
