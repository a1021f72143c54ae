"""How many tokens a row has for the trainee.

In: a chat template with its tokenizer, and a conversation. Out: a number, or null where the template refuses
it.
"""

from __future__ import annotations

from typing import cast

from tracemill.curate.chat.codec import RowMessage, from_row
from tracemill.curate.chat.template import Chat
from tracemill.curate.errors import CodecError, TemplateError
from tracemill.curate.features.talk import Talk
from tracemill.tracer.messages import Message


def count_tokens(chat: Chat, talk: Talk) -> int | None:
    """Tokens of the whole conversation; calls in a foreign wire format count as the text they are."""
    try:
        return len(chat.conversation(_messages(talk), talk.tools))
    except TemplateError:
        return None


def _messages(talk: Talk) -> list[Message]:
    try:
        return from_row(talk.row_messages())
    except CodecError:
        plain = [{"role": one["role"], "content": one["content"]} for one in talk.messages]
        return cast("list[Message]", cast("list[RowMessage]", plain))
