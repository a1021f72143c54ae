"""How a card writes numbers, in Markdown and in HTML.

In: shares and counts. Out: the same as people read them.
"""

from __future__ import annotations


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
