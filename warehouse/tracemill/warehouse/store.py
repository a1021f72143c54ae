"""Facts that no recorder sees: labels given by hand, and what was made of the sessions.

In: a label, a check, a data set, a training, an evaluation. Out: one event each in the spool, and a warehouse
that knows it. The spool stays the source of truth, and the ingester the only writer of the warehouse.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tracemill.tracer import events
from tracemill.tracer.home import Home
from tracemill.tracer.spool import Spool
from tracemill.warehouse import lineage
from tracemill.warehouse.checks import Check
from tracemill.warehouse.errors import WarehouseError
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import connect
from tracemill.warehouse.sessions import Target


def record_dataset(home: Home, dataset: lineage.Dataset) -> None:
    """Remember a data set and where each of its rows comes from; all of it or nothing is known.

    Where an earlier try was cut short, this completes it.
    """
    _record(home, lineage.events_of(dataset, after=_recorded(home, dataset.dataset_id)))


def record_training(home: Home, training: lineage.Training) -> None:
    """Remember a fine-tuning and its checkpoints."""
    _record(home, lineage.events_of(training))


def record_evaluation(home: Home, evaluation: lineage.Evaluation) -> None:
    """Remember an evaluation and every item of it."""
    _record(home, lineage.events_of(evaluation))


def record_note(home: Home, note: lineage.Note) -> None:
    """Remember what somebody noted about an experiment, beside earlier notes."""
    _record(home, lineage.events_of(note))


def label(
    home: Home,
    session_id: str,
    *,
    outcome: events.Verdict | None = None,
    score: float | None = None,
    note: str = "",
) -> None:
    """Say how a session turned out (`outcome`), what you think of it (`score`, -1 to 1), or both.

    The newest outcome of a session is the one that counts. ValueError where the score lies outside.
    """
    said: list[object] = []
    if outcome is not None:
        said.append(events.outcome(session_id, outcome=outcome, score=score, source="label", note=note))
    if score is not None:
        said.append(_opinion(Target("session", session_id, session_id), score, note))
    _record(home, said)


def rate(home: Home, target: Target, *, score: float, note: str = "") -> None:
    """Say what you think of a session, a run or a tool call; ValueError unless -1 <= score <= 1."""
    _record(home, [_opinion(target, score, note)])


def record_check(home: Home, session_id: str, check: Check) -> None:
    """Remember a check of what a session left behind as its outcome: good if it passed."""
    said = events.outcome(
        session_id,
        outcome="good" if check.passed else "bad",
        source="verify",
        note=check.summary,
        evidence=check.evidence,
    )
    _record(home, [said])


def _recorded(home: Home, dataset_id: str) -> str:
    """When the data set of that id was recorded last, as text; '' for never."""
    if not home.snapshot.exists():
        return ""
    with connect(home) as connection:
        found = connection.execute("SELECT created::VARCHAR FROM datasets WHERE dataset_id = ?", [dataset_id])
        return (found.fetchone() or ("",))[0]


def _opinion(target: Target, score: float, note: str) -> object:
    return events.feedback(
        target.session_id, target=target.kind, target_id=target.id, score=score, note=note, source="label"
    )


def _record(home: Home, made: Iterable[object]) -> None:
    """Append events to the spool, then bring the warehouse up to date; WarehouseError if that cannot be."""
    spool = Spool(home)
    try:
        written = [spool.write(cast("events.AnyEvent", event)) for event in made]
    finally:
        spool.close()
    if not all(written):
        raise WarehouseError(
            f"Cannot write to the spool {home.spool}; "
            "free some space or set TRACEMILL_HOME to a folder you can write."
        )
    ingest(home)
