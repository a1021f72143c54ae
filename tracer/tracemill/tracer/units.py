"""Figures as people read them. In: a number. Out: text with its unit."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes as a person reads them: 4.2 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
