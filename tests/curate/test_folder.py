"""Publishing a folder: all or nothing, and never over another one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracemill.curate.errors import ExportError
from tracemill.curate.folder import publish
from tracemill.curate.scratch import scratch
from tracemill.tracer.home import Home

ROWS = {"train.jsonl": b"rows\n"}


def test_what_is_there_is_kept_and_what_is_told_about_it_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "datasets" / "mine"
    assert not publish(folder, ROWS, {"card.md": b"one"})
    before = (folder / "train.jsonl").stat()
    assert publish(folder, ROWS, {"card.md": b"two"})
    after = (folder / "train.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (folder / "card.md").read_bytes() == b"two"
    with pytest.raises(ExportError, match=r"holds another train\.jsonl"):
        publish(folder, {"train.jsonl": b"other\n"}, {"card.md": b"three"})
    assert (folder / "card.md").read_bytes() == b"two"
    with pytest.raises(
        ExportError, match=r"holds other files and no valid\.jsonl; choose a different --name"
    ):
        publish(folder, {**ROWS, "valid.jsonl": b"rows\n"}, {})
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


def test_what_a_killed_process_left_is_removed_and_what_another_uses_is_not(home: Home) -> None:
    with scratch(home) as used:
        left, new = used.parent / "curate-left", used.parent / "curate-new"
        for folder in (left, new):
            folder.mkdir()
            (folder / "part-000000.parquet").write_bytes(b"text")
        long_ago = time.time() - 3600
        for folder in (left, used):
            os.utime(folder, (long_ago, long_ago))
        with scratch(home) as own:
            assert sorted(path.name for path in own.parent.iterdir()) == sorted(
                [used.name, own.name, new.name]
            )


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "from tracemill.curate.spread import spread\n"
        "def work(job):\n"
        "    (pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()\n"
        "    return job\n"
        "if __name__ == '__main__':\n"
        "    for _ in spread(work, range(8)):\n"
        "        time.sleep(60)\n"
    )
    pids = tmp_path / "pids"
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)])
    wait_for(lambda: any(pids.iterdir()))
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(Path("/proc", one.name).exists() for one in pids.iterdir()))


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
