"""The words that several subcommands of `tracemill dataset` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import output

if TYPE_CHECKING:
    from tracemill.curate.chat.template import Chat
    from tracemill.tracer.home import Home

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A data set folder, a JSONL file, or the name of a data set in $TRACEMILL_HOME/datasets.",
    ),
]
DataSets = Annotated[
    list[str],
    typer.Argument(metavar="DATASET...", help="Data sets, each a folder, a JSONL file or a name."),
]
To = Annotated[str, typer.Option(help="Folder to write; it must not hold anything else.")]
MaybeData = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATASET]", help="The data set, as folder, file or name; by default the newest export."
    ),
]
WhichRow = Annotated[
    str, typer.Argument(metavar="ROW", help="Id of a row, or split and line of it, as train:12.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Model = Annotated[
    str | None,
    typer.Option(help="Base model whose tokens count: smollm2-135m, a folder or a Hugging Face id."),
]


def chat_of(model: str | None, home: Home, progress: output.ProgressCallback) -> Chat | None:
    """The chat template of the base model `model`; None where none is named."""
    if model is None:
        return None
    from tracemill.curate.chat.template import Chat
    from tracemill.train.base import resolve

    return Chat.load(resolve(model, home, progress).path)
