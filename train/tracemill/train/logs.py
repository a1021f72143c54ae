"""The curve of a run for TensorBoard or Weights & Biases, through their own libraries.

In: which of them, a folder, the name and settings of the run. Out: a `Log` that takes numbers by step. Both
libraries are optional; where one is asked for and missing, the error names what to install.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from tracemill.train.errors import TrainError

Kind = Literal["tensorboard", "wandb"]
LIBRARIES: dict[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""The module of each; its name is that of the extra which installs it."""


class Log(Protocol):
    """Where numbers go while a run is under way."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step, by name."""
        ...

    def close(self) -> None:
        """All is written."""
        ...


def open_log(kind: Kind, folder: Path, name: str, settings: Mapping[str, Any]) -> Log:
    """A log of the run `name` under `folder`; TrainError where its library is not installed."""
    library = _library(kind)
    return (
        _TensorBoard(library, folder / name)
        if kind == "tensorboard"
        else _Wandb(library, folder, name, settings)
    )


def _library(kind: str) -> Any:
    try:
        return import_module(LIBRARIES[kind])
    except ImportError as error:
        raise TrainError(
            f"--log {kind} needs the package {LIBRARIES[kind]}, which is not installed; "
            f"run `pip install 'tracemill[{kind}]'`, or leave out --log."
        ) from error


class _TensorBoard:
    def __init__(self, library: Any, folder: Path):
        self._writer = library.SummaryWriter(str(folder))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """`id` is the name of the run, so that one that was interrupted goes on there too."""

    def __init__(self, library: Any, folder: Path, name: str, settings: Mapping[str, Any]):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._run = library.init(
            project="tracemill", id=name, name=name, dir=str(folder), config=dict(settings), resume="allow"
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
