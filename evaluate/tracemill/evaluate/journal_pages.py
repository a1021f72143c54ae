"""The journal as a page: Markdown, or HTML that needs nothing else.

In: experiments. Out: text, the same for the same experiments. What people and recipes wrote is escaped, and
what could act on a terminal or a reader is shown as what it is (`plain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Any

from tracemill.curate.card.markdown import prose, table
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.journal import Experiment
from tracemill.evaluate.whole_file import write_whole
from tracemill.tracer.home import Home
from tracemill.tracer.plain import plain

COLUMNS = ("date", "experiment", "data set", "recipe", "base", "seed", "scores", "verdict", "notes")


NOTHING = "Nothing was trained or evaluated here yet; `tracemill improve` makes the first experiment."


def line(one: Experiment) -> tuple[str, ...]:
    """An experiment as a row under `COLUMNS`."""
    marks = ", promoted" * one.promoted + ", gone" * one.gone
    rows = "" if one.rows is None else f", {one.rows} rows"
    return (
        date(one),
        f"{one.id}{marks}",
        f"{one.dataset}{rows}" if one.dataset else "",
        one.recipe.name if one.recipe else "",
        one.base if one.base != one.id else "",
        "" if one.seed is None else str(one.seed),
        "; ".join(f"{score.suite} {score.text}" for score in one.scores),
        one.verdict,
        "; ".join(one.notes),
    )


def date(one: Experiment) -> str:
    """The day, in UTC."""
    return one.made.date().isoformat() if one.made else "unknown"


def facts(one: Experiment) -> list[tuple[str, str]]:
    """Labels and values of what an experiment was made of."""
    made = f"{one.made:%Y-%m-%d %H:%M} UTC" if one.made else "unknown"
    rows = "" if one.rows is None else f", {one.rows} rows"
    hashed = f", SHA-256 {one.dataset_sha256[:16]}" if one.dataset_sha256 else ""
    told = [
        ("made", made),
        ("data set", f"{one.dataset}{rows}{hashed}" if one.dataset else ""),
        ("recipe", one.recipe.name if one.recipe else ""),
        ("base", one.base),
        ("adapter", f"SHA-256 {one.adapter_sha256[:16]}" if one.adapter_sha256 else ""),
        ("seed", "" if one.seed is None else str(one.seed)),
        ("state", " and ".join(["promoted"] * one.promoted + ["its folder is gone"] * one.gone)),
    ]
    return [(label, value) for label, value in told if value]


def opening(home: Home) -> str:
    """What to say to the shell before any command of the journal."""
    return f"export TRACEMILL_HOME={quote(str(home.root))}"


def markdown(home: Home, experiments: Sequence[Experiment]) -> str:
    """The page as Markdown."""
    return "\n\n".join(_parts(home, experiments)) + "\n"


def _parts(home: Home, experiments: Sequence[Experiment]) -> Iterator[str]:
    yield "# Journal"
    yield prose(_lead(experiments))
    if not experiments:
        return
    yield table(COLUMNS, map(line, experiments))
    yield "The commands below begin with the sessions of this home:"
    yield _indented(opening(home))
    for one in experiments:
        yield f"## {prose(one.id)}"
        yield "\n".join(f"- {label}: {prose(value)}" for label, value in facts(one))
        if one.scores:
            yield table(
                ("suite", "score", "items", "verdict", "evaluation"),
                (
                    (score.suite, score.text, score.items, score.told, score.evaluation)
                    for score in one.scores
                ),
            )
        for note in one.notes:
            yield f"Note: {prose(note)}"
        if one.command:
            yield _indented(one.command)
        for remark in one.remarks:
            yield prose(remark)


def html(home: Home, experiments: Sequence[Experiment]) -> str:
    """The page as HTML, which refers to nothing outside and runs no script."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    filters: dict[str, Any] = {"date": date, "facts": facts}
    environment.filters.update(filters)
    template = (files("tracemill.evaluate") / "templates" / "journal.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        lead=_lead(experiments), experiments=experiments, opening=opening(home)
    )


def write(path: Path, text: str) -> None:
    """Write a page for the user alone, whole or not at all; EvaluationError where it cannot be."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise EvaluationError(
            f"Cannot write the journal {path}: {error.strerror}; name another path."
        ) from error


def _lead(experiments: Sequence[Experiment]) -> str:
    if not experiments:
        return NOTHING.replace("`", "")
    count = len(experiments)
    better = sum(any(score.told == "better" for score in one.scores) for one in experiments)
    return (
        f"{count} experiment{'s' * (count != 1)}, oldest first; {better} found better than the base on a "
        "suite. Intervals are 95%, clustered by session."
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {one}".rstrip() for one in plain(text).split("\n"))


def _shown(value: Any) -> Any:
    return plain(value) if type(value) is str else value
