"""Base64 that stands for a text with secrets.

In: a text and its `long_runs`. Out: `encoded`, the places of base64 in it that must not be kept.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from tracemill.tracer.named_secrets import named
from tracemill.tracer.secret_patterns import Span, long_runs, tokens

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}=*")
_ONE_ALPHABET = str.maketrans("-_", "+/")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]{20}")


def may_be_encoded(runs: str) -> bool:
    """Whether a text with these `long_runs` may have base64 that stands for something."""
    return _ALPHANUMERIC.search(runs) is not None


def encoded(text: str, runs: str) -> Iterator[Span]:
    """The places of base64 that stands for a text with secrets."""
    if not may_be_encoded(runs):
        return
    for match in _BASE64.finditer(text):
        try:
            # The characters are those of base64 already; `base64` would look at them again.
            plain = binascii.a2b_base64(match[0].rstrip("=").translate(_ONE_ALPHABET) + "==").decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if any(tokens(plain, long_runs(plain))) or any(named(plain)):
            yield Span(match.start(), match.end(), "base64")
