"""`tracemill train`: fine-tune a base model on a data set.

In: a data set folder, a base model and the knobs. Out: an adapter folder, chosen among checkpoints by exact
tool calls on the validation split.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import knobs, output

if TYPE_CHECKING:
    from tracemill.train.finetune import Finetuned


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder of a data set, as `tracemill export` makes it.")],
    model: knobs.Model = "smollm2-135m",
    seed: knobs.Seed = knobs.DEFAULT.seed,
    steps: knobs.Steps = knobs.DEFAULT.steps,
    batch_size: knobs.BatchSize = knobs.DEFAULT.batch_size,
    learning_rate: knobs.LearningRate = knobs.DEFAULT.learning_rate,
    rank: knobs.Rank = knobs.DEFAULT.rank,
    layers: knobs.Layers = knobs.DEFAULT.layers,
    context: knobs.Context = knobs.DEFAULT.context,
    max_tokens: knobs.MaxTokens = knobs.MAX_TOKENS,
    as_json: knobs.AsJson = False,
) -> None:
    """Fine-tune a base model with LoRA on every assistant turn; keep the checkpoint that calls tools best.

    The same data set, base, knobs and seed give the same adapter, which is then reused.
    """
    from tracemill.cli.loop import fast_blas, fine_tune
    from tracemill.curate.dataset import load
    from tracemill.tracer.home import Home
    from tracemill.train.base import resolve

    home = Home.find()
    data = load(dataset)
    fast_blas(home)
    settings = replace(
        knobs.DEFAULT, seed=seed, steps=steps, batch_size=batch_size, learning_rate=learning_rate,
        rank=rank, layers=layers, context=context,
    )  # fmt: skip
    with output.progress() as progress:
        base = resolve(model, home, progress)
        made = fine_tune(home, data, base, settings, max_tokens, progress)
    if as_json:
        output.emit_json({"adapter": made.adapter.path, "reused": made.reused, **made.adapter.card})
    else:
        show(made)


def show(made: Finetuned) -> None:
    """Say what a training run gave."""
    card = made.adapter.card
    if made.reused:
        output.say("This very run was made before; its adapter is reused.")
    output.table(
        ("step", "exact tool calls on valid", ""),
        [(step, _percent(score), "kept" * (step == card["best_step"])) for step, score in card["scores"]],
    )
    first, last = card["losses"][0], card["losses"][-1]
    output.say(
        f"{card['sequences']} sequences, {card['target_tokens']} targets; loss {first:.2f} to {last:.3f}; "
        f"{card['seconds_per_step']:.1f} s a step on {card['blas']}."
    )
    context = card["settings"]["context"]
    if cut := card["sequences_cut"]:
        output.hint(f"{cut} sequences lost the first turns of their history to fit {context} tokens.")
    if dropped := card["turns_dropped"]:
        output.hint(f"{dropped} turns were not learned, the first because: {card['dropped'][0]}")
    if card["best_score"] is None:
        output.hint("valid.jsonl asks for no tool call, so no checkpoint was scored: the last one was kept.")
    output.say(str(made.adapter.path))


def _percent(score: float | None) -> str:
    return "not scored" if score is None else f"{100 * score:.1f}%"
