"""Rows of a data set that meet a condition, or that the steps of a recipe leave.

In: a data set, a condition in SQL over the facts of its rows (`facts.FACTS`), a recipe. Out: a new data set,
each row in the split it was in. A condition alone leaves rows as they are, byte for byte, and `made.json`
says which were left out. A recipe writes rows as an export does, with `manifest.json`: its rewrites, steps
and format count; its sources, splits, order, replay and pairs do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from tracemill.curate.as_read import as_read
from tracemill.curate.chat.template import Chat
from tracemill.curate.conditions import meets
from tracemill.curate.datasets.facts import FACTS, scan
from tracemill.curate.datasets.made import LEFT, Written, plan, refuse_input, refuse_more, write
from tracemill.curate.datasets.merging import unread
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.folder import Content, publish
from tracemill.curate.form import form, one_each
from tracemill.curate.gather import gather
from tracemill.curate.lengths import with_tokenizer
from tracemill.curate.manifest import FILE, Made, Manifest, Proof, describe, file_digest
from tracemill.curate.nothing_left import told
from tracemill.curate.order import OrderOptions
from tracemill.curate.pipeline import Curated, sift
from tracemill.curate.prepare import wanted
from tracemill.curate.recipe import Recipe
from tracemill.curate.remembering import remember_made
from tracemill.curate.scratch import scratch
from tracemill.curate.sieve import DROPPED, Progress
from tracemill.curate.sources import SourceOptions
from tracemill.curate.steps import features_of
from tracemill.curate.writing import with_copies
from tracemill.curate.writing import write as write_rows
from tracemill.tracer.home import Home

HIDDEN = ("exact", "said", "fingerprint", "own_id")
"""Facts that are no use to a person who writes a condition."""


@dataclass(frozen=True)
class Filtered:
    """The folder that a recipe wrote, its manifest, and whether it was there already."""

    folder: Path
    manifest: Manifest
    reused: bool


def narrow(
    data: Opened, where: str, to: Path, home: Home, chat: Chat | None = None, progress: Progress | None = None
) -> Written:
    """Write the rows that meet `where` into the folder `to`; DatasetError where none does.

    With `chat` the condition may ask for `tokens`.
    """
    refuse_input(to, [data])
    check(where)
    found = scan(data, progress, chat=chat)
    rows = found.rows.with_columns(source=pl.lit(data.name), to="split")
    met = _meets(rows, where)
    if not met.any():
        raise DatasetError(_none(data, rows, where))
    out = rows.filter(~met).with_columns(
        step=pl.lit("where"), reason=pl.lit("does not meet the condition"), evidence=pl.lit(where)
    )
    faults = unread(found.faults.with_columns(source=pl.lit(data.name)))
    dropped = pl.concat([faults, out.select(pl.col(name).cast(kind) for name, kind in LEFT.items())])
    made = plan("filter", {"where": where}, {data.name: data}, rows.filter(met), dropped)
    return write(made, to, home, progress)


def sieve(
    data: Opened,
    recipe: Recipe,
    to: Path,
    home: Home,
    *,
    where: str | None = None,
    chat: Chat | None = None,
    progress: Progress | None = None,
) -> Filtered:
    """Write what the rewrites and steps of a recipe leave of the rows that meet `where` into the folder `to`.

    With `chat` every row is proved. ExportError where nothing is left.
    """
    refuse_input(to, [data])
    if where:
        check(where)
    splits = {f"{data.name}/{file.stem}": split for split, file in data.files}
    ours = replace(
        recipe, sources=tuple(_sources(data)), order=OrderOptions(), replay=None, pairs=None, base=None
    )
    if chat:
        ours = replace(ours, steps=with_tokenizer(ours.steps, chat.folder))
    with scratch(home) as folder:
        features = wanted(features_of(ours.steps))
        gathered = gather(home, ours.sources, None, ours.rewrites, features, 0, folder, progress)
        by_origin = pl.col("origin").replace_strict(splits, return_dtype=pl.String)
        gathered = replace(gathered, rows=gathered.rows.with_columns(split=by_origin))
        read = as_read(gathered)
        if where:
            read = _asked(data, read, where, chat, progress)
        curated = form(sift(read, ours.steps, progress, folder), folder, ours.format, chat, progress)
        if not curated.rows.height:
            raise DatasetError(told(home, ours, replace(gathered, rows=read.rows), curated, where))
        nothing = pl.lit(None, pl.String)
        placed = one_each(curated.rows).with_columns(pin=nothing, decided=nothing, by=nothing)
        placed = with_copies(placed, (), 0)
        files = write_rows(placed, folder)
        hashes = {name: file_digest(file) for name, file in files.items()}
        made = Made(placed, curated.dropped, gathered.edits(), curated.unlearned, hashes, folder)
        proof = (
            Proof(base=chat.folder.name, template_sha256=chat.digest, rows=placed.height) if chat else None
        )
        manifest = describe(ours, to.resolve().name, curated.counts, made, proof).model_copy(
            update={"where": where}
        )
        about: dict[str, Content] = {
            FILE: manifest.text(),
            **{file: folder / file for file in manifest.beside},
        }
        refuse_more(to, files.values())
        reused = publish(to, files, about, "--to")
    how = {"text": manifest.recipe, "sha256": manifest.recipe_sha256, "where": where, "sources": [data.name]}
    remember_made(home, to, placed, manifest.content, how)
    return Filtered(to, manifest, reused)


def _sources(data: Opened) -> Iterator[SourceOptions]:
    """A source for each file, called after the data set."""
    for _, file in data.files:
        one = SourceOptions(kind="chat", path=str(file.resolve()))
        yield one.model_copy(update={"name": f"{data.name}/{file.stem}"})


def _asked(data: Opened, read: Curated, where: str, chat: Chat | None, progress: Progress | None) -> Curated:
    """The conversations that meet the condition, and the others dropped by the step `where`."""
    facts = scan(data, progress, chat=chat).rows
    stem = pl.col("file").str.strip_suffix(".jsonl")
    own = pl.when(pl.col("id") != pl.format("{}:{}", stem, "line")).then("id")
    names = facts.filter(_meets(facts, where)).select(
        own.otherwise(pl.format(f"{data.name.replace('{', '{{')}/{{}}:{{}}", stem, "line"))
    )
    met = pl.col("conversation_id").is_in(names.to_series().implode())
    dropped = read.rows.filter(~met).select(
        "conversation_id",
        "session_id",
        step=pl.lit("where"),
        reason=pl.lit("does not meet the condition"),
        evidence=pl.lit(where),
    )
    return read.after("where", read.rows.filter(met), dropped.select(list(DROPPED)))


def check(where: str) -> None:
    """DatasetError where a condition cannot be asked; reads nothing."""
    _meets(pl.DataFrame(schema=dict(FACTS)), where)


def _meets(rows: pl.DataFrame, where: str) -> pl.Series:
    known = [name for name in FACTS if name not in HIDDEN]
    return meets(rows.select(known), where, "The condition", DatasetError)


def _none(data: Opened, rows: pl.DataFrame, where: str) -> str:
    if not rows.height:
        return f"{data.path} holds no row that can be read; `tracemill dataset validate` says why."
    return (
        f"None of the {rows.height} rows of {data.name} meets {where!r}, so nothing is written; "
        "`tracemill dataset stats` says what there is."
    )
