"""What is in a data set, in numbers.

In: the facts of its rows. Out: one dict, ready to be printed as JSON. Lengths are of whole rows; shares are
between 0 and 1.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from tracemill.curate.datasets.facts import Scanned
from tracemill.curate.languages import detected
from tracemill.curate.splits import SPLITS

MOST = 20
"""Most tools, formats and prompts that are listed; the count says how many there are."""
_ROLES = {"system": "systems", "user": "users", "assistant": "turns", "tool": "results"}


def stats(found: Scanned) -> dict[str, Any]:
    """The numbers of a data set. Repeats are rows beyond the first of their kind."""
    rows = found.rows
    return {
        "rows": rows.height,
        "unread": found.faults.height,
        "splits": {
            split: _split(part) for split in SPLITS if (part := rows.filter(pl.col("split") == split)).height
        },
        "pairs": int(rows["pair"].sum()),
        "roles": {role: int(rows[column].sum()) for role, column in _ROLES.items()},
        "messages": _lengths(rows["messages"]),
        "characters": _lengths(rows["characters"]),
        "tokens": _lengths(rows["tokens"]) if rows["tokens"].count() else None,
        "calls": {
            "rows": (with_call := int((rows["calls"] > 0).sum())),
            "share_of_rows": _share(with_call, rows.height),
            "turns": (call_turns := int(rows["call_turns"].sum())),
            "share_of_turns": _share(call_turns, int(rows["turns"].sum())),
            "unreadable_turns": int(rows["broken_turns"].sum()),
            "calls": int(rows["calls"].sum()),
            "tools": rows["tools"].explode().drop_nulls().n_unique(),
            "per_tool": _most(rows.select(pl.col("tools").explode())),
        },
        "wire_formats": _most(rows.select(pl.col("formats").explode())),
        "rows_with_tools_offered": int((rows["offered"].list.len() > 0).sum()),
        "system_prompts": rows["system"].drop_nulls().n_unique(),
        "most_system_prompts": _most(rows.select("system")),
        "repeated_rows": _repeats(rows["fingerprint"]),
        "repeated_prompts": _repeats(rows.filter(pl.col("prompt") != "")["prompt"]),
        "most_repeated_prompts": {
            prompt: count for prompt, count in _most(rows.select("prompt")).items() if count > 1 and prompt
        },
        "categories": _most(rows.select(pl.col("category").replace("", None))),
        "languages": _languages(rows) if "prose" in rows.columns else None,
    }


def _split(rows: pl.DataFrame) -> dict[str, int]:
    counted = {"turns": "turns", "tool_calls": "calls", "characters": "characters"}
    return {"rows": rows.height, **{name: int(rows[column].sum()) for name, column in counted.items()}}


def _lengths(values: pl.Series) -> dict[str, int]:
    known = values.drop_nulls().sort()
    if not len(known):
        return {}
    at = {"least": 0.0, "median": 0.5, "p95": 0.95, "most": 1.0}
    return {name: int(known[round(part * (len(known) - 1))]) for name, part in at.items()} | {
        "all": int(known.sum())
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _most(values: pl.DataFrame) -> dict[str, int]:
    """How often each value of the only column stands there, the most frequent first."""
    (name,) = values.columns
    counted = values.drop_nulls().group_by(name).len().sort(["len", name], descending=[True, False])
    return dict(counted.head(MOST).iter_rows())


def _repeats(values: pl.Series) -> int:
    return len(values) - values.n_unique()


def _languages(rows: pl.DataFrame) -> dict[str, int]:
    """Rows by the language of their prompt; `unsure` where it is short or mostly code."""
    found = detected(rows["prose"].drop_nulls().unique().sort().to_list(), [], "langdetect")
    known = rows.select("prose").join(found, on="prose", how="left")
    sure = pl.when(pl.col("_sure") >= 0.9).then("_language").fill_null("unsure")
    return _most(known.select(language=sure))
