"""Where conversations come from: the warehouse, chat JSONL, Parquet; each in batches of bounded size.

In: the options of a `[source]` of a recipe. Out: chunks, small enough to be sent to another process, which
`read_chunk` turns into conversations: the columns `SOURCE` without the texts, and a `Talk`. What cannot be
read becomes a `Fault` with file and line, and never stops the rest. A row of chat JSONL keeps its text as
found; structured calls (OpenAI's `tool_calls`) are read as the importers read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, cast

import polars as pl
from pydantic import BaseModel, Field, model_validator

from tracemill.curate.chat_lines import (
    FILES,
    PAIRS,
    Fault,
    Found,
    Lines,
    read_chat,
    read_lines,
    read_record,
    utc,
)
from tracemill.curate.conditions import meets, refused
from tracemill.curate.errors import RecipeError
from tracemill.curate.features.talk import Talk
from tracemill.curate.names import NAME, suggest
from tracemill.curate.sieve import POSITIONS
from tracemill.curate.told import Told
from tracemill.tracer.home import Home
from tracemill.warehouse.batches import batches
from tracemill.warehouse.errors import MistakeError
from tracemill.warehouse.read import conversations

TEXTS = ("messages", "tools", "calls")
SOURCE: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "session_id": pl.String,
    "run_id": pl.String,
    "agent": pl.String,
    "source": pl.String,
    "task": pl.String,
    "category": pl.String,
    "split": pl.String,
    "outcome": pl.String,
    "started": pl.Datetime("us"),
    "project": pl.String,
    "branch": pl.String,
    "feedback": pl.Float64,
    "disliked": POSITIONS,
    "cut_off": POSITIONS,
    **dict.fromkeys(TEXTS, pl.String),
}
"""The columns of a conversation; null where a source does not know.

`split` is the pin of its session, `feedback` the mean score that people gave the session (-1 to 1). The turns
`disliked` hold a call that they scored below 0, the turns `cut_off` ended for want of tokens.
"""
BATCH_ROWS = 1000


class SourceOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """A source: which conversations of it, and how often each is seen in training (`weight`).

    `model`, for the warehouse alone, takes sessions in which every answer came from that model, by the name
    that was asked for or the one that answered; `*` in it stands for anything. `since` is inclusive, `until`
    exclusive, both UTC where they name no offset. `where` is SQL: over the columns of the view
    `conversations` for the warehouse, over the columns `SOURCE` without texts for files.
    A weight below 1 takes a seeded sample; one above 1 repeats rows of the training split.
    """

    kind: Literal["warehouse", "chat", "parquet"] = "warehouse"
    path: str | None = Field(default=None, min_length=1)
    where: str | None = Field(default=None, min_length=1)
    agent: str | None = None
    project: str | None = None
    branch: str | None = None
    model: str | None = Field(default=None, min_length=1)
    since: datetime | date | None = None
    until: datetime | date | None = None
    weight: float = Field(default=1.0, gt=0, le=100)
    name: str | None = Field(default=None, pattern=NAME)

    @model_validator(mode="after")
    def _has_its_path(self) -> SourceOptions:
        if (self.path is None) != (self.kind == "warehouse"):
            raise ValueError(
                "the warehouse takes no path"
                if self.path
                else f"a source of kind {self.kind!r} needs the path of a file or folder"
            )
        if self.model is not None and self.kind != "warehouse":
            raise ValueError(
                f"no row of a source of kind {self.kind!r} says which model answered; drop `model`"
            )
        return self

    @property
    def title(self) -> str:
        """What it is called: its name, or what its path or kind suggests."""
        return self.name or (Path(self.path).name.partition(".")[0] if self.path else "") or self.kind

    def condition(self) -> str | None:
        """Which conversations, as SQL; null for all."""
        parts = [self.where] if self.where else []
        own = self.kind == "warehouse"
        if self.agent is not None:
            parts.append(f"agent = {_text(self.agent)}")
        if self.project is not None:
            told = f"project = {_text(self.project)}"
            parts.append(f"session_id IN (SELECT session_id FROM sessions WHERE {told})" if own else told)
        if self.branch is not None:
            told = f"branch = {_text(self.branch)}"
            parts.append(f"session_id IN (SELECT session_id FROM git_states WHERE {told})" if own else told)
        if self.model is not None:
            parts.append(_ANSWERED.format(name=_text(_pattern(self.model))))
        for name, sign in (("since", ">="), ("until", "<")):
            if (limit := getattr(self, name)) is not None:
                parts.append(f"started {sign} TIMESTAMP '{_moment(limit)}'")
        return both(*parts)


# A request may be made again where it failed, so only those that were answered count.
_ANSWERED = """session_id IN (
  SELECT r.session_id FROM requests AS r JOIN responses AS a USING (request_id)
  WHERE a.message_id IS NOT NULL GROUP BY r.session_id
  HAVING bool_and(coalesce(r.model GLOB {name}, false) OR coalesce(a.model GLOB {name}, false)))"""
REPLAY = "(replay)"
"""What its source is called; no source of a recipe can be called so."""


class ReplayOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """Where the general conversations are, and which share of all rows they are to be at most."""

    path: str = Field(min_length=1)
    fraction: float = Field(default=0.1, gt=0, lt=1)
    seed: int = 0

    def source(self) -> SourceOptions:
        """The source that reads them."""
        return SourceOptions(kind="chat", path=self.path).model_copy(update={"name": REPLAY})


def both(*conditions: str | None) -> str | None:
    """The SQL condition that all the given ones make; null for none."""
    given = [condition for condition in conditions if condition]
    if len(given) < 2:
        return given[0] if given else None
    # A condition may end in a comment.
    return " AND ".join(f"({condition}\n)" for condition in given)


@dataclass(frozen=True)
class Table:
    """Some rows of the warehouse or of a Parquet file; `size` is how far reading comes with them."""

    source: str
    rows: pl.DataFrame
    first: int
    place: str
    trusted: bool
    size: int = 0
    total: int = 0


Chunk = Lines | Table


def chunks(options: SourceOptions, home: Home, base: Path | None) -> Iterator[Chunk]:
    """The chunks of a source in a fixed order; a path is relative to `base`. RecipeError where it is none."""
    if options.kind == "warehouse":
        yield from _warehouse(options, home)
        return
    path = _path(options, base)
    try:
        files = _files(path, options)
        if options.kind == "chat":
            yield from read_chat(files, options.title, BATCH_ROWS)
        else:
            for file in files:
                yield from _parquet(file, options)
    except OSError as error:
        raise RecipeError(
            f"Cannot read the source {path}: {error.strerror or error}; mend its path or its permissions."
        ) from error


def check(options: SourceOptions, home: Home, base: Path | None) -> None:
    """RecipeError where a source has no file, or a condition cannot be asked; reads no conversation."""
    if options.kind != "warehouse":
        _files(_path(options, base), options)
        select(options, pl.DataFrame(schema=SOURCE))
    elif home.snapshot.exists():
        try:
            conversations(home, both(options.condition(), "false")).collect()
        except MistakeError as error:
            raise _unasked(options, error) from error


def read_chunk(chunk: Chunk) -> Iterator[Found | Fault]:
    """The conversations of a chunk, parsed, and what could not be."""
    if isinstance(chunk, Lines):
        yield from read_lines(chunk)
        return
    for number, row in enumerate(chunk.rows.iter_rows(named=True), start=chunk.first):
        if chunk.trusted:
            columns = {name: row[name] for name in SOURCE if name not in TEXTS}
            yield Found(columns, Talk.read(row["messages"], row["tools"], row["calls"]), row["messages"])
        else:
            yield read_record(
                _without_nulls(row), f"{chunk.source}:{number}", None, f"{chunk.place}, row {number}"
            )


def select(options: SourceOptions, rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows of a file that meet the source's condition; RecipeError where it cannot be asked."""
    condition = options.condition()
    if options.kind == "warehouse" or condition is None:
        return rows
    known = [name for name in SOURCE if name not in TEXTS]
    return rows.filter(meets(rows.select(known), condition, _where(options), RecipeError))


def _where(options: SourceOptions) -> str:
    return f"The `where` of the source {options.title!r}"


def _warehouse(options: SourceOptions, home: Home) -> Iterator[Table]:
    told, places, first = None, None, 1
    for batch in batches(home):
        told, places = told or Told.of(batch), batch.query(_PLACES) if places is None else places
        try:
            rows = batch.conversations(options.condition())
        except MistakeError as error:
            raise _unasked(options, error) from error
        rows = rows.join(places, on="session_id", how="left", maintain_order="left")
        rows = rows.join(told.turns(batch), on="conversation_id", how="left", maintain_order="left")
        for at in range(0, rows.height, BATCH_ROWS):
            part = rows.slice(at, BATCH_ROWS)
            done = batch.requests * part.height // rows.height
            yield Table(options.title, part, first + at, "the warehouse", True, done, batch.total)
        first += rows.height


def _unasked(options: SourceOptions, error: MistakeError) -> RecipeError:
    columns = [name for name in SOURCE if name not in _ADDED]
    return RecipeError(refused(_where(options), str(error), columns))


_ADDED = ("project", "branch", "feedback", "disliked", "cut_off", "tools", "calls")
"""Columns that the view `conversations` does not have."""
_PLACES = """
SELECT session_id, s.project, g.branch, f.feedback FROM sessions AS s LEFT JOIN (
  SELECT session_id, arg_min(branch, taken) AS branch FROM git_states GROUP BY session_id
) AS g USING (session_id)
LEFT JOIN (
  -- What was said of a session as the editor saw it was said of the one inside the agent.
  SELECT coalesce(a.inner_session_id, f.session_id) AS session_id, avg(f.score) AS feedback
  FROM feedback AS f LEFT JOIN acp_sessions AS a ON a.session_id = f.session_id
  WHERE f.target IN ('session', 'run') GROUP BY ALL
) AS f USING (session_id)
"""


def _parquet(file: Path, options: SourceOptions) -> Iterator[Table]:
    try:
        lazy = pl.scan_parquet(file)
        columns = lazy.collect_schema()
        if "messages" not in columns:
            raise RecipeError(
                f"{file} has no column 'messages'{suggest('messages', columns)}; "
                f"its columns are {', '.join(columns)}."
            )
        total: int = lazy.select(pl.len()).collect().item()
        known = [name for name in (*SOURCE, "id", "weight") if name in columns]
        first = 1
        for rows in lazy.select(known).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            for part in rows.iter_slices(BATCH_ROWS):
                yield Table(options.title, part, first, str(file), False, part.height, total)
                first += part.height
    except pl.exceptions.PolarsError as error:
        raise RecipeError(f"{file} cannot be read as Parquet ({error}); mend or leave it out.") from error


def _path(options: SourceOptions, base: Path | None) -> Path:
    return (base or Path()) / Path(options.path or "").expanduser()


def _files(path: Path, options: SourceOptions) -> list[Path]:
    ending = FILES if options.kind == "chat" else ".parquet"
    if path.is_dir():
        found = sorted(
            file
            for file in path.iterdir()
            if file.name.endswith(ending) and not file.name.endswith(PAIRS) and file.is_file()
        )
        if not found:
            raise RecipeError(f"The folder {path} holds no {ending} file; mend the path of the source.")
        return found
    if not path.exists():
        raise RecipeError(f"There is no {path}; mend the path of the source {options.title!r}.")
    return [path]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _pattern(model: str) -> str:
    """The name of a model for GLOB, where `*` alone has a meaning."""
    return re.sub(r"[\\?\[\]]", r"\\\g<0>", model)


def _moment(value: datetime | date) -> str:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return utc(moment).isoformat(" ")


def _without_nulls(value: Any) -> Any:
    """What a list of structs holds: polars gives every struct all keys of all of them."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        return {key: _without_nulls(part) for key, part in held.items() if part is not None}
    return [_without_nulls(part) for part in cast("list[Any]", value)] if isinstance(value, list) else value
