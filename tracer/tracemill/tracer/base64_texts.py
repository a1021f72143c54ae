"""Base64 that stands for a text with secrets.

In: a text and its `long_runs`. Out: `encoded`, the places of base64 in it that must not be kept.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from tracemill.tracer.named_secrets import named
from tracemill.tracer.secret_patterns import Span, long_runs, tokens

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}=*")
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
            bare = match[0].rstrip("=")
            whole = bare + "=" * (-len(bare) % 4)
            plain = base64.b64decode(whole, "-_" if "-" in whole or "_" in whole else None, True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if any(tokens(plain, long_runs(plain))) or any(named(plain)):
            yield Span(match.start(), match.end(), "base64")
