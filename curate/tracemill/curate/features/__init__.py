"""Features: what steps know of a conversation, each a pure function of one `Talk`.

In: a `Talk`. Out: one polars value under the feature's name, short, for the frame of features of a million
conversations stands in memory. Only those that a recipe's steps ask for are computed, all in one pass. To add
one: write `def name(talk: Talk) -> value` in a module here and add its line to `FEATURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracemill.curate.features import (
    answers,
    arguments,
    conversation,
    copied,
    endings,
    language,
    leftovers,
    length,
    likeness,
    markers,
    python2,
    templates,
    tempting,
)
from tracemill.curate.features.faults import TURN_FAULTS
from tracemill.curate.features.talk import Talk

_POSITIONS = pl.List(pl.Int64)
_MARKER = pl.Struct({"text": pl.String, "form": pl.String, "strong": pl.Boolean})


@dataclass(frozen=True)
class Feature:
    """A pure function of one conversation and the polars type of what it gives."""

    run: Callable[[Talk], Any]
    type: pl.DataType | type[pl.DataType]


FEATURES: Mapping[str, Feature] = {
    "prompt": Feature(conversation.prompt, pl.String),
    "weightless": Feature(conversation.weightless, _POSITIONS),
    "assistants": Feature(conversation.assistants, _POSITIONS),
    "fingerprint": Feature(conversation.fingerprint, pl.String),
    "turns": Feature(conversation.turns, pl.List(pl.UInt64)),
    "empty_turns": Feature(conversation.empty_turns, _POSITIONS),
    "blind_turns": Feature(conversation.blind_turns, _POSITIONS),
    "first_file": Feature(conversation.first_file, pl.String),
    "text_fault": Feature(conversation.text_fault, pl.String),
    "call_count": Feature(conversation.call_count, pl.Int64),
    "tool_count": Feature(conversation.tool_count, pl.Int64),
    "failed_turns": Feature(conversation.failed_turns, _POSITIONS),
    "call_faults": Feature(conversation.call_faults, pl.String),
    "minhash": Feature(likeness.minhash, pl.Binary),
    "extent": Feature(likeness.extent, pl.Int64),
    "tempting": Feature(tempting.tempting, pl.String),
    "family": Feature(templates.family, pl.String),
    "called_tools": Feature(conversation.called_tools, pl.List(pl.String)),
    "misfits": Feature(arguments.misfits, TURN_FAULTS),
    "answer_faults": Feature(answers.answer_faults, TURN_FAULTS),
    "python2": Feature(python2.python2, TURN_FAULTS),
    "copies": Feature(copied.copies, TURN_FAULTS),
    "marker": Feature(markers.marker, _MARKER),
    "secrets": Feature(leftovers.secrets, pl.List(pl.String)),
    "prose": Feature(language.prose, pl.String),
    "message_count": Feature(length.message_count, pl.Int64),
    "char_count": Feature(length.char_count, pl.Int64),
    "endings": Feature(endings.endings, pl.List(pl.String)),
    "byte_count": Feature(length.byte_count, pl.Int64),
}

ALWAYS = ("prompt", "weightless")
"""Features that every pipeline needs: splits group by the prompt, and no step may undo a weight of 0."""


def schema(names: Iterable[str]) -> dict[str, Any]:
    """Name and polars type of the features `names`."""
    return {name: FEATURES[name].type for name in names}


def compute(talk: Talk, names: Iterable[str]) -> list[Any]:
    """The features `names` of one conversation."""
    return [FEATURES[name].run(talk) for name in names]
