"""An export that is left with nothing: which step did it, and the nearest setting that would not.

In: what the steps made of all that was read. Out: one sentence for the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast, get_args, get_origin

import polars as pl
from pydantic import ValidationError

from tracemill.curate.gather import Gathered
from tracemill.curate.manifest import StepCount
from tracemill.curate.pipeline import Curated, sift
from tracemill.curate.recipe import Recipe
from tracemill.curate.sieve import DROPPED, Options
from tracemill.curate.steps import STEPS

_MENDS = {
    "read": "mend those lines, or name another source",
    "weight": "raise the weight of the source",
    "where": "widen the condition",
    "replay": "record sessions of your own, for nothing can be replayed without",
    "form": "record sessions whose turns can be written as text",
    "proof": "use a base model whose template renders them",
}


def told(recipe: Recipe, read: Gathered, curated: Curated, where: str | None) -> str:
    """Why nothing of what was `read` is left in `curated`."""
    if not curated.counts[0].rows_in:
        match = f" that meets {where!r}" if where else ""
        files = [one.path for one in recipe.sources if one.path]
        if files:
            return f"There is no conversation to export{match} in {', '.join(files)}; mend the [source]."
        return (
            f"There is no conversation to export{match}; "
            "give your agent the Recorder, or `tracemill import` some."
        )
    most = max(curated.counts, key=lambda count: count.dropped)
    last = next(count for count in curated.counts if not count.kept)
    first: str = curated.dropped.filter(pl.col("step") == most.step)["evidence"][0]
    rest = "" if last is most else f", and the step {last.step} the last {last.dropped} ({_reasons(last)})"
    mend = STEPS[most.step].mend if most.step in STEPS else _MENDS[most.step]
    return (
        f"None of {curated.counts[0].rows_in} conversations is left to learn from: the step {most.step} "
        f"dropped {most.dropped} ({_reasons(most)}; the first: {first.rstrip('.')}){rest}; "
        f"{mend}{_nearest(recipe.steps, read, most.step)}."
    )


def _reasons(count: StepCount) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in count.reasons.items())


def _nearest(steps: Mapping[str, Options], read: Gathered, most: str) -> str:
    """The first change to one step, that which dropped most before the others, that leaves something."""
    for name in sorted(steps, key=lambda name: name != most):
        for key, value, options in _others(steps[name]):
            if left := _left(read, {**steps, name: options}):
                return f"; with `{key} = {json.dumps(value)}` in [steps.{name}] {left} would be left"
    for name in sorted(steps, key=lambda name: name != most):
        if left := _left(read, {key: options for key, options in steps.items() if key != name}):
            return f"; without [steps.{name}] {left} would be left"
    return ""


def _left(read: Gathered, steps: Mapping[str, Options]) -> int:
    every = Curated(read.rows, pl.DataFrame(schema=DROPPED), [])
    return sift(every, steps, folder=read.folder).rows.height


def _others(options: Options) -> Iterator[tuple[str, Any, Options]]:
    """The same options with one of them changed, the smaller changes first."""
    for key, field in type(options).model_fields.items():
        for value in _values(field.annotation, getattr(options, key)):
            try:
                yield key, value, type(options).model_validate({**options.model_dump(), key: value})
            except ValidationError:
                continue


def _values(kind: Any, now: Any) -> list[Any]:
    if isinstance(now, bool):
        return [not now]
    if isinstance(now, int | float):
        scaled = [now * factor for factor in (2, 0.5, 10, 0.1)]
        return [int(value) for value in scaled] if isinstance(now, int) else scaled
    if get_origin(kind) is Literal:
        return [value for value in get_args(kind) if value != now]
    if isinstance(now, list) and get_origin(inner := get_args(kind)[0]) is Literal:
        every = list(get_args(inner))
        return [] if set(cast("list[Any]", now)) == set(every) else [every]
    return []
