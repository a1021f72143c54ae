"""Text before a tool call, taken out: "Let me check that for you." teaches a model to talk, not to call.

In: neutral messages, or chat text with `<tool_call>` in it. Out: the same, byte for byte, without that text.
"""

from __future__ import annotations

import re

from tracemill.curate.chat.codec import OPEN
from tracemill.curate.features.talk import Talk
from tracemill.curate.rewrites.edits import Edit, RewriteOptions
from tracemill.tracer.messages import Message

# One short announcement: it begins as announcements do, and nothing follows it.
_BOILERPLATE = re.compile(
    r"""(?: (?:sure|ok(?:ay)?|certainly|of\ course|absolutely|great|alright|got\ it|no\ problem)[,.!:\s—-]* )*
        (?: (?: (?:first|now|next|then)[,\s]+ )?
            (?: i(?:'|’)?\s*(?:ll|\ will|\ need\ to|\ should|'m\ going\ to|\ am\ going\ to|\ can|\ want\ to)\b
              | let(?:'|’)?s\b | let\ (?:me|us)\b | i(?:'|’)m\ going\ to\b
              | (?:checking|looking|searching|reading|running|using|calling|finding|fetching)\b )
            (?: [^.!:\n] | \.(?=\w) ){0,160} [.!:…]* )?""",
    re.IGNORECASE | re.VERBOSE,
)


class PreambleOptions(RewriteOptions, frozen=True):
    """`all` takes out any text before a call; otherwise only a sentence that announces it."""

    all: bool = False


def preambles(talk: Talk, options: PreambleOptions) -> tuple[list[Message], list[Edit]]:
    """Assistant turns that call a tool, without the text before their first call."""
    messages, edits = list(talk.messages), list[Edit]()
    for position in talk.assistants:
        message = talk.messages[position]
        before = _before_call(message, talk.as_found)
        if before.strip() and (options.all or announces(before)):
            after: Message = {**message, "content": message["content"][len(before) :]}
            messages[position] = after
            edits.append({"rewrite": "preambles", "position": position, "before": before, "after": ""})
    return messages, edits


def announces(text: str) -> bool:
    """Whether a text before a call is nothing but an announcement of it."""
    return bool(text.strip()) and _BOILERPLATE.fullmatch(text.strip()) is not None


def _before_call(message: Message, as_found: bool) -> str:
    """The text before the first call of an assistant message; '' where it calls nothing."""
    if message.get("tool_calls"):
        return message["content"]
    if not as_found:
        return ""
    before, tag, _ = message["content"].partition(OPEN)
    return before if tag else ""
