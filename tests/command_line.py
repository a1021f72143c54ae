"""How a test calls the command line: words in, the exit code and both streams out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tracemill.cli.main import main


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def in_this_process(monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[Any], *first: str) -> Run:
    """The command line in this very process, its words after `first`; `capture` is what holds the streams."""

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tracemill", *first, *words])
        capture.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capture.readouterr()
        return Ended(int(stop.value.code or 0), streams.out, streams.err)

    return run
