"""The options that several commands of the loop share: what is exported, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tracemill.train.settings import Schedule

MAX_TOKENS = 128
"""Most tokens of a completion when scoring: a long call fits, a rambling base model is cut short."""
MODEL = "smollm2-135m"

LENGTH, METHOD, RATE, CHOICE, RUN = "Length", "What learns", "Learning rate", "Which checkpoint", "The run"
"""Headings of the options of training."""

Recipe = Annotated[
    str, typer.Option(help="Name of a recipe that comes with Tracemill, or path of a .toml file.")
]
Where = Annotated[
    str | None,
    typer.Option(help="Only conversations that meet this SQL condition, such as \"agent = 'punie'\"."),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens of a completion when scoring.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML file of these options, such as `epochs = 3`; options given here win."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the LoRA initialisation, dropout and data order.")]

Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Optimizer steps; by default as many as --epochs.", rich_help_panel=LENGTH),
]
Epochs = Annotated[
    float | None,
    typer.Option(
        help="Times every row is seen; by default 3, or 2 from 500 rows on.", rich_help_panel=LENGTH
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, help="Sequences per step; by default 4, or 8 from 200 rows on.", rich_help_panel=LENGTH
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        min=1, rich_help_panel=LENGTH,
        help="Most tokens at once: less memory, the same gradient; by default all of a step.",
    ),
]  # fmt: skip
GradCheckpoint = Annotated[
    bool | None,
    typer.Option(
        "--grad-checkpoint", rich_help_panel=LENGTH,
        help="Compute states again instead of keeping them: less memory, slower.",
    ),
]  # fmt: skip
Context = Annotated[
    int | None,
    typer.Option(
        min=8, rich_help_panel=LENGTH,
        help="Most tokens of a sequence, by default 2048: longer histories lose their first turns.",
    ),
]  # fmt: skip
LearningRate = Annotated[
    float | None,
    typer.Option(help="Peak rate; by default 5e-5 to 2e-4, lower for fewer rows.", rich_help_panel=RATE),
]
ScheduleOption = Annotated[
    Schedule | None,
    typer.Option(help="How it goes after warm-up, by default cosine, to a tenth.", rich_help_panel=RATE),
]
Warmup = Annotated[
    float | None,
    typer.Option(help="Share of the steps in which it rises, by default 0.1.", rich_help_panel=RATE),
]
WeightDecay = Annotated[float | None, typer.Option(help="Of AdamW, by default 0.01.", rich_help_panel=RATE)]
Rank = Annotated[int | None, typer.Option(min=1, help="LoRA rank, by default 8.", rich_help_panel=METHOD)]
Scale = Annotated[
    float | None,
    typer.Option(help="Factor on the LoRA update, by default 20, as in mlx-lm.", rich_help_panel=METHOD),
]
Alpha = Annotated[
    float | None,
    typer.Option(help="Instead of --scale, as others have it: scale = alpha / rank.", rich_help_panel=METHOD),
]
Dropout = Annotated[
    float | None,
    typer.Option(help="Share of LoRA's inputs left out at random, by default 0.", rich_help_panel=METHOD),
]
Layers = Annotated[
    str | None,
    typer.Option(help="How many of the last layers learn, by default 12; or all.", rich_help_panel=METHOD),
]
Modules = Annotated[
    str | None,
    typer.Option(
        help="Modules that get LoRA, such as q_proj,v_proj; by default all linear ones.",
        rich_help_panel=METHOD,
    ),
]
Dora = Annotated[bool | None, typer.Option("--dora", help="DoRA instead of LoRA.", rich_help_panel=METHOD)]
Full = Annotated[
    bool | None,
    typer.Option(
        "--full", help="Every weight of the layers instead of LoRA; embeddings stay.", rich_help_panel=METHOD
    ),
]
Method = Annotated[
    Literal["sft", "dpo"] | None,
    typer.Option(
        rich_help_panel=METHOD,
        help="sft (default) imitates every turn of the rows; dpo prefers what was chosen in the pairs that "
        "a recipe with `pairs` writes.",
    ),
]
Beta = Annotated[
    float | None,
    typer.Option(
        rich_help_panel=METHOD,
        help="Of --method dpo, by default 0.1: the higher, the nearer the model stays to what it was.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        rich_help_panel=METHOD,
        help="Adapter to go on from, by folder or name; its rank, layers and modules stay. Of dpo it is the "
        "reference.",
    ),
]
Every = Annotated[
    int | None,
    typer.Option(min=1, help="Steps between scored checkpoints; by default 6 a run.", rich_help_panel=CHOICE),
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Stop after so many checkpoints without a better score, by default 3; 0: never.",
        rich_help_panel=CHOICE,
    ),
]
GuardLoss = Annotated[
    float | None,
    typer.Option(
        help="Share of the base's general ability a checkpoint may lose, by default 0.1; 1: any.",
        rich_help_panel=CHOICE,
    ),
]
GuardFloor = Annotated[
    float | None,
    typer.Option(
        help="Stop at once below this share of it, by default 0.5; 0, with --guard-loss 1: ask nothing.",
        rich_help_panel=CHOICE,
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(help="Several seeds, such as 0,1,2: a run each, mean and interval.", rich_help_panel=RUN),
]
SaveEvery = Annotated[
    int | None,
    typer.Option(
        min=0, rich_help_panel=RUN,
        help="Steps between states to resume from, by default 50; 0: at checkpoints only.",
    ),
]  # fmt: skip
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start anew, whatever there is of this run.", rich_help_panel=RUN)
]
Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Take a few of its steps, say how long it takes and how much memory, and write nothing.",
        rich_help_panel=RUN,
    ),
]
Log = Annotated[
    Literal["tensorboard", "wandb"] | None,
    typer.Option(help="Log to TensorBoard or Weights & Biases too.", rich_help_panel=RUN),
]
