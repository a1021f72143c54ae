"""`tracemill dataset card`: pages beside the data or elsewhere, for any chat JSONL."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from command_line import Run
from conversations import assistant, chat, record, user
from tiny import tiny_model
from tracemill.tracer.home import Home

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Show recent commits (request {at})"},
            {"role": "assistant", "content": f"Those of day {at}."},
        ]
    }
    for at in range(6)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def test_the_pages_stand_beside_the_data(tracemill: Run, home: Home, data: Path) -> None:
    ended = tracemill("dataset", "card", str(data))
    assert ended.code == 0, ended.err
    assert "Variation markers in prompts" in ended.out
    assert "6 of 6 rows (100%)" in ended.out
    assert ended.out.rstrip().endswith(str(data / "card.html"))
    pages = {name: (data / name).read_bytes() for name in ("card.md", "card.html")}
    assert all(stat.S_IMODE((data / name).stat().st_mode) == 0o600 for name in pages)
    assert tracemill("dataset", "card", str(data)).code == 0
    assert {name: (data / name).read_bytes() for name in pages} == pages
    assert sorted(path.name for path in data.iterdir()) == ["card.html", "card.md", "train.jsonl"]


def test_json_tells_findings_and_pages(tracemill: Run, home: Home, data: Path, tmp_path: Path) -> None:
    ended = tracemill("dataset", "card", str(data), "--to", str(tmp_path / "new" / "cards"), "--json")
    told = json.loads(ended.out)
    assert told["pages"] == [str(tmp_path / "new" / "cards" / name) for name in ("card.md", "card.html")]
    markers = next(one for one in told["findings"] if one["key"] == "markers")
    assert (markers["count"], markers["of"], markers["level"]) == (6, 6, "bad")
    assert "[rewrites.markers]" in markers["recipe"]
    assert not (data / "card.md").exists()


def test_the_pages_of_a_file_bear_its_name(tracemill: Run, home: Home, data: Path) -> None:
    assert tracemill("dataset", "card", str(data / "train.jsonl")).code == 0
    assert (data / "train.card.html").is_file()
    assert not (data / "card.html").exists()


def test_with_a_model_tokens_are_counted(tracemill: Run, home: Home, data: Path, tmp_path: Path) -> None:
    ended = tracemill("dataset", "card", str(data), "--model", str(tiny_model(tmp_path / "tiny")), "--json")
    units = {one["unit"]: one["rows"] for one in json.loads(ended.out)["lengths"]}
    assert units == {"characters": 6, "tokens": 6}


def test_the_page_is_opened_on_demand(
    tracemill: Run, home: Home, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    assert tracemill("dataset", "card", str(data), "--open").code == 0
    assert shown == [(data / "card.html").as_uri()]


def test_what_is_no_data_set_is_refused(tracemill: Run, home: Home, tmp_path: Path) -> None:
    ended = tracemill("dataset", "card", str(tmp_path))
    assert ended.code == 1
    assert "give the folder of a data set" in ended.err
    assert tracemill("dataset", "card", "nothing").code == 1


def test_where_nothing_can_be_written_it_says_so_first(
    tracemill: Run, home: Home, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = tracemill("dataset", "card", str(data), "--to", str(tmp_path / "file"))
    assert ended.code == 1
    assert ended.err.strip().splitlines()[-1].endswith("name another folder with --to.")
    assert "measuring" not in ended.err


def test_preference_pairs_beside_rows_are_counted(
    tracemill: Run, home: Home, data: Path, tmp_path: Path
) -> None:
    pair = {"prompt": [user("Hi")], "chosen": [assistant("Hello.")], "rejected": [assistant("No.")]}
    (data / "train_pairs.jsonl").write_text(f"{json.dumps(pair)}\n" * 3)
    ended = tracemill("dataset", "card", str(data))
    assert (ended.code, "Beside them 3 preference pairs: train 3." in " ".join(ended.out.split())) == (
        0,
        True,
    )
    assert "3 preference pairs" in (data / "card.html").read_text()
    only = tmp_path / "only"
    only.mkdir()
    (data / "train_pairs.jsonl").rename(only / "train_pairs.jsonl")
    refused = tracemill("dataset", "card", str(only))
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "holds preference pairs only" in refused.err


def test_the_tokens_of_an_export_are_those_of_its_model(tracemill: Run, home: Home, tmp_path: Path) -> None:
    record(home, "one", chat("Read it"))
    tiny_model(home.models / "org--tiny")
    recipe = tmp_path / "all.toml"
    recipe.write_text('name = "all"\n[steps.learnable]\n')
    words = ("--recipe", str(recipe), "--name", "all")
    ended = tracemill("export", "--model", "org/tiny", *words)
    assert ended.code == 0, ended.err
    card = home.datasets / "all" / "card.md"
    exported = card.read_bytes()
    assert b"| train | tokens |" in exported
    assert tracemill("dataset", "card", "all").code == 0
    assert card.read_bytes() == exported
    (home.models / "org--tiny").rename(tmp_path / "gone")
    assert tracemill("dataset", "card", "all").code == 0
    assert b"tokens |" not in card.read_bytes()
