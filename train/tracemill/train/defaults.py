"""Settings for whoever does not say: careful ones, by how much there is to learn from.

In: the number of rows, and what the user asked for. Out: `Settings` with a reason for each value that was
chosen. A small data set is soon known by heart, and what the model knew before is soon gone: so the rate is
low, the steps are few, every row is seen at least twice, and the guard is watched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tracemill.train.settings import Settings

GUARD_LOSS, GUARD_FLOOR = 0.1, 0.5
"""Of the 48 questions of the guard a small model gets some twenty right. So one of them is 5%, and as able a
model that errs on others may lose three or four: what stops a run at once has to be more."""
PATIENCE = 3
CHECKPOINTS = 6
"""How often a run is judged: often enough to see the best pass, seldom enough to leave time for training."""


def choose(rows: int, asked: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """What `asked` leaves open, chosen for `rows` training rows; and why, a sentence for each choice.

    `asked` holds fields of `Settings`.
    """
    told: list[str] = []

    def take(name: str, value: float, shown: str, reason: str) -> Any:
        if name in asked:
            return asked[name]
        told.append(f"{shown}: {reason}.")
        return value

    batch = 4 if rows < 200 else 8
    size = take(
        "batch_size", batch, f"batch size {batch}", f"{rows} rows are {'few' if rows < 200 else 'enough'}"
    )
    rate = 5e-5 if rows < 200 else 1e-4 if rows < 2000 else 2e-4
    if asked.get("method") == "full":
        rate /= 10  # every weight moves, and none is scaled up as LoRA's are
    if asked.get("beta") is not None:
        rate /= 10  # a whole answer moves at once, and away from what was rejected there is no end
    peak = take("learning_rate", rate, f"learning rate {rate:g}", "low, the fewer rows the lower")
    steps, epochs = asked.get("steps"), asked.get("epochs")
    if steps is None and epochs is None:
        epochs = 3.0 if rows < 500 else 2.0
        told.append(f"{epochs:g} epochs: every row at least twice, and few enough to forget little.")
    about = steps or math.ceil((epochs or 1) * rows / size)
    every = max(math.ceil(about / CHECKPOINTS), 1)
    every = take("every", every, f"a checkpoint every {every} steps", f"{CHECKPOINTS} of about {about} steps")
    chosen: dict[str, Any] = {
        "batch_size": size, "learning_rate": peak, "epochs": epochs, "every": every,
        "patience": PATIENCE, "guard_loss": GUARD_LOSS, "guard_floor": GUARD_FLOOR,
        **({"steps": steps} if steps else {}),
    }  # fmt: skip
    return Settings(**{**chosen, **asked}), told
