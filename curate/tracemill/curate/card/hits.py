"""Where the ills of a data set are: for each, the rows that have it and what shows it.

In: rows as `measure` gives them, and what comparing them found (`groups`). Out: frames with the columns
`HITS`. Whatever a step of a recipe judges is judged by that very step, run on these rows; each data set is
judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from tracemill.curate.card.groups import calls_of
from tracemill.curate.card.ills import WRITTEN
from tracemill.curate.card.measure import Measured, learned_calls, learning
from tracemill.curate.features.faults import excerpt
from tracemill.curate.leaks import Leak
from tracemill.curate.steps import STEPS

HITS: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "data": pl.String,
    "evidence": pl.String,
    "times": pl.Int64,
}
"""A row with an ill: what shows it, and how many of what is counted it holds."""
_ONE, _FEW = 0.95, 20


def all_hits(
    measured: Measured, near: pl.DataFrame, languages: pl.DataFrame, leaks: Mapping[str, Sequence[Leak]]
) -> dict[str, pl.DataFrame]:
    """The hits of every ill, by its key; `near`, `languages` and `leaks` as `groups` finds them.

    What no loss falls on teaches nothing wrong, so it counts only where it is a secret or a leak.
    """
    rows = learning(measured.rows)
    calls = calls_of(rows).filter("learned")
    return {
        **dict(_hits(rows, calls, near)),
        "secrets": _step(measured.rows, "secrets").select(*HITS),
        **_told(measured, languages, leaks),
    }


def _hits(rows: pl.DataFrame, calls: pl.DataFrame, near: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """What stands in rows and calls."""
    yield "markers", _step(rows, "markers")
    yield "misfits", _step(rows, "schema", turns="drop")
    yield "python2", _step(rows, "python2", turns="drop")
    answers = _step(rows, "answers", turns="drop")
    kinds = {"empty": ("empty answer", "vacuous answer"), "promises": ("promise without a call",),
             "truncated": ("truncated answer",)}  # fmt: skip
    for key, reasons in kinds.items():
        yield key, answers.filter(pl.col("reason").is_in(reasons)).select(*HITS)
    echoes = [answers.filter(pl.col("reason") == "repeats the question"), _step(rows, "copied", turns="drop")]
    yield (
        "echoes",
        pl.concat(one.select(*HITS) for one in echoes).unique("conversation_id", maintain_order=True),
    )
    yield "preambles", _texts(rows, "announced")
    yield "told_calls", _texts(rows, "prose_calls")
    yield "broken_calls", _of_calls(calls.filter(pl.col("tool").is_null()), pl.col("error"))
    written = calls.filter(pl.col("format").is_in(WRITTEN))
    yield (
        "written_calls",
        _of_calls(written, pl.format("{} as {}", pl.col("tool").fill_null("a call"), "format")),
    )
    yield "formats", _of_calls(_uncommon(calls, "format"), pl.format("{}", "format"))
    yield (
        "untrained",
        _of_calls(
            calls.filter(~pl.col("last")),
            pl.format("{} in message {}", pl.col("tool").fill_null("a call"), "turn"),
        ),
    )
    unknown = calls.filter(~pl.col("offered"))
    yield "unknown_tools", _of_calls(unknown, pl.format("{} is none of the tools of the row", "tool"))
    calling = rows.filter(learned_calls().list.any())
    yield "share", _of_rows(calling, pl.lit("it calls a tool"))
    bare = calling.filter(pl.col("tool_count") == 0)
    yield "no_toolset", _of_rows(bare, pl.format("it calls {}", pl.col("called_tools").list.join(", ")))
    yield "one_tool", _of_calls(_one_tool(calls), pl.col("tool"))
    # Where a row is a turn, all rows of a session have its prompt.
    asked = rows.filter(pl.col("prompt") != "").unique(
        ["data", "session_id", "prompt"], keep="first", maintain_order=True
    )
    yield "families", _step(asked, "families")
    again = asked.filter(~pl.struct("data", "prompt").is_first_distinct())
    times = asked.group_by("data", "prompt").len("_times")
    again = again.join(times, on=["data", "prompt"], maintain_order="left").sort(
        "_times", descending=True, maintain_order=True
    )
    yield "prompts", _of_rows(again, pl.format("in {} rows: {}", "_times", _short("prompt")))
    copies = _step(rows, "duplicates").select(*HITS)
    yield "copies", copies
    nearby = rows.join(near, on="conversation_id", maintain_order="left")
    nearby = nearby.filter(
        (pl.col("leader") != pl.col("conversation_id"))
        & ~pl.col("conversation_id").is_in(copies["conversation_id"].implode())
    )
    alike = (pl.col("alike") * 100).floor().cast(pl.Int64)
    yield "near", _of_rows(nearby, pl.format("{}% alike to {}: {}", alike, "leader", _short("prompt")))
    sets = rows.group_by("said").agg(pl.col("data").unique().sort()).filter(pl.col("data").list.len() > 1)
    shared = rows.join(sets.rename({"data": "_sets"}), on="said", maintain_order="left")
    yield "shared", _of_rows(shared, pl.format("in {}", pl.col("_sets").list.join(", ")))
    other = _uncommon(rows.with_columns(pl.col("system").fill_null("")), "system")
    prompt = pl.when(pl.col("system") == "").then(pl.lit("no system prompt")).otherwise(_short("system"))
    yield "systems", _of_rows(other, prompt)


def _told(
    measured: Measured, languages: pl.DataFrame, leaks: Mapping[str, Sequence[Leak]]
) -> dict[str, pl.DataFrame]:
    """What cannot be read, what leaks, what is in another language."""
    other = languages.filter(~pl.col("language").is_in(["en, or not sure", "too short to tell"]))
    found = [(fault.conversation_id, data, fault.evidence, 1) for data, fault in measured.faults]
    leaked = [(leak.rows[-1], data, _leak(leak), 1) for data, listed in leaks.items() for leak in listed]
    return {
        "unread": pl.DataFrame(found, dict(HITS), orient="row"),
        "leaks": pl.DataFrame(leaked, dict(HITS), orient="row"),
        "language": other.select("conversation_id", "data", evidence="language", times=pl.lit(1, pl.Int64)),
    }


def _leak(leak: Leak) -> str:
    what = {"messages": "conversation", "near": "near copy"}.get(leak.kind, leak.kind)
    value = "" if leak.kind == "messages" else f": {leak.value[:120]}"
    return f"the {what} of {leak.rows[0]}, in {' and '.join(leak.splits)}{value}"


def _step(rows: pl.DataFrame, name: str, **options: Any) -> pl.DataFrame:
    """What a step would drop of each data set, as hits with a `reason`."""
    step = STEPS[name]
    parts = [
        step.run(part.lazy(), step.options(**options))
        .dropped.collect()
        .with_columns(data=pl.lit(data[0], pl.String))
        for data, part in rows.group_by("data", maintain_order=True)
    ]
    empty = pl.DataFrame(schema={**HITS, "reason": pl.String})
    return pl.concat(
        [empty, *(part.with_columns(times=pl.lit(1, pl.Int64)).select(*HITS, "reason") for part in parts)]
    )


def _texts(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    text = pl.element().struct.field("text")
    found = rows.filter(pl.col(column).list.len() > 0)
    first = found[column].list.eval(text).list.first()
    evidence = pl.Series([excerpt(one) for one in first], dtype=pl.String)
    return found.select(
        "conversation_id", "data", evidence=evidence, times=pl.col(column).list.len().cast(pl.Int64)
    )


def _of_calls(calls: pl.DataFrame, evidence: pl.Expr) -> pl.DataFrame:
    return calls.group_by("conversation_id", "data", maintain_order=True).agg(
        evidence=evidence.first(), times=pl.len().cast(pl.Int64)
    )


def _of_rows(rows: pl.DataFrame, evidence: pl.Expr) -> pl.DataFrame:
    return rows.select("conversation_id", "data", evidence=evidence, times=pl.lit(1, pl.Int64))


def _uncommon(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Those that have another value than most in their data set."""
    counts = rows.group_by("data", column).len().sort("len", column, descending=[True, False])
    common = counts.unique("data", keep="first", maintain_order=True).drop("len")
    return rows.join(common, on=["data", column], how="anti", maintain_order="left")


def _one_tool(calls: pl.DataFrame) -> pl.DataFrame:
    """The calls of a tool that nearly all calls of its data set are of."""
    read = calls.drop_nulls("tool")
    counts = read.group_by("data", "tool").len().with_columns(_all=pl.col("len").sum().over("data"))
    most = counts.filter((pl.col("len") >= _ONE * pl.col("_all")) & (pl.col("_all") >= _FEW))
    return read.join(most.select("data", "tool"), on=["data", "tool"], how="semi", maintain_order="left")


def _short(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, 120)
