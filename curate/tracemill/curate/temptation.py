"""Hard negatives: conversations in which a tool was tempting, and rightly not called.

In: conversations with the features `tempting`, `family`, `call_count` and `tool_count`. Out: the same with
the column `hard_negative`, which says what was tempting, null for all others, and `_like`, the template of
prompts that led to a call, where only that makes it one. A conversation without a call
to which tools were offered is one where its prompt names a tool, or is like prompts that led to calls: half
of the words of the two templates are the same (`features/templates.py`).
"""

from __future__ import annotations

import polars as pl

_ALIKE = 0.5
_COMMON = 1000
"""A word of more templates than this says nothing of any of them."""


def with_hard_negatives(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `hard_negative` and `_like`."""
    named = pl.format("the prompt names the tool {}", "tempting")
    like = pl.format("the prompt is like one that led to a call: {}", pl.col("_like").str.slice(0, 200))
    found = rows.join(_like(rows), on="family", how="left", maintain_order="left")
    named_one = pl.col("tempting").is_not_null()
    only_like = pl.when((pl.col("call_count") == 0) & (pl.col("tool_count") > 0) & ~named_one).then("_like")
    return found.with_columns(_like=only_like).with_columns(
        hard_negative=pl.when(named_one).then(named).when(pl.col("_like").is_not_null()).then(like)
    )


def _like(rows: pl.DataFrame) -> pl.DataFrame:
    """The templates (`family`) of prompts that led to no call, each with the most like that led to one."""
    calls, offered = pl.col("call_count") > 0, pl.col("tool_count") > 0
    led = _words(rows.filter(calls)).filter(pl.len().over("word") <= _COMMON)
    others = _words(rows.filter(~calls, offered))
    shared = (
        others.join(led, on="word", suffix="_led").group_by("family", "family_led", "size", "size_led").len()
    )
    alike = pl.col("len") / (pl.col("size") + pl.col("size_led") - pl.col("len"))
    near = shared.with_columns(alike=alike).filter(pl.col("alike") >= _ALIKE)
    first = near.sort("alike", "family_led", descending=[True, False]).unique("family", keep="first")
    return first.select("family", _like="family_led")


def _words(rows: pl.DataFrame) -> pl.DataFrame:
    """The words of each template, without what it would be filled with."""
    plain = pl.col("family").str.replace_all(r"\u27e8\w+\u27e9", " ").str.extract_all(r"\w+").list.unique()
    templates = rows.select("family").drop_nulls().unique().with_columns(word=plain)
    return templates.with_columns(size=pl.col("word").list.len()).explode("word").drop_nulls("word")
