"""`tracemill dataset import` as a user runs it: a folder, and the hub over HTTP on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import Run
from conversations import assistant, user
from hub_server import COMMIT, HubHandler, serving
from tracemill.tracer.home import Home

ROW = {"messages": [user("Hi"), assistant("Hello.")]}
CARD = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*\n---\n"


@dataclass
class Hub:
    """A hub with one data set, and the files that were asked for."""

    files: dict[str, bytes]
    port: int = 0
    asked: list[str] = field(default_factory=list[str])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    parquet = tmp_path / "a.parquet"
    pl.DataFrame([ROW, ROW]).write_parquet(parquet)
    made = Hub({"README.md": CARD.encode(), "data/train-0.parquet": parquet.read_bytes(), "load.py": b"raise SystemExit", "data.pkl": b"\x80\x04."})  # fmt: skip

    class Handler(HubHandler):
        def reply(self) -> None:
            path = self.path.partition("?")[0]
            resolved = f"/datasets/org/chat/resolve/{COMMIT}/"
            if path in ("/api/datasets/org/chat", f"/api/datasets/org/chat/revision/{COMMIT}"):
                siblings = [{"rfilename": name} for name in made.files]
                self.answer(json.dumps({"id": "org/chat", "sha": COMMIT, "siblings": siblings}).encode())
            elif path.startswith(resolved) and (name := path.removeprefix(resolved)) in made.files:
                made.asked.append(name)
                self.answer(made.files[name], name)
            else:
                self.send_error(404)

    with serving(Handler) as made.port:
        yield made


def in_a_process(endpoint: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The hub's client reads its endpoint when it is imported, hence a process of its own."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    code = "from tracemill.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "dataset", "import", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_data_set_of_the_hub_is_imported_without_code_or_pickles(
    home: Home, hub: Hub, tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{hub.port}"
    for options in ((), ("--revision", COMMIT)):
        done = in_a_process(endpoint, "org/chat", "--to", str(tmp_path / "made"), "--json", *options)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["revision"], told["licence"], told["reused"]) == (COMMIT, "mit", bool(options))
    assert set(hub.asked) == {"README.md", "data/train-0.parquet"}
    origin = json.loads((tmp_path / "made" / "origin.json").read_text())
    assert (origin["source"], origin["revision"], origin["read"][0]["rows"]) == ("org/chat", COMMIT, 2)
    assert list((home.root / "cache").iterdir()) == []


def test_a_hub_that_does_not_answer_is_one_sentence(home: Home, hub: Hub, tmp_path: Path) -> None:
    for name, endpoint in (("org/chat", "http://127.0.0.1:9"), ("org/none", f"http://127.0.0.1:{hub.port}")):
        done = in_a_process(endpoint, name, "--to", str(tmp_path / "made"))
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert f"{name} could not be downloaded from the Hugging Face hub (" in line
        assert not (tmp_path / "made").exists()


def test_a_folder_is_imported_and_what_was_read_as_what_is_told(
    home: Home, tmp_path: Path, tracemill: Run
) -> None:
    rows: list[Any] = [{**ROW, "prompt": "Hi", "completion": "Hello."}, {"text": "\x1b[2J"}]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = tracemill("dataset", "import", str(tmp_path / "set"), "--to", str(tmp_path / "made"))
    assert ended.code == 0, ended.err
    assert "unknown shape 1" in ended.out and "its card names none" in ended.out
    assert "Rows that could be read as prompt and completion too were read as messages." in ended.err
    assert "not read: train.jsonl, row 2: its keys are text" in ended.err
    again = tracemill("dataset", "import", str(tmp_path / "set"), "--to", str(tmp_path / "made"))
    assert "(it was there already)" in again.out
    why = tracemill("dataset", "why", "train:1", str(tmp_path / "made"))
    assert "row train.jsonl:1" in why.out and "It was imported" in why.out
    assert tracemill("dataset", "show", "train.jsonl:1", str(tmp_path / "made")).code == 0
    assert tracemill("dataset", "import", str(tmp_path / "set")).code == 2


def test_real_sets_are_imported_whole(home: Home, shared_data: Path, tmp_path: Path, tracemill: Run) -> None:
    for name, rows in (
        ("glaive-function-calling", 73),
        ("qwen-tool-calling", 10),
        ("phase26-lsp-final", 1023),
    ):
        words = (str(shared_data / "punie" / name), "--to", str(tmp_path / name), "--json")
        ended = tracemill("dataset", "import", *words)
        assert ended.code == 0, ended.err
        told = json.loads(ended.out)["read"]
        assert sum(one["rows"] + sum(one["unread"].values()) for one in told) == rows
        assert sum(one["rows"] for one in told) >= 0.9 * rows
