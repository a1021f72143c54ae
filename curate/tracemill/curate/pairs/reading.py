"""The preference pairs of a data set, as two rows each that differ in their last turn alone.

In: a data set with `train_pairs.jsonl` and maybe `valid_pairs.jsonl`, as an export writes them or made by
hand: `prompt`, `chosen` and `rejected`, each messages or text, and optional `id`, `session_id`, `category`,
`tools`. Out: for each pair the row that ends in what was chosen and that which ends in what was rejected.
Both last turns are learned, whatever `weight` they have.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tracemill.curate.chat.proof import Row
from tracemill.curate.chat_lines import PAIRS
from tracemill.curate.dataset import Dataset, checked, parsed
from tracemill.curate.datasets.reading import answered, is_pair
from tracemill.curate.errors import DatasetError
from tracemill.curate.splits import Split

_OF_A_ROW = ("id", "session_id", "category", "messages", "tools")


def read_pairs(dataset: Dataset, split: Split) -> list[tuple[Row, Row]]:
    """The pairs of a split, in the order of the file; empty where it has none.

    DatasetError names the file, the line and what is wrong there.
    """
    file = dataset.folder / f"{split}{PAIRS}"
    lines = _bytes(file).split(b"\n")
    return [
        _pair(line, f"{split}:{number}", f"{file}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def pairs_digest(dataset: Dataset) -> str:
    """SHA-256 of the pairs that are learned from and measured on."""
    splits: tuple[Split, ...] = ("train", "valid")
    found = [hashlib.sha256(_bytes(dataset.folder / f"{split}{PAIRS}")).hexdigest() for split in splits]
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def _pair(line: bytes, name: str, place: str) -> tuple[Row, Row]:
    record = parsed(line, place)
    if not is_pair(record):
        raise DatasetError(
            f"{place}: no preference pair, which has `prompt`, `chosen` and `rejected`; mend the line."
        )
    chosen, rejected = (_row(answered(record, key), name, place) for key in ("chosen", "rejected"))
    if chosen["messages"][-1]["role"] != "assistant" or rejected["messages"][-1]["role"] != "assistant":
        raise DatasetError(
            f"{place}: what is chosen and what is rejected are not answers of the assistant; mend the line."
        )
    if chosen["messages"][:-1] != rejected["messages"][:-1]:
        raise DatasetError(
            f"{place}: the two sides differ before their last turn, so they do not answer the same; "
            "mend or delete the line."
        )
    return chosen, rejected


def _row(record: dict[str, Any], name: str, place: str) -> Row:
    row = checked({key: record[key] for key in _OF_A_ROW if key in record}, name, place)
    *before, last = row["messages"]
    return {**row, "messages": [*before, {"role": last["role"], "content": last["content"]}]}


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise DatasetError(f"Cannot read {file}: {error.strerror}; mend its permissions.") from error
