"""Filters: steps that judge a conversation, or single turns of it, by what stands in it.

In: the frame of a step with the features it reads, and its options. Out: `Sieved`. Where only a turn is bad,
it stays as context and out of the loss, unless the recipe says otherwise; a conversation goes where nothing
else is left of it.
"""

from __future__ import annotations

from typing import Literal

import polars as pl
from pydantic import Field

from tracemill.curate.features.leftovers import PERSONAL
from tracemill.curate.sieve import Options, Sieved, sieve, united


class TurnOptions(Options, frozen=True):
    """What happens to a conversation with such a turn: the turn becomes `context`, or it is dropped whole."""

    turns: Literal["context", "drop"] = "context"


class FeedbackOptions(Options, frozen=True):
    """Drop sessions whose mean score (-1 to 1) is below `min_score`; unrated ones stay, unless `rated`."""

    min_score: float = Field(default=0.0, ge=-1, le=1)
    rated: bool = False


class MarkerOptions(Options, frozen=True):
    """From how many conversations on that differ in its number only a weak marker is one."""

    weak_from: int = Field(default=5, ge=2)


class SecretOptions(Options, frozen=True):
    """`personal` drops e-mail addresses and names of home folders too."""

    personal: bool = False


def feedback(frame: pl.LazyFrame, options: FeedbackOptions) -> Sieved:
    """Keep sessions that people did not rate badly; a call they rejected becomes context."""
    score = pl.col("feedback")
    unrated = pl.when(score.is_null())
    judged = frame.with_columns(
        context=united("context", "disliked"),
        _reason=unrated.then(pl.lit("no feedback")).otherwise(pl.lit("bad feedback")),
        _evidence=unrated.then(pl.lit("nobody rated the session")).otherwise(
            pl.format(
                "the mean score of the session is {}, below {}", score.round(2), pl.lit(options.min_score)
            )
        ),
    )
    return sieve(judged, "feedback", (score >= options.min_score).fill_null(not options.rated))


def schema(frame: pl.LazyFrame, options: TurnOptions) -> Sieved:
    """Calls whose arguments do not fit the schema that was offered."""
    return _by_turns(frame, "schema", "misfits", options)


def answers(frame: pl.LazyFrame, options: TurnOptions) -> Sieved:
    """Answers that are empty, vacuous, a promise without a call, the question again, or cut off."""
    turn = pl.struct(
        turn=pl.element(),
        reason=pl.lit("truncated answer"),
        evidence=pl.lit("the model stopped for want of tokens"),
    )
    cut = pl.col("cut_off").fill_null([]).list.eval(turn)
    faults = pl.concat_list(cut, pl.col("answer_faults").fill_null([]))
    return _by_turns(frame.with_columns(_faults=faults), "answers", "_faults", options)


def python2(frame: pl.LazyFrame, options: TurnOptions) -> Sieved:
    """Turns that write Python 2."""
    return _by_turns(frame, "python2", "python2", options)


def copied(frame: pl.LazyFrame, options: TurnOptions) -> Sieved:
    """Turns that only copy a tool's result or what the user wrote."""
    return _by_turns(frame, "copied", "copies", options)


def _by_turns(frame: pl.LazyFrame, step: str, feature: str, options: TurnOptions) -> Sieved:
    """Keep turns with a fault out of the loss; drop a conversation that has no other turn to learn."""
    fault = pl.element().struct
    told = pl.format("turn {}: {}", fault.field("turn"), fault.field("evidence"))
    judged = frame.with_columns(
        _turns=pl.col(feature).list.eval(fault.field("turn")),
        _reason=pl.col(feature).list.first().struct.field("reason"),
        _evidence=pl.col(feature).list.head(3).list.eval(told).list.join("; "),
    ).with_columns(context=united("context", "_turns"))
    bad = pl.col("_reason").is_not_null()
    if options.turns == "context":
        bad &= pl.col("assistants").list.set_difference("context").list.len() == 0
    return sieve(judged, step, ~bad)


def markers(frame: pl.LazyFrame, options: MarkerOptions) -> Sieved:
    """Keep prompts without a variation marker such as "(request 12)".

    A weak one, such as "example 8", is one only where enough conversations have it with another number.
    """
    found = pl.col("marker").struct
    alike = found.field("text").n_unique().over(found.field("form"))
    judged = frame.with_columns(
        _form=found.field("form"), _strong=found.field("strong"), _alike=alike
    ).with_columns(
        _reason=pl.lit("variation marker"),
        _evidence=pl.format(
            "the prompt is marked {}, as {} others of that form are",
            found.field("text"),
            (pl.len().over("_form") - 1),
        ),
    )
    marked = pl.col("_form").is_not_null() & (pl.col("_strong") | (pl.col("_alike") >= options.weak_from))
    return sieve(judged, "markers", ~marked)


def secrets(frame: pl.LazyFrame, options: SecretOptions) -> Sieved:
    """Keep conversations without a secret in messages or tools; the evidence names kinds and nothing else."""
    spared = [] if options.personal else list(PERSONAL)
    kinds = pl.col("secrets").list.set_difference(pl.lit(spared, pl.List(pl.String))).list.sort()
    judged = frame.with_columns(
        _kinds=kinds,
        _reason=pl.lit("secret"),
        _evidence=pl.format(
            "it holds {}, in its messages or tools; `tracemill import` would redact that",
            kinds.list.join(", "),
        ),
    )
    return sieve(judged, "secrets", (pl.col("_kinds").list.len() == 0).fill_null(value=True))
