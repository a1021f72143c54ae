"""What stands in the spool and not yet in the warehouse, a batch of lines at a time.

In: a home, whose spool files other processes may be writing to at this moment, and how far each was read.
Out: batches of complete lines, and the byte offset that each file has reached with them. Files take turns, so
that none waits for all of another; a last line without its newline is left for the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tracemill.tracer.home import Home
from tracemill.tracer.spool import spool_files

Line = tuple[str, int, str | None]
"""File name, byte offset of the start, text (None where it is not UTF-8)."""


def sizes(home: Home) -> dict[str, int]:
    """How many bytes each spool file has."""
    found: dict[str, int] = {}
    for path in spool_files(home):
        with suppress(FileNotFoundError):  # deleted since it was listed
            found[path.name] = path.stat().st_size
    return found


class Backlog:
    """The lines that are to be read."""

    def __init__(self, home: Home, read: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """Of each file what stands from `read` up to `ends`; what is added meanwhile is for the next time."""
        self._folder = home.spool
        self._ends = dict(ends)
        # A file that is shorter than what was read of it is another one, and read from its start.
        starts = {name: at if (at := read.get(name, 0)) <= end else 0 for name, end in ends.items()}
        self._left = {name: start for name, start in sorted(starts.items()) if start < ends[name]}

    def __len__(self) -> int:
        """How many bytes are left, those of lines that will not be complete included."""
        return sum(self._ends[name] - at for name, at in self._left.items())

    def leave(self, name: str) -> None:
        """Read no more of this file."""
        self._left.pop(name, None)

    def batch(self, size: int) -> tuple[list[Line], dict[str, int]]:
        """About `size` bytes of lines, an equal share of each file, and the offset reached in each."""
        lines: list[Line] = []
        reached: dict[str, int] = {}
        share = max(size // max(len(self._left), 1), 1)
        for name in list(self._left):
            at = self._left.pop(name)
            stop = min(at + share, self._ends[name])
            for start, raw in _lines(self._folder / name, at, stop):
                lines.append((name, start, _text(raw)))
                reached[name] = at = start + len(raw)
                size -= len(raw)
            if stop <= at < self._ends[name]:
                self._left[name] = at
            if size <= 0:
                break
        return lines, reached


def _lines(path: Path, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a file that begin from `start` on and before `stop`, each with its own offset.

    tracemill.tracer.spool.read_events decodes them too; DuckDB does that here, many times as fast. A file
    that was deleted since it was listed has none.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        while start < stop and (raw := file.readline()).endswith(b"\n"):
            yield start, raw
            start += len(raw)


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
