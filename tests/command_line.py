"""How a test calls the command line: words in, the exit code and both streams out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]
