"""What an export of many rows does, here from few on: several processes, long lists beside the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tiny import tiny_model
from tracemill.curate import gather as gather_module
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import load
from tracemill.curate.export import export
from tracemill.curate.manifest import Manifest, dropped_of, edits_of, listed, rows_of
from tracemill.tracer.home import Home

CALL = '<tool_call>\n{"name": "ls", "arguments": {}}\n</tool_call>'


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """130 distinct conversations, 110 copies of them, and a recipe; 100 are too many for a manifest."""
    monkeypatch.setattr("tracemill.curate.sources.BATCH_ROWS", 20)
    monkeypatch.setattr("tracemill.curate.manifest.LISTED", 100)
    rows = [
        {"messages": [{"role": "user", "content": f"prompt {n}"}, {"role": "assistant", "content": f"Let me see.\n{CALL}"}]}
        for n in [*range(130), *range(110)]
    ]  # fmt: skip
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = '[source]\nkind = "chat"\npath = "set.jsonl"\n[rewrites.preambles]\n[steps.duplicates]\n'
    (tmp_path / "many.toml").write_text(f'name = "many"\n{recipe}')
    return tmp_path


@pytest.mark.slow
def test_long_lists_stand_beside_the_manifest(home: Home, many: Path) -> None:
    dataset = export(home, recipe=many / "many.toml")
    manifest = dataset.manifest
    assert manifest is not None
    assert sorted(manifest.beside) == ["dropped.parquet", "edits.parquet", "rows.parquet"]
    assert (manifest.rows, manifest.dropped, manifest.edits) == ([], [], [])
    assert (dataset.folder / "manifest.json").stat().st_size < 10_000
    assert (dataset.folder / "rows.parquet").stat().st_mode & 0o777 == 0o600
    rows, dropped = rows_of(dataset.folder, manifest), dropped_of(dataset.folder, manifest)
    assert (rows.height, dropped.height) == (130, 110)
    assert edits_of(dataset.folder, manifest).height == 130
    assert listed(dataset.folder, manifest, "unlearned").collect().height == 0
    assert rows["conversation_id"].to_list() == [f"set:{n}" for n in range(1, 131)]
    assert dropped["evidence"][0] == "the same messages and tools as conversation set:1"
    assert load(dataset.folder) == dataset
    assert sum(len(dataset.rows(split)) for split in ("train", "valid", "test")) == 130
    assert export(home, recipe=many / "many.toml").reused
    assert not any((home.root / "cache").iterdir())


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(
    home: Home, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(home, recipe=many / "many.toml", name="first")
    monkeypatch.setattr("tracemill.curate.spread._FEW", 1000)
    second = export(home, recipe=many / "many.toml", name="second")
    assert first.digest == second.digest
    assert first.manifest is not None
    assert second.manifest is not None
    assert first.manifest.content == second.manifest.content
    assert first.manifest.beside == second.manifest.beside


@pytest.mark.slow
def test_the_tokens_are_proved_in_several_processes(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracemill.curate.sources.BATCH_ROWS", 5)
    rows = [
        {"messages": [{"role": "user", "content": f"p{n}"}, {"role": "assistant", "content": "<|im_end|>" * (n == 7) + "Yes."}]}
        for n in range(40)
    ]  # fmt: skip
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[source]\nkind = "chat"\npath = "set.jsonl"\n[steps.duplicates]\n')
    chat = Chat.load(tiny_model(tmp_path / "tiny"))
    manifest = export(home, recipe=recipe, chat=chat).manifest
    assert manifest is not None
    assert manifest.proof is not None
    assert manifest.proof.rows == 39
    assert [(one.conversation_id, one.reason) for one in manifest.dropped] == [("set:8", "no token proof")]


def test_nothing_stays_behind_after_an_error(home: Home, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> pl.DataFrame:
        raise KeyboardInterrupt

    monkeypatch.setattr(gather_module, "numbered", fail)
    with pytest.raises(KeyboardInterrupt):
        export(home, recipe=many / "many.toml")
    assert not any((home.root / "cache").iterdir())
    assert not home.datasets.exists()


@pytest.mark.slow
def test_a_manifest_of_an_older_version_is_read(home: Home, many: Path) -> None:
    manifest = export(home, recipe=many / "many.toml").manifest
    assert manifest is not None
    old = manifest.model_dump(mode="json", exclude={"sources", "edits", "beside"})
    read = Manifest.model_validate(old)
    assert read.beside == {}
    assert rows_of(Path("nowhere"), read).columns[0] == "conversation_id"
