"""Public data sets made ours: rows of whatever shape, as chat JSONL in the splits they came in.

In: a data set of the hub, or a folder laid out as one (`hub.py`). Out: a folder of `train.jsonl`,
`valid.jsonl` and `test.jsonl`, and `origin.json`: where it comes from, its licence, which file was read as
what, and what could not be read. The id of a row names its file and the row there. It holds no time and no
path, so the same data set gives the same bytes; all of it is written at once or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

from tracemill.curate.chat.codec import RowMessage
from tracemill.curate.chat_lines import Fault, read_record
from tracemill.curate.datasets.foreign import read_file
from tracemill.curate.datasets.hub import Fetched, Wanted, fetch
from tracemill.curate.datasets.layout import split_of
from tracemill.curate.datasets.shapes import SHAPES, ShapeError, conversation, recognised
from tracemill.curate.errors import CodecError, DatasetError
from tracemill.curate.features.talk import Talk
from tracemill.curate.folder import publish
from tracemill.curate.manifest import file_digest
from tracemill.curate.rewrites.edits import RewriteOptions
from tracemill.curate.rewrites.wire import wire
from tracemill.curate.scratch import scratch
from tracemill.curate.sieve import Progress
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home

FILE = "origin.json"
_TOLD = 20
"""So many of the rows that cannot be read are told of."""


@dataclass
class Read:
    """A file: the shape its rows have and others that would have fitted too, and how its rows fared."""

    file: str
    split: str
    shape: str
    others: list[str]
    rows: int = 0
    normalised: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    told: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Imported:
    """The folder that was made, what each file was read as, and whether it was there already."""

    folder: Path
    fetched: Fetched
    files: list[Read]
    reused: bool


def import_dataset(
    source: str,
    to: Path,
    home: Home,
    wanted: Wanted | None = None,
    as_found: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Import `source` into the folder `to`; calls in other wire formats become `<tool_call>` text.

    With `as_found` the text of assistants stays as it stands. DatasetError where nothing of it can be read,
    ExportError where `to` holds other rows.
    """
    if to.is_file():
        raise DatasetError(f"{to} is a file; --to names the folder to write.")
    fetched = fetch(source, wanted or Wanted(), home, progress)
    if fetched.scratch is None and to.resolve() == fetched.folder.resolve():
        raise DatasetError(f"{to} is where {source} is read from; choose another --to.")
    with scratch(home) as folder:
        made, files = _written(fetched, folder, as_found, progress)
        if not sum(one.rows for one in files):
            raise DatasetError(_nothing(fetched, files))
        about = {FILE: _origin(fetched, files, made, as_found)}
        reused = publish(to, {file.name: file for file in made}, about, "--to")
    if fetched.scratch is not None:
        shutil.rmtree(fetched.scratch, ignore_errors=True)
    return Imported(to, fetched, files, reused)


def _written(
    fetched: Fetched, folder: Path, as_found: bool, progress: Progress | None
) -> tuple[list[Path], list[Read]]:
    """The rows in files of `folder`, one a split; that of train in any case."""
    listed = [(name, split) for split, names in fetched.layout.files.items() for name in names]
    read: list[Read] = []
    with ExitStack() as stack:
        targets: dict[str, IO[bytes]] = {}
        for name, split in listed:
            ours = split_of(split)
            if ours not in targets:
                targets[ours] = stack.enter_context((folder / f"{ours}.jsonl").open("xb"))
            read.append(_file(fetched.folder / name, name, split, targets[ours], as_found, progress))
        if "train" not in targets:
            (folder / "train.jsonl").touch()
    return [file for split in SPLITS if (file := folder / f"{split}.jsonl").exists()], read


def _file(
    file: Path, name: str, split: str, target: IO[bytes], as_found: bool, progress: Progress | None
) -> Read:
    """One file, row by row; what cannot be read is counted with its reason."""
    found = Read(name, split, "", [])
    for count, (number, record) in enumerate(read_file(file, name)):
        if progress and count % 1000 == 0:
            progress(f"reading {name}", count, 0)
        if isinstance(record, Fault):
            _count(found, record.reason, record.evidence)
            continue
        shapes = [found.shape] if found.shape and SHAPES[found.shape][0] <= record.keys() else []
        shapes = shapes or recognised(record)
        if shapes and not found.shape:
            found.shape, found.others = shapes[0], shapes[1:]
        place = f"{name}, row {number}"
        if not shapes:
            _count(found, "unknown shape", f"{place}: its keys are {', '.join(record)}")
            continue
        try:
            row, normalised = _row(conversation(record, shapes[0]), f"{name}:{number}", place, as_found)
        except ShapeError as error:
            _count(found, error.reason, f"{place}: {error}")
        except CodecError as error:
            _count(found, "no text form", f"{place}: {error}")
        else:
            if isinstance(row, Fault):
                _count(found, row.reason, row.evidence)
                continue
            target.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())
            found.rows += 1
            found.normalised += normalised
    return found


def _count(found: Read, reason: str, evidence: str) -> None:
    found.reasons[reason] += 1
    if len(found.told) < _TOLD:
        found.told.append(evidence)


def _row(record: dict[str, Any], name: str, place: str, as_found: bool) -> tuple[dict[str, Any] | Fault, int]:
    """The row that a record is, and how many of its messages were normalised."""
    read = read_record({**record, "id": None}, name, None, place)
    if isinstance(read, Fault):
        return read, 0
    talk, edits = read.talk, 0
    if not as_found:
        messages, made = wire(talk, RewriteOptions())
        talk, edits = Talk(messages, talk.tools, as_found=True), len(made)
    weights = (cast("dict[str, Any]", message).get("weight", 1) for message in talk.messages)
    rows: list[RowMessage] = [
        {**row, "weight": 0} if row["role"] == "assistant" and not weight else row
        for row, weight in zip(talk.row_messages(), weights, strict=True)
    ]
    session = record.get("session_id")
    return {
        "id": name,
        "session_id": session if isinstance(session, str) and session else name,
        "category": read.columns["category"] or "",
        "messages": rows,
        "tools": talk.tools,
    }, edits


def _origin(fetched: Fetched, files: list[Read], made: list[Path], as_found: bool) -> bytes:
    told: dict[str, Any] = {
        "format": 1,
        "tracemill": version("tracemill"),
        "source": fetched.source,
        "revision": fetched.revision,
        "config": fetched.layout.config,
        "licence": fetched.licence,
        "as_found": as_found,
        "read": [
            {
                "file": one.file,
                "sha256": file_digest(fetched.folder / one.file),
                "split": one.split,
                "shape": one.shape,
                "rows": one.rows,
                "normalised": one.normalised,
                "unread": dict(sorted(one.reasons.items())),
                "first_unread": one.told,
            }
            for one in files
        ],
        "files": {file.name: file_digest(file) for file in made},
    }
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()


def _nothing(fetched: Fetched, files: list[Read]) -> str:
    reasons = sum((one.reasons for one in files), Counter[str]())
    if not reasons:
        return f"{fetched.source} holds no row in {', '.join(one.file for one in files)}."
    first = next(told for one in files for told in one.told)
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return (
        f"None of the {reasons.total()} rows of {fetched.source} could be read ({listed}; the first: "
        f"{first.rstrip('.')}); what is read has the keys {'; or '.join(SHAPES)}."
    )
