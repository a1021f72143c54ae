"""One row of a data set, found by its id or by where it stands.

In: a data set of any size. Out: `Placed`: the row, its file and line. Files are mapped and searched as bytes;
nothing but the lines that hold the id is parsed.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from tracemill.curate.chat_lines import Lines, records
from tracemill.curate.datasets.opened import Opened, find
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import FILE, Manifest
from tracemill.curate.names import conversation_of, suggest
from tracemill.tracer.home import Home

_FEW_LINES = 2000
"""So many first lines of each file are looked at for an id that is like one that is not there."""


@dataclass(frozen=True)
class Placed:
    """A row, the split it is in, its file and its line there, from 1."""

    split: str
    file: Path
    line: int
    row: dict[str, Any]

    @property
    def id(self) -> str:
        """What it is called: its own id, or split and line."""
        own = self.row.get("id")
        return own if isinstance(own, str) else f"{self.split}:{self.line}"


def opened(what: str | Path | None, home: Home, *, pairs: bool = False) -> Opened:
    """The data set that is meant: by path or name, else the newest export; DatasetError for none.

    With `pairs`, the preference pairs of an export are among its files.
    """
    if what is not None:
        return find(what, home, pairs=pairs)
    made = [one for one in home.datasets.glob("*/") if (one / FILE).is_file()]
    if not made:
        raise DatasetError(
            f"There is no data set in {home.datasets} yet: name the folder of one, or make one with "
            "`tracemill export`."
        )
    return find(max(made, key=lambda one: (one / FILE).stat().st_mtime_ns), home, pairs=pairs)


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of the data set in `folder`, if it has one; DatasetError where it is none."""
    file = folder / FILE
    try:
        return Manifest.model_validate_json(file.read_bytes()) if file.exists() else None
    except ValidationError as error:
        raise DatasetError(f"{file} is not a manifest; export the data set again, or delete it.") from error
    except OSError as error:
        raise DatasetError(f"Cannot read {file}: {error.strerror or error}; mend that.") from error


def find_row(data: Opened, which: str) -> Placed:
    """The row with the id `which`, or at `SPLIT:LINE`; DatasetError where there is none or several."""
    found = with_id(data, which)
    if len(found) > 1:
        places = " and ".join(f"{one.file.name}, line {one.line}" for one in found[:3])
        raise DatasetError(f"Several rows have the id {which!r}: {places}; give split and line, as train:12.")
    if found:
        return found[0]
    at = re.fullmatch(r"(?:.*/)?([^/:]+):([1-9][0-9]*)", which)
    files = [one for one in data.files if at and at[1] in (one[0], one[1].stem)]
    if at and files:
        split, file = next((one for one in files if one[1].stem == at[1]), files[0])
        return _at_line(split, file, int(at[2]))
    raise DatasetError(
        f"No row of {data.path} has the id {which!r}{suggest(which, _some_ids(data))}; "
        "give the id of a row, or split and line, as train:12."
    )


def with_id(data: Opened, name: str) -> list[Placed]:
    """The rows whose own id is `name`."""
    return list(_with_id(data, name, '"', lambda own: own == name))


def of_conversation(data: Opened, name: str) -> Iterator[Placed]:
    """The rows of an export that the conversation `name` became: one, or one a turn, perhaps repeated."""
    return _with_id(data, name, "", lambda own: own == name or conversation_of(own) == name)


def _with_id(data: Opened, name: str, end: str, meant: Callable[[str], bool]) -> Iterator[Placed]:
    """The rows whose own id is `meant`; it begins with `name`, which `end` follows."""
    begun = {json.dumps(name)[:-1] + end, json.dumps(name, ensure_ascii=False)[:-1] + end}
    needles = {one.encode("utf-8", "replace") for one in begun}
    for split, file in data.files:
        if not file.stat().st_size:
            continue
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            for start in sorted({start for needle in needles for start in _lines_with(mapped, needle)}):
                stop = mapped.find(b"\n", start)
                line = mapped[start : stop if stop >= 0 else len(mapped)]
                row = _row(line)
                if row is not None and isinstance(own := row.get("id"), str) and meant(own):
                    number = _number(mapped, start)
                    yield Placed(split, file, number, _strict(line, file, number))


def _lines_with(mapped: mmap.mmap, needle: bytes) -> Iterator[int]:
    """Where the lines begin that hold `needle`."""
    at = mapped.find(needle)
    while at >= 0:
        yield mapped.rfind(b"\n", 0, at) + 1
        end = mapped.find(b"\n", at)
        at = mapped.find(needle, end) if end >= 0 else -1


def _number(mapped: mmap.mmap, start: int) -> int:
    """The number of the line that begins at `start`, from 1."""
    step = 2**24
    return 1 + sum(mapped[at : min(at + step, start)].count(b"\n") for at in range(0, start, step))


def _at_line(split: str, file: Path, number: int) -> Placed:
    at = 0
    with file.open("rb") as stream:
        for at, line in enumerate(stream, start=1):
            if at < number:
                continue
            return Placed(split, file, number, _strict(line, file, number))
    raise DatasetError(f"{file} has {at} lines, so there is no line {number}.")


def _strict(line: bytes, file: Path, number: int) -> dict[str, Any]:
    """The row in a line, read as strictly as for training; DatasetError says what is wrong with it."""
    _, record = next(records(Lines("", str(file), file.stem, None, [(number, line)])))
    if isinstance(record, dict):
        return record
    raise DatasetError(f"{record.evidence}; `tracemill dataset validate` lists all that is wrong.")


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _some_ids(data: Opened) -> Iterator[str]:
    for _, file in data.files:
        with file.open("rb") as stream:
            for _, line in zip(range(_FEW_LINES), stream, strict=False):
                if isinstance(name := (_row(line) or {}).get("id"), str):
                    yield name
