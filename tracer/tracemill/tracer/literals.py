"""Whether one of many words stands in a text, told by one look at it.

In: the words, or the characters of a run. Out: a function of a text. Redaction asks this of every text before
it looks closer, and most texts have nothing. Python can only look for one word after the other; the regular
expressions of Rust, which `pydantic_core` carries, look for all of them at once, in a tenth of the time. They
are used where the process has them already. The answer is the same.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

Look = Callable[[str], bool]


class AnyOf:
    """Tells whether one of some literals stands in a text."""

    def __init__(self, literals: Iterable[str]) -> None:
        self._literals = tuple(dict.fromkeys(literals))
        self._expression = "|".join(map(re.escape, self._literals))
        self._at_once: Look | None = None

    def __call__(self, text: str) -> bool:
        """Whether one of them stands in `text`."""
        if self._at_once is None:
            self._at_once = _rust(self._expression, self._one_by_one)
        look = self._at_once if self._at_once is not None and _is_plain(text) else self._one_by_one
        return look(text)

    def _one_by_one(self, text: str) -> bool:
        return any(literal in text for literal in self._literals)


class Matches:
    """Tells whether an expression, one that Rust understands, may match somewhere in a text."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._at_once: Look | None = None

    def __call__(self, text: str) -> bool:
        """Whether it matches; where Rust cannot tell, yes."""
        if self._at_once is None:
            self._at_once = _rust(self._expression, _maybe)
        return self._at_once is None or not _is_plain(text) or self._at_once(text)


class AnyRun:
    """Tells whether so many characters of a set stand together in a text."""

    def __init__(self, characters: str, length: int) -> None:
        """`characters` is the inside of a character class, in ASCII."""
        self._expression = re.compile(f"[{characters}]{{{length}}}")
        self._at_once: Look | None = None

    def __call__(self, text: str) -> bool:
        """Whether such a run stands in `text`."""
        if self._at_once is None:
            self._at_once = _rust(self._expression.pattern, self._step_by_step)
        look = self._at_once if self._at_once is not None and _is_plain(text) else self._step_by_step
        return look(text)

    def _step_by_step(self, text: str) -> bool:
        return self._expression.search(text) is not None


def _maybe(_text: str) -> bool:
    return True


def _rust(expression: str, otherwise: Look) -> Look | None:
    """A search by Rust; `otherwise` where it cannot be had, None where it may be had later."""
    core: Any = sys.modules.get("pydantic_core")
    if core is None:
        return None
    try:
        return _searched(core, expression)
    except Exception:  # a version that has no such thing, or one that is half imported
        return otherwise


@functools.lru_cache(64)
def _searched(core: Any, expression: str) -> Look:
    schema = core.core_schema.str_schema(pattern=expression, regex_engine="rust-regex", strict=True)
    return core.SchemaValidator(schema).isinstance_python


def _is_plain(text: str) -> bool:
    """Whether Rust can read a text: a string of that very type, without half a surrogate pair."""
    if type(text) is not str:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
