"""`tracemill train`: fine-tune a base model on a data set.

In: a data set folder, a base model and the knobs. Out: an adapter folder, chosen among checkpoints by exact
tool calls on the validation split and by what is left of the base's general ability.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tracemill.cli import knobs, output
from tracemill.train.errors import TrainError


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder of a data set, as `tracemill export` makes it.")],
    model: Annotated[
        str | None, typer.Option(help="Base model: smollm2-135m (default), a folder or a Hugging Face id.")
    ] = None,
    config: knobs.Config = None,
    method: knobs.Method = None,
    beta: knobs.Beta = None,
    adapter: knobs.Start = None,
    steps: knobs.Steps = None,
    epochs: knobs.Epochs = None,
    batch_size: knobs.BatchSize = None,
    batch_tokens: knobs.BatchTokens = None,
    grad_checkpoint: knobs.GradCheckpoint = None,
    context: knobs.Context = None,
    learning_rate: knobs.LearningRate = None,
    schedule: knobs.ScheduleOption = None,
    warmup: knobs.Warmup = None,
    weight_decay: knobs.WeightDecay = None,
    rank: knobs.Rank = None,
    scale: knobs.Scale = None,
    alpha: knobs.Alpha = None,
    dropout: knobs.Dropout = None,
    layers: knobs.Layers = None,
    modules: knobs.Modules = None,
    dora: knobs.Dora = None,
    full: knobs.Full = None,
    every: knobs.Every = None,
    patience: knobs.Patience = None,
    guard_loss: knobs.GuardLoss = None,
    guard_floor: knobs.GuardFloor = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tokens of a completion when scoring, by default 128.",
            rich_help_panel=knobs.CHOICE,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of initialisation, dropout and data order.", rich_help_panel=knobs.RUN),
    ] = None,
    seeds: knobs.Seeds = None,
    save_every: knobs.SaveEvery = None,
    fresh: knobs.Fresh = False,
    log: knobs.Log = None,
    estimate: knobs.Estimate = False,
    as_json: knobs.AsJson = False,
) -> None:
    """Fine-tune a base model on every assistant turn; keep the checkpoint that calls tools best.

    With --method dpo it learns from preference pairs instead: to prefer what was chosen to what was rejected.
    What you do not say is chosen by the number of rows. The same data set, base, knobs and seed give the same
    adapter, which is then reused; a run that was stopped or killed goes on where it was.
    """
    from tracemill.train.config import merged

    options = {
        "model": model, "method": method, "beta": beta, "adapter": adapter,
        "max_tokens": max_tokens, "steps": steps, "epochs": epochs, "batch_size": batch_size,
        "batch_tokens": batch_tokens, "grad_checkpoint": grad_checkpoint,
        "context": context, "learning_rate": learning_rate, "schedule": schedule, "warmup": warmup,
        "weight_decay": weight_decay, "rank": rank, "scale": scale, "alpha": alpha, "dropout": dropout,
        "layers": _layers(layers), "modules": modules.split(",") if modules else None, "dora": dora,
        "full": full, "every": every, "patience": patience, "guard_loss": guard_loss,
        "guard_floor": guard_floor, "seed": seed, "seeds": _seeds(seeds), "save_every": save_every,
        "log": log,
    }  # fmt: skip
    _run(dataset, merged(config, options), fresh, estimate, as_json)


def _run(dataset: Path, given: dict[str, Any], fresh: bool, estimate: bool, as_json: bool) -> None:
    from tracemill.cli.estimated import show_estimate
    from tracemill.cli.loop import fast_blas
    from tracemill.cli.trained import show, show_seeds, summary
    from tracemill.cli.tuning import begin, estimated, fine_tune, settle
    from tracemill.curate.dataset import load
    from tracemill.tracer.home import Home

    home = Home.find()
    data = load(dataset)
    fast_blas(home)
    from tracemill.train.finetune import Conduct  # which imports MLX: the BLAS has to be there

    if estimate and given.get("method") == "dpo":
        raise TrainError("--estimate tells of --method sft only; a pair takes about as long as two rows.")
    with output.progress() as progress:
        base, start = begin(home, given, progress)
    settings, reasons = settle(data, given, start)
    for reason in reasons:
        output.hint(f"chosen: {reason}")
    conduct = Conduct(given.get("save_every", Conduct.save_every), fresh, given.get("log"))
    seeds: list[int] = given.get("seeds") or [settings.seed]
    max_tokens: int = given.get("max_tokens", knobs.MAX_TOKENS)
    if estimate:
        with output.progress() as progress:
            found = estimated(data, base, settings, max_tokens, progress)
        if as_json:
            output.emit_json({**found.asdict(), "runs": len(seeds), "chosen": reasons})
        else:
            show_estimate(found, len(seeds))
        return
    with output.progress() as progress:
        made = [
            fine_tune(home, data, base, replace(settings, seed=seed), max_tokens, progress, conduct, start)
            for seed in seeds
        ]
    if as_json:
        output.emit_json({**summary(made), "chosen": reasons})
    elif len(made) == 1:
        show(made[0])
    else:
        show_seeds(made)


def _seeds(text: str | None) -> list[int] | None:
    """The numbers of a list such as 0,1,2; TrainError where they are none, or where one stands twice."""
    if text is None:
        return None
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words) or len({int(word) for word in words}) < len(words):
        raise TrainError(f"--seeds is a list of different whole numbers such as 0,1,2, not {text!r}.")
    return [int(word) for word in words]


def _layers(text: str | None) -> int | str | None:
    if text is None or text == "all":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise TrainError(f"--layers is a number of layers or the word all, not {text!r}.")
    return int(text)
