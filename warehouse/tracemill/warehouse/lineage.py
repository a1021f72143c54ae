"""What the later rooms made of the sessions, as events: data sets, trainings, evaluations.

In: what a data set, a fine-tuning or an evaluation is, as plain dataclasses. Out: events of the kinds
`dataset`, `training` and `evaluation`, one each with all its rows, which go through the spool like everything
else, so that the warehouse can be rebuilt from it. `tracemill.warehouse.store` writes them.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tracemill.tracer.events import VERSION, new_id

Json = dict[str, Any]


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
    rows: list[DatasetRow]
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


_KINDS: dict[str, type[Dataset | Training | Evaluation]] = {
    "dataset": Dataset,
    "training": Training,
    "evaluation": Evaluation,
}

FIELDS: dict[str, frozenset[str]] = {
    kind: frozenset({"v", "id", "ts", "kind"} | {column.name for column in fields(record)})
    for kind, record in _KINDS.items()
}
"""The fields of each kind of event made here, all of them required."""


def event(record: Dataset | Training | Evaluation) -> Json:
    """The event that carries a record, stamped with a fresh id and the time."""
    kind = next(kind for kind, known in _KINDS.items() if isinstance(record, known))
    return {"v": VERSION, "id": new_id(), "ts": time.time(), "kind": kind, **asdict(record)}
