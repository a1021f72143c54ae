"""The second pass: what the steps left made into data set rows, each with its token proof where asked for.

In: the conversations that are kept, the scratch folder with their texts, the format, and perhaps a chat
template. Out: the lines of the rows in one scratch file, in the order they were read, and what is known of
each: where its line stands, and what is counted of it. A conversation that cannot be a row is dropped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat.codec import decode
from tracemill.curate.chat.proof import Row, learned_turns, prove
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError, ExportError, ProofError
from tracemill.curate.features.talk import Talk, prompt_key
from tracemill.curate.format import FormatOptions, written
from tracemill.curate.gather import part_file
from tracemill.curate.pipeline import Curated
from tracemill.curate.sieve import DROPPED, Progress
from tracemill.curate.sources import BATCH_ROWS
from tracemill.curate.spread import spread

LINES = "lines.jsonl"
_PROVED = 20
ROW: Mapping[str, Any] = {
    "row_id": pl.String,
    "length": pl.Int64,
    "characters": pl.Int64,
    "learned": pl.Int64,
    "unlearned": pl.Int64,
    "called": pl.List(pl.String),
    "start": pl.Int64,
}
"""A row as written: bytes of its line, its size and assistant turns, the tools learned to call, its place."""
FORMED: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "written_prompt": pl.String,
    "tools": pl.List(pl.String),
    "lines": pl.List(pl.Struct(ROW)),
}
"""A conversation as written: its prompt, the tools learned to call, its rows."""


@dataclass(frozen=True)
class _Job:
    kept: pl.DataFrame
    file: Path
    target: Path


@dataclass(frozen=True)
class _Formed:
    file: Path
    rows: pl.DataFrame
    dropped: pl.DataFrame


def form(
    curated: Curated,
    folder: Path,
    options: FormatOptions,
    chat: Chat | None,
    progress: Progress | None = None,
) -> Curated:
    """The rows written to `LINES` in `folder`; the columns `FORMED` say what conversations became.

    A single odd session (say, one that quotes a stop token) must not keep all others from being exported.
    ExportError where `rows = "auto"` has no template to look at.
    """
    if options.rows == "auto" and chat is None:
        raise ExportError(
            'The recipe says rows = "auto", which asks the chat template of the base model: name one with '
            '--model, or choose rows = "conversation" or "turn" in [format].'
        )
    rows, dropped = [pl.DataFrame(schema=FORMED)], [pl.DataFrame(schema=DROPPED)]
    done = 0
    with (folder / LINES).open("xb") as file:
        # A proof takes seconds for a long session, so a few rows are work enough for one process.
        jobs = _jobs(curated.rows, folder, _PROVED if chat else BATCH_ROWS)
        for made in spread(partial(_work, options=options, chat=chat), jobs):
            with made.file.open("rb") as part:
                rows.append(_placed(made.rows, file.tell()))
                shutil.copyfileobj(part, file, 2**20)
            made.file.unlink()
            dropped.append(made.dropped)
            done += made.rows.height + made.dropped.height
            if progress:
                progress("proving" if chat else "forming", done, curated.rows.height)
    kept = curated.rows.join(pl.concat(rows), on="conversation_id", how="inner", maintain_order="left")
    return curated.after("proof" if chat else "form", kept, pl.concat(dropped))


def one_each(rows: pl.DataFrame) -> pl.DataFrame:
    """The frame with a line for each row that is written, columns `ROW` for `lines`."""
    return rows.drop("tools").explode("lines").unnest("lines").rename({"called": "tools"})


def _placed(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    """The places of lines in a file of their own, moved to where that file begins."""
    moved = pl.element().struct.with_fields(pl.field("start") + first)
    return rows.with_columns(pl.col("lines").list.eval(moved))


def _jobs(rows: pl.DataFrame, folder: Path, size: int) -> Iterator[_Job]:
    needed = rows.select("conversation_id", "session_id", "category", "context", "part", "row")
    for part in needed.sort("part", "row").partition_by("part"):
        file = part_file(folder, part["part"][0])
        for number, some in enumerate(part.iter_slices(size)):
            yield _Job(some, file, file.with_suffix(f".{number}.jsonl"))


def _work(job: _Job, options: FormatOptions, chat: Chat | None) -> _Formed:
    texts = pl.read_parquet(job.file)[job.kept["row"]].select("messages", "tools", "as_found")
    rows: list[dict[str, Any]] = []
    dropped: list[tuple[str, ...]] = []
    # To a file and not to memory: a row a turn repeats a long conversation many times.
    with job.target.open("xb") as target:
        for record in job.kept.hstack(texts).iter_rows(named=True):
            try:
                made = _formed(record, options, chat)
            except (CodecError, ProofError) as error:
                dropped.append(_dropped(record, error, options, chat))
                continue
            lines: list[dict[str, Any]] = []
            for row, line in made:
                lines.append({**_told(row), "length": len(line), "start": target.tell()})
                target.write(line)
            rows.append(_of_conversation(record["conversation_id"], made[0][0], lines))
    return _Formed(job.target, pl.DataFrame(rows, dict(FORMED)), pl.DataFrame(dropped, DROPPED, orient="row"))


def _formed(record: Mapping[str, Any], options: FormatOptions, chat: Chat | None) -> list[tuple[Row, bytes]]:
    """The rows of a conversation, each with its line."""
    talk = Talk.read(record["messages"], record["tools"], None, record["as_found"])
    row = _row(record, talk)
    sequences = prove(chat, row) if chat else []
    by_turn = options.rows == "turn" or (options.rows == "auto" and len(sequences) > 1)
    made = written(row, talk.messages, options, by_turn and bool(learned_turns(row["messages"])))
    return [(one, _line(shown)) for one, shown in made]


def _row(record: Mapping[str, Any], talk: Talk) -> Row:
    messages = talk.row_messages()
    for position in record["context"]:
        messages[position]["weight"] = 0
    return {
        "id": record["conversation_id"],
        "session_id": record["session_id"],
        "category": record["category"] or "",
        "messages": messages,
        "tools": talk.tools,
    }


def _dropped(
    record: Mapping[str, Any], error: Exception, options: FormatOptions, chat: Chat | None
) -> tuple[str, ...]:
    codec = "no structured form" if options.structured else "no text form"
    reason = codec if isinstance(error, CodecError) else "no token proof"
    step = "proof" if chat else "form"
    return record["conversation_id"], record["session_id"], step, reason, str(error)


def _line(row: Mapping[str, Any]) -> bytes:
    # Keys stay in their order: a template writes a tool's schema as it stands, and so does the server.
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def again(line: bytes, row_id: str, copy: int) -> bytes:
    """The line of a row once more, as its `copy`: an id stands in a data set once."""
    old, new = (
        json.dumps({"id": name}, ensure_ascii=False)[:-1].encode() for name in (row_id, f"{row_id}#{copy}")
    )
    return new + line.removeprefix(old)


def _told(row: Row) -> dict[str, Any]:
    """What is counted of a row, from the row itself."""
    messages = row["messages"]
    learn = learned_turns(messages)
    turns = sum(message["role"] == "assistant" for message in messages)
    return {
        "row_id": row["id"],
        "characters": sum(len(message["content"]) for message in messages),
        "learned": len(learn),
        "unlearned": turns - len(learn),
        "called": [call.name for at in learn for call in decode(messages[at]["content"]).calls],
    }


def _of_conversation(name: str, first: Row, lines: list[dict[str, Any]]) -> dict[str, Any]:
    called = [tool for line in lines for tool in line["called"]]
    prompt = prompt_key(first["messages"])
    return {"conversation_id": name, "written_prompt": prompt, "tools": called, "lines": lines}
