"""Spares redaction the texts that it has looked through already, and the spool to spell them again.

In: texts in which nothing was found, and their JSON where somebody has it. Out: both; the memory is bounded.
"""

from __future__ import annotations

_TEXTS_REMEMBERED = 4096
_CHARACTERS_REMEMBERED = 2_000_000


class Harmless:
    """The texts in which nothing was found lately: what a tool gives is recorded in several places."""

    def __init__(self) -> None:
        self.texts: dict[str, str | None] = {}
        """By text: its JSON as a string, None where nobody has asked for that."""
        self._characters = 0

    def add(self, text: str, written: str | None = None) -> None:
        """Remember a text and its JSON."""
        self._characters += len(text)
        if len(self.texts) >= _TEXTS_REMEMBERED or self._characters > _CHARACTERS_REMEMBERED:
            self.clear()
            self._characters = len(text)
        self.texts[text] = written

    def clear(self) -> None:
        """Forget all of them: more is secret now."""
        self.texts.clear()
        self._characters = 0
