"""Answers in words that can be checked: keywords, regexes, exact, numeric, partial answers, Python scorers.

In: an `Answer`, the item and the text a model wrote. Out: how right it is, 0..1; 1 is right. A scorer is
Python code of the user's own and runs in this process; what it raises is an EvaluationError that names it.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.prefixes import THOUGHT
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Answer

Scorer = Callable[[dict[str, Any], str], object]
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")


def grade(answer: Answer, item: dict[str, Any], text: str) -> float:
    """How much of `answer` the text satisfies; `item` is given to a scorer. What was thought is left out."""
    said = text.rpartition(THOUGHT)[2].strip()
    folded = said.casefold()
    grades = [float(word.casefold() in folded) for word in answer.keywords]
    grades += [float(re.search(pattern, said) is not None) for pattern in answer.regexes]
    if answer.exact is not None:
        grades.append(float(said == answer.exact.strip()))
    if answer.numeric is not None:
        found = last_number(said)
        near = found is not None and math.isclose(found, answer.numeric, rel_tol=0, abs_tol=answer.tolerance)
        grades.append(float(near))
    if answer.partial:
        grades.append(sum(part.casefold() in folded for part in answer.partial) / len(answer.partial))
    if answer.scorer is not None:
        grades.append(_asked(answer.scorer, item, said))
    return min(grades, default=0.0)


def last_number(text: str) -> float | None:
    """The last number in a text, `1,234.5` and `-2e3` included; None without one."""
    found = [match[0] for match in _NUMBER.finditer(text) if match[0]]
    return float(found[-1].replace(",", "")) if found else None


def load_scorer(place: str) -> Scorer:
    """The function of `FILE.py:FUNCTION`; EvaluationError where there is none."""
    return _loaded(place)


@lru_cache(maxsize=64)
def _loaded(place: str) -> Scorer:
    file, _, name = place.rpartition(":")
    path = Path(file)
    spec = importlib.util.spec_from_file_location(f"tracemill_scorer_{path.stem}", path)
    if not name or spec is None or spec.loader is None or not path.is_file():
        raise EvaluationError(f"There is no scorer {place}; write FILE.py:FUNCTION, beside the suite's file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: object = getattr(module, name)
    except Exception as error:
        raise EvaluationError(f"The scorer {place} cannot be loaded: {error!r}; mend it.") from error
    if not callable(found):
        raise EvaluationError(f"The scorer {place} is no function; write FILE.py:FUNCTION.")
    return cast(Scorer, found)


def _asked(place: str, item: dict[str, Any], text: str) -> float:
    scorer = load_scorer(place)
    try:
        found = scorer(item, text)
    except Exception as error:
        raise EvaluationError(
            f"The scorer {place} failed on item {item['id']}: {error!r}; mend it."
        ) from error
    if not isinstance(found, int | float) or not 0 <= found <= 1:
        raise EvaluationError(
            f"The scorer {place} gave {found!r} for item {item['id']}; give a bool or 0 to 1."
        )
    return float(found)
