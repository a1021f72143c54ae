"""Data set folders, exported or made by hand, and what is said about one that is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import chat, record
from tracemill.curate.dataset import load
from tracemill.curate.errors import DatasetError
from tracemill.curate.export import export
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest

TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def write(folder: Path, **splits: list[object]) -> Path:
    folder.mkdir(exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_folder_made_by_hand_needs_only_messages(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "mine", train=[TALK, TALK], test=[TALK | {"id": "x", "session_id": "s"}]))
    assert dataset.name == "mine"
    assert dataset.manifest is None
    assert [row["id"] for row in dataset.rows("train")] == ["train:1", "train:2"]
    assert dataset.rows("train")[0] == TALK | {
        "id": "train:1",
        "session_id": "train:1",
        "category": "",
        "tools": [],
    }
    assert dataset.rows("valid") == []
    assert dataset.rows("test")[0]["session_id"] == "s"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ('{"messages": []}', "line 2: messages: List should have at least 1 item"),
        ('{"messages": [{"role": "robot", "content": ""}]}', "line 2: messages.0.role: Input should be"),
        ('{"messages": [{"role": "user", "content": null}]}', "line 2: messages.0.content: Input should be a valid string"),
        ('{"messages": [{"role": "assistant", "content": "", "weigth": 0}]}', "line 2: messages.0.weigth: Extra inputs"),
        ('{"messages": [{"role": "user", "content": ""}], "id": "train:1"}', "line 2: the id 'train:1' stands already in"),
    ],
)  # fmt: skip
def test_a_broken_line_is_named(tmp_path: Path, row: str, said: str) -> None:
    folder = write(tmp_path / "mine", train=[TALK])
    with (folder / "train.jsonl").open("a") as file:
        file.write(row)
    with pytest.raises(DatasetError) as error:
        load(folder)
    assert f"train.jsonl, {said}" in str(error.value)


def test_an_id_is_unique_over_the_splits(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"test.jsonl, line 1: the id 'x' stands already in .*train.jsonl, line 1"
    ):
        load(write(tmp_path / "mine", train=[TALK | {"id": "x"}], test=[TALK | {"id": "x"}]))


def test_a_folder_without_training_rows_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"it has no train\.jsonl"):
        load(tmp_path)


def test_an_exported_file_that_was_changed_is_refused(home: Home) -> None:
    record(home, "s1", chat("a"))
    ingest(home)
    folder = export(home).folder
    with (folder / "train.jsonl").open("a") as file:
        file.write(json.dumps(TALK) + "\n")
    with pytest.raises(
        DatasetError, match=r"train.jsonl is not the file that was exported.*delete manifest.json"
    ):
        load(folder)
    (folder / "manifest.json").unlink()
    assert len(load(folder).rows("train")) == 2
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(DatasetError, match="is not a manifest"):
        load(folder)


def test_the_digest_changes_with_any_row_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", train=[TALK], valid=[TALK])
    before = load(folder).digest
    assert load(write(tmp_path / "copy", train=[TALK], valid=[TALK])).digest == before
    write(folder, valid=[TALK, TALK])
    assert load(folder).digest != before


@given(st.binary())
def test_any_bytes_are_a_data_set_or_an_error_that_names_the_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "train.jsonl").write_bytes(data)
    try:
        load(folder)
    except DatasetError as error:
        assert "train.jsonl, line" in str(error)
