"""What looks wrong in a data set: every ill, how often it is met, where, and how to mend it.

In: the rows that were looked at. Out: a `Finding` for each of `ILLS`, those that are not met too, for a
reader wants to know what was looked for. Whatever a step of a recipe judges is judged by that very step, run
on these rows; each data set is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import polars as pl

from tracemill.curate.card.facts import calls_of, shy
from tracemill.curate.card.ills import ILLS, WRITTEN, Ill
from tracemill.curate.card.measure import Measured
from tracemill.curate.card.plain import percent
from tracemill.curate.features.faults import excerpt
from tracemill.curate.leaks import Leak
from tracemill.curate.steps import STEPS

Level = Literal["bad", "look", "fine"]
LEVELS: tuple[Level, ...] = ("bad", "look", "fine")
HITS: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "data": pl.String,
    "evidence": pl.String,
    "times": pl.Int64,
}
"""A row with an ill: what shows it, and how many of what is counted it holds."""
EXAMPLES = 3
_HIGH, _SOME, _LOW, _ONE, _FEW = 0.9, 0.8, 0.1, 0.95, 20


@dataclass(frozen=True)
class Finding:
    """An ill, how many of how many, its level, examples (row and what shows it), and counts by data set."""

    key: str
    ill: Ill
    count: int
    of: int
    level: Level
    examples: list[tuple[str, str]]
    by: dict[str, tuple[int, int]]

    @property
    def share(self) -> float:
        """The count as a share of all that is counted."""
        return self.count / self.of if self.of else 0.0


def advice(
    measured: Measured,
    near: pl.DataFrame,
    languages: pl.DataFrame,
    leaks: Mapping[str, Sequence[Leak]],
    exported: bool,
) -> list[Finding]:
    """The findings, what is bad first; `near`, `languages` and `leaks` as `facts` finds them.

    What was `exported` is trained by us, on every turn.
    """
    rows, calls = measured.rows, calls_of(measured.rows)
    sets = sorted({*rows["data"], *(data for data, _ in measured.faults)})
    read = _by_set(rows, "data")
    all_calls = _by_set(calls, "data")
    turns = _sums(rows, pl.col("assistants").list.len())
    with_calls = _by_set(calls.unique(["conversation_id", "turn"]), "data")
    lines = {data: read.get(data, 0) + sum(name == data for name, _ in measured.faults) for data in sets}
    looked = _by_set(languages, "data")
    of = {"calls": all_calls, "rows": read, "lines": lines, "prompts": looked, "leaks": read}
    hidden = shy(rows)
    hits = {**dict(_hits(rows, calls, near)), **_told(measured, languages, leaks)}
    found: list[Finding] = []
    for key, ill in ILLS.items():
        counted = of.get(ill.unit, with_calls if key == "preambles" else turns)
        found.append(_finding(key, ill, hits[key], counted, hidden))
    if exported:
        found = [
            replace(one, level="look") if (one.key, one.level) == ("untrained", "bad") else one
            for one in found
        ]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def _finding(key: str, ill: Ill, hits: pl.DataFrame, of: Mapping[str, int], hidden: set[str]) -> Finding:
    by = {data: int(times) for data, times in hits.group_by("data").agg(pl.col("times").sum()).iter_rows()}
    count, whole = sum(by.values()), sum(of.values())
    if key == "share":
        hits = _shares(by, of)
    told = hits if key == "secrets" else hits.filter(~pl.col("conversation_id").is_in(sorted(hidden)))
    # The shortest evidence first would say least; one of each kind of evidence says most.
    examples = told.unique("evidence", keep="first", maintain_order=True).head(EXAMPLES)
    level = _level(key, ill, count, whole, {data: (by.get(data, 0), of[data]) for data in of})
    return Finding(
        key, ill, count, whole, level, list(examples.select("conversation_id", "evidence").iter_rows()),
        {data: (by.get(data, 0), size) for data, size in sorted(of.items())},
    )  # fmt: skip


def _shares(by: Mapping[str, int], of: Mapping[str, int]) -> pl.DataFrame:
    """The data sets in which too many or too few rows call a tool, as the examples of that finding."""
    shares = {data: by.get(data, 0) / size for data, size in sorted(of.items()) if size}
    told = [
        (data, data, f"{percent(share)} of its rows call a tool", 1)
        for data, share in sorted(shares.items(), key=lambda one: -one[1])
        if not _LOW <= share <= _SOME
    ]
    return pl.DataFrame(told, dict(HITS), orient="row")


def _level(key: str, ill: Ill, count: int, of: int, by: Mapping[str, tuple[int, int]]) -> Level:
    share = count / of if of else 0.0
    if key == "share":
        shares = [share, *(part / size for part, size in by.values() if size >= _FEW)]
        if not of:
            return "fine"
        if max(shares) > _HIGH:
            return "bad"
        return "look" if max(shares) > _SOME or min(shares) < _LOW else "fine"
    if not count:
        return "fine"
    return "bad" if share >= ill.bad_from else "look"


def _hits(rows: pl.DataFrame, calls: pl.DataFrame, near: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """What stands in rows and calls."""
    yield "markers", _step(rows, "markers")
    yield "misfits", _step(rows, "schema", turns="drop")
    yield "families", _step(rows, "families")
    yield "python2", _step(rows, "python2", turns="drop")
    yield "secrets", _step(rows, "secrets")
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
    calling = rows.filter(pl.col("calls").list.len() > 0)
    yield "share", _of_rows(calling, pl.lit("it calls a tool"))
    bare = calling.filter(pl.col("tool_count") == 0)
    yield "no_toolset", _of_rows(bare, pl.format("it calls {}", pl.col("called_tools").list.join(", ")))
    yield "one_tool", _of_calls(_one_tool(calls), pl.col("tool"))
    asked = rows.filter(pl.col("prompt") != "")
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


def _by_set(rows: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(rows.group_by(column).len().sort(column).iter_rows())


def _sums(rows: pl.DataFrame, what: pl.Expr) -> dict[str, int]:
    return dict(rows.group_by("data").agg(what.sum().cast(pl.Int64)).sort("data").iter_rows())
