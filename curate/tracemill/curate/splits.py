"""Train, valid and test, split so that nothing learned from is also tested on.

In: the conversations that passed the steps, in their order (columns `conversation_id`, `session_id`,
`prompt`, `task`, and `split`: the pin of the session or null). Out: the same rows with `split` filled in,
`pin` as it was, and what decided it (`decided`, `by`: `DECIDED`). Conversations of one session, with one
prompt, of one task or of one cluster of near copies (column `cluster`, where a step found some) are a group,
and so is whatever those join; a group is never divided. `leaks` shows it for the rows as they are written,
`curate/leaks.py` for any data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from pydantic import BaseModel, Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tracemill.curate.chat.proof import Row
from tracemill.curate.errors import ExportError
from tracemill.curate.features.talk import prompt_key

Split = Literal["train", "valid", "test"]
# From what is learned to what is held out most.
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
Decided = Literal["pin", "draw", "tool", "rest"]
DECIDED: Mapping[Decided, str] = {
    "pin": "its session, or one that it is grouped with, asked for that split",
    "draw": "a seeded hash drew it for its group",
    "tool": "its group is held out for the sake of a tool that no draw held out",
    "rest": "nothing else was left to train on",
}
"""What decides a split; `by` names the conversation of the group that was decisive."""
_ENOUGH = 5


class SplitOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """Fractions of the groups that are held out, and the seed of the draw.

    `repository` makes a group of all sessions of a project. `stratify` holds out a group of every tool that
    is called in at least five tasks (prompts, sessions), where the draw alone would have held out none.
    """

    valid: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0
    repository: bool = False
    stratify: bool = False

    @model_validator(mode="after")
    def _leaves_some(self) -> SplitOptions:
        if self.valid + self.test >= 1:
            raise ValueError("valid and test together must leave something to learn from")
        return self


@dataclass(frozen=True)
class Leak:
    """A session, prompt or task that stands in more than one split."""

    kind: Literal["session", "prompt", "task"]
    value: str
    splits: tuple[Split, ...]


def assign(rows: pl.DataFrame, options: SplitOptions) -> pl.DataFrame:
    """`rows` with `split` filled in and the pin in `pin`; ExportError for a pin that is no split.

    A pin holds for its whole group, the most held-out one where pins contradict each other. Without a pin a
    group is drawn by a seeded hash: of all its tasks (prompts, sessions where there is none) the smallest
    number in [0, 1) counts, and below `test` is test. Sessions that come later can only lower that number, so
    but for a pin they never move anything towards train. Where nothing at all fell to train, the unpinned
    group with the largest number goes there.

    With `repository` the number is that of the project (column `project`), with `stratify` some groups are
    held out for the sake of a tool (column `tools`, a list), see `_for_tools`.
    """
    if not rows.height:
        return rows.with_columns(pin=pl.col("split"), decided=pl.col("split"), by=pl.col("split"))
    for unknown, session in (
        rows.filter(~pl.col("split").is_in(SPLITS)).select("split", "session_id").iter_rows()
    ):
        raise ExportError(
            f"Session {session} is pinned to the split {unknown!r}, which is none of {', '.join(SPLITS)}; "
            f"leave it out with --where \"split IS NULL OR split <> '{unknown}'\"."
        )
    project = ["project"] if options.repository else []
    keys = ["session_id", "prompt", "task", *(["cluster"] if "cluster" in rows.columns else []), *project]
    groups = _groups(rows, keys)
    kinds = [*project, "task", "prompt", "session_id"]
    drawn = [
        _draw(dict(zip(kinds, known, strict=True)), options.seed) for known in rows.select(kinds).iter_rows()
    ]
    wanted = _for_tools(rows.select("split", "tools").to_dicts(), drawn, options) if options.stratify else {}
    records = pl.DataFrame(
        {
            "group": groups,
            "pin": rows["split"],
            "draw": drawn,
            "want": [wanted.get(one, "train") for one in drawn],
        },
        {"group": pl.Int64, "pin": pl.String, "draw": pl.Float64, "want": pl.String},
    ).with_columns(pl.col("pin", "want").replace_strict(_FURTHER, return_dtype=pl.Int8))
    decided = records.select("group").join(_decided(records, options), on="group", maintain_order="left")
    return rows.with_columns(
        decided.select(split=pl.col("split").replace_strict(_NAMES, return_dtype=pl.String)).to_series(),
        decided["decided"],
        pin=pl.col("split"),
        by=rows["conversation_id"].gather(decided["by"]),
    )


_FURTHER = {split: at for at, split in enumerate(SPLITS)}
"""How much a split is held out."""
_NAMES = dict(enumerate(SPLITS))


def _decided(records: pl.DataFrame, options: SplitOptions) -> pl.DataFrame:
    """The split of each `group` of records (by how much it is held out), what `decided` that, and by which
    record. `pin` and `want` of records are such numbers too."""

    def first(column: str, *, descending: bool) -> pl.Expr:
        order = pl.col("at").sort_by(column, descending=descending, nulls_last=True, maintain_order=True)
        return order.first()

    groups = (
        records.with_row_index("at")
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("pin", "want").max(),
            pl.col("draw").min(),
            pinned=first("pin", descending=True),
            lowest=first("draw", descending=False),
            wanting=first("want", descending=True),
        )
    )
    test, valid = options.test, options.test + options.valid
    drew = pl.when(pl.col("draw") < test).then(2).when(pl.col("draw") < valid).then(1).otherwise(0)
    groups = groups.with_columns(drew=drew.cast(pl.Int8)).with_columns(
        split=pl.coalesce("pin", pl.max_horizontal("drew", "want"))
    )
    # Somebody must be learned from.
    free = pl.col("pin").is_null()
    largest = pl.col("draw") == pl.col("draw").filter(free).max()
    rest = free & (pl.col("split").min() > 0) & largest & (free & largest).is_first_distinct()
    return groups.with_columns(rest=rest.fill_null(value=False)).select(
        "group",
        split=pl.when("rest").then(pl.lit(0, pl.Int8)).otherwise("split"),
        decided=pl.when(~free)
        .then(pl.lit("pin"))
        .when("rest")
        .then(pl.lit("rest"))
        .when(pl.col("drew") == pl.col("split"))
        .then(pl.lit("draw"))
        .otherwise(pl.lit("tool")),
        by=pl.when(~free)
        .then("pinned")
        .when(pl.col("rest") | (pl.col("drew") == pl.col("split")))
        .then("lowest")
        .otherwise("wanting"),
    )


def _most_held_out(*splits: Split) -> Split:
    return max(splits, key=SPLITS.index)


def _for_tools(
    records: Sequence[Mapping[str, Any]], drawn: Sequence[float], options: SplitOptions
) -> dict[float, Split]:
    """The split that some draws are to have, for the sake of tools that no draw held out.

    Of each tool only the first `_ENOUGH` tasks (prompts, sessions) that are not pinned count. So what comes
    later changes nothing here, and nothing moves back to train.
    """
    first: dict[str, list[float]] = {}
    for record, draw in zip(records, drawn, strict=True):
        for tool in record["tools"] if record["split"] is None else ():
            known = first.setdefault(tool, [])
            if draw not in known and len(known) < _ENOUGH:
                known.append(draw)
    wanted: dict[float, Split] = {}
    for known in first.values():
        if len(known) < _ENOUGH:
            continue
        free = sorted(draw for draw in known if _by_draw(draw, options) == "train")
        shares: tuple[tuple[Split, float], ...] = (("test", options.test), ("valid", options.valid))
        for split, share in shares:
            if share and free and split not in {_by_draw(draw, options) for draw in known}:
                lowest = free.pop(0)
                wanted[lowest] = _most_held_out(wanted.get(lowest, "train"), split)
    return wanted


def leaks(rows: Mapping[Split, Iterable[Row]], tasks: Mapping[str, str]) -> list[Leak]:
    """Every session, prompt and task that stands in more than one split of `rows`; `tasks` is by row id."""
    written = [
        (split, row["session_id"], prompt_key(row["messages"]), tasks.get(row["id"]))
        for split, listed in rows.items()
        for row in listed
    ]
    columns = ["split", "session_id", "prompt", "task"]
    return leaks_among(pl.DataFrame(written, [(name, pl.String) for name in columns], orient="row"))


def leaks_among(rows: pl.DataFrame) -> list[Leak]:
    """The same for rows as columns: split, session_id, prompt (see `prompt_key`) and task."""
    found: list[tuple[int, Leak]] = []
    kinds: tuple[tuple[Literal["session", "prompt", "task"], str], ...] = (
        ("session", "session_id"),
        ("prompt", "prompt"),
        ("task", "task"),
    )
    for kind, column in kinds:
        values = rows.with_row_index("at").filter(pl.col(column) != "").group_by(column)
        spread = values.agg(pl.col("at").min(), pl.col("split").unique()).filter(
            pl.col("split").list.len() > 1
        )
        for value, at, splits in spread.select(column, "at", "split").iter_rows():
            found.append((at, Leak(kind, value, tuple(split for split in SPLITS if split in splits))))
    return [leak for _, leak in sorted(found, key=lambda one: one[0])]


def _groups(rows: pl.DataFrame, keys: Sequence[str]) -> list[int]:
    """The number of each row's group: the connected component of the rows that share a key."""
    size, left, right = rows.height, [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for key in keys:
        held = (pl.col(key) != "").fill_null(value=False)
        values = rows.filter(held)[key].rank("dense").to_numpy().astype(np.int64)
        # A row and the value of its key are joined; values have the numbers above those of the rows.
        left.append(rows.select(pl.arg_where(held)).to_series().to_numpy().astype(np.int64))
        right.append(size - 1 + values)
        size += int(values.max(initial=0))
    ends = (np.concatenate(left), np.concatenate(right))
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(size, size))
    return cast(list[int], connected_components(graph, directed=False)[1][: rows.height].tolist())


def _draw(known: Mapping[str, str | None], seed: int) -> float:
    """A number in [0, 1) of the first kind of which something is known."""
    kind = next(kind for kind, value in known.items() if value)
    return int(hashlib.sha256(f"{seed}\0{kind}\0{known[kind]}".encode()).hexdigest()[:13], 16) / 16**13


def _by_draw(draw: float, options: SplitOptions) -> Split:
    if draw < options.test:
        return "test"
    return "valid" if draw < options.test + options.valid else "train"
