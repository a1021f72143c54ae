"""The model card of a fused model: README.md, from what is known and nothing else.

In: the fused folder, what is `Known` of its adapter, and what was measured of each form. Out: Markdown whose
head Hugging Face reads. The same facts give the same page. What nobody told Tracemill is said to be unknown:
a licence, a purpose and an author are for whoever publishes it to add.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from tracemill.tracer.units import size
from tracemill.train.base import BaseModel
from tracemill.train.fidelity import Fidelity
from tracemill.train.fuse import Fused, hub_id, public
from tracemill.train.known import Interval, Known
from tracemill.train.using import pydantic_ai

FILE = "README.md"
URL = "http://127.0.0.1:8377/v1"


@dataclass(frozen=True)
class Change:
    """A group of items on which a form and the adapter it came from were compared."""

    name: str
    n: int
    adapter: Interval
    form: Interval
    difference: Interval
    p: float


@dataclass(frozen=True)
class Measured:
    """What was measured of one shipped form: `file` of the folder, or all of it."""

    name: str
    file: str
    size: int
    """Bytes."""
    fidelity: Fidelity
    same: int
    """Greedy completions that are the adapter's, character for character,"""
    completions: int
    """of so many."""
    asked: str
    """What was asked: a suite, or prompts of our own."""
    changes: Sequence[Change] = ()
    """The paired comparison with the adapter, where there were items with known answers."""


def write_card(fused: Fused, base: BaseModel, known: Known, measured: Sequence[Measured]) -> Path:
    """Write the card into the folder, replacing one that is there."""
    page = fused.path / FILE
    draft = page.with_name(f".{FILE}.{os.getpid()}")
    draft.write_text(card(fused, base, known, measured), "utf-8")
    draft.chmod(0o600)
    draft.replace(page)
    return page


def card(fused: Fused, base: BaseModel, known: Known, measured: Sequence[Measured]) -> str:
    """The page."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters |= {"cell": cell, "percent": percent, "points": points, "size": size}
    text = (files("tracemill.train") / "templates" / "model_card.md.jinja").read_text("utf-8")
    page = environment.from_string(text).render(
        fused=fused,
        made=fused.card,
        base=base,
        name=public(base),
        hub=hub_id(base),
        card=known.adapter.card,
        settings=known.adapter.card.get("settings") or {},
        adapter=known.adapter.path.name,
        known=known,
        manifest=known.manifest,
        measured=measured,
        agent=pydantic_ai(URL, fused.path.name),
        files=[(one.name, size(one.stat().st_size)) for one in sorted(fused.path.iterdir()) if _shipped(one)],
    )
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def cell(value: Any) -> str:
    """Text of others inside a line or a table: one line, in which nothing acts as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(str(value).split()))


def percent(one: Interval) -> str:
    """`85.9% (76.9 to 91.8)`."""
    return f"{100 * one.estimate:.1f}% ({100 * one.low:.1f} to {100 * one.high:.1f})"


def points(one: Interval) -> str:
    """`+85.9 (+75.6 to +91.8)`, in percentage points."""
    return f"{100 * one.estimate:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _shipped(file: Path) -> bool:
    return not file.name.startswith(".") and file.name != FILE
