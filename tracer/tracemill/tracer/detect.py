"""Finds what must not be kept: all kinds of secrets and personal data in a text, for one environment.

In: texts. Out: `Detector.find`, the places that must be replaced, in order and apart from each other. The
value of an environment variable is a secret where its name says so and the value is neither a switch, a plain
word nor the path of a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tracemill.tracer.base64_texts import encoded
from tracemill.tracer.first_look import FirstLook
from tracemill.tracer.named_secrets import named
from tracemill.tracer.personal_data import emails, home_names, own_home
from tracemill.tracer.secret_names import is_secret_variable
from tracemill.tracer.secret_patterns import Span, long_runs, tokens
from tracemill.tracer.secret_values import stands_for_a_value


class Detector:
    """Knows the secrets of an environment, by default those of this process."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        # Inside `os.environ` is a dict that compares in no time; through it every value would be decoded.
        self._inside: Mapping[Any, Any] = getattr(self._environment, "_data", self._environment)
        self._own_home = own_home(self._environment)
        self._seen: object = None
        self._values: tuple[str, ...] = ()
        self.look = FirstLook(self._known())
        """Clears texts in which `find` would find nothing, in a tenth of the time."""
        self.refresh()

    def refresh(self) -> bool:
        """Look at the environment again if it changed: programs load their secrets after they start."""
        if self._inside == self._seen:
            return False
        self._seen = dict(self._inside)
        values = {
            spelling
            for name, value in self._environment.items()
            if is_secret_variable(name) and _worth_hiding(value)
            for spelling in spellings(value)
        }
        self._values = tuple(sorted(values, key=len, reverse=True))
        self.look = FirstLook(self._known())
        return True

    def _known(self) -> tuple[str, ...]:
        return (*self._values, *(self._own_home.names if self._own_home else ()))

    def holds_variable(self, *texts: str) -> bool:
        """Whether the value of a secret variable stands in one of some texts."""
        return any(value in text for value in self._values for text in texts)

    def find(self, text: str) -> list[Span]:
        """What must be replaced in a text."""
        secrets = apart([*occurrences(text, self._values, "variable"), *_secrets(text)])
        people = [*home_names(text, self._own_home)]
        if "@" in text:
            people += emails(text)
        if not people:
            return secrets
        return apart([*secrets, *(span for span in people if not _touches(span, secrets))])


def spellings(value: str) -> set[str]:
    """A secret as it is, and as it is written inside JSON."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}


def occurrences(text: str, values: Iterable[str], kind: str) -> Iterator[Span]:
    """The places of known values in a text."""
    for value in values:
        at = text.find(value)
        while at >= 0:
            yield Span(at, at + len(value), kind)
            at = text.find(value, at + len(value))


def apart(spans: list[Span]) -> list[Span]:
    """Spans in order, those that overlap made one; of two that begin together the first one names it."""
    if len(spans) < 2:
        return spans
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if merged and span.start < merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(span.end, merged[-1].end), merged[-1].kind)
        else:
            merged.append(span)
    return merged


def _secrets(text: str) -> Iterator[Span]:
    runs = long_runs(text)
    yield from tokens(text, runs)
    yield from named(text)
    yield from encoded(text, runs)


def _touches(span: Span, others: list[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for other in others)


def _worth_hiding(value: str) -> bool:
    plain_word = value.isascii() and value.islower() and value.isalpha() and len(value) < 12
    is_mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    if len(value) < (6 if is_mixed else 8) or plain_word or "REDACTED" in value or stands_for_a_value(value):
        return False
    try:
        return not Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return True
