"""A data set on disk: a folder of `train.jsonl`, `valid.jsonl` and `test.jsonl`, and its export's manifest.

In: such a folder, made by `export` or by hand. Out: a `Dataset` whose every line was checked. A folder made
by hand needs no manifest, and its rows need only `messages`: the id is then split and line (`train:3`), the
session that id, and there are no tools. Rows with structured `tool_calls` are read as the text rows they are
the same as.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError

from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.structured import text_row
from tracemill.curate.chat_lines import PAIRS
from tracemill.curate.errors import CodecError, DatasetError
from tracemill.curate.manifest import FILE, Manifest
from tracemill.curate.splits import SPLITS, Split


class _Message(BaseModel, extra="forbid", strict=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    weight: Literal[0, 1] = 1


class _Tool(BaseModel, extra="forbid", strict=True):
    name: str
    description: str = ""
    parameters: dict[str, Any]


class _Row(BaseModel, extra="forbid", strict=True):
    id: str
    session_id: str
    category: str
    messages: list[_Message] = Field(min_length=1)
    tools: list[_Tool]


@dataclass(frozen=True)
class Dataset:
    """A data set; `digest` is the SHA-256 of its row files, `reused` says it was there before.

    `load` has checked every row; those of an export that was just written are read when they are asked for.
    """

    folder: Path
    manifest: Manifest | None
    digest: str
    reused: bool = False
    _rows: dict[Split, list[Row]] = field(default_factory=dict[Split, list[Row]], repr=False, compare=False)

    @property
    def name(self) -> str:
        """The data set's id in the warehouse: the name of its folder."""
        return self.folder.name

    @property
    def ordered(self) -> bool:
        """Whether its recipe asked for an order of the rows, which training is then to keep."""
        return self.manifest is not None and self.manifest.order != "as recorded"

    def rows(self, split: Split) -> list[Row]:
        """The rows of a split in the order of the file; empty where it has no file."""
        file = self.folder / f"{split}.jsonl"
        if split not in self._rows:
            read = _rows(_read(file), split, file, self.manifest is None, {}) if file.exists() else []
            self._rows[split] = read
        return self._rows[split]


def load(folder: Path) -> Dataset:
    """Read and check a data set; DatasetError names the file, the line and what is wrong there."""
    if not (folder / "train.jsonl").is_file():
        raise DatasetError(f"{folder} is no data set: it has no train.jsonl; `tracemill export` makes one.")
    manifest = _manifest(folder / FILE)
    rows: dict[Split, list[Row]] = {}
    seen: dict[str, str] = {}
    digest = hashlib.sha256()
    for split in SPLITS:
        file = folder / f"{split}.jsonl"
        if not file.exists() and manifest is None:
            continue
        data = _read(file)
        found = hashlib.sha256(data).hexdigest()
        if manifest and found != manifest.files.get(file.name):
            raise _changed(file)
        digest.update(f"{file.name} {found}\n".encode())
        rows[split] = _rows(data, split, file, manifest is None, seen)
    _check_pairs(folder, manifest)
    return Dataset(folder, manifest, digest.hexdigest(), _rows=rows)


def _check_pairs(folder: Path, manifest: Manifest | None) -> None:
    """DatasetError for a file of preference pairs that is not the one that was exported."""
    for name, digest in manifest.files.items() if manifest else ():
        if name.endswith(PAIRS) and hashlib.sha256(_read(folder / name)).hexdigest() != digest:
            raise _changed(folder / name)


def _changed(file: Path) -> DatasetError:
    return DatasetError(
        f"{file} is not the file that was exported: its SHA-256 differs from {FILE}; "
        f"export again, or delete {FILE} to use your own version."
    )


def written(folder: Path, manifest: Manifest, reused: bool) -> Dataset:
    """The data set that an export has just written, or found there byte for byte, without reading it."""
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split}.jsonl {manifest.files[f'{split}.jsonl']}\n".encode())
    return Dataset(folder, manifest, digest.hexdigest(), reused)


def _manifest(file: Path) -> Manifest | None:
    if not file.exists():
        return None
    try:
        return Manifest.model_validate_json(_read(file))
    except ValidationError as error:
        raise DatasetError(
            f"{file} is not a manifest ({_told(error)}); export the data set again."
        ) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read {file}: {error.strerror}; export the data set again.") from error


def _rows(data: bytes, split: Split, file: Path, by_hand: bool, seen: dict[str, str]) -> list[Row]:
    """The rows of one file; `seen` (row id -> where it stands) grows and spans the files of a data set."""
    rows: list[Row] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        row = _row(line, f"{split}:{number}" if by_hand else None, place)
        if row["id"] in seen:
            raise DatasetError(
                f"{place}: the id {row['id']!r} stands already in {seen[row['id']]}; change one."
            )
        seen[row["id"]] = place
        rows.append(row)
    return rows


def _row(line: bytes, default_id: str | None, place: str) -> Row:
    return checked(parsed(line, place), default_id, place)


def parsed(line: bytes, place: str) -> dict[str, Any]:
    """The JSON object in a line; DatasetError where there is none."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: not JSON ({error}); mend or delete the line.") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{place}: not a JSON object; mend or delete the line.")
    return cast(dict[str, Any], value)


def checked(row: dict[str, Any], default_id: str | None, place: str) -> Row:
    """A row of a data set, as text; DatasetError says what is wrong with it. `default_id`: of one by hand."""
    if default_id is not None:
        row_id = row.get("id", default_id)
        row = {"id": row_id, "session_id": row_id, "category": "", "tools": []} | row
    try:
        row = text_row(row)
    except CodecError as error:
        raise DatasetError(f"{place}: {str(error).rstrip('.')}; mend or delete the line.") from error
    try:
        _Row.model_validate(row)
    except ValidationError as error:
        raise DatasetError(f"{place}: {_told(error)}; mend or delete the line.") from error
    return cast(Row, row)


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
