"""The options that several commands of the loop share: what is exported, and how it is trained."""

from __future__ import annotations

from typing import Annotated

import typer

from tracemill.train.settings import Settings

DEFAULT = Settings()
MAX_TOKENS = 128
"""Most tokens of a completion when scoring: a long call fits, a rambling base model is cut short."""

Model = Annotated[str, typer.Option(help="Base model: smollm2-135m, a folder or a Hugging Face id.")]
Recipe = Annotated[
    str, typer.Option(help="Name of a recipe that comes with Tracemill, or path of a .toml file.")
]
Where = Annotated[
    str | None,
    typer.Option(help="Only conversations that meet this SQL condition, such as \"agent = 'punie'\"."),
]
Seed = Annotated[int, typer.Option(help="Seed of the LoRA initialisation and of the data order.")]
Steps = Annotated[int, typer.Option(min=1, help="Optimizer steps.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Sequences per step.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate.")]
Rank = Annotated[int, typer.Option(min=1, help="LoRA rank.")]
Layers = Annotated[int, typer.Option(min=1, help="How many of the last layers get LoRA.")]
Context = Annotated[int, typer.Option(min=8, help="Longer sequences are left out and counted.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens of a completion when scoring.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
