"""Names of recipes, data sets and sources, the one that was probably meant, and the names of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PART_OF_CONVERSATION = r"(@\d+(:[a-z].*)?)?(#\d+)?$"
"""How the id of a row ends after that of its conversation: a row a turn is called `ID@3`, a repeated one
`ID#2`, a preference pair `ID@3:KIND` or `ID@3:KIND:OTHER`."""


def suggest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'this'?)`, or nothing where nothing known is like `word`."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def conversation_of(row_id: str) -> str:
    """The conversation that a row of an export is made of."""
    return re.sub(PART_OF_CONVERSATION, "", row_id)
