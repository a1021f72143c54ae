"""A training run on disk while it is under way, so that a killed one goes on where it was.

    .NAME.run/step-000050/state.json              steps done, losses, what the judge found, hashes of files
    .NAME.run/step-000050/weights.safetensors     what the optimizer changes
    .NAME.run/step-000050/optimizer.safetensors   its moments, step and rate
    .NAME.run/step-000050/kept.safetensors        weights of the best checkpoint so far, once there is one

In: the state of a run and its arrays. Out: them again, exactly. Each folder appears whole, by a rename; the
last two stay. A file that is not what was saved is noticed by its hash, and the folder before is used.
Importing this module imports MLX: activate the BLAS first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from filelock import FileLock, Timeout

from tracemill.train.adapter import file_sha256, write_folder
from tracemill.train.choice import Checkpoint, Judged
from tracemill.train.errors import TrainError

Arrays = dict[str, mx.array]

STATE, WEIGHTS, OPTIMIZER, KEPT = (
    "state.json",
    "weights.safetensors",
    "optimizer.safetensors",
    "kept.safetensors",
)
LAST = 2
"""How many states stay: the newest, and one to fall back to."""


@dataclass
class State:
    """How far a training run is; all but the arrays."""

    lanes: int
    """In how many lanes its batches are computed: another number gives other last digits."""
    step: int = 0
    losses: list[float] = field(default_factory=list[float])
    """Mean loss in nats per target token, one a step."""
    base: Judged | None = None
    """What the judge found at step 0, where the guard asks for it."""
    found: list[Checkpoint] = field(default_factory=list[Checkpoint])
    kept: int | None = None
    """The step of the checkpoint that would be chosen by now."""
    stopped: str | None = None
    """Why the run is over before its last step."""
    busy: float = 0.0
    """Seconds spent in steps."""


@dataclass(frozen=True)
class Saved:
    """A state with its arrays."""

    state: State
    weights: Arrays
    optimizer: Arrays
    kept: Arrays


class Keeper:
    """The folder of one run, held by one process at a time."""

    def __init__(self, folder: Path, run: str, every: int = 50):
        """Take `folder` for the run that `run` tells apart; TrainError where another process has it.

        `every`: steps between two saved states, 0 for checkpoints alone.
        """
        self.folder, self._run, self.every = folder, run, every
        self.damaged: list[str] = []
        """States that could not be read, one sentence each."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(folder / "lock", timeout=0, mode=0o600)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise TrainError(
                f"Another process is making this very run in {folder}; wait for it, or stop it first."
            ) from error

    def close(self) -> None:
        """Let another process have the run."""
        self._lock.release()

    def discard(self) -> None:
        """Delete all states."""
        for folder in self._states():
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Delete the folder: the run is done, or must not be gone on with."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, saved: Saved) -> Path:
        """Write a state; TrainError where the disk is full."""
        path = self.folder / f"step-{saved.state.step:06}"

        def fill(draft: Path) -> None:
            arrays = {WEIGHTS: saved.weights, OPTIMIZER: saved.optimizer, KEPT: saved.kept}
            for name, some in arrays.items():
                if some:
                    mx.save_safetensors(str(draft / name), some, metadata={"format": "mlx"})
            files = {file.name: file_sha256(file) for file in sorted(draft.iterdir())}
            told = {"run": self._run, "files": files, "state": asdict(saved.state)}
            (draft / STATE).write_text(json.dumps({"sha256": _hash(told), **told}, indent=1) + "\n", "utf-8")
            for file in draft.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())

        write_folder(path, fill)
        for old in self._states()[:-LAST]:
            shutil.rmtree(old, ignore_errors=True)
        return path

    def latest(self) -> Saved | None:
        """The newest state that is whole; None where there is none. TrainError for a state of another run."""
        for folder in reversed(self._states()):
            try:
                return self._read(folder)
            except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
                self.damaged.append(f"{folder} is damaged ({error}).")
        return None

    def _read(self, folder: Path) -> Saved:
        told = cast(dict[str, Any], json.loads((folder / STATE).read_text("utf-8")))
        if told.pop("sha256") != _hash(told):
            raise ValueError(f"{STATE} is not what was saved")
        if told["run"] != self._run:
            raise TrainError(
                f"{folder} belongs to another run (another base, data set or settings); "
                "give --fresh to start anew, or move it away."
            )
        for name, digest in told["files"].items():
            if file_sha256(folder / name) != digest:
                raise ValueError(f"{name} is not what was saved")
        arrays = {name: cast(Arrays, mx.load(str(folder / name))) for name in told["files"]}
        return Saved(_state(told["state"]), arrays[WEIGHTS], arrays[OPTIMIZER], arrays.get(KEPT, {}))

    def _states(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def _hash(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _state(value: dict[str, Any]) -> State:
    base = Judged(**value["base"]) if value["base"] else None
    found = [Checkpoint.fromdict(one) for one in value["found"]]
    rest: dict[str, Any] = {**value, "base": base, "found": found}
    return State(**rest)
