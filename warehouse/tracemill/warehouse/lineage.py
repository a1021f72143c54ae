"""What the later rooms made of the sessions, as events: data sets, trainings, evaluations, notes on them.

In: what a data set, a fine-tuning, an evaluation or a note is, as plain dataclasses. Out: events of the kinds
`dataset`, `training`, `evaluation` and `note`, one each with all its rows, which go through the spool like
everything else, so that the warehouse can be rebuilt from it. A data set of many rows has events of the kind
`dataset_rows` beside its own, and is known when all of them are. `tracemill.warehouse.store` writes them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from typing import Any

from tracemill.tracer.events import VERSION, new_id
from tracemill.tracer.messages import canonical_json

Json = dict[str, Any]

ROWS_PER_EVENT = 10_000
"""How many rows of a data set one event holds at most; about 1 MB."""


@dataclass(frozen=True)
class DatasetRow:
    """A row of a data set and where it comes from."""

    row_id: str
    split: str
    session_id: str


@dataclass(frozen=True)
class Dataset:
    """An exported data set; the columns of the table `datasets`."""

    dataset_id: str
    path: str
    content_hash: str
    recipe: Json
    rows: Iterable[DatasetRow]
    base: str | None = None
    seed: int | None = None
    counts: Json = field(default_factory=dict[str, Any])
    details: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Checkpoint:
    """An adapter saved on the way; the columns of the table `checkpoints`."""

    step: int
    path: str | None = None
    train_loss: float | None = None
    valid_loss: float | None = None
    score: float | None = None
    chosen: bool = False
    details: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Training:
    """A fine-tuning; the columns of the table `training_runs`."""

    training_id: str
    base: str
    path: str
    checkpoints: list[Checkpoint]
    dataset_id: str | None = None
    seed: int | None = None
    adapter_hash: str | None = None
    recipe: Json = field(default_factory=dict[str, Any])
    counts: Json = field(default_factory=dict[str, Any])
    score: float | None = None
    details: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class EvaluationItem:
    """One item of an evaluation; the columns of the table `evaluation_items`."""

    item_id: str
    score: float
    expected: str | None = None
    generated: str | None = None
    session_id: str | None = None
    category: str | None = None
    details: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Evaluation:
    """A model scored on a suite; the columns of the table `evaluations`."""

    evaluation_id: str
    suite: str
    base: str
    items: list[EvaluationItem]
    training_id: str | None = None
    dataset_id: str | None = None
    baseline_id: str | None = None
    seed: int | None = None
    path: str | None = None
    counts: Json = field(default_factory=dict[str, Any])
    score: float | None = None
    verdict: str | None = None
    details: Json = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Note:
    """What somebody noted about an experiment; columns of the table `notes`."""

    about: str
    note: str


Record = Dataset | Training | Evaluation | Note

_KINDS: dict[str, type[Record]] = {
    "dataset": Dataset,
    "training": Training,
    "evaluation": Evaluation,
    "note": Note,
}

FIELDS: dict[str, frozenset[str]] = {
    **{
        kind: frozenset({"v", "id", "ts", "kind"} | {column.name for column in fields(record)})
        for kind, record in _KINDS.items()
    },
    "dataset_rows": frozenset({"v", "id", "ts", "kind", "part_of", "rows"}),
}
"""The fields of each kind of event made here, all of them required; `parts` counts the events that hold more
rows of a data set."""


def events_of(record: Record, after: str = "") -> Iterator[Json]:
    """The events that carry a record, stamped with ids and the time; the rows are gone through once.

    The events of a data set have the same ids whenever it is recorded `after` the same record of its id, so
    what a recording that was cut short had written is completed by the next and not stored twice.
    """
    kind = next(kind for kind, known in _KINDS.items() if isinstance(record, known))
    if not isinstance(record, Dataset):
        yield _stamp(kind, new_id()) | asdict(record)
        return
    plain = asdict(replace(record, rows=[]))
    whole = hashlib.sha256(canonical_json([plain, after, ROWS_PER_EVENT])).hexdigest()[:32]
    rows = iter(record.rows)
    some, parts = _some(rows), 0
    while more := _some(rows):
        parts += 1
        yield _stamp("dataset_rows", f"{whole}-{parts}") | {"part_of": whole, "rows": some}
        some = more
    yield _stamp(kind, whole) | plain | {"rows": some} | ({"parts": parts} if parts else {})


def _some(rows: Iterator[DatasetRow]) -> list[Json]:
    return [vars(row) for row in islice(rows, ROWS_PER_EVENT)]


def _stamp(kind: str, name: str) -> Json:
    return {"v": VERSION, "id": name, "ts": time.time(), "kind": kind}
