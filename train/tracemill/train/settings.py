"""What decides a training run, beside its data and base model. Plain values, no MLX."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Schedule = Literal["constant", "linear", "cosine"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
Method = Literal["lora", "dora", "full"]


@dataclass(frozen=True)
class Settings:
    """The knobs of a training run."""

    steps: int = 130
    """Optimizer steps."""
    epochs: float | None = None
    """Times that every sequence is seen; where it is given, it decides `steps` (see `steps_for`)."""
    batch_size: int = 5
    """Sequences per step."""
    batch_tokens: int | None = None
    """Most tokens computed at once, those that sequences share counted once: a step with more of them goes
    through the model in parts, whose gradients add up to the same. None is all at once."""
    grad_checkpoint: bool = False
    """Whether layers compute their inner states again for the gradient: less memory, slower, the same."""
    learning_rate: float = 3e-4
    """Peak rate of AdamW."""
    schedule: Schedule = "cosine"
    """How the rate goes after warm-up: constant, or down to a tenth of the peak, linearly or as a cosine."""
    warmup: float = 0.1
    """Share of the steps in which the rate rises linearly to its peak."""
    weight_decay: float = 0.01
    """Of AdamW."""
    method: Method = "lora"
    """LoRA, DoRA (LoRA and a learned magnitude per output), or every weight of the layers."""
    rank: int = 8
    """LoRA rank."""
    scale: float = 20.0
    """Factor on the LoRA update, as mlx-lm's `scale`; elsewhere it is alpha / rank."""
    dropout: float = 0.0
    """Share of a LoRA layer's inputs left out at random in a step."""
    layers: int | None = 12
    """Number of last transformer layers that learn; None is all."""
    modules: tuple[str, ...] = ()
    """Names of the modules of a layer that get LoRA, such as `self_attn.q_proj`; none is all linear ones."""
    context: int = 2048
    """Most tokens of a sequence: longer histories lose their first turns, a longer turn is left out."""
    every: int | None = None
    """Steps between checkpoints that are scored; the end is always scored."""
    checkpoints: int = 2
    """Without `every`: how many are scored, evenly spaced over the second half of training and at its end."""
    patience: int | None = None
    """Checkpoints in a row without a better score after which training stops; None is never."""
    guard_loss: float | None = None
    """Most that a checkpoint may lose of the base's general ability, as a share of it; None measures none."""
    guard_floor: float = 0.7
    """Share of the base's general ability below which training stops at once."""
    beta: float | None = None
    """Of direct preference optimization: how strongly the model is held to what it was. None imitates the
    turns of a data set; with a number what was chosen in its pairs is preferred to what was rejected."""
    seed: int = 0
    """Seed of the LoRA initialisation, of dropout and of the data order."""
    in_order: bool = False
    """Whether sequences come as the data set has them; `finetune` says so where a recipe orders its rows."""

    @property
    def guarded(self) -> bool:
        """Whether anything follows from what the guard finds; else it need not be asked."""
        return self.guard_loss is not None and (self.guard_loss < 1 or self.guard_floor > 0)

    @property
    def most_lost(self) -> float | None:
        """Share of the base's general ability that what is kept may lose; None where that is not watched."""
        return None if self.guard_loss is None else min(self.guard_loss, 1 - self.guard_floor)

    @property
    def together(self) -> int:
        """How many sequences an example has, of which `batch_size` make a step: a pair has two."""
        return 1 if self.beta is None else 2

    def asdict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON."""
        return asdict(self) | {"modules": list(self.modules)}

    def lora(self) -> dict[str, Any]:
        """The `lora_parameters` of mlx-lm's adapter_config.json."""
        chosen = {"keys": list(self.modules)} if self.modules else {}
        return {"rank": self.rank, "scale": self.scale, "dropout": self.dropout, **chosen}

    def checkpoint_steps(self) -> list[int]:
        """The steps after which the model is scored; the last step is always one of them."""
        if self.every is not None:
            return [*range(self.every, self.steps, self.every), self.steps]
        first = self.steps // 2
        share = (self.steps - first) / self.checkpoints
        return sorted({first + math.ceil(share * (i + 1)) for i in range(self.checkpoints)})

    def steps_for(self, sequences: int) -> int:
        """The optimizer steps over `sequences` sequences: `steps`, or what `epochs` comes to."""
        if self.epochs is None:
            return self.steps
        return max(math.ceil(self.epochs * sequences / min(self.batch_size, sequences)), 1)
