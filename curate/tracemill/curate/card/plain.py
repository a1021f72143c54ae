"""How a card writes texts and numbers, in Markdown and in HTML.

In: text that was recorded, which may hold anything. Out: the same with nothing in it that acts on a terminal
or turns the direction of writing; numbers as people read them.
"""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1, bidirectional controls and lone surrogates (which cannot be encoded).
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """`text` with every character that could act on its reader shown as its escape, such as `\\x1b`."""
    return _UNSAFE.sub(lambda found: ascii(found.group())[1:-1], text)


def percent(share: float) -> str:
    """A share as people read it: 37%, <1%, >99%."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def number(value: object) -> str:
    """A whole number with its thousands apart, a fraction with one digit; other values as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
