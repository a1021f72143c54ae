"""The step `balance`: how many conversations of each kind there are to learn from.

In: the frame of a step. Out: `Sieved`. Caps bound a kind from above; of what is above, a seeded draw decides
what goes. Floors never drop anything: they keep the draw from taking the last conversations of a rare kind,
so where the two contradict each other (a conversation calls a common tool and a rare one), the floor wins.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import polars as pl
from pydantic import Field, model_validator

from tracemill.curate.sieve import Options, Sieved, sieve
from tracemill.curate.temptation import with_hard_negatives

_COLUMNS = (
    "conversation_id", "called_tools", "category", "project", "call_count", "hard_negative", "family", "_like"
)  # fmt: skip
_KINDS = ("tool", "category", "project")
_HARD = ("hard negative", "")


class BalanceOptions(Options, frozen=True):
    """Caps and floors, in conversations.

    The two shares are of all that is left, give or take one, and hold where there is any of the other kind.
    A conversation is of every tool it calls. `category` is the kind of task. A hard negative is one in which
    a tool was tempting and none is called (`temptation.py`).
    """

    max_per_tool: int | None = Field(default=None, ge=1)
    max_per_category: int | None = Field(default=None, ge=1)
    max_per_project: int | None = Field(default=None, ge=1)
    min_per_tool: int = Field(default=0, ge=0)
    min_per_category: int = Field(default=0, ge=0)
    min_per_project: int = Field(default=0, ge=0)
    max_calls: float | None = Field(default=None, gt=0, lt=1)
    max_direct: float | None = Field(default=None, gt=0, lt=1)
    min_hard_negatives: int = Field(default=0, ge=0)
    max_hard_negatives: int | None = Field(default=None, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _can_be_met(self) -> BalanceOptions:
        if (self.max_calls or 1) + (self.max_direct or 1) < 1:
            raise ValueError("max_calls and max_direct together must make a whole")
        if self.max_hard_negatives is not None and self.max_hard_negatives < self.min_hard_negatives:
            raise ValueError("max_hard_negatives must not be below min_hard_negatives")
        return self


@dataclass(frozen=True)
class _Row:
    name: str
    groups: tuple[tuple[str, str], ...]
    calls: bool
    family: str | None
    like: str | None


def balance(frame: pl.LazyFrame, options: BalanceOptions) -> Sieved:
    """Keep what the caps allow and the floors ask for."""
    rows = with_hard_negatives(frame.collect())
    given = rows.select(_COLUMNS).iter_rows(named=True)
    drawn = sorted(map(_row, given), key=lambda row: _draw(row.name, options.seed))
    safe = _floors(drawn, options)
    out = _above_caps(drawn, safe, options)
    left = [row for row in drawn if row.name not in out]
    out |= _above_share(left, safe, options.max_calls, calls=True)
    out |= _above_share(left, safe, options.max_direct, calls=False)
    told = pl.DataFrame(
        [(name, *why) for name, why in out.items()],
        {"conversation_id": pl.String, "_reason": pl.String, "_evidence": pl.String},
        orient="row",
    )
    judged = rows.lazy().join(told.lazy(), on="conversation_id", how="left", maintain_order="left")
    return sieve(judged, "balance", pl.col("_reason").is_null())


def _row(record: Mapping[str, Any]) -> _Row:
    tools = [("tool", name) for name in record["called_tools"] or ()]
    others = [(kind, record[kind]) for kind in _KINDS[1:] if record[kind]]
    hard = record["hard_negative"] is not None
    groups = (*tools, *others, *([_HARD] if hard else []))
    calls = record["call_count"] > 0
    return _Row(record["conversation_id"], groups, calls, record["family"], record["_like"])


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0balance\0{name}".encode()).digest()


def _floors(drawn: Sequence[_Row], options: BalanceOptions) -> set[str]:
    """The first conversations of each kind in the draw, as many as its floor says."""
    floors = {kind: getattr(options, f"min_per_{kind}") for kind in _KINDS}
    floors[_HARD[0]] = options.min_hard_negatives
    counts: Counter[tuple[str, str]] = Counter()
    safe: set[str] = set()
    led = {row.family: row for row in reversed(drawn) if row.calls}
    for row in drawn:
        needed = {group[0] for group in row.groups if counts[group] < floors[group[0]]}
        if not needed or row.name in safe:
            continue
        # What makes it hard stays with it: else it would be none in the data set that is left.
        kept = [row, *([led[row.like]] if row.like and _HARD[0] in needed else [])]
        for one in kept:
            if one.name not in safe:
                safe.add(one.name)
                counts.update(one.groups)
    return safe


def _above_caps(drawn: Sequence[_Row], safe: set[str], options: BalanceOptions) -> dict[str, tuple[str, str]]:
    """What the caps leave out, and why: reason and evidence."""
    caps = {kind: getattr(options, f"max_per_{kind}") for kind in _KINDS}
    caps[_HARD[0]] = options.max_hard_negatives
    counts = Counter(group for row in drawn if row.name in safe for group in row.groups)
    out: dict[str, tuple[str, str]] = {}
    for row in drawn:
        if row.name in safe:
            continue
        full = next(_full(row, counts, caps), None)
        if full is None:
            counts.update(row.groups)
        else:
            kind, value = full
            of = f"of the {kind} {value!r}" if value else f"are {kind}s and"
            told = f"{caps[kind]} others {of} were drawn before it"
            out[row.name] = (f"enough of this {kind}" if value else f"enough {kind}s", told)
    return out


def _full(
    row: _Row, counts: Counter[tuple[str, str]], caps: Mapping[str, int | None]
) -> Iterator[tuple[str, str]]:
    for group in row.groups:
        cap = caps[group[0]]
        if cap is not None and counts[group] >= cap:
            yield group


def _above_share(
    left: Sequence[_Row], safe: set[str], share: float | None, *, calls: bool
) -> dict[str, tuple[str, str]]:
    """What is to go so that the conversations that call (or do not) are at most `share` of all."""
    own = [row for row in left if row.calls == calls]
    others = len(left) - len(own)
    if share is None or not others:
        return {}
    # Rounded up, so that two caps that make a whole cannot chase each other.
    most = ceil(share * others / (1 - share) - 1e-9)
    kept = sum(row.name in safe for row in own)
    out: dict[str, tuple[str, str]] = {}
    kind = "tool calls" if calls else "direct answers"
    for row in own:
        if row.name in safe:
            continue
        if kept < most:
            kept += 1
        else:
            told = (
                f"{len(own)} conversations with {kind} to {others} without, and a share of {share} is allowed"
            )
            out[row.name] = (f"enough {kind}", told)
    return out
