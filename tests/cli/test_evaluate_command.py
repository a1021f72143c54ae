"""`tracemill evaluate` as a user runs it, on a real tiny model, data set and adapter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import pytest

from tiny import tiny_model
from tracemill.cli.main import main
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.dataset import load
from tracemill.evaluate.guard.items import guard_items, passages
from tracemill.evaluate.guard.recall import remember_guard
from tracemill.evaluate.guard.run import marked
from tracemill.evaluate.guard.text import TextResult
from tracemill.tracer.home import Home
from tracemill.train.adapter import load_adapter
from tracemill.train.base import resolve
from tracemill.warehouse.read import query


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", "evaluate", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model `tiny`, a data set `rows` and an adapter `adapter`."""
    from tracemill.train.choice import Judged
    from tracemill.train.finetune import finetune
    from tracemill.train.loop import Settings

    work = tmp_path_factory.mktemp("work")
    tiny_model(work / "tiny")
    (work / "rows").mkdir()
    for split in ("train", "test"):
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"Read {split} {number}"},
                    {
                        "role": "assistant",
                        "content": encode("", [Call("read_file", {"path": f"{number}.py"})]),
                    },
                ]
            }
            for number in range(3)
        ]
        (work / "rows" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    home = Home(work / "home")
    settings = Settings(steps=2, batch_size=2, layers=2, checkpoints=1)
    made = finetune(
        home,
        load(work / "rows"),
        resolve(str(work / "tiny"), home),
        settings,
        lambda model, chat: Judged(0.0, 3),
        "none is right",
    )
    made.adapter.path.rename(work / "adapter")
    return work


def test_a_model_alone(
    work: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(work / "tiny"), "--dataset", str(work / "rows"), "--max-tokens", "8")
    assert run(monkeypatch, *words) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "rows/test items right share 95% interval" in lines
    assert "all tool calls 3 0 0.0% 0.0% to 56.1%" in lines
    assert run(monkeypatch, *words, "--json", "--split", "train") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["suite"] == "rows/train"
    assert [item["id"] for item in told["items"]] == ["train:1#1", "train:2#1", "train:3#1"]
    assert told["shares"][0]["share"]["high"] == pytest.approx(0.5615, abs=1e-4)
    with duckdb.connect(str(home.snapshot), read_only=True) as warehouse:
        suites = warehouse.execute("SELECT suite FROM evaluations ORDER BY suite").fetchall()
    assert suites == [("rows/test",), ("rows/train",)]


def test_an_adapter_against_its_base_with_a_report(
    work: Path,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "out" / "page.html"
    words = (str(work / "tiny"), "--dataset", str(work / "rows"), "--adapter", str(work / "adapter"))
    assert run(monkeypatch, *words, "--report", str(page), "--max-tokens", "8") == 0
    shown, told = capsys.readouterr()
    assert "undecided: The data do not tell: " in shown
    assert "Nobody asked what adapter lost of general ability, so the verdict does not know it" in told
    assert shown.splitlines()[-1] == str(page)
    assert "undecided" in page.read_text("utf-8")
    assert run(monkeypatch, *words, "--json", "--max-tokens", "8") == 0
    told, written = (
        json.loads(capsys.readouterr().out),
        json.loads(page.with_suffix(".json").read_text("utf-8")),
    )
    assert told.pop("report") is None
    assert told == written


def test_what_was_lost_of_general_ability_stands_in_the_verdict_that_is_kept(
    work: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base, adapter = resolve(str(work / "tiny"), home), load_adapter(work / "adapter")
    texts = [TextResult(text.id, text.kind, text.digest, 9, 2.0) for text in passages("quick")]
    words = {item.id: item.right[0] if item.right else "" for item in guard_items("quick")}
    remember_guard(home, marked("quick", words, texts), base, None)
    remember_guard(home, marked("quick", dict.fromkeys(words, "No."), texts), base, adapter)
    asked = (str(base.path), "--dataset", str(work / "rows"), "--adapter", str(adapter.path))
    assert run(monkeypatch, *asked, "--max-tokens", "8", "--json") == 0
    shown, err = capsys.readouterr()
    found = json.loads(shown)
    assert found["comparison"]["verdict"]["reason"].startswith("General ability fell by more than 10")
    assert found["guard"]["verdict"]["kept"] is False
    assert "these very items of guard/quick" in err
    kept = "SELECT verdict, details->>'$.verdict.reason' FROM evaluations WHERE suite = 'rows/test'"
    assert query(home, f"{kept} AND verdict IS NOT NULL").rows() == [
        ("not better", found["comparison"]["verdict"]["reason"])
    ]


def test_what_cannot_be_used_is_one_line_and_exit_code_1_or_2(
    work: Path,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, rows = str(work / "tiny"), str(work / "rows")
    for words, told in [
        ((model, "--dataset", str(tmp_path)), "is no data set"),
        ((model, "--dataset", rows, "--split", "valid"), "has no rows in valid.jsonl"),
        ((model, "--dataset", rows, "--adapter", str(tmp_path)), "is not an adapter"),
        (("smolm2", "--dataset", rows), "did you mean smollm2-135m?"),
    ]:
        assert run(monkeypatch, *words) == 1
        err = capsys.readouterr().err.strip()
        assert err.splitlines()[-1].startswith("error: ") and told in err
    assert run(monkeypatch, model, "--dataset", rows, "--report", str(tmp_path / "r.html")) == 2
    assert "add --adapter" in capsys.readouterr().err
    assert run(monkeypatch, model) == 2
