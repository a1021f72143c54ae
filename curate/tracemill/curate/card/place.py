"""Where the pages of a card go: beside the data, or into a folder of the user's choice.

In: what was asked for, a `Card`. Out: files, written at once, private to their user.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tracemill.curate.card import Card
from tracemill.curate.card.reading import Data
from tracemill.curate.errors import DatasetError
from tracemill.curate.folder import publish


def place(asked: str | Path, sets: Sequence[Data], to: Path | None) -> Path:
    """The folder for the pages of the data sets that were asked for.

    DatasetError where nothing can be written there, for that is better known before a minute of work.
    """
    folder = to or (sets[0].files.folder if len(sets) == 1 else Path(asked).expanduser())
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise DatasetError(f"Cannot write into {folder}; name another folder with --to.")
    return folder


def write(folder: Path, sets: Sequence[Data], card: Card) -> list[Path]:
    """Write the pages into `folder`, over older ones; those of a single file bear its name."""
    only = sets[0].files.path if len(sets) == 1 else folder
    prefix = f"{only.stem}." if only.is_file() else ""
    pages = {f"{prefix}{name}": data for name, data in card.pages().items()}
    publish(folder, {}, dict(pages), option="--to")
    return [folder / name for name in pages]
