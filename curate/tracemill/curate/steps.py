"""The steps of a recipe: which conversations, and which turns of them, are worth learning.

In: a lazy frame with the columns `SOURCE` (but for the texts), `number`, `context` and the features a step
asks for, and the options of one step. Out: `Sieved`: the rows kept, and for every row dropped the step, a
reason and evidence. A step drops whole conversations or keeps single assistant turns out of the loss; the
positions of those stand in the column `context`. Every step is a pure function over columns, and `STEPS`
names them all. To add one: write `def name(frame, options) -> Sieved`, with `sieve` to part the rows, and add
its line to `STEPS` with the features it reads.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
from pydantic import Field

from tracemill.curate import copies, filters
from tracemill.curate.balance import BalanceOptions, balance
from tracemill.curate.languages import LanguageOptions, language
from tracemill.curate.lengths import LengthOptions, length
from tracemill.curate.sieve import DROPPED, ORDER, Options, Sieved, Step, sieve, united


class OutcomeOptions(Options, frozen=True):
    """Which verified outcomes are worth learning from."""

    keep: list[Literal["good", "bad"]] = Field(default=["good"], min_length=1)


class CallOptions(Options, frozen=True):
    """What happens to a conversation that holds a failed call.

    `context` keeps the conversation and takes the failing turn out of the loss; `drop` drops it. In the
    sessions of real agents most long conversations hold a failed call, and what the agent did next is the
    recovery a model should learn, so the default is `context`.
    """

    failed_calls: Literal["context", "drop"] = "context"


def outcome(frame: pl.LazyFrame, options: OutcomeOptions) -> Sieved:
    """Keep sessions whose verified outcome is one of `options.keep`."""
    found = pl.col("outcome")
    wanted = found.is_in(options.keep).fill_null(False)
    none = pl.when(found.is_null())
    return sieve(
        frame.with_columns(
            _reason=none.then(pl.lit("no outcome")).otherwise(pl.format("{} outcome", found)),
            _evidence=none.then(pl.lit("nothing says how the session went")).otherwise(
                pl.format("the session is labelled {}", found)
            ),
        ),
        "outcome",
        wanted,
    )


def calls(frame: pl.LazyFrame, options: CallOptions) -> Sieved:
    """Keep conversations whose tool calls can be learned; failed calls become context or drop the row.

    A call has failed where its tool was not offered, a required argument is missing or it did not end well.
    Always dropped: turns without a `<tool_call>` form, and calls whose session recorded no toolset, for a row
    without tools would teach to call what nobody offered.
    """
    unformed = pl.when(pl.col("text_fault").is_not_null())
    bare = (pl.col("call_count") > 0) & (pl.col("tool_count") == 0)
    failed = pl.col("call_faults").is_not_null() & (options.failed_calls == "drop")
    judged = frame.with_columns(
        _reason=unformed.then(pl.lit("no text form"))
        .when(bare)
        .then(pl.lit("no toolset"))
        .when(failed)
        .then(pl.lit("failed call")),
        _evidence=unformed.then("text_fault")
        .when(bare)
        .then(pl.format("{} calls, and the tools offered were not recorded", "call_count"))
        .otherwise("call_faults"),
        context=united("context", "failed_turns"),
    )
    return sieve(judged, "calls", pl.col("_reason").is_null())


def duplicates(frame: pl.LazyFrame, _: Options) -> Sieved:
    """Keep one of the conversations with the same messages and tools, call ids and white space aside.

    The most held-out pin wins, for what one session holds out another must not teach; then the earliest. One
    that teaches a turn which is context in that one stays as well.
    """
    pin = pl.col("split").replace_strict({"test": 0, "valid": 1}, default=2, return_dtype=pl.Int8)
    order = ["_pin", ORDER]
    like = pl.col("conversation_id").first().over("fingerprint", "context", order_by=order)
    marked = frame.with_columns(_pin=pin).with_columns(
        _first=pl.col("conversation_id").first().over("fingerprint", order_by=order),
        _out=pl.col("context").first().over("fingerprint", order_by=order),
        _like=like,
    )
    all_taught = pl.col("_out").list.set_difference("context").list.len() == 0
    judged = marked.with_columns(_kept=pl.when(all_taught).then("_first").otherwise("_like"))
    return sieve(
        judged.with_columns(
            _reason=pl.lit("exact duplicate"),
            _evidence=pl.format("the same messages and tools as conversation {}", "_kept"),
        ),
        "duplicates",
        pl.col("conversation_id") == pl.col("_kept"),
    )


def branches(frame: pl.LazyFrame, _: Options) -> Sieved:
    """Learn an assistant turn that stands in several conversations of a session in the first only.

    It drops nothing. Two turns are the same where the feature `turns` names them the same.
    """
    several = pl.col("conversation_id").n_unique().over("session_id") > 1
    first = pl.col("conversation_id").first().over("session_id", "turns", order_by=ORDER)
    repeated = (
        frame.filter(several)
        .select("session_id", "conversation_id", ORDER, "context", "assistants", "turns")
        .explode("assistants", "turns")
        .drop_nulls("turns")
        .filter(~pl.col("context").list.contains(pl.col("assistants")))
        .filter(pl.col("conversation_id") != first)
        .group_by("conversation_id")
        .agg(_repeated=pl.col("assistants"))
    )
    kept = frame.join(repeated, on="conversation_id", how="left", maintain_order="left")
    kept = kept.with_columns(context=united("context", "_repeated")).drop("_repeated")
    return Sieved(kept, pl.LazyFrame(schema=DROPPED))


def learnable(frame: pl.LazyFrame, _: Options) -> Sieved:
    """Keep conversations with an assistant turn to learn.

    Only context is a turn without text and calls, and what is said from the first image or file on.
    """
    blind = pl.when(pl.col("blind_turns").list.len() > 0)
    judged = frame.with_columns(
        context=united("context", "empty_turns", "blind_turns"),
        _reason=blind.then(pl.lit("image or file")).otherwise(pl.lit("nothing to learn")),
        _evidence=blind.then("first_file").otherwise(
            pl.format("{} assistant turns, none of them to be learned", pl.col("assistants").list.len())
        ),
    )
    learned = pl.col("assistants").list.set_difference("context").list.len() > 0
    return sieve(judged, "learnable", learned)


STEPS: dict[str, Step] = {
    "outcome": Step(outcome, "label the sessions that went well with `tracemill label`", OutcomeOptions),
    "calls": Step(
        calls,
        "import the sessions with the tools they were offered",
        CallOptions,
        ("text_fault", "call_count", "tool_count", "failed_turns", "call_faults"),
    ),
    "feedback": Step(filters.feedback, "lower its min_score", filters.FeedbackOptions),
    "schema": Step(filters.schema, 'set turns = "context"', filters.TurnOptions, ("assistants", "misfits")),
    "answers": Step(
        filters.answers,
        "record sessions that end in an answer",
        filters.TurnOptions,
        ("assistants", "answer_faults"),
    ),
    "copied": Step(
        filters.copied,
        "record sessions in which the model says something of its own",
        filters.TurnOptions,
        ("assistants", "copies"),
    ),
    "python2": Step(
        filters.python2, "record sessions about Python 3", filters.TurnOptions, ("assistants", "python2")
    ),
    "language": Step(language, "name more languages in its keep", LanguageOptions, ("prose",)),
    "markers": Step(
        filters.markers,
        "take the markers out with [rewrites.markers]",
        filters.MarkerOptions,
        ("marker",),
    ),
    "secrets": Step(
        filters.secrets, "import the sessions anew, which redacts them", filters.SecretOptions, ("secrets",)
    ),
    "length": Step(
        length,
        "raise its bounds",
        LengthOptions,
        ("message_count", "char_count", "byte_count"),
        texts=True,
    ),
    "duplicates": Step(duplicates, "record more sessions", features=("fingerprint",)),
    "near_duplicates": Step(
        copies.near_duplicates,
        "raise its threshold",
        copies.NearOptions,
        ("minhash", "extent", "assistants", "turns"),
        texts=True,
    ),
    "families": Step(copies.families, "raise max_per_family", copies.FamilyOptions, ("family",)),
    "against": Step(
        copies.against,
        "record more sessions, or name fewer data sets",
        copies.AgainstOptions,
        ("minhash", "assistants"),
        texts=True,
    ),
    "decontaminate": Step(
        copies.decontaminate, "record sessions of other tasks", copies.SuiteOptions, ("prompt",)
    ),
    "branches": Step(branches, "record more sessions", features=("assistants", "turns")),
    "balance": Step(
        balance,
        "raise its caps",
        BalanceOptions,
        ("called_tools", "call_count", "tool_count", "tempting", "family"),
    ),
    "learnable": Step(
        learnable,
        "record sessions in which the model answers or calls tools that succeed",
        features=("assistants", "empty_turns", "blind_turns", "first_file"),
    ),
}


def features_of(steps: Any) -> list[str]:
    """The features that the steps of these names read, each once."""
    return list(dict.fromkeys(name for step in steps for name in STEPS[step].features))
