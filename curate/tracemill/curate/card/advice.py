"""What looks wrong in a data set: every ill, how often it is met, where, and how to mend it.

In: the rows that were looked at. Out: a `Finding` for each of `ILLS`, those that are not met too, for a
reader wants to know what was looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from tracemill.curate.card.groups import calls_of, shy
from tracemill.curate.card.hits import HITS, all_hits
from tracemill.curate.card.ills import ILLS, Ill
from tracemill.curate.card.measure import Measured
from tracemill.curate.card.numbers import percent
from tracemill.curate.leaks import Leak

Level = Literal["bad", "look", "fine"]
LEVELS: tuple[Level, ...] = ("bad", "look", "fine")
EXAMPLES = 3
_HIGH, _SOME, _LOW, _FEW = 0.9, 0.8, 0.1, 20


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
    of = _counted(measured, languages)
    hidden = shy(measured.rows)
    where = all_hits(measured, near, languages, leaks)
    found = [_finding(key, ill, where[key], of[ill.unit], hidden) for key, ill in ILLS.items()]
    if exported:
        found = [replace(one, level="look") if _trained_by_us(one) else one for one in found]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def _trained_by_us(finding: Finding) -> bool:
    return (finding.key, finding.level) == ("untrained", "bad")


def _counted(measured: Measured, languages: pl.DataFrame) -> dict[str, dict[str, int]]:
    """How many there are of each unit in each data set; of turns and calls, those that are learned."""
    rows, calls = measured.rows, calls_of(measured.rows).filter("learned")
    faults = Counter(data for data, _ in measured.faults)
    read = _by_set(rows)
    turns = rows.group_by("data").agg(pl.col("learned").sum())
    return {
        "rows": read,
        "leaks": read,
        "lines": {data: read.get(data, 0) + faults[data] for data in sorted({*read, *faults})},
        "turns": dict(turns.sort("data").iter_rows()),
        "turns with a call": _by_set(calls.unique(["conversation_id", "turn"])),
        "calls": _by_set(calls),
        "prompts": _by_set(languages),
    }


def _finding(key: str, ill: Ill, hits: pl.DataFrame, of: Mapping[str, int], hidden: set[str]) -> Finding:
    times = hits.group_by("data").agg(pl.col("times").sum())
    met = {data: int(count) for data, count in times.iter_rows()}
    by = {data: (met.get(data, 0), size) for data, size in sorted(of.items())}
    if key == "share":
        hits = _shares(by)
    told = hits if key == "secrets" else hits.filter(~pl.col("conversation_id").is_in(sorted(hidden)))
    # One of each kind of evidence says more than several of one.
    examples = told.unique("evidence", keep="first", maintain_order=True).head(EXAMPLES)
    count, whole = sum(met.values()), sum(of.values())
    level = _level(key, ill, count, whole, by)
    listed = list(examples.select("conversation_id", "evidence").iter_rows())
    return Finding(key, ill, count, whole, level, listed, by)


def _shares(by: Mapping[str, tuple[int, int]]) -> pl.DataFrame:
    """The data sets in which too many or too few rows call a tool, as the examples of that finding."""
    shares = sorted(((part / size, data) for data, (part, size) in by.items() if size), reverse=True)
    told = [
        (data, data, f"{percent(share)} of its rows call a tool", 1)
        for share, data in shares
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


def _by_set(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows.group_by("data").len().sort("data").iter_rows())
