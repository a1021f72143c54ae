"""Adapters for the tests of what is done with one, without a training run: real LoRA weights, lineage of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tracemill.tracer.home import Home
from tracemill.tracer.spool import Spool
from tracemill.train.adapter import Adapter, save_adapter
from tracemill.train.base import folder_digest
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Dataset, Evaluation, EvaluationItem, Note, Training, events_of
from tracemill.warehouse.store import record_evaluation


def lora_adapter(
    path: Path, base: Path, *, strength: float = 0.05, seed: int = 0, method: str = "lora", **card: Any
) -> Adapter:
    """An adapter of the MLX folder `base` at `path`; `strength` is how far its weights are from none."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    from tracemill.curate.chat.template import Chat

    model, _ = load_model(base)
    lora: dict[str, Any] = {"rank": 4, "scale": 2.0, "dropout": 0.0}
    mx.random.seed(seed)
    model.freeze()
    linear_to_lora_layers(model, 2, lora, use_dora=method == "dora")
    weights: Mapping[str, mx.array] = dict(tree_flatten(model.trainable_parameters()))
    moved = {
        name: value + strength * mx.random.normal(value.shape) if name.endswith("lora_b") else value
        for name, value in weights.items()
    }
    config = {"fine_tune_type": method, "num_layers": 2, "lora_parameters": lora}
    chat = Chat.load(base)
    full = {
        "base": str(base),
        "base_sha256": folder_digest(base),
        "dataset": "rows-1",
        "dataset_sha256": "d" * 64,
        "template_sha256": chat.digest,
        "code_sha256": "c" * 64,
        "settings": {
            "steps": 4,
            "batch_size": 2,
            "learning_rate": 1e-3,
            "rank": 4,
            "seed": seed,
            "context": 64,
        },
        "best_step": 4,
        "best_score": 0.5,
        "scores": [(4, 0.5)],
        "losses": [2.0, 1.0, 0.5, 0.25],
        "target_tokens": 123,
        "sequences": 7,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_adapter(path, moved, config, chat.template, full | card)


def remember(home: Home, *records: Dataset | Training | Evaluation | Note) -> None:
    """All of it with one ingestion, which is what takes time."""
    spool = Spool(home)
    for record in records:
        for event in events_of(record):
            spool.write(cast(Any, event))
    spool.close()
    ingest(home)


def record_verdict(
    home: Home,
    adapter: str,
    verdict: str | None,
    suite: str = "rows-1/test",
    details: dict[str, Any] | None = None,
) -> None:
    """Put an evaluation of `adapter` with `verdict` into the warehouse of `home`."""
    record_evaluation(
        home,
        Evaluation(
            evaluation_id=f"{adapter}-{suite}-{verdict}",
            suite=suite,
            base="tiny",
            items=[EvaluationItem("row#1", 1.0)],
            training_id=adapter,
            verdict=verdict,
            score=0.75,
            counts={"right": 3, "parse": 1},
            details=details or {},
        ),
    )
