"""Many training runs that differ in some knobs: which ones, what each gave, and which is best.

In: a TOML file of the keys of `tracemill train --config`, which all runs share, and a table of knobs to vary:

    epochs = 3
    seeds = [0, 1, 2]

    [grid]                                                 every combination of these values
    learning_rate = [1e-4, 3e-4]
    rank = [4, 8]

or, with Optuna (`sweep_search.py`),

    trials = 20

    [search]                                               that many points of these ranges and choices
    learning_rate = {low = 1e-5, high = 1e-3, log = true}
    schedule = ["cosine", "linear"]

Out: the points, and of what they gave an order, best first. Nothing here runs anything, and no MLX.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, cast

from pydantic import BaseModel, Field, ValidationError
from scipy import stats

from tracemill.curate.names import suggest
from tracemill.train.choice import over_seeds
from tracemill.train.config import Asked, check, table_of
from tracemill.train.errors import TrainError

ALIKE = {"model", "adapter", "max_tokens", "seed", "seeds", "save_every", "log"}
"""Keys that are the same for all runs of a sweep, or scores could not be compared."""
TRIALS = 20
_LARGEST = 1e15
"""An end of a range beyond this is no setting, and neither is infinity or what is no number."""


class Range(BaseModel, extra="forbid", strict=True):
    """Values from `low` to `high`, whole ones where both are: evenly, or in the logarithm, or in steps."""

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None


@dataclass(frozen=True)
class Sweep:
    """What is to be run: `shared` keys for all, and `points`, or a `space` of which `trials` are drawn."""

    shared: dict[str, Any]
    seeds: list[int]
    points: list[dict[str, Any]]
    space: dict[str, Range | list[Any]]
    trials: int

    @property
    def count(self) -> int:
        """How many points there are."""
        return len(self.points) or self.trials

    def given(self, point: dict[str, Any]) -> dict[str, Any]:
        """The keys of a run at `point`; TrainError where those that were drawn do not go together."""
        return check(self.shared | point, "what was drawn")


@dataclass(frozen=True)
class Ran:
    """One run: its seed, the folder of its adapter, its share of exact tool calls on the validation split."""

    seed: int
    adapter: str
    score: float
    guarded: bool
    """Whether the checkpoint that was kept lost no more general ability than was allowed."""
    general_ability: float | None
    """What is left of the measure of the guard that fell most; None where it was not asked."""
    reused: bool


@dataclass(frozen=True)
class Point:
    """A choice of knobs with its runs; `failed` says why one of them came to nothing."""

    knobs: dict[str, Any]
    runs: list[Ran]
    failed: str | None = None

    @property
    def mean(self) -> float | None:
        """The mean score over the seeds; None where a run failed."""
        return None if self.failed else fmean(run.score for run in self.runs)

    @property
    def guarded(self) -> bool:
        """Whether all runs kept their general ability."""
        return not self.failed and all(run.guarded for run in self.runs)

    @property
    def worth(self) -> float | None:
        """What to go by: the mean score, and less than any other where general ability was lost."""
        return self.mean if self.mean is None or self.guarded else self.mean - 1

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean over seeds; None for one seed, or where a run failed."""
        return None if self.failed or len(self.runs) < 2 else over_seeds([run.score for run in self.runs])[1:]

    @property
    def best_run(self) -> Ran:
        """Of its runs the one with the highest score, one that kept its general ability if there is one."""
        return max(self.runs, key=lambda run: (run.guarded, run.score))

    def asdict(self) -> dict[str, Any]:
        """The point as plain values, for JSON."""
        low, high = self.interval or (None, None)
        return {**asdict(self), "mean": self.mean, "low": low, "high": high, "guarded": self.guarded}


def read_sweep(path: Path) -> Sweep:
    """The sweep of a TOML file; TrainError says what is wrong in it and where."""
    table = table_of(path)
    grid, space = (_knobs(table.pop(name, {}), f"{path}, [{name}]") for name in ("grid", "search"))
    if bool(grid) == bool(space):
        raise TrainError(
            f"In {path}: a sweep varies the knobs of one table, [grid] (lists of values) or [search] "
            "(ranges, for Optuna); give one of them."
        )
    trials = table.pop("trials", TRIALS)
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise TrainError(f"In {path}: trials is a whole number from 1 on, not {trials!r}.")
    if twice := sorted(table.keys() & {**grid, **space}.keys()):
        raise TrainError(f"In {path}: {twice[0]!r} is varied and stands beside the table too; drop one.")
    shared = check(table, str(path))
    seeds = shared.pop("seeds", None) or [shared.pop("seed", 0)]
    ranges = {key: _range(value, f"{path}, [search]", key) for key, value in space.items()}
    points = _points({key: _values(value, f"{path}, [grid]", key) for key, value in grid.items()})
    for point in [*points, *_corners(ranges)]:
        check(shared | point, str(path))  # what Optuna puts together is checked when it is drawn
    return Sweep(shared, seeds, points if grid else [], ranges, trials)


def ranked(points: Sequence[Point]) -> list[Point]:
    """Each choice of knobs once, best first: what kept general ability before what did not, failures last.

    Among equals the earlier one stays in front.
    """
    once = {json.dumps(point.knobs, sort_keys=True): point for point in reversed(points)}
    kept = [point for point in points if once[json.dumps(point.knobs, sort_keys=True)] is point]
    return sorted(kept, key=lambda point: -math.inf if point.worth is None else point.worth, reverse=True)


def optimism(score: float, items: int, runs: int) -> float:
    """How much the best of `runs` equal models seems better than it is, on the `items` that chose it.

    The expected largest of that many independent normal errors, of the standard error of a share. At most:
    runs on the same items err alike.
    """
    if runs < 2:
        return 0.0

    def weighted(x: float) -> float:
        """x times how many times as likely it is to be the largest as to be one of them."""
        return x * runs * float(stats.norm.cdf(x)) ** (runs - 1)

    largest: Any = stats.norm.expect(weighted)
    return float(largest) * math.sqrt(score * (1 - score) / items)


def _knobs(table: object, place: str) -> dict[str, Any]:
    """The table, if each of its keys is a knob that a sweep can vary."""
    if not isinstance(table, dict):
        raise TrainError(f"In {place}: it is no table; write knobs below it, one a line.")
    known = [key for key in Asked.model_fields if key not in ALIKE]
    for key in cast(dict[str, Any], table):
        if key in ALIKE:
            raise TrainError(
                f"In {place}: {key!r} is the same for all runs of a sweep; set it above the table."
            )
        if key not in known:
            raise TrainError(
                f"In {place}: there is no knob {key!r}{suggest(key, known)}; there are {', '.join(known)}."
            )
    return cast(dict[str, Any], table)


def _values(value: object, place: str, key: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise TrainError(f"In {place}: {key!r} is a list of values to try, such as [1, 2], not {value!r}.")
    try:
        return list({json.dumps(one, allow_nan=False): one for one in cast(list[Any], value)}.values())
    except (TypeError, ValueError) as error:  # a date or a time; infinity or what is no number
        raise TrainError(
            f"In {place}: {key!r} has a value that no setting can have (a date, a time, inf or nan); "
            "give numbers, texts, true or false."
        ) from error


def _range(value: object, place: str, key: str) -> Range | list[Any]:
    if isinstance(value, list):
        chosen = _values(cast(object, value), place, key)
        if any(isinstance(one, list | dict) for one in chosen):
            raise TrainError(f"In {place}: the choices of {key!r} are single values; use [grid] for lists.")
        return chosen
    try:
        found = Range.model_validate(value)
    except ValidationError as error:
        raise TrainError(
            f"In {place}: {key!r} is a list of choices, or a range such as {{low = 1, high = 8}}: "
            f"{error.errors()[0]['msg']}."
        ) from error
    numbers = [found.low, found.high, *([] if found.step is None else [found.step])]
    if not all(-_LARGEST < one < _LARGEST for one in numbers):
        raise TrainError(f"In {place}: the range of {key!r} needs finite numbers, below {_LARGEST:.0e}.")
    if found.low >= found.high or (found.log and (found.low <= 0 or found.step is not None)):
        raise TrainError(
            f"In {place}: the range of {key!r} needs low below high, and with log a low above 0 and no step."
        )
    if found.step is not None and found.step > found.high - found.low:
        raise TrainError(f"In {place}: the step of {key!r} leads from low past high; give a smaller one.")
    if all(isinstance(end, int) for end in (found.low, found.high)) and isinstance(found.step, float):
        raise TrainError(
            f"In {place}: the range of {key!r} is of whole numbers, so its step is whole too, not "
            f"{found.step!r}; where fractions are meant, write low = {found.low}.0."
        )
    return found


def _points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _corners(ranges: Mapping[str, Range | list[Any]]) -> list[dict[str, Any]]:
    """One knob at an end of its range, or at one of its choices, at a time: what `check` is to allow."""
    ends = {key: [one.low, one.high] if isinstance(one, Range) else one for key, one in ranges.items()}
    first = {key: values[0] for key, values in ends.items()}
    return [first | {key: value} for key, values in ends.items() for value in values]
