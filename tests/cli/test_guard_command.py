"""`tracemill evaluate --suite guard` as a user runs it, on a real tiny model and adapter."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import lora_adapter
from tiny import scripted_model
from tracemill.cli.guarded import show_verdict
from tracemill.cli.main import main
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.items import guard_items
from tracemill.evaluate.guard.recall import guard_once
from tracemill.evaluate.guard.run import GuardResult, GuardResults
from tracemill.evaluate.guard.verdict import guard_verdict
from tracemill.tracer.home import Home
from tracemill.train.base import resolve
from tracemill.warehouse.read import query


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", "evaluate", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.mark.slow
def test_an_adapter_that_changes_nothing_lost_nothing_and_nothing_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACEMILL_HOME", str(tmp_path / "home"))
    base = scripted_model(tmp_path / "base", ["Yes", "."])
    adapter = lora_adapter(tmp_path / "adapter", base, strength=0.0)
    words = (str(base), "--suite", "guard", "--size", "quick", "--adapter", str(adapter.path))
    assert run(monkeypatch, *words, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["suite"] == "guard/quick"
    assert told["verdict"]["kept"] is True
    assert {one["change"]["estimate"] for one in told["verdict"]["changes"]} == {0.0}
    assert len(told["base"]["items"]) == len(told["adapter"]["items"]) == 48

    home = Home.find()
    assert query(home, "SELECT count(*) FROM evaluations WHERE suite = 'guard/quick'").item() == 2
    seen: list[str] = []
    again = guard_once(home, "quick", resolve(str(base), home), None, lambda what, *_: seen.append(what))
    assert set(seen) == {"marking answers"}
    assert json.loads(json.dumps([one.asdict() for one in again.answers])) == told["base"]["items"]
    assert [one.asdict() for one in again.texts] == told["base"]["texts"]

    assert run(monkeypatch, *words) == 0
    assert (
        "kept: No category of general ability lost more than 10 points (56 items and texts)"
        in capsys.readouterr().out
    )
    assert run(monkeypatch, *words[:5]) == 0
    assert "direct answers" in capsys.readouterr().out

    other = scripted_model(tmp_path / "other", ["No", "."])
    with pytest.raises(EvaluationError, match="was trained on another base"):
        guard_once(home, "quick", resolve(str(other), home), adapter)


def test_what_was_lost_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    items = [item for item in guard_items("quick") if item.category != "reasoning"]
    before = GuardResults("quick", [GuardResult(item, "", "") for item in items], [], [])
    wrong = [replace(one, failure="wrong-answer") for one in before.answers[:5]]
    show_verdict("quick", guard_verdict(before, replace(before, answers=[*wrong, *before.answers[5:]])))
    shown = capsys.readouterr().out
    assert shown.count("too much") == 2
    assert "lost: General ability fell by more than 10: direct answers −20.8 points (may be chance)" in shown


def test_a_report_of_the_guard_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("base", "--suite", "guard", "--adapter", "a", "--report", "r.html")
    assert run(monkeypatch, *words) == 2
    assert "the guard prints its table" in capsys.readouterr().err
