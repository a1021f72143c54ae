"""What stands in more than one split of a data set, shown for any data set of chat JSONL.

In: a folder with one file a split (`train.jsonl`, `test.jsonl`, ...), made by whomever, or rows by split.
Out: a `Report`: the same messages, sessions, tasks and prompts, and near copies
(`curate/features/likeness.py`), each verified. Sessions are known where rows have an `id` and a `session_id`,
tasks where they have a `task`, or an export or an operation on data sets wrote them down. Nothing is known of
a line that cannot be read; the report names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import ValidationError

from tracemill.curate.chat_lines import FILES, PAIRS, Fault, Found, Lines, read_chat, read_lines
from tracemill.curate.datasets.made import listed, made_of
from tracemill.curate.errors import DatasetError
from tracemill.curate.features.conversation import fingerprint
from tracemill.curate.features.likeness import NEAR, Packed, minhash, packed
from tracemill.curate.features.talk import Talk, prompt_key
from tracemill.curate.manifest import FILE, Manifest, rows_of
from tracemill.curate.names import PART_OF_CONVERSATION
from tracemill.curate.near.candidates import Positions, stacked
from tracemill.curate.near.clusters import across
from tracemill.curate.near.reading import of_talks
from tracemill.curate.near.shingled import Reader
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.splits import SPLITS
from tracemill.curate.spread import spread

Kind = Literal["messages", "session", "task", "prompt", "near"]
KINDS: tuple[Kind, ...] = ("messages", "session", "task", "prompt", "near")
_MEASURED: Mapping[str, Any] = {
    "split": pl.String,
    "id": pl.String,
    "session": pl.String,
    "task": pl.String,
    "prompt": pl.String,
    "messages": pl.String,
    "minhash": pl.Binary,
}


@dataclass(frozen=True)
class Leak:
    """What stands in several `splits`: its `value`, and the ids of the `rows`.

    Of a near copy, `rows` are the more held-out row and the other, and `similarity` is theirs.
    """

    kind: Kind
    value: str
    splits: tuple[str, ...]
    rows: tuple[str, ...]
    similarity: float | None = None


@dataclass(frozen=True)
class Report:
    """What was compared (`rows` by split), what leaks, and which lines could not be read."""

    rows: dict[str, int]
    leaks: tuple[Leak, ...]
    unread: tuple[Fault, ...]
    threshold: float

    def of(self, kind: Kind) -> list[Leak]:
        """The leaks of one kind."""
        return [leak for leak in self.leaks if leak.kind == kind]

    def counts(self) -> dict[Kind, int]:
        """How many leaks there are of each kind, 0 included."""
        return {kind: len(self.of(kind)) for kind in KINDS}


@dataclass(frozen=True)
class _Job:
    lines: Lines
    wanted: frozenset[int]
    first: int


def check(data: Path | Mapping[str, Sequence[Mapping[str, Any]]], threshold: float = NEAR) -> Report:
    """Compare the splits of a folder, or rows (`messages`, perhaps `id`, `session_id`, `task`) by split.

    DatasetError where a folder holds no split. Of a cluster of near copies a row is compared with the first
    50 of each other split.
    """
    if isinstance(data, Path):
        return _of_folder(data, threshold)
    held = [(split, at, row) for split in _in_order(data) for at, row in enumerate(data[split], start=1)]
    talks = [Talk(list(row["messages"]), as_found=True) for _, _, row in held]
    found: list[tuple[Any, ...]] = []
    for (split, at, row), talk in zip(held, talks, strict=True):
        name = row.get("id", f"{split}:{at}")
        found.append((split, name, row.get("session_id", name), row.get("task"), *measured(talk)))
    return compare(_frame(found), of_talks(lambda: talks), (), threshold)


def _of_folder(folder: Path, threshold: float) -> Report:
    files = {file.stem: file for file in folder.glob(f"*{FILES}") if not file.name.endswith(PAIRS)}
    if not files:
        raise DatasetError(f"{folder} holds no {FILES} file; give the folder of a data set.")
    listed = [files[name] for name in _in_order(files)]
    known: list[tuple[Any, ...]] = []
    faults: list[Fault] = []
    ends = [0]
    for rows, unread in spread(_measure, read_chat(listed, folder.name, BATCH_ROWS)):
        known += rows
        faults += unread
        ends.append(len(known))

    def read(positions: Positions) -> Iterator[tuple[int, Packed]]:
        chunks = zip(read_chat(listed, folder.name, BATCH_ROWS), pairwise(ends), strict=True)
        jobs = (
            _Job(lines, frozenset((within - first).tolist()), first)
            for lines, (first, end) in chunks
            if len(within := positions[(positions >= first) & (positions < end)])
        )
        for found in spread(_read, jobs):
            yield from found

    told = _tasks(folder)
    part = pl.col("id").str.replace(PART_OF_CONVERSATION, "")
    tasks = [one.replace_strict(told, default=None, return_dtype=pl.String) for one in (pl.col("id"), part)]
    rows = _frame(known).with_columns(task=pl.coalesce("task", *tasks))
    return compare(rows, read, tuple(faults), threshold)


def _in_order(names: Iterable[str]) -> list[str]:
    """Names of splits, from what is learned to what is held out most; others last."""
    known: Sequence[str] = SPLITS
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def _tasks(folder: Path) -> dict[str, str]:
    file = folder / FILE
    if not file.exists():
        return _tasks_made(folder)
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DatasetError(f"{file} is not a manifest; export the data set again, or delete it.") from error
    rows = rows_of(folder, manifest).filter(pl.col("task") != "")
    return dict(rows.select("conversation_id", "task").iter_rows())


def _tasks_made(folder: Path) -> dict[str, str]:
    """The tasks that an operation on data sets knew of its rows, by their id or their place."""
    made = made_of(folder)
    if made is None:
        return {}
    rows = listed(folder, made).filter(pl.col("task") != "")
    places = rows.select(pl.format(f"{folder.name.replace('{', '{{')}/{{}}:{{}}", "to", "at"), "task")
    return dict([*rows.select(pl.coalesce("new_id", "id"), "task").iter_rows(), *places.iter_rows()])


def _measure(lines: Lines) -> tuple[list[tuple[Any, ...]], list[Fault]]:
    split = Path(lines.place).stem
    found = list(read_lines(lines))
    rows = [
        (
            split,
            *(one.columns[key] for key in ("conversation_id", "session_id", "task")),
            *measured(one.talk),
        )
        for one in found
        if isinstance(one, Found)
    ]
    return rows, [one for one in found if isinstance(one, Fault)]


def measured(talk: Talk) -> tuple[str, str, bytes]:
    """What makes prompt, messages and text the same (columns `prompt`, `messages`, `minhash`); system prompts
    and tools aside."""
    said = [message for message in talk.messages if message["role"] != "system"]
    return prompt_key(talk.messages), fingerprint(replace(talk, messages=said, tools=[])), minhash(talk)


def _read(job: _Job) -> list[tuple[int, Packed]]:
    talks = (found.talk for found in read_lines(job.lines) if isinstance(found, Found))
    return [(job.first + at, packed(talk)) for at, talk in enumerate(talks) if at in job.wanted]


def _frame(known: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(known, dict(_MEASURED), orient="row")


def compare(rows: pl.DataFrame, read: Reader, faults: tuple[Fault, ...], threshold: float = NEAR) -> Report:
    """The report of rows with the columns `split`, `id`, `session`, `task` and what `measured` gives."""
    names = _in_order(rows["split"].unique())
    shared = [leak for kind in KINDS if kind != "near" for leak in _shared(rows, kind, names)]
    near = _near(rows, read, threshold, names)
    counts = dict(rows.group_by("split").len().iter_rows())
    return Report({name: counts[name] for name in names}, (*shared, *near), faults, threshold)


def _shared(rows: pl.DataFrame, kind: Kind, names: list[str]) -> Iterator[Leak]:
    found = (
        rows.filter(pl.col(kind) != "")
        .group_by(kind, maintain_order=True)
        .agg("id", pl.col("split").unique())
        .filter(pl.col("split").list.len() > 1)
    )
    for value, ids, splits in found.iter_rows():
        yield Leak(kind, value, tuple(sorted(splits, key=names.index)), tuple(ids))


def _near(rows: pl.DataFrame, read: Reader, threshold: float, names: list[str]) -> Iterator[Leak]:
    """Near copies that are no exact ones, told of the more held-out row."""
    side = rows["split"].replace_strict(names, range(len(names)), return_dtype=pl.Int64).to_numpy()
    known = rows.select("id", "split", "messages").rows()
    for row, other, similarity in across(stacked(rows["minhash"].to_list()), read, threshold, side):
        (name, split, messages), (its_name, its_split, its_messages) = known[row], known[other]
        if side[row] > side[other] and messages != its_messages:
            told = f"{100 * similarity:.0f}% alike"
            yield Leak("near", told, (its_split, split), (name, its_name), similarity)
