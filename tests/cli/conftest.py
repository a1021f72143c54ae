"""The command line in this very process."""

from __future__ import annotations

import sys

import pytest

from command_line import Ended, Run
from tracemill.cli.main import main


@pytest.fixture
def tracemill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tracemill", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        streams = capsys.readouterr()
        return Ended(int(stop.value.code or 0), streams.out, streams.err)

    return run
