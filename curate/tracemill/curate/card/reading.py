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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tracemill.curate.chat_lines import FILES, Lines
from tracemill.curate.datasets.facts import chunks
from tracemill.curate.datasets.opened import Opened, find
from tracemill.curate.errors import DatasetError
from tracemill.curate.manifest import FILE, Manifest
from tracemill.curate.sieve import Progress
from tracemill.tracer.home import Home

ROWS = 10_000
"""The most rows that are looked at."""
_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Data:
    """A data set: what it is called, its files, and the manifest that an export wrote of it."""

    name: str
    files: Opened
    manifest: Manifest | None = None


@dataclass(frozen=True)
class Rows:
    """The lines of data sets (`sets`): how many there are by set and split, and which are looked at.

    `chosen` is parallel to the lines of all sets in order; `digest` names all of them.
    """

    sets: tuple[Data, ...]
    lines: Counter[tuple[str, str]]
    chosen: NDArray[np.bool_]
    digest: str

    def parts(self) -> Iterator[tuple[Data, Lines]]:
        """The lines to look at, some at a time, in order."""
        at = 0
        for data in self.sets:
            for lines in chunks(data.files):
                end = at + len(lines.lines)
                wanted = self.chosen[at:end].tolist()
                kept = [line for line, take in zip(lines.lines, wanted, strict=True) if take]
                yield data, replace(lines, lines=kept)
                at = end


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
    """Count the lines and choose at most `most` of them, and at most 256 MB; DatasetError where none can be
    read."""
    draws, sizes = array("Q"), array("Q")
    counted: Counter[tuple[str, str]] = Counter()
    whole = hashlib.sha256()
    try:
        for data in sets:
            done = 0
            for lines in chunks(data.files):
                for _, line in lines.lines:
                    draws.append(draw(line))
                    sizes.append(len(line))
                    whole.update(draws[-1].to_bytes(8, "big"))
                counted[data.name, data.files.split_of(lines.place)] += len(lines.lines) + len(lines.long)
                done += lines.size
                if progress:
                    progress(f"counting {data.name}", done, data.files.size)
    except OSError as error:
        raise DatasetError(f"Cannot read {error.filename}: {error.strerror}; mend that.") from error
    order = np.argsort(np.array(draws, np.uint64), kind="stable")
    within = np.cumsum(np.array(sizes, np.uint64)[order]) <= _BYTES
    within[:1] = True
    chosen = np.zeros(len(draws), np.bool_)
    chosen[order[:most][within[:most]]] = True
    return Rows(tuple(sets), counted, chosen, whole.hexdigest())
