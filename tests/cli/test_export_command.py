"""`tracemill export` as a user runs it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from conversations import assistant, chat, record, user
from tiny import tiny_model
from tracemill.cli.main import main
from tracemill.tracer.home import Home


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tracemill", "export", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


@pytest.fixture
def recorded(home: Home) -> Home:
    """Two sessions in the spool that nobody has ingested yet: one good, one bad."""
    record(home, "good", chat("Read it"))
    record(home, "bad", chat("Read it not"), outcome="bad")
    return home


def test_it_ingests_and_shows_retention_splits_and_folder(
    recorded: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    shown = capsys.readouterr().out
    lines = [line.split() for line in shown.splitlines()]
    assert ["outcome", "2", "1", "1", "0", "bad", "outcome", "1"] in lines
    assert ["train", "1", "1", "2", "0", "read_file", "1"] in lines
    assert "The tokens are not proved for any base model; --model names one." in shown
    (folder,) = recorded.datasets.iterdir()
    assert shown.splitlines()[-1] == str(folder)
    assert run(monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{folder} (it was there already)"


def test_json_tells_the_same(
    recorded: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--json", "--name", "mine", "--seed", "3", "--where", "agent = 'coder'") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(recorded.datasets / "mine")
    assert (told["name"], told["seed"], told["reused"], told["proof"]) == ("mine", 3, False, None)
    assert told["splits"]["train"]["rows"] == 1
    assert told["steps"][0]["reasons"] == {"bad outcome": 1}


def test_a_base_model_proves_the_tokens(
    recorded: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model(tmp_path / "tiny")
    record(recorded, "odd", [user("Stop?"), assistant("<|im_end|>")])
    assert run(monkeypatch, "--model", str(model)) == 0
    shown = capsys.readouterr().out
    assert "The tokens of all 1 rows are proved for tiny." in shown
    assert "no token proof 1" in shown
    shutil.copytree(model, recorded.models / "smollm2-135m")
    assert run(monkeypatch) == 0
    assert "The tokens of all 1 rows are proved for smollm2-135m." in capsys.readouterr().out


def test_a_failure_is_one_line_and_exit_code_1(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(home, "bad", chat("Read it not"), outcome="bad")
    assert run(monkeypatch) == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("error: None of 1 conversations is left to learn from")
    )
    assert run(monkeypatch, "--recipe", "defalt") == 1
    assert "did you mean 'default'" in capsys.readouterr().err
    assert run(monkeypatch, "--where", "agent = ") == 1
    assert run(monkeypatch, "--nonsense") == 2
