"""Secrets that are still in a conversation: what the recorder would have redacted, but others recorded.

In: a `Talk`. Out: the kinds of what is found, never the thing itself; or any JSON value without it. Only the
text counts, not this process's environment: the same conversations give the same data set on every machine.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from itertools import count
from typing import Any

from tracemill.curate.features.talk import Talk
from tracemill.tracer.redact import Redactor

_PLACEHOLDER = re.compile(r"\[REDACTED:([a-z0-9-]+):[0-9]+\]")
PERSONAL = ("email", "user")
"""Kinds that name a person: an e-mail address, the owner of a home folder."""


def secrets(talk: Talk) -> list[str] | None:
    """The kinds of secrets in messages, calls and tools offered, each once, sorted; null where none are."""
    # A session of its own, for what looks like a password in one conversation may be a word in another.
    session = _redactor().session(f"{next(_numbers)}")
    found = set(_in_tools(talk.tools_text))
    for message in talk.messages:
        clean = session.redact_message(message)
        if clean != message:
            # Nothing but the owner of a home folder is replaced without a placeholder.
            found.update(_kinds(clean) - _kinds(message) or {"user"})
    return sorted(found) or None


# Few toolsets stand in very many conversations.
@lru_cache(maxsize=1024)
def _in_tools(text: str) -> frozenset[str]:
    """The kinds of secrets in the JSON text of a toolset: names, descriptions and parameters."""
    tools = json.loads(text)
    clean, found = masked(tools)
    return frozenset(found or ({"user"} if clean != tools else ()))


def masked(value: Any) -> tuple[Any, set[str]]:
    """A JSON value as the recorder would have written it, and the kinds of what is no longer in it."""
    clean = _redactor().session(f"{next(_numbers)}").redact(value)
    return clean, set(_kinds(clean) - _kinds(value))


def _kinds(value: object) -> Counter[str]:
    return Counter(_PLACEHOLDER.findall(str(value)))


_numbers = count()


@lru_cache(maxsize=1)
def _redactor() -> Redactor:
    return Redactor({})
