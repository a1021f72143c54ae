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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.curate.pairs.reading import pairs_digest
from tracemill.tracer.home import Home
from tracemill.train import blas
from tracemill.train.adapter import WEIGHTS, Adapter, code_sha256, load_adapter, save_adapter
from tracemill.train.base import BaseModel
from tracemill.train.choice import Judged
from tracemill.train.curves import curves
from tracemill.train.errors import TrainError
from tracemill.train.examples import Examples, check_unrendered, sequences, valid_sequences
from tracemill.train.finding import judged_before
from tracemill.train.frozen import Progress
from tracemill.train.keeping import Arrays, Keeper
from tracemill.train.logs import Kind, open_log
from tracemill.train.loop import Outcome, fit
from tracemill.train.preference_pairs import preferences
from tracemill.train.remembering import remember
from tracemill.train.settings import Settings
from tracemill.train.trainee import resolved

MOST_REASONS = 100
"""Of the turns that are learned nowhere, how many the adapter's card tells why."""
Judge = Callable[[Any, Chat], Judged]


@dataclass(frozen=True)
class Finetuned:
    """The adapter, and how this call came by it."""

    adapter: Adapter
    reused: bool
    """Whether an earlier identical run had already made it."""
    resumed: int | None = None
    """The step at which an interrupted run was taken up."""
    notes: tuple[str, ...] = ()
    """What a user should know of the states that were found, one sentence each."""


@dataclass(frozen=True)
class Conduct:
    """What of a run decides nothing about its result."""

    save_every: int = 50
    """Steps between two states to resume from, 0 for checkpoints alone."""
    fresh: bool = False
    """Whether to start anew, whatever there is of the same run."""
    log: Kind | None = None
    """Where to log to, beside the warehouse."""


def finetune(
    home: Home,
    dataset: Dataset,
    base: BaseModel,
    settings: Settings,
    judge: Judge,
    judge_name: str,
    progress: Progress | None = None,
    conduct: Conduct | None = None,
    start: Adapter | None = None,
) -> Finetuned:
    """Train `base`, or `start` on it, on what `dataset` has for training: its rows, or with `beta` its pairs.

    `judge(model, chat)` says how good a checkpoint is.
    `judge_name` tells everything that decides its scores: another judge may keep another checkpoint.
    A run that was interrupted goes on where it was; Interrupted where this one is.
    """
    conduct = conduct or Conduct()
    chat = Chat.load(base.path)
    check_unrendered(dataset)
    settings = replace(settings, in_order=dataset.ordered and settings.beta is None)
    identity: dict[str, Any] = {
        "base": base.name,
        "base_sha256": base.digest,
        "dataset": dataset.name,
        "dataset_sha256": dataset.digest,
        "template_sha256": chat.digest,
        "code_sha256": code_sha256("tracemill.curate.chat", "tracemill.train"),
        "judge": judge_name,
        "settings": settings.asdict(),
        **_beside(dataset, settings, start),
    }
    path = home.adapters / adapter_name(identity)
    if not conduct.fresh and (made := _made_before(path)) is not None:
        remember(home, made)
        return Finetuned(made, reused=True)
    home.ensure(home.adapters)
    examples, valid = _examples(chat, dataset, settings)
    parts = examples.parts
    model = load_base(base.path)
    steps = settings.steps_for(len(parts) // settings.together)
    settings = resolved(model, replace(settings, steps=steps))
    keeper = Keeper(path.with_name(f".{path.name}.run"), _hash(identity), conduct.save_every)
    try:
        if conduct.fresh:
            keeper.discard()
        begun = keeper.latest()
        resumed = begun.state.step if begun else None
        before = judged_before(home, identity) if settings.guarded and not conduct.fresh else None
        log = open_log(conduct.log, home.root / "logs", path.name, settings.asdict()) if conduct.log else None
        try:
            outcome = fit(
                model, parts, settings, lambda: judge(model, chat), valid=valid, start=_weights(start),
                before=before, keeper=keeper, begun=begun, progress=progress,
                observe=log.write if log else None,
            )  # fmt: skip
        finally:
            if log:
                log.close()
        card = {
            **identity,
            "settings": settings.asdict(),
            "sequences": len(parts),
            "sequences_cut": examples.cut,
            "turns_dropped": len(examples.dropped),
            "dropped": examples.dropped[:MOST_REASONS],
            "target_tokens": sum(end - start for part in parts for start, end in part.spans),
            **_found(outcome),
            "seconds_per_step": round(outcome.seconds_per_step, 3),
            "blas": blas.activate(home).name,
        }
        mlx_config = {
            "fine_tune_type": settings.method,
            "num_layers": settings.layers,
            "lora_parameters": settings.lora(),
            "model": base.name,
        }
        picture = curves(
            outcome.losses, outcome.base, outcome.found, outcome.chosen.step, settings.guard_loss,
            "token" if settings.beta is None else "pair",
        )  # fmt: skip
        adapter = save_adapter(path, outcome.weights, mlx_config, chat.template, card, picture)
        keeper.remove()
    finally:
        keeper.close()
    remember(home, adapter)
    notes = (*_proved(dataset, base, chat), *keeper.damaged)
    return Finetuned(adapter, reused=False, resumed=resumed, notes=notes)


def _beside(dataset: Dataset, settings: Settings, start: Adapter | None) -> dict[str, Any]:
    """What decides a run that does more than imitate, from the base on."""
    pairs = {"method": "dpo", "pairs_sha256": pairs_digest(dataset)} if settings.beta is not None else {}
    begun = {"start": start.path.name, "start_sha256": start.card["weights_sha256"]} if start else {}
    return pairs | begun


def _examples(chat: Chat, dataset: Dataset, settings: Settings) -> tuple[Examples, list[Rendered]]:
    """What is learned, and what the loss is measured on beside it."""
    if settings.beta is not None:
        return preferences(chat, dataset, settings.context)
    examples = sequences(chat, dataset.rows("train"), settings.context)
    return examples, valid_sequences(chat, dataset, settings.context)


def _weights(adapter: Adapter | None) -> Arrays | None:
    return cast(Arrays, mx.load(str(adapter.path / WEIGHTS))) if adapter else None


def _found(outcome: Outcome) -> dict[str, Any]:
    """What the judge found, for the card."""
    chosen = outcome.chosen.judged
    return {
        "best_step": outcome.chosen.step,
        "strength": outcome.strength,
        "chosen": asdict(chosen),
        "best_score": chosen.score,
        "selection_items": chosen.n,
        "guarded": outcome.guarded,
        "stopped": outcome.stopped,
        "before": asdict(outcome.base) if outcome.base else None,
        "checkpoints": [one.asdict() for one in outcome.found],
        "scores": [(one.step, one.judged.score) for one in outcome.found],
        "losses": [round(loss, 6) for loss in outcome.losses],
    }


def _proved(dataset: Dataset, base: BaseModel, chat: Chat) -> list[str]:
    """Whether the data set was exported for another template: its rows fit this one, or they were refused."""
    proof = dataset.manifest.proof if dataset.manifest else None
    if proof is None or proof.template_sha256 == chat.digest:
        return []
    return [
        f"{dataset.name} was exported for the template of {proof.base}; every row was proved again for that "
        f"of {base.name}."
    ]


def _made_before(path: Path) -> Adapter | None:
    """The adapter of an identical run; None where there is none, or one that is damaged."""
    try:
        return load_adapter(path)
    except TrainError:
        return None


def adapter_name(identity: dict[str, Any]) -> str:
    """A folder name that tells the base and changes with anything that decides the run."""
    return f"{Path(identity['base']).name}-{_hash(identity)[:10]}"


def _hash(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def load_base(path: Path) -> Any:
    """The mlx-lm model of an MLX folder; TrainError where its weights cannot be loaded."""
    from mlx_lm.utils import load_model

    try:
        return load_model(path)[0]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise TrainError(
            f"Cannot load the model in {path}: {error}; convert or download it again."
        ) from error
