"""A data set with preference pairs: the right name of an argument was chosen, another one rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import train_runs
from tracemill.curate.chat.codec import Call, encode


def pair(number: int) -> dict[str, Any]:
    """A pair as an export writes it."""
    row = train_runs.row(number)
    wrong = encode("", [Call("read_file", {"file": f"src/{'abcdefghij'[number % 10]}{number}.py"})])
    return {
        "id": f"pair-{number}",
        "session_id": f"session-{number}",
        "category": "",
        "kind": "retried",
        "prompt": row["messages"][:2],
        "chosen": row["messages"][2:3],
        "rejected": [{"role": "assistant", "content": wrong}],
        "tools": row["tools"],
        "evidence": "turn 2: read_file ended as invalid",
    }


def with_pairs(folder: Path, train: int = 8, valid: int = 4) -> Path:
    """Pairs beside the rows of the data set in `folder`."""
    for split, numbers in (("train", range(train)), ("valid", range(20, 20 + valid))):
        lines = "".join(json.dumps(pair(number)) + "\n" for number in numbers)
        (folder / f"{split}_pairs.jsonl").write_text(lines)
    return folder
