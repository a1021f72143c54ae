"""A small data set, and a process that trains on it and may be killed at a step.

`python tests/train_runs.py HOME DATA BASE STEP|never`: real `finetune`, real SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.dataset import load
from tracemill.tracer.home import Home
from tracemill.train.settings import Settings

STEPS = 14
SETTINGS = Settings(
    steps=STEPS, batch_size=2, learning_rate=2e-3, layers=2, dropout=0.1, every=5, guard_loss=0.9, seed=3
)
SAVE_EVERY = 3
NEVER = "never"


def tiny_and_data(folder: Path) -> Path:
    """`folder`, with a small model in `tiny` and the data set in `data`."""
    tiny_model(folder / "tiny")
    data_set(folder / "data")
    return folder


def row(number: int) -> dict[str, Any]:
    path = f"src/{'abcdefghij'[number % 10]}{number}.py"
    call = encode("", [Call("read_file", {"path": path})])
    tool = {"name": "read_file", "description": "Read.", "parameters": {"type": "object", "properties": {}}}
    return {
        "tools": [tool],
        "messages": [
            {"role": "system", "content": "You are a helpful coding agent. Use the tools."},
            {"role": "user", "content": f"Read the file {path}" + " and tell me" * (number % 4)},
            {"role": "assistant", "content": call},
            {"role": "tool", "content": "x = 1\n" * (number % 5)},
            {"role": "assistant", "content": "Done."},
        ],
    }


def data_set(folder: Path, train: int = 7, valid: int = 3) -> Path:
    """A data set made by hand: `train` and `valid` rows."""
    folder.mkdir()
    for split, numbers in (
        ("train", range(train)),
        ("valid", range(20, 20 + valid)),
        ("test", range(40, 42)),
    ):
        lines = "".join(json.dumps(row(number)) + "\n" for number in numbers)
        (folder / f"{split}.jsonl").write_text(lines)
    return folder


def run(home: Path, data: Path, base: Path, kill: int | None = None) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, which is killed after step `kill`."""
    words = [sys.executable, __file__, str(home), str(data), str(base), NEVER if kill is None else str(kill)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def main(home: Path, data: Path, base: Path, kill: str) -> None:
    from tracemill.evaluate.guard.items import passages
    from tracemill.evaluate.guard.text import read_texts
    from tracemill.train import blas
    from tracemill.train.base import resolve
    from tracemill.train.choice import Judged
    from tracemill.train.finetune import Conduct, finetune

    def judge(model: Any, chat: Any) -> Judged:
        return Judged(
            0.5, 3, {one.id: one.predicted for one in read_texts(model, chat, passages("quick")[:2])}
        )

    def killed(what: str, done: int, total: int) -> None:
        if what == "training" and str(done) == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    blas.activate(Home(home))
    made = finetune(
        Home(home),
        load(data),
        resolve(str(base), Home(home)),
        SETTINGS,
        judge,
        "always a half",
        killed,
        Conduct(save_every=SAVE_EVERY),
    )
    shown = {"adapter": str(made.adapter.path), "resumed": made.resumed, "notes": made.notes}
    print(json.dumps({**shown, "losses": made.adapter.card["losses"]}))


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]), sys.argv[4])  # type: ignore[misc]
