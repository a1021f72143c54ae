"""The report: one HTML file that needs nothing else, and the same as JSON beside it.

In: a `Report`. Out: two files. The page says the verdict first, then what was compared, the pictures, the
tables, and every item with what was expected and what each model wrote. It refers to nothing outside itself,
runs no script, and everything that came from a trace or a model is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from tracemill.curate.manifest import StepCount
from tracemill.evaluate.comparison import Comparison, guarded
from tracemill.evaluate.confusion import confusions
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.guard.verdict import GuardComparison
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.live_results import LiveComparison
from tracemill.evaluate.plots import (
    Curve,
    accuracy_plot,
    curve_plot,
    failure_plot,
    flips_plot,
    guard_plot,
    length_plot,
    lengths,
)
from tracemill.evaluate.report_items import cut, sections, turn_text
from tracemill.evaluate.verdict import p_value, points
from tracemill.evaluate.whole_file import write_whole


@dataclass(frozen=True)
class Report:
    """All that stands in a report.

    facts: label and value of what was compared (base, adapter, data set, seeds, hashes); base, adapter:
    results on the same items; retention: the steps of the export that made the data set; guard: what became
    of general ability, a part of the verdict.
    """

    title: str
    facts: list[tuple[str, str]]
    comparison: Comparison
    base: list[ItemResult]
    adapter: list[ItemResult]
    curve: Curve | None = None
    live: LiveComparison | None = None
    retention: Sequence[StepCount] = field(default_factory=list[StepCount])
    guard: GuardComparison | None = None

    def guarded(self, guard: GuardComparison) -> Report:
        """The report with the guard as a part of it and of its verdict."""
        asked = f"guard/{guard.base.size}, {len(guard.base.answers)} items and {len(guard.base.texts)} texts"
        return replace(
            self,
            facts=[*self.facts, ("General ability", asked)],
            guard=guard,
            comparison=guarded(self.comparison, guard.verdict),
        )


def write_report(path: Path, report: Report) -> Path:
    """Write the page to `path` and its numbers to the `.json` beside it; returns `path`.

    EvaluationError where the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(
            path.with_suffix(".json"), json.dumps(as_plain(report), ensure_ascii=False, indent=1) + "\n"
        )
        write_whole(path, render_html(report))
    except OSError as error:
        raise EvaluationError(
            f"Cannot write the report {path}: {error.strerror}; name another path."
        ) from error
    return path


def render_html(report: Report) -> str:
    """The page as text; equal reports give equal pages."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, points=points, p_value=p_value, json=_json, cut=cut)
    template = (files("tracemill.evaluate") / "templates" / "report.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        report=report,
        comparison=report.comparison,
        accuracy=Markup(accuracy_plot(report.comparison)),
        failures=Markup(failure_plot(report.comparison)),
        curve=Markup(curve_plot(report.curve)) if report.curve else None,
        flips=Markup(flips_plot(report.base, report.adapter)),
        lengths=Markup(length_plot(report.base, report.adapter)),
        length_notes=[_length_note(report.base), _length_note(report.adapter)],
        confusions=confusions([report.base, report.adapter]),
        guard=Markup(guard_plot(report.guard)) if report.guard else None,
        sections=sections(report.base, report.adapter),
    )


def as_plain(report: Report) -> dict[str, Any]:
    """The numbers and texts of the report as plain values; the history of an item stays in the data set."""
    return {
        "title": report.title,
        "facts": dict(report.facts),
        "comparison": asdict(report.comparison),
        "curve": asdict(report.curve) if report.curve else None,
        "live": asdict(report.live) if report.live else None,
        "guard": _guard_plain(report.guard) if report.guard else None,
        "retention": [step.model_dump() for step in report.retention],
        "items": [
            {
                "id": one.item.id,
                "session_id": one.item.session_id,
                "category": one.item.category,
                "kind": one.item.kind,
                "expected": turn_text(one.item.expected),
                "base": {"text": one.text, **asdict(one.score)},
                "adapter": {"text": other.text, **asdict(other.score)},
            }
            for one, other in zip(report.base, report.adapter, strict=True)
        ],
    }


def _guard_plain(guard: GuardComparison) -> dict[str, Any]:
    pairs = zip(guard.base.answers, guard.adapter.answers, strict=True)
    return {
        "size": guard.base.size,
        "notes": guard.notes,
        "verdict": asdict(guard.verdict),
        "items": [
            {
                "id": one.item.id,
                "category": one.item.category,
                "asked": one.item.ask,
                "right": list(one.item.right),
                **{
                    name: {"text": result.text, "failure": result.failure, "detail": result.detail}
                    for name, result in (("base", one), ("adapter", other))
                },
            }
            for one, other in pairs
        ],
    }


def _length_note(results: Sequence[ItemResult]) -> str:
    """How long completions are for what was expected: the median, and where 8 of 10 lie."""
    ratios = [got / max(due, 1) for due, got in map(lengths, results)]
    low, middle, high = (float(one) for one in np.quantile(ratios, (0.1, 0.5, 0.9)))
    return f"{middle:.1f} times ({low:.1f} to {high:.1f})"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _percent(share: float) -> str:
    return f"{share * 100:.0f}%"
