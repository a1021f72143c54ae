"""The report: one HTML file that needs nothing else, and the same as JSON beside it.

In: a `Report`. Out: two files. The page says the verdict first, then what was compared, the pictures, the
tables, and every item with what was expected and what each model wrote. It refers to nothing outside itself,
runs no script, and everything that came from a trace or a model is escaped.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from tracemill.curate.chat.codec import calls_of, encode
from tracemill.curate.manifest import StepCount
from tracemill.evaluate.comparison import Comparison
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.live_results import LiveComparison
from tracemill.evaluate.plots import Curve, accuracy_plot, curve_plot, failure_plot
from tracemill.evaluate.verdict import p_value, points
from tracemill.tracer.messages import Message


@dataclass(frozen=True)
class Report:
    """All that stands in a report.

    facts: label and value of what was compared (base, adapter, data set, seeds, hashes); base, adapter:
    results on the same items; retention: the steps of the export that made the data set.
    """

    title: str
    facts: list[tuple[str, str]]
    comparison: Comparison
    base: list[ItemResult]
    adapter: list[ItemResult]
    curve: Curve | None = None
    live: LiveComparison | None = None
    retention: Sequence[StepCount] = field(default_factory=list[StepCount])


def write_report(path: Path, report: Report) -> Path:
    """Write the page to `path` and its numbers to the `.json` beside it; returns `path`.

    EvaluationError where the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(path.with_suffix(".json"), json.dumps(as_plain(report), ensure_ascii=False, indent=1) + "\n")
        _write(path, render_html(report))
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
    environment.filters.update(percent=_percent, points=points, p_value=p_value, json=_json)
    template = (files("tracemill.evaluate") / "templates" / "report.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        report=report,
        comparison=report.comparison,
        accuracy=Markup(accuracy_plot(report.comparison)),
        failures=Markup(failure_plot(report.comparison)),
        curve=Markup(curve_plot(report.curve)) if report.curve else None,
        sections=_sections(report),
    )


def as_plain(report: Report) -> dict[str, Any]:
    """The numbers and texts of the report as plain values; the history of an item stays in the data set."""
    return {
        "title": report.title,
        "facts": dict(report.facts),
        "comparison": asdict(report.comparison),
        "curve": asdict(report.curve) if report.curve else None,
        "live": asdict(report.live) if report.live else None,
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


def turn_text(message: Message) -> str:
    """A message as it stands in a data set row: tool calls as the text a model writes."""
    return (
        encode(message["content"], calls_of(message))
        if message["role"] == "assistant"
        else message["content"]
    )


@dataclass(frozen=True)
class _Entry:
    """One item on the page: the user's last words, what happened since, and the three turns to compare."""

    base: ItemResult
    adapter: ItemResult
    asked: str
    since: list[tuple[str, str]]
    expected: str


@dataclass(frozen=True)
class _Section:
    name: str
    open: bool
    entries: list[_Entry]


def _sections(report: Report) -> list[_Section]:
    """Flips first: they are what the adapter changed."""
    pairs = list(zip(report.base, report.adapter, strict=True))
    names = {
        (False, True): "Gained: wrong before, right with the adapter",
        (True, False): "Lost: right before, wrong with the adapter",
        (False, False): "Wrong with both",
        (True, True): "Right with both",
    }
    return [
        _Section(
            name,
            outcome[0] != outcome[1],
            [_entry(one, other) for one, other in pairs if (one.score.right, other.score.right) == outcome],
        )
        for outcome, name in names.items()
    ]


def _entry(base: ItemResult, adapter: ItemResult) -> _Entry:
    history = base.item.messages
    last = max((i for i, message in enumerate(history) if message["role"] == "user"), default=-1)
    return _Entry(
        base=base,
        adapter=adapter,
        asked=history[last]["content"] if last >= 0 else "",
        since=[(message.get("name", message["role"]), turn_text(message)) for message in history[last + 1 :]],
        expected=turn_text(base.item.expected),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _percent(share: float) -> str:
    return f"{share * 100:.0f}%"


def _write(path: Path, text: str) -> None:
    """Appear whole or not at all, for the user alone; a lone surrogate, unknown to UTF-8, becomes `?`."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
