"""Suites: what a model is asked, in three sizes, every item with id, category, source and hash.

In: the name of a suite, or the path of one's own. Out: an `ItemSuite`. `holdout` is a split of a data set,
`bfcl` and `bfcl-steps` come from the package bfcl-eval, any other is a TOML or JSONL file (`custom`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tracemill.curate.dataset import Dataset
from tracemill.curate.names import suggest
from tracemill.curate.splits import Split
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import items
from tracemill.evaluate.suites.bfcl import load_bfcl
from tracemill.evaluate.suites.bfcl_steps import LONG, STEPS, load_bfcl_steps
from tracemill.evaluate.suites.custom import load_custom
from tracemill.evaluate.suites.suite import SIZES, ItemSuite, Size, sized

if TYPE_CHECKING:
    from tracemill.evaluate.generate import Progress

__all__ = ["NAMES", "SIZES", "SUFFIXES", "ItemSuite", "Size", "load_suite"]

NAMES: dict[str, str] = {
    "holdout": "the next action after every held-out turn of a data set",
    "bfcl": "function calls of the Berkeley Function Calling Leaderboard, from the package bfcl-eval",
    STEPS: "single steps of the leaderboard's multi-turn conversations, not its multi-turn score",
    LONG: "the same, with long results of the calls",
}
"""The suites that have a name, and what each asks."""
SUFFIXES = (".toml", ".jsonl")
"""The files that a suite of one's own may be."""


def load_suite(
    which: str,
    size: Size = "standard",
    dataset: Dataset | None = None,
    split: Split = "test",
    progress: Progress | None = None,
) -> ItemSuite:
    """The suite `which` (a name, or a .toml or .jsonl file), checked, in the size asked for.

    `dataset` is what `holdout` is taken from, all of it at size `full`. EvaluationError where there is none,
    where it is empty, or for an item that cannot be right.
    """
    if which == "holdout":
        if dataset is None:
            raise EvaluationError("The suite holdout is a split of a data set; name one with --dataset.")
        rows = dataset.rows(split)
        if not rows:
            raise EvaluationError(
                f"{dataset.folder} has no rows in {split}.jsonl; "
                "choose another split, or export more sessions."
            )
        return sized(ItemSuite(f"{dataset.name}/{split}", "full", items(rows), str(dataset.folder)), size)
    if which == "bfcl":
        return sized(load_bfcl(), size)
    if which in (STEPS, LONG):
        if progress:
            progress("bfcl-eval's functions answer", 0, 0)
        return sized(load_bfcl_steps(long=which == LONG), size)
    path = Path(which)
    if path.suffix in SUFFIXES:
        return sized(load_custom(path), size)
    if which == "live":
        raise EvaluationError("The live tasks are those of `tracemill demo`, which runs them.")
    names = [*NAMES, "guard"]
    raise EvaluationError(
        f"There is no suite {which!r}{suggest(which, names)}; "
        f"name {', '.join(names)}, or a .toml or .jsonl file."
    )
