"""What a recipe says of preference pairs, and what a pair is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from tracemill.tracer.messages import Message

Kind = Literal["retried", "denied", "runs"]
KINDS: tuple[Kind, ...] = ("retried", "denied", "runs")


class PairOptions(BaseModel, extra="forbid", strict=True, frozen=True):
    """Which pairs are made.

    `retried`: a call that failed, and the one that then succeeded in its place. `denied`: a call that a
    person rejected, and what the agent did instead. `runs`: where a bad run of a task first differs from a
    good one. Of runs with the same prompt at most `max_per_prompt` pairs are drawn by `seed`.
    """

    kinds: list[Kind] = Field(default=list(KINDS), min_length=1)
    max_per_prompt: int = Field(default=16, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """Two answers to the messages before `position`, and what says that one was better."""

    kind: Kind
    position: int
    chosen: Message
    rejected: Message
    evidence: str


class PairCounts(BaseModel, extra="forbid", frozen=True):
    """Pairs written by split and kind, and pairs left out by reason."""

    splits: dict[str, dict[str, int]]
    left_out: dict[str, int]
