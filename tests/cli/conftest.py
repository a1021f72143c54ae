"""The command line in this very process."""

from __future__ import annotations

import pytest

from command_line import Run, in_this_process


@pytest.fixture
def tracemill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return in_this_process(monkeypatch, capsys)
