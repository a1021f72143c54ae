"""What two data sets have in common, row by row, and what they do not.

In: the facts of the rows of both. Out: `Difference`: the rows that are the same byte for byte (messages,
calls, tools and weights; ids and other keys beside them do not count), those that changed, and those of one
only. A row is paired once: with one that is the same, in the same split if there is one; then, of those left,
with the one of the same id, the same prompt after the same system prompt, or the same prompt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

_PLACE = ("split", "file", "line", "id", "prompt", "answer")
_PAIRED = [f"{name}_{side}" for side in ("a", "b") for name in _PLACE]


@dataclass(frozen=True)
class Difference:
    """Frames of rows of A and B.

    `same`, `changed` pair rows (`split_a`, `file_a`, `line_a`, `id_a`, `prompt_a`, `answer_a`, and so on for
    b); `only_a`, `only_b` have those columns without the ending, and `again`: whether the other has a row
    that is the same, which is paired with another of this one.
    """

    same: pl.DataFrame
    changed: pl.DataFrame
    only_a: pl.DataFrame
    only_b: pl.DataFrame

    @property
    def moved(self) -> pl.DataFrame:
        """Rows that are the same but stand in another split."""
        return self.same.filter(pl.col("split_a") != pl.col("split_b"))

    def counts(self) -> dict[str, Any]:
        """Rows of either, the same, moved between splits, changed, and in one only."""
        return {
            "a": self.same.height + self.changed.height + self.only_a.height,
            "b": self.same.height + self.changed.height + self.only_b.height,
            "same": self.same.height,
            "moved": self.moved.height,
            "moved_between": _moves(self.moved),
            "changed": self.changed.height,
            "only_a": self.only_a.height,
            "only_a_again": int(self.only_a["again"].sum()),
            "only_b": self.only_b.height,
            "only_b_again": int(self.only_b["again"].sum()),
        }


def compare(a: pl.DataFrame, b: pl.DataFrame) -> Difference:
    """Pair the rows of two data sets (`facts.FACTS`)."""
    left, right = (rows.with_row_index("_at") for rows in (a, b))
    same, left, right = _paired(left, right, [], ["exact", "split"])
    more, left, right = _paired(left, right, [], ["exact"])
    changed: list[pl.DataFrame] = []
    for keys in (["own_id"], ["prompt", "system"], ["prompt"]):
        found, left, right = _paired(left, right, keys[:1], keys)
        changed.append(found)
    return Difference(
        pl.concat([same, more]).sort("file_a", "line_a", maintain_order=True),
        pl.concat(changed).sort("file_a", "line_a", maintain_order=True),
        _only(left, b),
        _only(right, a),
    )


def _paired(
    left: pl.DataFrame, right: pl.DataFrame, known: list[str], keys: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Pairs of rows with the same `keys`, the first with the first, and the rows of both that are left.

    Rows of which a key in `known` is null or empty are left.
    """
    sides: list[pl.DataFrame] = []
    for rows, side in ((left, "a"), (right, "b")):
        kept = rows.filter(*(pl.col(key).fill_null("") != "" for key in known))
        numbered = kept.with_columns(_nth=pl.int_range(pl.len()).over(keys))
        named = [pl.col(name).alias(f"{name}_{side}") for name in ("_at", *_PLACE)]
        sides.append(numbered.select(*(pl.col(key).alias(f"_{key}") for key in keys), "_nth", *named))
    on = [*(f"_{key}" for key in keys), "_nth"]
    pairs = sides[0].join(sides[1], on=on, nulls_equal=True, maintain_order="left")
    rest = [
        rows.filter(~pl.col("_at").is_in(pairs[f"_at_{side}"].implode()))
        for rows, side in ((left, "a"), (right, "b"))
    ]
    return pairs.select(_PAIRED), rest[0], rest[1]


def _only(rows: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    again = pl.col("exact").is_in(other["exact"].implode())
    return rows.select(*_PLACE, again=again)


def _moves(moved: pl.DataFrame) -> dict[str, int]:
    counted = Counter(
        f"{before} to {after}" for before, after in moved.select("split_a", "split_b").iter_rows()
    )
    return dict(sorted(counted.items()))
