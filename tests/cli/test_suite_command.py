"""`tracemill suite` as a user runs it: look, check, and draw from one's own sessions."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conversations import chat, record
from tracemill.cli.main import main
from tracemill.curate.chat.codec import encode
from tracemill.curate.dataset import load
from tracemill.evaluate.items import items
from tracemill.evaluate.scoring import score
from tracemill.evaluate.suites import load_suite
from tracemill.tracer.home import Home


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", "suite", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_list_show_and_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "list") == 0
    assert "holdout" in capsys.readouterr().out
    assert run(monkeypatch, "list", "--json") == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(told) == [
        "holdout", "guard", "bfcl", "bfcl-steps", "bfcl-steps-long", "live", "FILE.toml, FILE.jsonl"
    ]  # fmt: skip
    told_of_live = told["live"]["source"]
    assert told["guard"]["sizes"]["quick"] == 48 and told["holdout"]["sizes"]["full"] is None
    assert run(monkeypatch, "show", "guard", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["items"]) == 48 + 8
    assert {one["category"] for one in shown["items"]} >= {"code", "text in english"}
    assert run(monkeypatch, "check", "guard") == 0
    assert "items can be asked here" in capsys.readouterr().out
    file = tmp_path / "mine.toml"
    file.write_text(
        "\n".join(f'[[item]]\nid = "{i}"\nprompt = "Say\\u001b[2J {i}"\nexact = "{i}"' for i in range(8))
    )
    assert run(monkeypatch, "check", str(file)) == 0
    shown = capsys.readouterr().out
    assert f"mine ({file}): 8 items of 8 sessions, SHA-256 " in shown
    assert "8 sessions show a gain of 84 points or more in 4 of 5 repetitions" in shown
    assert run(monkeypatch, "show", str(file)) == 0
    shown = capsys.readouterr().out
    assert "(exact: 3)" in shown and "\x1b" not in shown
    assert run(monkeypatch, "show", str(file), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {"id", "category", "source", "hash", "asked", "expected", "tools"} == told["items"][0].keys()
    for idle in (("show", "guard", "--split", "valid"), ("check", str(file), "--dataset", "d")):
        assert run(monkeypatch, *idle) == 2
        assert "only holdout is taken from a data set" in capsys.readouterr().err
    assert "`tracemill demo`, which alone runs it" in told_of_live
    assert run(monkeypatch, "check", str(tmp_path / "no.toml")) == 1
    assert "error: Cannot read the suite" in capsys.readouterr().err


def test_tasks_from_ones_own_sessions_are_held_out_and_can_be_scored(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, file in enumerate(("app", "setup", "notes", "index")):
        record(home, file, chat(f"Please read {file}", f"{file}.py"), split="test" if number % 2 else "train")
    mine = tmp_path / "mine.jsonl"
    assert run(monkeypatch, "from-traces", "--output", str(mine), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    (folder,) = home.datasets.iterdir()
    rows = load(folder).rows("test")
    asked = items(rows)
    assert told["items"] == len(asked) > 0 and told["left_out"] == 0
    assert mine.stat().st_mode & 0o777 == 0o600
    drawn = load_suite(str(mine), "full").items
    assert [item.digest for item in drawn] == [item.digest for item in asked]
    assert [(item.id, item.session_id, item.messages) for item in drawn] == [
        (item.id, item.session_id, item.messages) for item in asked
    ]
    for item, row in ((item, row) for row in rows for item in drawn if item.session_id == row["session_id"]):
        said = row["messages"][int(item.id.rpartition("#")[2])]["content"]
        assert score(item, said).right
        assert item.kind == "direct" or not score(item, encode("No.", [])).right
    assert (
        run(monkeypatch, "from-traces", "--output", str(mine), "--dataset", str(folder), "--split", "train")
        == 1
    )
    assert "stand in the training or validation split" in capsys.readouterr().err
    assert run(monkeypatch, "from-traces", "--output", str(tmp_path / "mine.toml")) == 1
    assert "Name a .jsonl file" in capsys.readouterr().err
