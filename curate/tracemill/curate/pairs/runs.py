"""Pairs of two runs of one task: where a bad run first does something else than a good one.

In: the assistant turns of both, each named by what came before it and by itself (`places`). Out: a frame of
pairs. What came before is compared in two ways. By `messages` all of it is equal, white space and call ids
aside. By `actions`, for runs of a task that has a name, the calls and their results are: a user, real or
simulated, says the same thing in other words each time. What any good run did in a place is never rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import polars as pl

from tracemill.curate.features.talk import Talk
from tracemill.curate.gather import draw
from tracemill.curate.pairs.options import PairOptions
from tracemill.curate.sieve import ORDER
from tracemill.tracer.messages import Message, canonical_json

PLACES: Mapping[str, Any] = {
    "conversation_id": pl.String,
    "position": pl.Int64,
    "way": pl.String,
    "place": pl.String,
    "turn": pl.String,
    "called": pl.String,
}
"""An assistant turn: what came before it by `way`, itself, and its calls ('' where it has none), as names."""
TOLD = ("conversation_id", ORDER, "task", "prompt")
"""What is asked of the conversations of both sides."""


def places(talk: Talk) -> Iterator[tuple[int, str, str, str, str]]:
    """The turns of a conversation as `PLACES` names them, up to the first image or file."""
    messages, actions = sha256(talk.toolset.encode()), sha256(talk.toolset.encode())
    for position, message in enumerate(talk.messages):
        if message.get("attachments"):
            return
        said, calls = canonical_json(_said(message)), _calls(message)
        if message["role"] == "assistant":
            called = _name(canonical_json(calls)) if calls else ""
            yield position, "messages", messages.hexdigest()[:24], _name(said), called
            if calls:
                yield position, "actions", actions.hexdigest()[:24], called, called
        messages.update(said + b"\0")
        if calls or message["role"] == "tool":
            actions.update(canonical_json(calls or message["content"]) + b"\0")


def _said(message: Message) -> list[object]:
    return [message["role"], " ".join(message["content"].split()), _calls(message)]


def _calls(message: Message) -> list[list[object]]:
    return [[call["name"], call["arguments"]] for call in message.get("tool_calls", [])]


def _name(text: bytes) -> str:
    return sha256(text).hexdigest()[:24]


def differing(
    good: pl.DataFrame, bad: pl.DataFrame, told: pl.DataFrame, options: PairOptions
) -> pl.DataFrame:
    """The pairs of turns: `conversation_id` and `position` of the chosen, `other`, `other_position`, `way`.

    `good` and `bad` have the columns `PLACES`, `good` also `learned`; `told` has the columns `TOLD` for both.
    Two turns that make the same calls in other words are no pair: nothing says that the words mattered.
    """
    right, wrong = _with_task(good, told), _with_task(bad, told)
    # What a good run did there, in its own or in other words.
    done = right.select("place", "turn", "called").unique()
    same = [done.select("place", "turn"), done.filter(pl.col("called") != "").select("place", "called")]
    for known in same:
        wrong = wrong.join(known.unique(), on=known.columns, how="anti", maintain_order="left")
    right, wrong = _few(right.filter("learned"), options), _few(wrong, options)
    both = right.join(wrong, on="place", suffix="_bad", maintain_order="left_right").filter(
        (pl.col("task") == pl.col("task_bad")) | pl.col("task").is_null() | pl.col("task_bad").is_null()
    )
    pairs = both.select(
        "conversation_id",
        "position",
        "prompt",
        "way",
        other="conversation_id_bad",
        other_position="position_bad",
    )
    once = ["conversation_id", "position", "other", "other_position"]
    pairs = pairs.sort("way", descending=True, maintain_order=True)
    pairs = pairs.unique(once, keep="first", maintain_order=True)
    return _drawn(pairs, "prompt", options).drop("prompt")


def _with_task(turns: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Turns with what is told of them; by actions they are compared within a task that has a name."""
    found = turns.join(told, on="conversation_id", how="inner", maintain_order="left")
    by_task = pl.when(pl.col("way") == "actions").then(pl.col("task") + "\0" + pl.col("place"))
    return found.with_columns(place=by_task.otherwise("place")).drop_nulls("place")


def _few(side: pl.DataFrame, options: PairOptions) -> pl.DataFrame:
    """Of turns that are the same, the earliest; of those in one place, as many as could ever be drawn."""
    firsts = side.sort(ORDER, "position").unique(["place", "turn", "task"], keep="first", maintain_order=True)
    return _drawn(firsts, "place", options)


def _drawn(frame: pl.DataFrame, group: str, options: PairOptions) -> pl.DataFrame:
    """At most `max_per_prompt` rows of each group, by a seeded draw; rows stay in their order."""
    names = [name for name in ("conversation_id", "position", "other") if name in frame.columns]
    keys = ["\0".join(map(str, row)) for row in frame.select(names).iter_rows()]
    draws = pl.Series([draw(key, options.seed) for key in keys], dtype=pl.Float64)
    ranked = frame.with_columns(_draw=draws).with_columns(_rank=pl.col("_draw").rank("ordinal").over(group))
    return ranked.filter(pl.col("_rank") <= options.max_per_prompt).drop("_draw", "_rank")
