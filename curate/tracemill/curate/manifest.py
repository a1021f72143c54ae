"""The manifest of a data set: what an export made, of what, and why the rest is not in it.

In: rows in their splits, the conversations they come from, and what the steps dropped. Out: a `Manifest`,
which holds no time and no path, so the same export writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Literal

import polars as pl
from pydantic import BaseModel

from tracemill.curate.chat.codec import decode
from tracemill.curate.chat.proof import Row, learned_turns
from tracemill.curate.recipe import Recipe
from tracemill.curate.splits import SPLITS, Split
from tracemill.tracer.messages import canonical_json

FILE = "manifest.json"


class _Record(BaseModel, extra="forbid", frozen=True):
    pass


class StepCount(_Record, frozen=True):
    """A line of the retention table; `context` counts the assistant turns the step took out of the loss."""

    step: str
    rows_in: int
    kept: int
    dropped: int
    context: int
    reasons: dict[str, int]


class Dropped(_Record, frozen=True):
    """A conversation that is in no split, and why."""

    conversation_id: str
    session_id: str
    step: str
    reason: str
    evidence: str


class Source(_Record, frozen=True):
    """Where the row of this conversation comes from, its split, and the split its session asked for."""

    conversation_id: str
    session_id: str
    run_id: str | None
    agent: str | None
    source: str | None
    task: str | None
    outcome: str | None
    split: Split
    pin: Split | None


class SplitCount(_Record, frozen=True):
    """What is in a split: rows, sessions, assistant turns in and out of the loss, calls learned per tool."""

    rows: int
    sessions: int
    learned: int
    context: int
    categories: dict[str, int]
    tools: dict[str, int]


class Proof(_Record, frozen=True):
    """The base model whose chat template every row was proved under, and how many rows that are."""

    base: str
    template_sha256: str
    rows: int


class Manifest(_Record, frozen=True):
    """What an export made, of what and how; `content` names everything but the proof and the version."""

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
    rows: list[Source]
    dropped: list[Dropped]

    def text(self) -> bytes:
        """The manifest as it stands in its file."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def describe(
    recipe: Recipe,
    name: str | None,
    steps: Sequence[StepCount],
    placed: pl.DataFrame,
    dropped: pl.DataFrame,
    by_split: Mapping[Split, Sequence[Row]],
    files: Mapping[str, bytes],
    proof: Proof | None,
) -> Manifest:
    """The manifest of `files`; without a `name` the data set is called after recipe and content."""
    kept, gone = placed.select(list(Source.model_fields)).to_dicts(), dropped.to_dicts()
    hashes = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    made_of = [recipe.text, recipe.where, recipe.split.seed, hashes, kept, gone]
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
        splits={split: _count(by_split[split]) for split in SPLITS},
        files=hashes,
        rows=[Source.model_validate(row) for row in kept],
        dropped=[Dropped.model_validate(row) for row in gone],
    )


def _count(rows: Sequence[Row]) -> SplitCount:
    learned = [
        row["messages"][position]["content"] for row in rows for position in learned_turns(row["messages"])
    ]
    turns = sum(message["role"] == "assistant" for row in rows for message in row["messages"])
    return SplitCount(
        rows=len(rows),
        sessions=len({row["session_id"] for row in rows}),
        learned=len(learned),
        context=turns - len(learned),
        categories=_tally(row["category"] for row in rows),
        tools=_tally(call.name for content in learned for call in decode(content).calls),
    )


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
