"""One look at a text that shows that nothing in it can be a secret or personal data: most texts have nothing.

In: texts, and JSON text of values. Out: `FirstLook.clears`, a yes only where redaction would change nothing,
neither in the text nor in what it stands for as JSON. It looks at once for all that a find begins with: the
literals of tokens, the words before secrets, long runs of the characters of tokens, addresses, homes, the
secrets of the environment. One expression of Rust does it in the time it takes Python to copy the text; where
that cannot be had, the answer is no, and every text is looked at closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tracemill.tracer.base64_texts import encoded, may_be_encoded
from tracemill.tracer.literals import Matches
from tracemill.tracer.named_secrets import CONTEXT_HINTS
from tracemill.tracer.personal_data import HOME_HINTS
from tracemill.tracer.secret_names import WORDS
from tracemill.tracer.secret_patterns import (
    IN_A_MINTED_ID,
    MINTED_FIELD,
    RUN,
    TEXT_HINTS,
    long_runs,
    may_be_token,
    tokens,
)

# The rest of such a context holds one of the words, or the @ of a URL with a password.
_TOLD_OTHERWISE = ("://", ":\\/\\/", "--", "login ", "env ", "sshpass", "password '")
_NAMED = (*WORDS, "cookie", *(hint for hint in CONTEXT_HINTS if hint not in _TOLD_OTHERWISE))
_ANYWHERE = "|".join(
    (
        *map(re.escape, (*TEXT_HINTS, *HOME_HINTS)),
        f"(?i:{'|'.join(map(re.escape, _NAMED))})",
        r":\\*/\\*/[^\s/]*@",  # a URL with a password
        r"[A-Za-z0-9._%+-]@[A-Za-z0-9][A-Za-z0-9-]*\.",  # an address
        r'sha256\\*"',  # a file, whose content is looked into
        r"\\\\",  # JSON in JSON text, where every letter may be written as an escape
    )
)
# What stands in JSON as it is.
_PLAIN = re.compile(r"[ !#-\[\]-~]+")


class FirstLook:
    """Knows all that may be found in an environment."""

    def __init__(self, values: Iterable[str]) -> None:
        """`values` are what must be hidden in this environment alone."""
        # The longest piece of a value that stands in a text however often that is put into JSON.
        pieces = {max(_PLAIN.findall(value), key=len, default="") for value in values}
        known = "".join(f"|{re.escape(piece)}" for piece in sorted(pieces))
        self._anything = Matches(f"{_ANYWHERE}{known}|{RUN}")
        self._but_runs = Matches(_ANYWHERE + known)
        self._may_be_minted = any(map(IN_A_MINTED_ID.fullmatch, pieces))
        """Whether a value could stand in an id that Pydantic AI makes."""

    def clears(self, text: str, *, is_json: bool = False) -> bool:
        """Whether nothing is to be found in a text, or in the value that JSON text of ours stands for."""
        if not is_json and "\\" in text and text[:1] in ("{", "[", '"'):
            return False
        # Every answer has ids, which are long runs.
        if not self._anything(text) or (is_json and self._clears_but_ids(text)):
            return True
        if self._but_runs(text):
            return False
        # Hashes and other ids are such runs too: of these only tokens and base64 count.
        runs = long_runs(text)
        if not runs:
            return True
        if is_json and "\\" in text:
            # What follows an escape would be read as one with it.
            return not (may_be_token(runs) or may_be_encoded(runs))
        return not (may_be_token(runs) and any(tokens(text, runs))) and not any(encoded(text, runs))

    def _clears_but_ids(self, text: str) -> bool:
        return not self._may_be_minted and not self._anything(MINTED_FIELD.sub("", text))
