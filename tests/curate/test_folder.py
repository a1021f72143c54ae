"""Publishing a folder: all or nothing, and never over another one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tracemill.curate.errors import ExportError
from tracemill.curate.folder import publish

ROWS = {"train.jsonl": b"rows\n"}


def test_what_is_there_is_kept_and_what_is_told_about_it_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "mine"
    assert not publish(folder, ROWS, {"card.md": b"one"})
    before = (folder / "train.jsonl").stat()
    assert publish(folder, ROWS, {"card.md": b"two"})
    assert (folder / "train.jsonl").stat() == before
    assert (folder / "card.md").read_bytes() == b"two"
    with pytest.raises(ExportError, match=r"holds another train\.jsonl"):
        publish(folder, {"train.jsonl": b"other\n"}, {"card.md": b"three"})
    assert (folder / "card.md").read_bytes() == b"two"
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "train.jsonl"]


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"Cannot write .*mine: .*; mend that"):
        publish(tmp_path / "file" / "mine", ROWS, {})
    with pytest.raises(ExportError, match="Cannot write"):
        publish(tmp_path / "mine", {"no/such/folder": b""}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_of_exports_at_the_same_time_one_writes_and_the_others_reuse(tmp_path: Path) -> None:
    files = {f"{number}.jsonl": b"x" * 100_000 for number in range(20)}
    start = threading.Barrier(4)
    reused: list[bool] = []

    def work() -> None:
        start.wait()
        reused.append(publish(tmp_path / "mine", files, {"card.md": b"card"}))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reused) == [False, True, True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
