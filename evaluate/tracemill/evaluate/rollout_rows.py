"""A data set of the attempts that passed: what a model did right by itself, to learn from.

In: a data set, and attempts at the turns of its training rows. Out: a folder that `tracemill train` takes,
with `made.json`. A row is what came before a task, as context, and one attempt at it, which alone is learned.
Rows of valid and test are copied as they are, so that checkpoints are chosen and scored as before.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tracemill.curate.chat.codec import decode, encode
from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.curate.datasets.facts import scan
from tracemill.curate.datasets.made import LEFT, Written, plan, write
from tracemill.curate.datasets.opened import Opened
from tracemill.curate.errors import ProofError
from tracemill.curate.format import only
from tracemill.curate.sieve import Progress
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.rollouts import Attempt, by_task
from tracemill.tracer.home import Home

STEP = "rollouts"
"""What `why` calls the operation that left a row out."""


@dataclass
class Kept:
    """The attempts that are learned from, and why others that passed are not, by reason."""

    rows: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    """By the id of the row that the task is of."""
    left_out: Counter[str] = field(default_factory=Counter[str])
    tasks: int = 0
    """Tasks of which at least one attempt is learned."""
    number: int = 0
    """Attempts that are learned."""


def keep(rows: Sequence[Row], attempts: Sequence[Attempt], chat: Chat, *, most: int, max_tokens: int) -> Kept:
    """Of the attempts that passed the distinct ones, at most `most` of a task, the earliest first.

    An attempt that was cut off, that cannot be read or whose tokens cannot be proved is none to learn from.
    """
    by_id = {row["id"]: row for row in rows}
    kept = Kept()
    for task, some in by_task(attempts):
        name, _, position = task.id.rpartition("#")
        seen: set[str] = set()
        for attempt in (one for one in some if one.passed):
            text = attempt.result.text
            decoded = decode(text)
            written = encode(decoded.content, decoded.calls)
            if len(chat.tokenizer.encode(text, add_special_tokens=False)) >= max_tokens:
                kept.left_out["cut off"] += 1
            elif decoded.errors:
                kept.left_out["holds a call that cannot be read"] += 1
            elif written in seen:
                kept.left_out["the same as another attempt"] += 1
            elif len(seen) >= most:
                kept.left_out["more than enough of its task"] += 1
            elif (row := _row(by_id[name], int(position), attempt.number, written, chat)) is None:
                kept.left_out["no token proof"] += 1
            else:
                seen.add(written)
                kept.rows.setdefault(name, []).append(row)
        kept.tasks += bool(seen)
        kept.number += len(seen)
    return kept


def _row(row: Row, position: int, number: int, written: str, chat: Chat) -> Row | None:
    """The row of an attempt; None where its tokens in training are not those that were asked for."""
    messages = only([*row["messages"][:position], {"role": "assistant", "content": written}], position)
    made: Row = {**row, "id": f"{row['id']}@{position}~{number}", "messages": messages}
    try:
        prove(chat, made)
    except ProofError:
        return None
    return made


def write_rollouts(
    home: Home,
    opened: Opened,
    dataset: Dataset,
    attempts: Sequence[Attempt],
    kept: Kept,
    to: Path,
    options: Mapping[str, Any],
    progress: Progress | None = None,
) -> Written:
    """Write what was kept, and the other splits as they are, into the folder `to`.

    EvaluationError where nothing was kept; DatasetError or ExportError where `to` cannot be written.
    """
    if not kept.number:
        raise EvaluationError(
            f"None of the {len(attempts)} attempts can be learned from ({_failures(attempts)}), so nothing "
            "is written; more attempts, a higher temperature or a better model would help."
        )
    facts = scan(opened, progress).rows.with_columns(source=pl.lit(opened.name))
    lines = {row["id"]: _line(row) for some in kept.rows.values() for row in some}
    named = facts.with_columns(row_id=pl.coalesce("own_id", pl.format("{}:{}", "split", "line")))
    train = named.filter(pl.col("split") == "train")
    new = pl.DataFrame(
        [(name, row["id"]) for name, some in kept.rows.items() for row in some],
        {"row_id": pl.String, "new_id": pl.String},
        orient="row",
    )
    anew = train.join(new, on="row_id", how="inner", maintain_order="left_right")
    copied = named.filter(pl.col("split") != "train").with_columns(new_id=pl.lit(None, pl.String))
    placed = pl.concat([anew, copied.select(anew.columns)]).with_columns(to="split")
    dropped = train.join(_left(dataset, attempts, kept), on="row_id", how="inner", maintain_order="left")
    made = plan(
        STEP,
        options,
        {opened.name: opened},
        placed,
        dropped.select(pl.col(name).cast(kind) for name, kind in LEFT.items()),
        lines,
    )
    return write(made, to, home, progress)


def _left(dataset: Dataset, attempts: Sequence[Attempt], kept: Kept) -> pl.DataFrame:
    """The training rows of which no attempt is learned, and why."""
    of_row: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        of_row.setdefault(attempt.task.id.rpartition("#")[0], []).append(attempt)
    return pl.DataFrame(
        list(_reasons(dataset.rows("train"), of_row, kept)),
        {"row_id": pl.String, "step": pl.String, "reason": pl.String, "evidence": pl.String},
        orient="row",
    )


def _reasons(
    rows: Sequence[Row], of_row: Mapping[str, Sequence[Attempt]], kept: Kept
) -> Iterator[tuple[str, str, str, str]]:
    for row in rows:
        if row["id"] in kept.rows:
            continue
        some = of_row.get(row["id"], [])
        if not some:
            yield row["id"], STEP, "no task", "no turn of it was attempted"
        elif any(one.passed for one in some):
            yield row["id"], STEP, "no attempt to learn from", f"{_failures(some)}"
        else:
            yield row["id"], STEP, "no attempt passed", f"0 of {len(some)}: {_failures(some)}"


def _failures(attempts: Sequence[Attempt]) -> str:
    counts = Counter(one.failure or "passed" for one in attempts)
    return ", ".join(f"{failure} {count}" for failure, count in counts.most_common(5))


def _line(row: Row) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
