"""`tracemill dataset`: look into data sets of chat JSONL, mend them and make others of them.

In: the words after `dataset`. Out: what the subcommand says. A subcommand is one function in a file of its
own; it is registered by one line below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from tracemill.cli.dataset.card import card
from tracemill.cli.dataset.diff import diff
from tracemill.cli.dataset.filter import filter_rows
from tracemill.cli.dataset.import_ import import_dataset
from tracemill.cli.dataset.leaks import leaks
from tracemill.cli.dataset.merge import merge
from tracemill.cli.dataset.rollouts import rollouts
from tracemill.cli.dataset.sample import sample
from tracemill.cli.dataset.show import show
from tracemill.cli.dataset.split import split
from tracemill.cli.dataset.stats import stats
from tracemill.cli.dataset.validate import validate
from tracemill.cli.dataset.why import why

# (name, function, example); the order here is the order in --help.
SUBCOMMANDS: list[tuple[str, Callable[..., Any], str]] = [
    ("stats", stats, "tracemill dataset stats ~/.tracemill/datasets/NAME"),
    ("card", card, "tracemill dataset card ./datasets-of-others --to ./cards --open"),
    ("validate", validate, "tracemill dataset validate NAME --model smollm2-135m"),
    ("filter", filter_rows, "tracemill dataset filter NAME --where 'calls > 0' --to ./with-calls"),
    ("diff", diff, "tracemill dataset diff NAME ./mine --show 5"),
    ("merge", merge, "tracemill dataset merge NAME ./mine.jsonl --to ./merged"),
    ("split", split, "tracemill dataset split ./mine.jsonl --to ./split --valid 0.1 --test 0.1"),
    ("sample", sample, "tracemill dataset sample NAME --rows 5 --by tool"),
    ("show", show, "tracemill dataset show train:12 ~/.tracemill/datasets/NAME"),
    ("leaks", leaks, "tracemill dataset leaks NAME --against suite.txt"),
    ("import", import_dataset, "tracemill dataset import org/name --split train --to ./set"),
    ("rollouts", rollouts, "tracemill dataset rollouts NAME --adapter ADAPTER --attempts 8 --to ./passed"),
    ("why", why, "tracemill dataset why 3f2a91c0 ~/.tracemill/datasets/NAME"),
]


def dataset() -> None:
    """Look into data sets of chat JSONL, mend them and make others of them.

    A data set is a folder of train.jsonl, valid.jsonl and test.jsonl, made by `tracemill export` or by hand,
    a single JSONL file, or the name of one in $TRACEMILL_HOME/datasets.
    """


def compose() -> typer.Typer:
    """The group with all its subcommands."""
    made = typer.Typer(no_args_is_help=True)
    made.callback()(dataset)
    for name, function, example in SUBCOMMANDS:
        made.command(name, epilog=f"Example: {example}")(function)
    return made
