"""The manifest of a data set: what an export made, of what, and why the rest is not in it.

In: rows in their splits, the conversations they come from, and what the steps dropped. Out: a `Manifest`,
which holds no time and no path, so the same export writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel

from tracemill.curate.pairs.options import PairCounts
from tracemill.curate.recipe import Recipe
from tracemill.curate.retention import StepCount
from tracemill.curate.sieve import POSITIONS
from tracemill.curate.sources import SourceOptions
from tracemill.curate.splits import SPLITS, Decided, Split
from tracemill.tracer.messages import canonical_json

FILE = "manifest.json"
LISTED = 5000
"""Most entries of a list in the manifest itself."""


class _Record(BaseModel, extra="forbid", frozen=True):
    pass


class Dropped(_Record, frozen=True):
    """A conversation that is in no split, and why."""

    conversation_id: str
    session_id: str
    step: str
    reason: str
    evidence: str


class Source(_Record, frozen=True):
    """Where the row of this conversation comes from, its split, and the split its session asked for.

    `origin` is the source of the recipe; `cluster` names the near copies that are kept together, where a step
    found some; `decided` and `by` say what decided the split (`splits.DECIDED`).
    """

    conversation_id: str
    session_id: str
    run_id: str | None
    agent: str | None
    source: str | None
    task: str | None
    outcome: str | None
    split: Split
    pin: Split | None
    origin: str | None = None
    project: str | None = None
    cluster: str | None = None
    decided: Decided | None = None
    by: str | None = None


class SplitCount(_Record, frozen=True):
    """What is in a split: rows, sessions, assistant turns in and out of the loss, calls learned per tool.

    `hard_negatives`: rows in which a tool was tempting and rightly not called, where the recipe balances.
    """

    rows: int
    sessions: int
    learned: int
    context: int
    categories: dict[str, int]
    tools: dict[str, int]
    hard_negatives: int | None = None


class Proof(_Record, frozen=True):
    """The base model whose chat template every row was proved under, and how many rows that are."""

    base: str
    template_sha256: str
    rows: int


class SourceRead(_Record, frozen=True):
    """A source of the recipe: which conversations of it, how many are rows, and how many rows again."""

    name: str
    kind: str
    where: str | None
    weight: float
    rows: int
    repeats: int


class Edited(_Record, frozen=True):
    """A change that a rewrite made to the message at `position` of a row."""

    conversation_id: str
    rewrite: str
    position: int
    before: str
    after: str


class Unlearned(_Record, frozen=True):
    """The assistant turns of a row that a step took out of the loss."""

    conversation_id: str
    step: str
    positions: list[int]


class Manifest(_Record, frozen=True):
    """What an export made, of what and how; `content` names everything but the proof and the version.

    Long lists of rows, dropped conversations, edits and turns out of the loss stand in Parquet files beside
    it: `beside` gives their SHA-256, and `listed` reads them wherever they stand.
    """

    format: Literal[1] = 1
    name: str
    content: str
    tracemill: str
    recipe: str
    recipe_sha256: str
    where: str | None
    seed: int
    proof: Proof | None
    steps: list[StepCount]
    splits: dict[Split, SplitCount]
    files: dict[str, str]
    sources: list[SourceRead] = []
    pairs: PairCounts | None = None
    order: str = "as recorded"
    rows: list[Source]
    dropped: list[Dropped]
    edits: list[Edited] = []
    unlearned: list[Unlearned] = []
    beside: dict[str, str] = {}

    def text(self) -> bytes:
        """The manifest as it stands in its file."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Made:
    """What an export is about to publish: rows in their splits, what is not in them, and its row files.

    `rows` has the columns of `Source`, `form.ROW`, `origin` and `copies`; `dropped` those of `Dropped`;
    `edits` those of `Edited`, `unlearned` those of `Unlearned`. `folder` is where lists are written that are
    too long for the manifest.
    """

    rows: pl.DataFrame
    dropped: pl.DataFrame
    edits: pl.LazyFrame
    unlearned: pl.DataFrame
    files: Mapping[str, str]
    folder: Path
    pairs: PairCounts | None = None


def describe(
    recipe: Recipe, name: str | None, steps: Sequence[StepCount], made: Made, proof: Proof | None
) -> Manifest:
    """The manifest of an export; without a `name` the data set is called after recipe and content."""
    # A conversation may be several rows.
    kept = _with_columns(made.rows).unique("conversation_id", keep="first", maintain_order=True)
    kept = kept.select(list(Source.model_fields))
    in_it = kept.lazy().select("conversation_id")
    lists = {
        "rows": kept.lazy(),
        "dropped": made.dropped.lazy(),
        "edits": made.edits.join(in_it, on="conversation_id", how="semi"),
        "unlearned": made.unlearned.lazy().join(
            in_it, on="conversation_id", how="semi", maintain_order="left"
        ),
    }
    long = {what: frame for what, frame in lists.items() if frame.select(pl.len()).collect().item() > LISTED}
    short = {what: frame.collect().to_dicts() for what, frame in lists.items() if what not in long}
    made_of = [recipe.text, recipe.where, recipe.split.seed, made.files, _digest(kept), _digest(made.dropped)]
    content = hashlib.sha256(canonical_json(made_of)).hexdigest()
    return Manifest(
        name=name or f"{recipe.name}-{content[:10]}",
        content=content,
        tracemill=version("tracemill"),
        recipe=recipe.text,
        recipe_sha256=recipe.digest,
        where=recipe.where,
        seed=recipe.split.seed,
        proof=proof,
        steps=list(steps),
        splits={split: _count(made.rows.filter(pl.col("split") == split)) for split in SPLITS},
        files=dict(made.files),
        sources=[_source(one, made.rows) for one in recipe.every_source],
        pairs=made.pairs,
        order=recipe.order.by,
        rows=[Source.model_validate(row) for row in short.get("rows", [])],
        dropped=[Dropped.model_validate(row) for row in short.get("dropped", [])],
        edits=[Edited.model_validate(row) for row in short.get("edits", [])],
        unlearned=[Unlearned.model_validate(row) for row in short.get("unlearned", [])],
        beside={
            f"{what}.parquet": _beside(made.folder / f"{what}.parquet", one) for what, one in long.items()
        },
    )


List = Literal["rows", "dropped", "edits", "unlearned"]
_KINDS: Mapping[List, type[_Record]] = {
    "rows": Source,
    "dropped": Dropped,
    "edits": Edited,
    "unlearned": Unlearned,
}
_TYPES: Mapping[str, Any] = {"position": pl.Int64, "positions": POSITIONS}


def listed(folder: Path, manifest: Manifest, what: List) -> pl.LazyFrame:
    """A list of the manifest in `folder`, wherever it stands; nothing is read before it is collected."""
    file = folder / f"{what}.parquet"
    columns = {name: _TYPES.get(name, pl.String) for name in _KINDS[what].model_fields}
    if file.exists():
        found = pl.scan_parquet(file)
        # An older Tracemill knew fewer columns.
        known = found.collect_schema().names()
        missing = {name: pl.lit(None, kind) for name, kind in columns.items() if name not in known}
        return found.with_columns(**missing)
    records: Sequence[_Record] = getattr(manifest, what)
    return pl.LazyFrame([record.model_dump() for record in records], columns)


def rows_of(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """Where each row of the data set in `folder` comes from (columns of `Source`)."""
    return listed(folder, manifest, "rows").collect()


def dropped_of(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """Every conversation that is in no split, and why (columns of `Dropped`)."""
    return listed(folder, manifest, "dropped").collect()


def edits_of(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """Every change that a rewrite made to a row (columns of `Edited`)."""
    return listed(folder, manifest, "edits").collect()


def file_digest(file: Path) -> str:
    """SHA-256 of a file of any size, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _with_columns(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with a null `cluster` where no step looked for near copies."""
    return rows if "cluster" in rows.columns else rows.with_columns(cluster=pl.lit(None, pl.String))


def _beside(file: Path, frame: pl.LazyFrame) -> str:
    frame.sink_parquet(file, compression="zstd", maintain_order=True)
    return file_digest(file)


def _digest(frame: pl.DataFrame) -> str:
    digest = hashlib.sha256()
    for part in frame.iter_slices(50_000):
        digest.update(part.write_ndjson().encode())
    return digest.hexdigest()


def _source(options: SourceOptions, rows: pl.DataFrame) -> SourceRead:
    own = rows.filter(pl.col("origin") == options.title)
    return SourceRead(
        name=options.title,
        kind=options.kind,
        where=options.condition(),
        weight=options.weight,
        rows=own.height,
        repeats=int(own["copies"].sum()) - own.height,
    )


def _count(rows: pl.DataFrame) -> SplitCount:
    times = pl.col("copies")
    called = rows.select("tools", "copies").explode("tools").drop_nulls("tools")
    return SplitCount(
        rows=rows.select(times.sum()).item(),
        sessions=rows["session_id"].n_unique(),
        learned=rows.select((pl.col("learned") * times).sum()).item(),
        context=rows.select((pl.col("unlearned") * times).sum()).item(),
        categories=_tally(rows.with_columns(pl.col("category").fill_null("")), "category"),
        tools=_tally(called, "tools"),
        hard_negatives=_hard_negatives(rows),
    )


def _hard_negatives(rows: pl.DataFrame) -> int | None:
    if "hard_negative" not in rows.columns:
        return None
    return rows.select((pl.col("hard_negative").is_not_null() * pl.col("copies")).sum()).item()


def _tally(rows: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(rows.group_by(column).agg(pl.col("copies").sum()).sort(column).iter_rows())
