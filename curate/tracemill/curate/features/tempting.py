"""Tools that a prompt tempts to call, where none was called.

In: a `Talk`. Out: the name of the first tool on offer whose name, or every word of whose name, stands in what
the user says; null where there is none, or where a tool was called.
"""

from __future__ import annotations

import re

from tracemill.curate.features.talk import Talk

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WORDS = re.compile(r"\w+")
# "reads", "reading" and "read" are one word here, and so are "searches" and "search".
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e)$")
_PROMPT = 4000


def tempting(talk: Talk) -> str | None:
    """The tool that the user's words suggest."""
    if not talk.tools or talk.called:
        return None
    said = " ".join(message["content"][:_PROMPT] for message in talk.messages if message["role"] == "user")
    words = {_stem(word) for word in _WORDS.findall(said.casefold())}
    return next((tool["name"] for tool in talk.tools if _named(tool["name"], words)), None)


def _named(name: str, words: set[str]) -> bool:
    parts = {_stem(part.casefold()) for part in _PARTS.findall(name)}
    return _stem(name.casefold()) in words or (bool(parts) and parts <= words)


def _stem(word: str) -> str:
    return _ENDING.sub("", word)
