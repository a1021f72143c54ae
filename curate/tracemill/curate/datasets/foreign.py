"""The records of a foreign file: Parquet, JSON lines, or one JSON list.

In: a file. Out: its records by their number, from 1, and `Fault`s for what is none. DatasetError where the
file as a whole cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import polars as pl

from tracemill.curate.chat_lines import Fault, read_chat, records
from tracemill.curate.datasets.shapes import COLUMNS
from tracemill.curate.errors import DatasetError
from tracemill.curate.sources import BATCH_ROWS

_LARGEST_LIST = 2**30
"""Bytes of the largest file that is one JSON list: it is read into memory whole."""


def read_file(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The records of a file by their number, and what is none."""
    try:
        if file.suffix == ".parquet":
            yield from _of_parquet(file)
        elif file.suffix == ".json" and _is_list(file):
            yield from _of_list(file, name)
        else:
            for lines in read_chat([file], name, BATCH_ROWS):
                for number, record in records(lines):
                    yield number, record if isinstance(record, Fault) else dict(record)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{name} cannot be read ({told:.200}); mend it or leave it out.") from error


def _of_parquet(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    lazy = pl.scan_parquet(file)
    held = lazy.collect_schema().names()
    number = 0
    wanted = [column for column in held if column in COLUMNS] or held[:1]
    for rows in lazy.select(wanted).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        for row in rows.iter_rows(named=True):
            number += 1
            yield number, _without_nulls(row)


def _is_list(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _of_list(file: Path, name: str) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    if file.stat().st_size > _LARGEST_LIST:
        raise ValueError(f"a JSON list above {_LARGEST_LIST} bytes; write it one record a line, as JSONL")
    for number, one in enumerate(json.loads(file.read_bytes().decode("utf-8-sig")), start=1):
        if isinstance(one, dict):
            yield number, cast("dict[str, Any]", one)
        else:
            fault = Fault(f"{name}:{number}", "not an object", f"{name}, row {number}: not a JSON object")
            yield number, fault


def _without_nulls(value: Any) -> Any:
    """Polars gives every struct of a list the keys of all of them."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        return {key: _without_nulls(one) for key, one in held.items() if one is not None}
    return [_without_nulls(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value
