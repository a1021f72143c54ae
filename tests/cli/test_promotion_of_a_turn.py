"""What `improve` promotes where another adapter is promoted: real adapters and result files, nothing generated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import lora_adapter
from tiny import tiny_model
from tracemill.cli.improve import settle, show_end
from tracemill.cli.loop import Turn
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.dataset import load
from tracemill.evaluate.evaluation import Suite, identity, make_report, remember
from tracemill.evaluate.recall import score_once
from tracemill.evaluate.report_items import turn_text
from tracemill.evaluate.results import streaming
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import resolve
from tracemill.train.finetune import Finetuned
from tracemill.train.promotion import current, history, promote

Make = Callable[[int, int], Turn]


@pytest.fixture
def make(home: Home, tmp_path: Path) -> Make:
    """A turn whose adapter `new` has so many of 16 calls right, with so many by `old`, which is promoted."""
    base = resolve(str(tiny_model(tmp_path / "tiny")), home)
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Read {number}"},
                {"role": "assistant", "content": encode("", [Call("read", {"path": f"{number}.py"})])},
            ]
        }
        for number in range(16)
    ]
    (folder / "train.jsonl").write_text("")
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = Suite(load(folder), "test", 8)
    old, new = (
        lora_adapter(home.adapters / name, base.path, seed=at) for at, name in enumerate(("old", "new"))
    )

    def answered(adapter: Adapter | None, right: int) -> None:
        with streaming(home, identity(suite, base, adapter)) as each:
            for at, item in enumerate(suite.items()):
                each(item.id, turn_text(item.expected) if at < right else "I would read it.")

    def turn(right: int, before: int) -> Turn:
        for adapter, share in ((None, 0), (old, before), (new, right)):
            answered(adapter, share)
        base_results, results = (score_once(home, suite, base, one) for one in (None, new))
        report = make_report(suite, base, new, base_results, results)
        remember(home, suite, base, new, results, report=report)
        promote(home, old, force=True)
        assert suite.dataset is not None
        return Turn(suite.dataset, Finetuned(new, reused=True), report, tmp_path / "page.html", suite, base)

    return turn


def test_what_is_worse_than_the_promoted_one_is_not_promoted(home: Home, make: Make) -> None:
    made = make(8, 16)
    ended = settle(home, made)
    assert made.report.comparison.verdict.word == "better"
    assert ended.against is not None
    assert ended.against.startswith(
        "is better than its base and not promoted. Against old, promoted so far, it is worse on rows/test: The adapter loses"
    )
    told = ended.plain()["against_promoted"]
    (verdict,) = told["verdicts"]
    assert (told["adapter"], verdict["suite"], verdict["word"]) == ("old", "rows/test", "worse")
    assert [step.adapter for step in history(home)] == ["old"]


def test_what_is_no_worse_takes_its_place_and_says_so(
    home: Home, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(16, 13)
    ended = settle(home, made)
    assert (ended.against, ended.new, ended.before) == (None, True, "old")
    show_end(made, ended)
    assert "Against old, promoted so far, it is undecided" in " ".join(capsys.readouterr().out.split())
    assert settle(home, made).rival is None


def test_who_cannot_be_compared_is_told(
    home: Home, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(16, 16)
    elsewhere = replace(made, base=replace(made.base, digest="another"))
    ended = settle(home, elsewhere)
    assert ended.plain()["against_promoted"]["not_compared_because"].startswith(
        "it is an adapter of another base"
    )
    show_end(made, ended)
    assert "Nobody compared it with old, promoted so far" in " ".join(capsys.readouterr().out.split())
    step = current(history(home))
    assert step is not None and step.adapter == "new"
