"""One training run: from a data set and a base model to an adapter folder.

In: the data set's rows, a base model, `Settings`, and a judge that scores the model at a checkpoint. Out: an
`Adapter` under `$TRACEMILL_HOME/adapters`, named by everything that decided it, so that the same run is
recognised and not done twice. Every row passes the token proof before the model is loaded.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.adapter import Adapter, code_sha256, load_adapter, save_adapter
from tracemill.train.base import BaseModel
from tracemill.train.errors import TrainError
from tracemill.train.examples import sequences
from tracemill.train.forward import Progress
from tracemill.train.loop import fit
from tracemill.train.settings import Settings
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import Checkpoint, Training
from tracemill.warehouse.read import query
from tracemill.warehouse.store import record_training

COUNTS = ("sequences", "sequences_cut", "turns_dropped", "target_tokens")
MOST_REASONS = 100
"""Of the turns that are learned nowhere, how many the adapter's card tells why."""
Judge = Callable[[Any, Chat], float | None]


@dataclass(frozen=True)
class Finetuned:
    """The adapter, and whether an earlier identical run had already made it."""

    adapter: Adapter
    reused: bool


def finetune(
    home: Home,
    dataset: Dataset,
    base: BaseModel,
    settings: Settings,
    judge: Judge,
    judge_name: str,
    progress: Progress | None = None,
) -> Finetuned:
    """Train `base` on `dataset.rows("train")`; `judge(model, chat)` scores checkpoints (higher is better).

    `judge_name` tells everything that decides its scores: another judge may keep another checkpoint.
    """
    chat = Chat.load(base.path)
    settings = replace(settings, in_order=dataset.ordered)
    identity = {
        "base": base.name,
        "base_sha256": base.digest,
        "dataset": dataset.name,
        "dataset_sha256": dataset.digest,
        "template_sha256": chat.digest,
        "code_sha256": code_sha256("tracemill.curate.chat", "tracemill.train"),
        "judge": judge_name,
        "settings": settings.asdict(),
    }
    path = home.adapters / adapter_name(identity)
    if (made := _made_before(path)) is not None:
        _remember(home, made)
        return Finetuned(made, reused=True)
    home.ensure(home.adapters)
    examples = sequences(chat, dataset.rows("train"), settings.context)
    parts = examples.parts
    model = load_base(base.path)
    outcome = fit(model, parts, settings, lambda: judge(model, chat), progress)
    card = {
        **identity,
        "sequences": len(parts),
        "sequences_cut": examples.cut,
        "turns_dropped": len(examples.dropped),
        "dropped": examples.dropped[:MOST_REASONS],
        "target_tokens": sum(end - start for part in parts for start, end in part.spans),
        "best_step": outcome.best_step,
        "best_score": outcome.best_score,
        "scores": outcome.scores,
        "losses": [round(loss, 6) for loss in outcome.losses],
        "seconds_per_step": round(outcome.seconds_per_step, 3),
        "blas": blas.activate(home).name,
    }
    mlx_config = {
        "fine_tune_type": "lora",
        "num_layers": settings.layers,
        "lora_parameters": settings.lora(),
        "model": base.name,
    }
    adapter = save_adapter(path, outcome.weights, mlx_config, chat.template, card)
    _remember(home, adapter)
    return Finetuned(adapter, reused=False)


def _made_before(path: Path) -> Adapter | None:
    """The adapter of an identical run; None where there is none, or one that is damaged."""
    try:
        return load_adapter(path)
    except TrainError:
        return None


def _remember(home: Home, adapter: Adapter) -> None:
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
                step=step, train_loss=card["losses"][step - 1], score=score, chosen=step == card["best_step"]
            )
            for step, score in card["scores"]
        ],
        dataset_id=card["dataset"],
        seed=card["settings"]["seed"],
        adapter_hash=card["weights_sha256"],
        recipe=card["settings"],
        counts={key: card[key] for key in COUNTS},
        score=card["best_score"],
        details={key: card[key] for key in hashes},
    )


def adapter_name(identity: dict[str, Any]) -> str:
    """A folder name that tells the base and changes with anything that decides the run."""
    text = json.dumps(identity, sort_keys=True)
    return f"{Path(identity['base']).name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def load_base(path: Path) -> Any:
    """The mlx-lm model of an MLX folder; TrainError where its weights cannot be loaded."""
    from mlx_lm.utils import load_model

    try:
        return load_model(path)[0]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainError(
            f"Cannot load the model in {path}: {error}; convert or download it again."
        ) from error
