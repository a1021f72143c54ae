"""Points of a sweep that Optuna proposes, each from what those before it gave.

In: ranges and choices by knob, and a function that tells the worth of a point, higher is better. Out: calls
of it. The sampler (TPE, Bergstra et al. 2011) draws from a seed, so the same ranges and the same worths give
the same points: a sweep that was stopped asks for its old points again, finds their adapters and goes on.
Optuna is optional; where it is missing, the error names what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tracemill.train.errors import TrainError
from tracemill.train.sweep import Range

SEED = 0


def library() -> Any:
    """Optuna; TrainError where it is not installed."""
    try:
        return import_module("optuna")
    except ImportError as error:
        raise TrainError(
            "A [search] needs the package optuna, which is not installed; run "
            "`pip install 'tracemill[optuna]'`, or write the values to try into a [grid]."
        ) from error


def search(
    space: Mapping[str, Range | list[Any]], trials: int, worth: Callable[[dict[str, Any]], float | None]
) -> None:
    """Ask `worth` of `trials` points, None for one that failed; TrainError where Optuna is not installed."""
    optuna = library()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED))
    drawn_from = {key: _distribution(optuna.distributions, one) for key, one in space.items()}
    for _ in range(trials):
        trial = study.ask(drawn_from)
        found = worth(dict(trial.params))
        if found is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, found)


def _distribution(kinds: Any, one: Range | list[Any]) -> Any:
    if isinstance(one, list):
        return kinds.CategoricalDistribution(one)
    if isinstance(one.low, int) and isinstance(one.high, int):
        return kinds.IntDistribution(one.low, one.high, log=one.log, step=one.step or 1)
    return kinds.FloatDistribution(one.low, one.high, log=one.log, step=one.step)
