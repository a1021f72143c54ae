"""`tracemill compare` as a user runs it, on result files as `evaluate` writes them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tracemill.cli.main import main
from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.guard.items import guard_items, passages
from tracemill.evaluate.guard.recall import remember_guard
from tracemill.evaluate.guard.run import marked
from tracemill.evaluate.guard.text import TextResult
from tracemill.evaluate.items import Item, exactly
from tracemill.evaluate.results import Header, read_results, stored_item, write_results
from tracemill.evaluate.scoring import score
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel

RIGHT, WRONG = encode("", [Call("now", {})]), "It is\x1b[2J noon."


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", "compare", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture
def files(home: Home) -> dict[str, Path]:
    """Evaluations of a base (2 of 12 right), an adapter (12 of 12) and one that is as good as the base."""
    made: dict[str, Path] = {}
    header = Header("0" * 16, "mine/test", "s", "smollm2-135m", "b", None, None, 256)
    for number, (name, right) in enumerate((("base", 2), ("good", 12), ("same", 2))):
        rows = [
            Item(
                f"i{i}",
                f"i{i}",
                "time" if i % 2 else "date",
                "call",
                [{"role": "user", "content": f"Question {i}"}],
                [],
                {"role": "assistant", "content": ""},
                calls=exactly([Call("now", {})]),
            )
            for i in range(12)
        ]
        texts = [RIGHT if i < right else WRONG for i in range(12)]
        stored = [
            stored_item(one, text, score(one, text), RIGHT) for one, text in zip(rows, texts, strict=True)
        ]
        adapter = None if name == "base" else name
        made[name] = write_results(
            home, replace(header, evaluation=str(number) * 16, adapter=adapter), stored
        )
    return made


def test_verdict_flips_and_categories(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "smollm2-135m", "good", "--flips", "2", "--require", "better") == 0
    shown = capsys.readouterr()
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "good against smollm2-135m" in lines
    assert any(line.startswith("all tool calls 12 16.7% 100.0% +83.3") for line in lines)
    assert any(line.startswith("date 6 ") for line in lines) and any(
        line.startswith("time 6 ") for line in lines
    )
    assert "gained: i2 (date), no-call" in lines and "asked: Question 2" in lines
    assert "\x1b" not in shown.out
    assert lines[-1].startswith("better: The adapter gains: +83.3 points of exact tool calls")
    assert "8 more items flipped" in shown.err


def test_what_is_required_decides_the_exit_code(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "smollm2-135m", "good", "same", "--require", "better") == 1
    assert "error: better was required, and good is better, same is undecided." in capsys.readouterr().err
    assert run(monkeypatch, "good", str(files["base"]), "--json", "--require", "better") == 1
    (told,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert (told["comparison"]["verdict"]["word"], len(told["flips"]), told["shared"]) == ("worse", 10, 12)
    assert run(monkeypatch, "smollm2-135m", "good") == 0


def test_what_cannot_be_compared_is_one_sentence(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "good") == 2
    assert run(monkeypatch, "good", "gone") == 1
    assert "error: There is no evaluation of gone" in capsys.readouterr().err
    files["base"].write_text('{"version": 0}\n')
    assert run(monkeypatch, str(files["base"]), "good") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "of version 0, and this is version 1: evaluate again" in line


def test_what_both_were_asked_of_general_ability_is_a_part_of_the_verdict(
    home: Home,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = BaseModel("smollm2-135m", home.models, "b")
    adapter = Adapter(home.adapters / "good", {"weights_sha256": "w"})
    for name, weights in (("good", "w"), ("same", "x")):
        stored = read_results(files[name])
        write_results(home, replace(stored.header, adapter_sha256=weights), stored.items)
    texts = [TextResult(text.id, text.kind, text.digest, 9, 2.0) for text in passages("quick")]
    words = {item.id: item.right[0] if item.right else "" for item in guard_items("quick")}
    remember_guard(home, marked("quick", words, texts), base, None)
    remember_guard(home, marked("quick", dict.fromkeys(words, "No."), texts), base, adapter)
    assert run(monkeypatch, "smollm2-135m", "good", "--require", "better") == 1
    shown = capsys.readouterr()
    assert "lost: General ability fell by more than 10: direct answers" in shown.out
    assert shown.out.rstrip().splitlines()[-1].startswith("not better: General ability fell")
    assert run(monkeypatch, "smollm2-135m", "good", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert told["guard"]["kept"] is False
    assert run(monkeypatch, "smollm2-135m", "same", "--json") == 0
    assert "ability of smollm2-135m and same was not compared, so the verdict" in capsys.readouterr().err
