"""What made a data set out of others: `made.json`, beside rows that stay as they were found.

In: rows of data sets, by their place there, and where each is to go. Out: a folder with their lines, byte for
byte but for ids that had to change, and `made.json`: the operation and its options, the SHA-256 of what was
read and written, where every row comes from, and why the others are not in it. It holds no time and no path,
so the same data sets give the same bytes. All of it is written at once or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl
from pydantic import BaseModel

from tracemill.curate.chat_lines import FILES, read_chat
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import DatasetError
from tracemill.curate.folder import Content, publish
from tracemill.curate.manifest import LISTED, file_digest
from tracemill.curate.remembering import remember_made
from tracemill.curate.scratch import scratch
from tracemill.curate.sieve import Progress
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.splits import SPLITS
from tracemill.tracer.home import Home
from tracemill.tracer.messages import canonical_json

FILE = "made.json"
ROWS: Mapping[str, Any] = {
    "to": pl.String,
    "at": pl.Int64,
    "source": pl.String,
    "split": pl.String,
    "file": pl.String,
    "line": pl.Int64,
    "id": pl.String,
    "new_id": pl.String,
    "task": pl.String,
    "project": pl.String,
    "outcome": pl.String,
    "pin": pl.String,
}
"""A row that is written: its split (`to`) and line there (`at`), the data set, split, file and line it comes
from, what it is called there, the id that is written into it where that has to change (`new_id`), and what is
known of it beside what stands in it."""
LEFT: Mapping[str, Any] = {
    **{name: ROWS[name] for name in ("source", "split", "file", "line", "id")},
    "step": pl.String,
    "reason": pl.String,
    "evidence": pl.String,
}
"""A row or line that is not written, and why."""


class Source(BaseModel, extra="forbid", frozen=True):
    """A data set that was read: its rows, and the SHA-256 of its files."""

    name: str
    rows: int
    files: dict[str, str]


class Made(BaseModel, extra="forbid", frozen=True):
    """What made a data set; lists above 5,000 entries stand beside it as Parquet (`beside`: SHA-256)."""

    format: Literal[1] = 1
    operation: str
    tracemill: str
    options: dict[str, Any]
    sources: list[Source]
    splits: dict[str, int]
    files: dict[str, str]
    rows: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    beside: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """An operation on data sets, each under a name, and what becomes of their rows (`ROWS`, `LEFT`).

    Rows stand, and are written, in the order of the data sets, of their files and of their lines. `sessions`
    says of each its id, split and session (`remembering.ROW`). A row whose `new_id` stands in `lines` is
    written as that line instead of as it was found; a split has such rows alone, or none.
    """

    operation: str
    options: Mapping[str, Any]
    sources: Mapping[str, Opened]
    rows: pl.DataFrame
    dropped: pl.DataFrame
    sessions: pl.DataFrame
    lines: Mapping[str, bytes]


def plan(
    operation: str,
    options: Mapping[str, Any],
    sources: Mapping[str, Opened],
    rows: pl.DataFrame,
    dropped: pl.DataFrame | None = None,
    lines: Mapping[str, bytes] | None = None,
) -> Plan:
    """The plan for rows with their facts, `source` and `to`; others are dropped (columns `LEFT`)."""
    new_id = [] if "new_id" in rows.columns else [pl.lit(None, pl.String).alias("new_id")]
    at = pl.int_range(1, pl.len() + 1).over("to").alias("at")
    placed = rows.with_columns(at, *new_id).select(pl.col(name).cast(kind) for name, kind in ROWS.items())
    left = pl.DataFrame(schema=dict(LEFT)) if dropped is None else dropped
    sessions = _sessions(rows, placed)
    return Plan(operation, options, sources, placed, left.select(list(LEFT)), sessions, lines or {})


def _sessions(rows: pl.DataFrame, placed: pl.DataFrame) -> pl.DataFrame:
    """The rows as the warehouse remembers them; one without an id of its own is called `SPLIT:LINE`."""
    named = placed.select(
        row_id=pl.coalesce("new_id", rows["own_id"]), split="to", session_id=rows["session_id"], at="at"
    )
    own = pl.when(pl.col("row_id").is_unique()).then("row_id")
    return named.with_columns(row_id=pl.coalesce(own, pl.format("{}:{}", "split", "at"))).drop("at")


@dataclass(frozen=True)
class Written:
    """The folder that was made, what it holds, whether it was there already, and how many rows were left out,
    by reason and by data set."""

    folder: Path
    made: Made
    reused: bool
    reasons: dict[str, int]
    per_source: dict[str, int]


def write(plan: Plan, to: Path, home: Home, progress: Progress | None = None) -> Written:
    """Write the data set of a plan into the folder `to`, and tell the warehouse if it knows its sessions.

    DatasetError where `to` is one of the data sets read, ExportError where it holds other rows or cannot be
    written.
    """
    refuse_input(to, plan.sources.values())
    with scratch(home) as folder:
        files = _copied(plan, folder, progress)
        lists = {"rows": plan.rows.select(list(ROWS)), "dropped": plan.dropped.select(list(LEFT))}
        long = {f"{name}.parquet": frame for name, frame in lists.items() if frame.height > LISTED}
        for name, frame in long.items():
            frame.write_parquet(folder / name, compression="zstd")
        made = Made(
            operation=plan.operation,
            tracemill=version("tracemill"),
            options=dict(plan.options),
            sources=[_source(name, data, plan) for name, data in plan.sources.items()],
            splits={file.stem: _height(plan, file.stem) for file in files},
            files={file.name: file_digest(file) for file in files},
            rows=_short(lists["rows"]),
            dropped=_short(lists["dropped"]),
            beside={name: file_digest(folder / name) for name in long},
        )
        about: dict[str, Content] = {
            FILE: (json.dumps(made.model_dump(), indent=2, ensure_ascii=False) + "\n").encode(),
            **{name: folder / name for name in long},
        }
        refuse_more(to, files)
        reused = publish(to, {file.name: file for file in files}, about, "--to")
    content = hashlib.sha256(canonical_json([made.files])).hexdigest()
    how = {"operation": plan.operation, "options": dict(plan.options), "sources": list(plan.sources)}
    remember_made(home, to, plan.sessions, content, how)
    return Written(to, made, reused, _tally(plan.dropped, "reason"), _tally(plan.dropped, "source"))


def refuse_input(to: Path, sources: Iterable[Opened]) -> None:
    """DatasetError where `to` is a file, a folder that is read, or lies in one."""
    if to.is_file():
        raise DatasetError(f"{to} is a file; --to names the folder to write.")
    place = to.resolve()
    for data in sources:
        read = data.folder.resolve()
        if place == read or (data.path.is_dir() and read in place.parents):
            raise DatasetError(
                f"{to} is where {data.name} is read from; nothing is written over it or into it, "
                "so choose another --to."
            )


def refuse_more(to: Path, files: Iterable[Path]) -> None:
    """DatasetError where the folder holds rows that would stand beside those to be written."""
    ours = {file.name for file in files}
    for other in to.glob(f"*{FILES}"):
        if other.name not in ours:
            raise DatasetError(f"{to} holds {other.name} already; choose another --to, or move it away.")


def made_of(folder: Path) -> Made | None:
    """What made the data set in `folder`; None where nothing here did, DatasetError where that is broken."""
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return Made.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{file} does not say what made {folder}; delete it, or make it again.") from error


def listed(folder: Path, made: Made, what: Literal["rows", "dropped"] = "rows") -> pl.DataFrame:
    """A list of what made the data set in `folder`, wherever it stands (columns `ROWS` or `LEFT`)."""
    file = folder / f"{what}.parquet"
    if file.name in made.beside and file.exists():
        return pl.read_parquet(file)
    return pl.DataFrame(getattr(made, what), dict(ROWS if what == "rows" else LEFT))


def _source(name: str, data: Opened, plan: Plan) -> Source:
    place = ("source", "file", "line")
    read = pl.concat([plan.rows.select(place), plan.dropped.select(place)]).unique()
    rows = read.filter(pl.col("source") == name).height
    return Source(name=name, rows=rows, files={file.name: file_digest(file) for _, file in data.files})


def _tally(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().sort("len", column, descending=[True, False]).iter_rows())


def _height(plan: Plan, split: str) -> int:
    return plan.rows.filter(pl.col("to") == split).height


def _short(frame: pl.DataFrame) -> list[dict[str, Any]]:
    rows = frame.to_dicts() if frame.height <= LISTED else []
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _copied(plan: Plan, folder: Path, progress: Progress | None) -> list[Path]:
    """The files of the splits that have rows, and that of train in any case."""
    splits = [split for split in SPLITS if split == "train" or _height(plan, split)]
    made = [folder / f"{split}.jsonl" for split in splits]
    with ExitStack() as stack:
        targets = {file.stem: stack.enter_context(file.open("xb")) for file in made}
        for to, new_id in plan.rows.filter(_anew(plan)).select("to", "new_id").iter_rows():
            targets[to].write(plan.lines[new_id])
        for name, data in plan.sources.items():
            own = plan.rows.filter(pl.col("source") == name, ~_anew(plan))
            for _, file in data.files:
                rows = own.filter(pl.col("file") == file.name).sort("line")
                if rows.height:
                    _copy(file, rows, targets, progress)
    return made


def _anew(plan: Plan) -> pl.Expr:
    """Whether a row is written as a line of its own."""
    return pl.col("new_id").is_in(list(plan.lines)).fill_null(value=False)


def _copy(
    file: Path, rows: pl.DataFrame, targets: Mapping[str, IO[bytes]], progress: Progress | None
) -> None:
    waiting = rows.select("line", "to", "new_id").iter_rows()
    wanted: tuple[int, str, str | None] | None = next(waiting, None)
    done = 0
    for lines in read_chat([file], file.stem, BATCH_ROWS):
        for number, line in lines.lines:
            if wanted is None or number != wanted[0]:
                continue
            targets[wanted[1]].write(_line(line, number, wanted[2]))
            wanted = next(waiting, None)
        done += lines.size
        if progress:
            progress(f"writing {file.name}", done, lines.total)


def renamed(text: str, new_id: str) -> str:
    """A JSON object that has an `id`, with another one, and all else as it was written."""
    reader = json.JSONDecoder()
    key, start, end = "", 0, text.index("{") + 1
    while key != "id":
        key, end = reader.raw_decode(text, _after(text, end))
        start = _after(text, end)
        _, end = reader.raw_decode(text, start)
    return text[:start] + json.dumps(new_id, ensure_ascii=False) + text[end:]


def _after(text: str, at: int) -> int:
    """Where the next key or value begins."""
    while text[at] in " \t\r\n,:":
        at += 1
    return at


def _line(line: bytes, number: int, new_id: str | None) -> bytes:
    text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    if new_id is not None:
        text = renamed(text.decode(), new_id).encode()
    return text if text.endswith(b"\n") else text + b"\n"
