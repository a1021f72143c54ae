"""Recorded text made safe to look at.

In: text that may hold anything: terminal escapes, controls that turn the direction of writing, halves of
characters. Out: the same with each of these shown as its escape, such as `\\x1b`.
"""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1, bidirectional controls and lone surrogates (which cannot be encoded).
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` with every character that could act on its reader shown as its escape."""
    return UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)
