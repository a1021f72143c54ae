"""What decides a training run, beside its data and base model. Plain values, no MLX."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The knobs of a training run."""

    steps: int = 130
    """Optimizer steps."""
    batch_size: int = 5
    """Sequences per step."""
    learning_rate: float = 3e-4
    """Peak rate of AdamW; linear warm-up over a tenth of the steps, then cosine to a tenth of the peak."""
    rank: int = 8
    """LoRA rank."""
    scale: float = 20.0
    """Factor on the LoRA update, as mlx-lm's `scale` (not alpha / rank)."""
    layers: int = 12
    """Number of last transformer layers that get LoRA."""
    context: int = 2048
    """Most tokens of a sequence: longer histories lose their first turns, a longer turn is left out."""
    checkpoints: int = 2
    """How many checkpoints are scored, evenly spaced over the second half of training and at its end."""
    seed: int = 0
    """Seed of the LoRA initialisation and of the data order."""
    in_order: bool = False
    """Whether sequences come as the data set has them; `finetune` says so where a recipe orders its rows."""

    def asdict(self) -> dict[str, Any]:
        """The settings as plain values, for JSON."""
        return asdict(self)

    def lora(self) -> dict[str, Any]:
        """The `lora_parameters` of mlx-lm's adapter_config.json."""
        return {"rank": self.rank, "scale": self.scale, "dropout": 0.0}

    def checkpoint_steps(self) -> list[int]:
        """The steps after which the model is scored; the last step is always one of them."""
        first = self.steps // 2
        share = (self.steps - first) / self.checkpoints
        return sorted({first + math.ceil(share * (i + 1)) for i in range(self.checkpoints)})
