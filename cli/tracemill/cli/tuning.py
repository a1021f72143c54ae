"""A training run as every command makes it: checkpoints judged by exact tool calls and by the guard.

In: a data set, a base model and `Settings`. Out: an adapter, or the judge alone. The room `train` knows
nothing of scoring: it takes the judge that is made here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracemill.cli import knobs, output
from tracemill.tracer.home import Home
from tracemill.train.settings import Settings

if TYPE_CHECKING:
    from tracemill.curate.chat.proof import Row
    from tracemill.curate.chat.template import Chat
    from tracemill.curate.dataset import Dataset
    from tracemill.train.adapter import Adapter
    from tracemill.train.base import BaseModel
    from tracemill.train.choice import Judged
    from tracemill.train.estimate import Estimate
    from tracemill.train.finetune import Conduct, Finetuned, Judge

JUDGED = 16
"""Validation rows that an estimate scores: one batch; more of them take so many times as long."""


def begin(
    home: Home, given: Mapping[str, Any], progress: output.ProgressCallback
) -> tuple[BaseModel, Adapter | None]:
    """The base that the keys of `given` name, and the adapter to go on from, if any."""
    from tracemill.train.base import resolve
    from tracemill.train.finding import base_of, find_adapter

    model, adapter = given.get("model"), given.get("adapter")
    if not adapter:
        return resolve(model or knobs.MODEL, home, progress), None
    start = find_adapter(home, adapter)
    return base_of(home, start, model, progress), start


def settle(dataset: Dataset, given: Mapping[str, Any], start: Adapter | None) -> tuple[Settings, list[str]]:
    """The settings that the keys of `given` come to on this data set, and why what they leave open is so."""
    from tracemill.curate.pairs.reading import read_pairs
    from tracemill.train.config import fields, shape_of
    from tracemill.train.defaults import choose

    count = len(read_pairs(dataset, "train") if given.get("method") == "dpo" else dataset.rows("train"))
    return choose(count, fields(given) | (shape_of(start.card) if start else {}))


def fine_tune(
    home: Home,
    dataset: Dataset,
    base: BaseModel,
    settings: Settings,
    max_tokens: int,
    progress: output.ProgressCallback,
    conduct: Conduct | None = None,
    start: Adapter | None = None,
) -> Finetuned:
    """Train with checkpoints judged by exact tool calls on the validation split, and by the guard."""
    from tracemill.curate.chat.template import Chat
    from tracemill.evaluate.holdout import check_rows
    from tracemill.train.errors import Interrupted
    from tracemill.train.finetune import finetune

    check_rows(dataset.rows("valid"), Chat.load(base.path))
    judge, name = checkpoint_judge(dataset.rows("valid"), settings, max_tokens, progress)
    try:
        return finetune(home, dataset, base, settings, judge, name, progress, conduct, start)
    except Interrupted as stopped:
        output.hint(str(stopped))
        raise


def checkpoint_judge(
    rows: Sequence[Row], settings: Settings, max_tokens: int, progress: output.ProgressCallback
) -> tuple[Judge, str]:
    """What a checkpoint is judged by, tool calls on `rows` and the guard; and a name of all of it."""
    from tracemill.evaluate.guard.items import CHOOSING, guard_items
    from tracemill.evaluate.guard.run import guard_judge, runnable
    from tracemill.evaluate.holdout import call_judge
    from tracemill.train.adapter import code_sha256

    calls = call_judge(rows, max_tokens, progress)

    def judge(model: Any, chat: Chat) -> Judged:
        judged = calls(model, chat)
        guard = guard_judge(chat, CHOOSING, progress)(model) if settings.guarded else {}
        return replace(judged, guard={**judged.guard, **guard})

    parts = [
        f"exact tool calls on valid, {max_tokens} tokens",
        f"code {code_sha256('tracemill.evaluate')[:16]}",
    ]
    if settings.guarded:
        # Where a machine cannot hold code in it is not run, and `answers` is another figure.
        parts.insert(1, f"guard/{CHOOSING}, {len(runnable(guard_items(CHOOSING))[0])} items")
    return judge, ", ".join(parts)


def estimated(
    dataset: Dataset,
    base: BaseModel,
    settings: Settings,
    max_tokens: int,
    progress: output.ProgressCallback,
) -> Estimate:
    """What `fine_tune` would take, by a few of its steps; nothing is written."""
    from tracemill.curate.chat.template import Chat
    from tracemill.evaluate.holdout import check_rows
    from tracemill.train.estimate import estimate
    from tracemill.train.examples import check_unrendered, sequences, valid_sequences
    from tracemill.train.finetune import load_base

    chat, rows = Chat.load(base.path), dataset.rows("valid")
    check_unrendered(dataset)
    check_rows(rows, chat)
    parts = sequences(chat, dataset.rows("train"), settings.context).parts
    planned = replace(settings, steps=settings.steps_for(len(parts)), in_order=dataset.ordered)
    model = load_base(base.path)
    few = [rows[at * len(rows) // JUDGED] for at in range(JUDGED)] if len(rows) > JUDGED else rows

    def judged() -> float:
        calls, _ = checkpoint_judge(few, replace(planned, guard_loss=None), max_tokens, progress)
        guard, _ = checkpoint_judge([], planned, max_tokens, progress)
        return _seconds(calls, model, chat) * len(rows) / max(len(few), 1) + _seconds(guard, model, chat)

    return estimate(
        model, parts, planned, judged,
        valid=valid_sequences(chat, dataset, settings.context), progress=progress,
    )  # fmt: skip


def _seconds(judge: Judge, model: Any, chat: Chat) -> float:
    began = time.perf_counter()
    judge(model, chat)
    return time.perf_counter() - began
