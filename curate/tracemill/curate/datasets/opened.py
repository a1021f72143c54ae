"""The files of a data set: a folder, a single JSONL file, or the name of one in the home.

In: what a person typed. Out: `Opened`: its files and the split of each. Nothing is read yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tracemill.curate.chat_lines import FILES
from tracemill.curate.errors import DatasetError
from tracemill.curate.names import suggest
from tracemill.curate.splits import SPLITS, Split
from tracemill.tracer.home import Home

_PAIRS = "_pairs.jsonl"
_OTHER_NAMES: Mapping[str, Split] = {"val": "valid", "validation": "valid", "dev": "valid", "eval": "test"}


@dataclass(frozen=True)
class Opened:
    """A data set: its `path` (folder or file), and its `files` by split, train first.

    A file that is not called after a split counts as train.
    """

    path: Path
    files: tuple[tuple[Split, Path], ...]

    @property
    def name(self) -> str:
        """What it is called: its folder's or its file's name."""
        return self.path.name if self.path.is_dir() else self.path.stem

    @property
    def folder(self) -> Path:
        """The folder that holds its files."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for _, file in self.files)

    def split_of(self, place: str) -> Split:
        """The split of the file at `place`."""
        return next(split for split, file in self.files if str(file) == place)


def find(what: str | Path, home: Home, *, pairs: bool = False) -> Opened:
    """The data set at a path, or else of that name in `home`; DatasetError where there is none.

    The preference pairs that an export wrote beside its conversations are left out unless `pairs` are asked
    for too, or a folder holds nothing else.
    """
    path = Path(what).expanduser()
    if not path.exists():
        named = home.datasets / what
        if "/" in str(what) or not named.is_dir():
            raise DatasetError(_missing(str(what), home))
        path = named
    if path.is_file():
        return Opened(path, ((split_named(path.stem), path),))
    every = [file for file in path.iterdir() if file.name.endswith(FILES) and file.is_file()]
    if not every:
        raise DatasetError(f"{path} holds no {FILES} file; give a data set folder or a JSONL file.")
    found = every if pairs else [file for file in every if not is_of_pairs(file.name)] or every
    return Opened(path, tuple(_in_order((split_named(file.stem), file) for file in found)))


def split_named(stem: str) -> Split:
    """The split that a file of this name (without its ending) holds."""
    known: dict[str, Split] = {**{split: split for split in SPLITS}, **_OTHER_NAMES}
    return known.get(stem.removesuffix(_PAIRS.partition(".")[0]), "train")


def is_of_pairs(name: str) -> bool:
    """Whether a file of this name holds the preference pairs of an export."""
    return name.endswith(_PAIRS)


def _in_order(files: Iterable[tuple[Split, Path]]) -> list[tuple[Split, Path]]:
    return sorted(files, key=lambda one: (SPLITS.index(one[0]), one[1].stem != one[0], one[1].name))


def _missing(what: str, home: Home) -> str:
    known = sorted(one.name for one in home.datasets.iterdir()) if home.datasets.is_dir() else []
    return (
        f"There is no data set {what!r}{suggest(what, known)}; give a folder of train.jsonl, a JSONL file or "
        f"the name of a data set in {home.datasets}."
    )
