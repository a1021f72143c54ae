"""A training run for the warehouse, so that every adapter leads back to what it was made of.

In: the home and an `Adapter`. Out: its run and checkpoints among the events, once.
"""

from __future__ import annotations

from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Checkpoint, Training
from tracemill.warehouse.read import query
from tracemill.warehouse.store import record_training

COUNTS = ("sequences", "sequences_cut", "turns_dropped", "target_tokens", "selection_items")


def remember(home: Home, adapter: Adapter) -> None:
    """Put a training run into the warehouse, once."""
    ingest(home)
    known = query(home, f"SELECT 1 FROM training_runs WHERE training_id = '{adapter.path.name}'")
    if known.is_empty():
        record_training(home, _lineage(adapter))


def _lineage(adapter: Adapter) -> Training:
    card = adapter.card
    hashes = ("base_sha256", "dataset_sha256", "template_sha256", "code_sha256")
    return Training(
        training_id=adapter.path.name,
        base=card["base"],
        path=str(adapter.path),
        checkpoints=[
            Checkpoint(
                step=one["step"],
                train_loss=one["train_loss"],
                valid_loss=one["valid_loss"],
                score=one["judged"]["score"],
                chosen=one["step"] == card["best_step"],
                details={"guard": one["judged"]["guard"], "items": one["judged"]["n"]},
            )
            for one in card["checkpoints"]
        ],
        dataset_id=card["dataset"],
        seed=card["settings"]["seed"],
        adapter_hash=card["weights_sha256"],
        recipe=card["settings"],
        counts={key: card[key] for key in COUNTS},
        score=card["best_score"],
        details={
            key: card[key] for key in (*hashes, "judge", "before", "guarded", "stopped", "strength", "chosen")
        },
    )
