"""Curated sessions as a data set folder that says where every row comes from, and why the rest is not in it.

In: the conversations of the warehouse's snapshot and a recipe. Out: `train.jsonl`, `valid.jsonl`,
`test.jsonl`, `manifest.json`, `card.md` and `card.html` in `datasets/<name>`, written at once or not at all.
The same conversations under the same recipe give the same folder, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from tracemill.curate.as_read import as_read
from tracemill.curate.card import make as make_card
from tracemill.curate.card.reading import EXPORTED, Data
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset, written
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import ExportError
from tracemill.curate.folder import Content, publish
from tracemill.curate.form import form, one_each
from tracemill.curate.gather import gather
from tracemill.curate.lengths import with_tokenizer
from tracemill.curate.manifest import FILE, Made, Manifest, Proof, describe, file_digest
from tracemill.curate.names import NAME
from tracemill.curate.nothing_left import told
from tracemill.curate.order import ordered
from tracemill.curate.pairs.writing import FEATURES as PAIRED
from tracemill.curate.pairs.writing import write_pairs
from tracemill.curate.pipeline import sift
from tracemill.curate.prepare import wanted
from tracemill.curate.recipe import Recipe, find
from tracemill.curate.remembering import dataset_rows, remember
from tracemill.curate.replay import FEATURES as REPLAYED
from tracemill.curate.replay import apart, with_replay
from tracemill.curate.scratch import scratch
from tracemill.curate.sieve import Progress
from tracemill.curate.sources import both
from tracemill.curate.splits import SPLITS, assign, leaks_among
from tracemill.curate.steps import features_of
from tracemill.curate.writing import with_copies, write
from tracemill.tracer.home import Home
from tracemill.warehouse import lineage


def export(
    home: Home,
    *,
    recipe: str | Path = "default",
    where: str | None = None,
    name: str | None = None,
    chat: Chat | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Curate the sessions of `home` and write them as the data set `name` (default: recipe and content hash).

    `where` narrows the recipe's own SQL predicate, `seed` replaces its seed. With `chat` every row is proved
    first. The warehouse remembers the data set and the session of each row. ExportError where nothing is left
    to learn from, where something stands in two splits, and where the folder already holds other rows.
    """
    plan = _narrowed(find(recipe), where, seed)
    if chat:
        plan = replace(plan, steps=with_tokenizer(plan.steps, chat.folder))
    if name is not None and not re.match(NAME, name):
        raise ExportError(f"{name!r} cannot name a data set; use letters, digits, '.', '_' and '-'.")
    with scratch(home) as folder:
        asked = [
            *features_of(plan.steps),
            *(PAIRED if plan.pairs else ()),
            *(REPLAYED if plan.replay else ()),
        ]
        features = wanted(asked)
        gathered = gather(
            home, plan.every_source, plan.base, plan.rewrites, features, plan.split.seed, folder, progress
        )
        own, replayed = apart(gathered.rows)
        gathered = replace(gathered, rows=own)
        sifted = sift(as_read(gathered), plan.steps, progress, folder)
        if plan.replay:
            sifted = with_replay(sifted, replayed, plan.replay, folder)
        curated = form(sifted, folder, plan.format, chat, progress)
        if not curated.rows.height:
            raise ExportError(told(home, plan, gathered, curated, where))
        placed = ordered(one_each(assign(curated.rows, plan.split)), plan.order)
        placed = with_copies(placed, plan.sources, plan.split.seed)
        _refuse_leaks(placed)
        files, pairs = write(placed, folder), None
        if plan.pairs:
            made_pairs, pairs = write_pairs(
                plan.pairs, plan.format, gathered.rows, placed, plan.steps, folder, chat, progress
            )
            files |= made_pairs
        hashes = {file: file_digest(path) for file, path in files.items()}
        made = Made(placed, curated.dropped, gathered.edits(), curated.unlearned, hashes, folder, pairs)
        height = placed.height
        proof = Proof(base=chat.folder.name, template_sha256=chat.digest, rows=height) if chat else None
        manifest = describe(plan, name, curated.counts, made, proof)
        opened = Opened(folder, tuple((split, files[f"{split}.jsonl"]) for split in SPLITS))
        card = make_card([Data(manifest.name, opened, manifest)], manifest.name, chat, progress, EXPORTED)
        about: dict[str, Content] = {
            FILE: manifest.text(),
            **card.pages(),
            **{file: folder / file for file in manifest.beside},
        }
        place = home.ensure(home.datasets) / manifest.name
        reused = publish(place, files, about)
    _remember(home, place, manifest, placed)
    return written(place, manifest, reused)


def _narrowed(recipe: Recipe, where: str | None, seed: int | None) -> Recipe:
    sources = tuple(
        one.model_copy(update={"where": both(one.where, where)}) if where else one for one in recipe.sources
    )
    split = recipe.split if seed is None else recipe.split.model_copy(update={"seed": seed})
    return replace(recipe, sources=sources, split=split)


def _refuse_leaks(placed: pl.DataFrame) -> None:
    if not (placed["split"] == "train").any():
        raise ExportError("Every session is pinned to valid or test, so none is left to train on; pin fewer.")
    found = leaks_among(placed.select("split", "session_id", "task", prompt="written_prompt"))
    if found:
        first = found[0]
        raise ExportError(
            f"Nothing was written, for the {first.kind} {first.value[:80]!r} stands in "
            f"{' and '.join(first.splits)} ({len(found)} leaks in all); report this as a bug."
        )


def _remember(home: Home, folder: Path, manifest: Manifest, rows: pl.DataFrame) -> None:
    proof = manifest.proof
    remember(
        home,
        lineage.Dataset(
            dataset_id=manifest.name,
            path=str(folder),
            content_hash=manifest.content,
            recipe={"text": manifest.recipe, "sha256": manifest.recipe_sha256, "where": manifest.where},
            rows=dataset_rows(rows),
            base=proof.base if proof else None,
            seed=manifest.seed,
            counts={
                "splits": {split: count.rows for split, count in manifest.splits.items()},
                "dropped": {count.step: count.reasons for count in manifest.steps if count.dropped},
            },
            details={"files": manifest.files, "proof": proof.model_dump() if proof else None},
        ),
    )
