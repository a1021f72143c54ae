"""The rows that a card looks at: all of a data set, or of a large one a sample that its own content decides.

In: the files of one or more data sets. Out: `Rows`: how many rows there are, which are looked at, and their
lines, some at a time. The rows whose SHA-256 is smallest are looked at: that is as good as chance, the same
data set gives the same sample, and equal lines are in it together.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from pydantic import ValidationError

from tracemill.curate.chat_lines import FILES, Lines, read_chat
from tracemill.curate.datasets.facts import chunks
from tracemill.curate.datasets.opened import Opened, find, is_of_pairs, split_named
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import FILE, Manifest
from tracemill.curate.sieve import Progress
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home

ROWS = 10_000
"""The most rows that are looked at."""
EXPORTED = 1_000
"""The most rows that an export looks at for its card: it measured and compared all of them already."""
_BYTES = 256 * 2**20
_Drawn = tuple[int, int, int, bytes]
"""The draw of a line, its file, its number there, and the line."""


@dataclass(frozen=True)
class Data:
    """A data set: what it is called, its files, and the manifest that an export wrote of it."""

    name: str
    files: Opened
    manifest: Manifest | None = None


@dataclass(frozen=True)
class Rows:
    """The lines of data sets (`sets`): how many there are by set and split (`lines`), and in `parts` those to
    look at, some at a time, in order; `digest` names all of them, and `pairs` counts the preference pairs
    beside them by split."""

    sets: tuple[Data, ...]
    lines: Counter[tuple[str, str]]
    parts: tuple[tuple[Data, Lines], ...]
    digest: str
    pairs: dict[str, int]

    @property
    def looked_at(self) -> int:
        """How many lines are to be looked at."""
        return sum(len(lines.lines) for _, lines in self.parts)


def opened(path: str | Path, home: Home) -> tuple[Data, ...]:
    """The data set at a path or of that name in `home`, or those in a folder; DatasetError for neither."""
    folder = Path(path).expanduser()
    if not folder.is_dir() or any(file.name.endswith(FILES) for file in folder.iterdir()):
        return (_data(find(path, home)),)
    within = sorted(one for one in folder.iterdir() if one.is_dir() and any(one.glob(f"*{FILES}")))
    if not within:
        raise DatasetError(
            f"Neither {folder} nor a folder in it holds a {FILES} file; give the folder of a data set."
        )
    return tuple(_data(find(one, home)) for one in within)


def _data(files: Opened) -> Data:
    if all(is_of_pairs(file.name) for _, file in files.files):
        raise DatasetError(
            f"{files.path} holds preference pairs only, and a card tells of conversations; "
            "`tracemill dataset stats` counts pairs and `tracemill dataset show` shows them."
        )
    file = files.path / FILE
    if not file.is_file():
        return Data(files.name, files)
    try:
        return Data(files.path.name, files, Manifest.model_validate_json(file.read_bytes()))
    except ValidationError as error:
        raise DatasetError(f"{file} is not a manifest; export the data set again, or delete it.") from error


def draw(line: bytes) -> int:
    """The number that decides whether a line is looked at, the smaller the sooner."""
    return int.from_bytes(hashlib.sha256(line.strip()).digest()[:8], "big")


def choose(sets: Sequence[Data], progress: Progress | None = None, most: int = ROWS) -> Rows:
    """Count the lines and keep at most `most` of them, and at most 256 MB; DatasetError where none can be
    read."""
    counted: Counter[tuple[str, str]] = Counter()
    files: list[tuple[Data, Lines]] = []
    kept, bound = list[_Drawn](), 2**64
    whole = hashlib.sha256()
    try:
        pairs = _pairs(sets)
        for data in sets:
            done = 0
            for lines in chunks(data.files):
                if not files or files[-1][1].place != lines.place:
                    files.append((data, replace(lines, lines=[], long=[])))
                files[-1][1].long.extend(lines.long)
                draws = [draw(line) for _, line in lines.lines]
                whole.update(array("Q", draws).tobytes())
                kept += [
                    (drawn, len(files) - 1, number, line)
                    for drawn, (number, line) in zip(draws, lines.lines, strict=True)
                    if drawn <= bound
                ]
                if len(kept) > 2 * most:
                    kept = _fewest(kept, most)
                    bound = kept[-1][0]
                counted[data.name, data.files.split_of(lines.place)] += len(lines.lines) + len(lines.long)
                done += lines.size
                if progress:
                    progress(f"counting {data.name}", done, data.files.size)
    except OSError as error:
        raise DatasetError(f"Cannot read {error.filename}: {error.strerror}; mend that.") from error
    parts = tuple(_parts(files, _fewest(kept, most)))
    return Rows(tuple(sets), counted, parts, whole.hexdigest(), pairs)


def _pairs(sets: Sequence[Data]) -> dict[str, int]:
    """How many preference pairs stand beside the rows of data sets, by split."""
    found: Counter[str] = Counter()
    for file in (one for data in sets if data.files.path.is_dir() for one in data.files.path.iterdir()):
        if is_of_pairs(file.name):
            found[split_named(file.stem)] += sum(
                len(lines.lines) for lines in read_chat([file], "", BATCH_ROWS)
            )
    return {split: found[split] for split in SPLITS if found[split]}


def _fewest(drawn: list[_Drawn], most: int) -> list[_Drawn]:
    """Those with the smallest draws, and the first of equal ones: at most `most`, and at most 256 MB."""
    ordered = sorted(drawn, key=lambda one: one[:3])[:most]
    sizes = accumulate(len(line) for *_, line in ordered)
    within = sum(size <= _BYTES for size in sizes)
    return ordered[: max(within, 1)]


def _parts(files: Sequence[tuple[Data, Lines]], kept: Sequence[_Drawn]) -> Iterator[tuple[Data, Lines]]:
    """What was kept of each file, in order, some lines at a time; with the first what is too long to read."""
    by_file: dict[int, list[tuple[int, bytes]]] = {}
    for _, file, number, line in sorted(kept, key=lambda one: one[1:3]):
        by_file.setdefault(file, []).append((number, line))
    for at, (data, lines) in enumerate(files):
        own = by_file.get(at, [])
        for start in range(0, max(len(own), 1), BATCH_ROWS):
            part = own[start : start + BATCH_ROWS]
            if part or lines.long:
                yield data, replace(lines, lines=part, long=lines.long if start == 0 else [])
