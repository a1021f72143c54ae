"""The card as one HTML page that refers to nothing outside and runs no script.

In: a `Card`. Out: text. Everything that was recorded is escaped, and what could act on a reader is shown as
what it is (`plain`); the page forbids itself to load anything.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tracemill.curate.card.numbers import number, percent
from tracemill.curate.card.told import LOSSES, about, counted, kept, leaks, looked_at, proof, shares
from tracemill.curate.features.likeness import NEAR
from tracemill.curate.splits import SPLITS
from tracemill.tracer.plain import plain

if TYPE_CHECKING:
    from tracemill.curate.card import Card

SYSTEMS = 5


def html(card: Card) -> str:
    """The page; equal cards give equal pages."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    filters: dict[str, Any] = {"percent": percent, "counted": counted, "width": _width}
    environment.filters.update(filters)
    template = (files("tracemill.curate.card") / "templates" / "card.html.jinja").read_text("utf-8")
    facts = card.facts
    return environment.from_string(template).render(
        card=card,
        facts=facts,
        about=about(facts),
        looked_at=looked_at(facts),
        leaks=leaks(facts),
        leaking=sum(facts.leaks.values()),
        proof=proof(facts),
        kept=list(kept(facts.manifest.steps)) if facts.manifest else [],
        shares=[(one, shares(one, facts.sets)) for one in card.wrong],
        tools=[(tool, by, sum(by.values())) for tool, by in facts.tools.items()],
        splits=SPLITS,
        losses=LOSSES,
        near=NEAR,
        systems=SYSTEMS,
    )


def _shown(value: Any) -> Any:
    """Texts without what acts on a reader, whole numbers with their thousands apart."""
    if type(value) is str:
        return plain(value)
    return number(value) if type(value) is int else value


def _width(part: float, whole: float) -> str:
    """A part of a whole as the width of a bar; what is not nothing can be seen."""
    return f"{max(100 * part / whole, 0.4):.2f}%" if part and whole else "0"
