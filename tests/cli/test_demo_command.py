"""`tracemill demo`: what can be seen of it without minutes of training; the loop has tests of its own."""

from __future__ import annotations

import pytest

from command_line import Run
from conversations import chat, record
from tracemill.cli import demo as command
from tracemill.demo.record import record as record_tasks
from tracemill.demo.tasks import tasks
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query


def test_its_questions_are_answered(home: Home) -> None:
    record(home, "s", chat("Read it."), outcome="good")
    ingest(home)
    assert query(home, command.COUNTS).row(0, named=True) == {"sessions": 1, "tool_calls": 1}
    assert query(home, command.QUESTION)["tool"].to_list() == ["read_file"]


def test_it_shows_a_first_answer_before_it_fetches_a_model(
    home: Home, tracemill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo_home = Home(home.root / "demo")
    record_tasks(demo_home, tasks()[:12])
    monkeypatch.setattr("tracemill.demo.tasks.tasks", lambda seed=0: tasks(seed)[:12])
    monkeypatch.setenv("TRACEMILL_SMOLLM2_WHEEL", str(home.root / "absent.whl"))
    ended = tracemill("demo")
    assert ended.code == 1
    assert "0 sessions recorded now, 12 before" in ended.out
    assert "a scripted policy, not a model" in ended.out
    assert "search" in ended.out
    assert ended.err.strip().splitlines()[-1].startswith("error: ")
    assert "absent.whl" in ended.err
    assert not demo_home.datasets.exists()
