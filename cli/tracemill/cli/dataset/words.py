"""The words that several subcommands of `tracemill dataset` share."""

from __future__ import annotations

from typing import Annotated

import typer

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="A data set folder, a JSONL file, or the name of a data set in $TRACEMILL_HOME/datasets.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
