"""An export that is left with nothing: which step did it, and the nearest setting that would not.

In: what the steps made of all that was read. Out: one sentence for the user.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast, get_args, get_origin

import polars as pl
from pydantic import ValidationError

from tracemill.curate.chat_lines import Found
from tracemill.curate.gather import Gathered
from tracemill.curate.manifest import StepCount
from tracemill.curate.pipeline import Curated, sift
from tracemill.curate.recipe import Recipe
from tracemill.curate.sieve import DROPPED, Options
from tracemill.curate.sources import SOURCE, TEXTS, SourceOptions, chunks, read_chunk, select
from tracemill.curate.steps import STEPS
from tracemill.tracer.home import Home
from tracemill.warehouse.read import query

_MENDS = {
    "read": "mend those lines, or name another source",
    "weight": "raise the weight of the source",
    "where": "widen the condition",
    "replay": "record sessions of your own, for nothing can be replayed without",
    "form": "record sessions whose turns can be written as text",
    "proof": "use a base model whose template renders them",
}
_READ_MENDS = {
    "wrong encoding": "save the file as UTF-8 text",
    "not JSON": "write one JSON object a line",
    "not an object": "write one JSON object a line",
    "no messages": "give every row its `messages`; `tracemill dataset import` reads rows of another shape",
    "unknown role": "call the roles system, user, assistant and tool",
}
"""How to mend the faults of lines that are more than slips."""
_CONDITIONS = ("where", "agent", "project", "branch", "model", "since", "until")


def told(home: Home, recipe: Recipe, read: Gathered, curated: Curated, where: str | None) -> str:
    """Why nothing of what was `read` is left in `curated`."""
    if not curated.counts[0].rows_in:
        if unmet := next((one for options in recipe.sources if (one := _unmet(home, recipe, options))), None):
            return unmet
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
    if most.step == "read":
        mend = _READ_MENDS.get(max(most.reasons, key=most.reasons.__getitem__), mend)
    return (
        f"None of {curated.counts[0].rows_in} conversations is left to learn from: the step {most.step} "
        f"dropped {most.dropped} ({_reasons(most)}; the first: {first.rstrip('.')}){rest}; "
        f"{mend}{_nearest(recipe.steps, read, most.step)}."
    )


def _unmet(home: Home, recipe: Recipe, options: SourceOptions) -> str | None:
    """That the condition of a source left nothing of it, and which part of it did; null where it did not."""
    given = [key for key in _CONDITIONS if getattr(options, key) is not None]
    if not given or (not home.snapshot.exists() and options.kind == "warehouse"):
        return None
    every = options.model_copy(update=dict.fromkeys(_CONDITIONS))
    rows = pl.DataFrame() if options.kind == "warehouse" else _columns(home, recipe, every)

    def held(narrowed: SourceOptions) -> int:
        if options.kind != "warehouse":
            return select(narrowed, rows).height
        asked = narrowed.condition() or "true"
        return query(home, f"SELECT count(*) FROM conversations WHERE complete AND ({asked}\n)").item()

    if not (total := held(every)):
        return None
    parts = ((key, held(options.model_copy(update={key: None}))) for key in given)
    most = next(((key, left) for key, left in parts if left), None)
    nearest = f"without its `{most[0]}` {most[1]}" if most else f"without all of these {total}"
    condition = " ".join((options.condition() or "").split())
    return (
        f"None of the {total} conversations of the source {options.title!r} meets {condition}; "
        f"{nearest} would be read."
    )


def _columns(home: Home, recipe: Recipe, options: SourceOptions) -> pl.DataFrame:
    """What a condition is asked over, of every row of a file that can be read."""
    known = {name: kind for name, kind in SOURCE.items() if name not in TEXTS}
    found = (one for chunk in chunks(options, home, recipe.base) for one in read_chunk(chunk))
    return pl.DataFrame([one.columns for one in found if isinstance(one, Found)], known)


def _reasons(count: StepCount) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in count.reasons.items())


def _nearest(steps: Mapping[str, Options], read: Gathered, most: str) -> str:
    """The first change to one step, that which dropped most before the others, that leaves something."""
    for name in sorted(steps, key=lambda name: name != most):
        for key, value, options in _others(steps[name]):
            if left := _left(read, {**steps, name: options}):
                return f"; with `{key} = {json.dumps(value)}` in [steps.{name}] {left} would be left"
    for name in sorted(steps, key=lambda name: name != most):
        # Without it there would be rows, and nothing to learn in them.
        if name != "learnable" and (
            left := _left(read, {key: options for key, options in steps.items() if key != name})
        ):
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
