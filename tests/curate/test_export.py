"""The export, from a spool through a real DuckDB warehouse to a folder, and the ways it can refuse."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from conversations import READ, assistant, chat, record, user
from tiny import tiny_model
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset, load
from tracemill.curate.errors import ExportError, RecipeError
from tracemill.curate.export import export
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.read import query


@pytest.fixture
def recorded(home: Home) -> Home:
    """Ten good sessions, one of each kind that is not learned from."""
    for number in range(10):
        record(
            home,
            f"good{number}",
            chat(f"Read number {number}", f"{number}.py"),
            category="read",
            task=f"t{number}",
        )
    record(home, "copy", chat("Read number 3", "3.py"), at=2e9)
    record(home, "bad", chat("Read it badly"), outcome="bad")
    record(home, "unknown", chat("Read it somehow"), outcome=None)
    record(home, "live", chat("Read it live"), live=True)
    record(home, "silent", [user("Say nothing"), assistant("")])
    record(home, "failing", chat("Read and fail"), status="error")
    ingest(home)
    return home


def all_rows(dataset: Dataset) -> list[str]:
    return sorted(row["session_id"] for split in SPLITS for row in dataset.rows(split))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_export_keeps_what_is_worth_learning_and_says_why_not_the_rest(recorded: Home) -> None:
    dataset = export(recorded)
    manifest = dataset.manifest
    assert manifest is not None
    assert not dataset.reused
    assert dataset.folder == recorded.datasets / f"default-{manifest.content[:10]}"
    assert all_rows(dataset) == ["failing", *(f"good{number}" for number in range(10))]
    assert [
        (count.step, count.rows_in, count.kept, count.dropped, count.context) for count in manifest.steps
    ] == [
        ("outcome", 15, 13, 2, 0),
        ("calls", 13, 13, 0, 1),
        ("duplicates", 13, 12, 1, 0),
        ("near_duplicates", 12, 12, 0, 0),
        ("branches", 12, 12, 0, 0),
        ("learnable", 12, 11, 1, 0),
        ("form", 11, 11, 0, 0),
    ]
    assert sorted((drop.session_id, drop.step, drop.reason) for drop in manifest.dropped) == [
        ("bad", "outcome", "bad outcome"),
        ("copy", "duplicates", "exact duplicate"),
        ("silent", "learnable", "nothing to learn"),
        ("unknown", "outcome", "no outcome"),
    ]
    copy = next(drop for drop in manifest.dropped if drop.session_id == "copy")
    assert copy.evidence == "the same messages and tools as conversation good3-3"


def test_a_row_is_what_the_architecture_says(recorded: Home) -> None:
    dataset = export(recorded)
    rows = {row["session_id"]: row for split in SPLITS for row in dataset.rows(split)}
    assert rows["good3"] == {
        "id": "good3-3",
        "session_id": "good3",
        "category": "read",
        "tools": [READ],
        "messages": [
            {"role": "user", "content": "Read number 3"},
            {
                "role": "assistant",
                "content": '<tool_call>\n{"name": "read_file", "arguments": {"path": "3.py"}}\n</tool_call>',
            },
            {"role": "tool", "content": "print(1)"},
            {"role": "assistant", "content": "It prints 1."},
        ],
    }
    assert [message.get("weight", 1) for message in rows["failing"]["messages"]] == [1, 0, 1, 1]


def test_the_manifest_names_every_file_row_and_count(recorded: Home) -> None:
    manifest = export(recorded).manifest
    assert manifest is not None
    folder = recorded.datasets / manifest.name
    for name, digest in manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert hashlib.sha256(manifest.recipe.encode()).hexdigest() == manifest.recipe_sha256
    assert sum(count.rows for count in manifest.splits.values()) == len(manifest.rows) == 11
    assert sum(count.learned for count in manifest.splits.values()) == 21
    assert sum(count.context for count in manifest.splits.values()) == 1
    assert [(one.step, one.positions) for one in manifest.unlearned] == [("calls", [1])]
    assert sum(count.tools["read_file"] for count in manifest.splits.values() if count.tools) == 10
    assert {row.task for row in manifest.rows if row.session_id == "good7"} == {"t7"}


def test_the_same_sessions_give_the_same_bytes_and_a_second_export_reuses_them(recorded: Home) -> None:
    first = export(recorded)
    before = files(first.folder)
    second = export(recorded)
    assert second.reused
    assert second.folder == first.folder
    assert files(second.folder) == before
    for file in first.folder.iterdir():
        file.unlink()
    first.folder.rmdir()
    third = export(recorded)
    assert not third.reused
    assert files(third.folder) == before
    assert [path.name for path in recorded.datasets.iterdir()] == [first.folder.name]


def test_folder_and_files_are_private(recorded: Home) -> None:
    folder = export(recorded, name="mine").folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_a_name_in_use_is_not_written_over(recorded: Home) -> None:
    before = files(export(recorded, name="mine").folder)
    with pytest.raises(ExportError, match=r"holds another .*choose a different --name"):
        export(recorded, name="mine", where="session_id <> 'good1'")
    assert files(recorded.datasets / "mine") == before
    with pytest.raises(ExportError, match="cannot name a data set"):
        export(recorded, name="../mine")


def test_where_and_seed_narrow_and_reshuffle(recorded: Home) -> None:
    dataset = export(recorded, where="category = 'read' OR session_id = 'live'", seed=5)
    assert dataset.manifest is not None
    assert all_rows(dataset) == [f"good{number}" for number in range(10)]
    assert dataset.manifest.seed == 5
    assert dataset.name != export(recorded, where="category = 'read'").name


def test_pins_are_honoured(home: Home) -> None:
    for number, pin in enumerate(["train", "valid", "test", "test"]):
        record(home, f"s{number}", chat(f"prompt {number}"), split=pin)
    ingest(home)
    dataset = export(home)
    assert [[row["session_id"] for row in dataset.rows(split)] for split in SPLITS] == [
        ["s0"],
        ["s1"],
        ["s2", "s3"],
    ]


def test_the_warehouse_knows_the_data_set_and_its_sessions(recorded: Home) -> None:
    dataset = export(recorded)
    export(recorded)
    assert query(recorded, "SELECT dataset_id, path FROM datasets").rows() == [
        (dataset.name, str(dataset.folder))
    ]
    found = query(recorded, "SELECT row_id, split, session_id FROM dataset_rows ORDER BY row_id")
    assert found.rows() == sorted(
        (row["id"], split, row["session_id"]) for split in SPLITS for row in dataset.rows(split)
    )


def test_rows_are_proved_before_they_are_written(recorded: Home, tmp_path: Path) -> None:
    record(recorded, "stop", [user("Stop?"), assistant("It says <|im_end|> here.")])
    ingest(recorded)
    unproved = export(recorded, where="session_id <> 'stop'")
    chat = Chat.load(tiny_model(tmp_path / "tiny"))
    told: list[tuple[str, int, int]] = []
    dataset = export(recorded, chat=chat, progress=lambda *step: told.append(step))
    manifest = dataset.manifest
    assert manifest is not None
    assert manifest.proof is not None
    assert (manifest.proof.base, manifest.proof.rows) == ("tiny", 11)
    assert manifest.proof.template_sha256 == chat.digest
    assert [(drop.session_id, drop.reason) for drop in manifest.dropped if drop.step == "proof"] == [
        ("stop", "no token proof")
    ]
    assert ("proving", 12, 12) in told
    again = export(recorded, where="session_id <> 'stop'", chat=chat)
    assert again.folder == unproved.folder
    assert again.reused
    assert again.manifest is not None
    assert again.manifest.proof == manifest.proof


def test_nothing_to_export_is_said_with_its_mend(home: Home) -> None:
    record(home, "s1", chat("a"), outcome="bad")
    record(home, "s2", chat("b"), outcome=None)
    record(home, "s3", chat("c"), tools=[])
    ingest(home)
    with pytest.raises(ExportError) as error:
        export(home)
    assert str(error.value) == (
        "None of 3 conversations is left to learn from: the step outcome dropped 2 (bad outcome 1, no outcome 1; "
        "the first: the session is labelled bad), and the step calls the last 1 (no toolset 1); label the sessions that "
        'went well with `tracemill label`; with `keep = ["good", "bad"]` in [steps.outcome] 1 would be left.'
    )
    with pytest.raises(
        ExportError,
        match=r"None of the 3 conversations .* meets .*agent = 'nobody'.*; without its `where` 3 would",
    ):
        export(home, where="agent = 'nobody'")
    assert not home.datasets.exists()


def test_a_set_without_training_rows_is_refused(home: Home) -> None:
    record(home, "s1", chat("a"), split="test")
    ingest(home)
    with pytest.raises(ExportError, match="pinned to valid or test"):
        export(home)


def test_an_unknown_recipe_is_refused_before_anything_is_read(home: Home) -> None:
    with pytest.raises(RecipeError, match="did you mean 'default'"):
        export(home, recipe="defaults")


def test_a_loaded_export_is_the_one_that_was_written(recorded: Home) -> None:
    dataset = export(recorded)
    assert load(dataset.folder) == dataset
    train = [json.loads(line) for line in (dataset.folder / "train.jsonl").read_text("utf-8").splitlines()]
    assert train == dataset.rows("train")
