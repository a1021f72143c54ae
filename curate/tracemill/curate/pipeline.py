"""A recipe's steps run in order, and what they leave made into data set rows.

In: the frame of `warehouse.read.conversations`. Out: `Curated`: what is left, what was dropped and why, and a
count per step; then the rows themselves, each with its token proof where there is a chat template.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracemill.curate.chat.codec import to_row
from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError, ProofError
from tracemill.curate.manifest import StepCount
from tracemill.curate.steps import DROPPED, STEPS, Options, prepare

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Curated:
    """What the steps left (`rows`), what they dropped (columns `DROPPED`) and a count for each."""

    rows: pl.DataFrame
    dropped: pl.DataFrame
    counts: list[StepCount]

    def after(self, step: str, kept: pl.DataFrame, dropped: pl.DataFrame) -> Curated:
        """The same with one more step."""
        count = _count(step, self.rows, kept, dropped)
        return Curated(kept, pl.concat([self.dropped, dropped]), [*self.counts, count])


def curate(
    conversations: pl.LazyFrame, steps: Mapping[str, Options], progress: Progress | None = None
) -> Curated:
    """Run `steps` in order; rows come and stay in the order of their start."""
    rows = prepare(conversations).sort("started", "conversation_id").collect()
    curated = Curated(rows, pl.DataFrame(schema=DROPPED), [])
    for done, (name, options) in enumerate(steps.items(), start=1):
        sieved = STEPS[name].run(curated.rows.lazy(), options)
        curated = curated.after(name, *pl.collect_all([sieved.kept, sieved.dropped]))
        if progress:
            progress("curating", done, len(steps))
    return curated


def form(
    curated: Curated, chat: Chat | None, progress: Progress | None = None
) -> tuple[dict[str, Row], Curated]:
    """The row of every conversation, by id, proved where there is a `chat`; one that cannot be is dropped.

    A single odd session (say, one that quotes a stop token) must not keep all others from being exported.
    """
    step = "proof" if chat else "form"
    rows: dict[str, Row] = {}
    failed: list[dict[str, str]] = []
    for done, record in enumerate(curated.rows.iter_rows(named=True), start=1):
        try:
            row = _row(record)
            if chat:
                prove(chat, row)
            rows[row["id"]] = row
        except (CodecError, ProofError) as error:
            failed.append(
                {
                    "conversation_id": record["conversation_id"],
                    "session_id": record["session_id"],
                    "step": step,
                    "reason": "no text form" if isinstance(error, CodecError) else "no token proof",
                    "evidence": str(error),
                }
            )
        if chat and progress:
            progress("proving", done, curated.rows.height)
    kept = curated.rows.filter(pl.col("conversation_id").is_in(list(rows)))
    return rows, curated.after(step, kept, pl.DataFrame(failed, schema=DROPPED))


def _row(record: Mapping[str, Any]) -> Row:
    messages = to_row(json.loads(record["messages"]))
    for position in record["context"]:
        messages[position]["weight"] = 0
    return {
        "id": record["conversation_id"],
        "session_id": record["session_id"],
        "category": record["category"] or "",
        "messages": messages,
        "tools": json.loads(record["tools"] or "[]"),
    }


def _count(step: str, rows: pl.DataFrame, kept: pl.DataFrame, dropped: pl.DataFrame) -> StepCount:
    before = rows.join(kept, on="conversation_id", how="semi")
    return StepCount(
        step=step,
        rows_in=rows.height,
        kept=kept.height,
        dropped=dropped.height,
        context=_turns_out(kept) - _turns_out(before),
        reasons=dict(sorted(Counter[str](dropped["reason"].to_list()).items())),
    )


def _turns_out(rows: pl.DataFrame) -> int:
    return int(rows["context"].list.len().sum())
