"""Greedy decoding as it is defined, and prompts to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracemill.curate.chat.template import Chat


def one_by_one(model: Any, chat: Chat, prompt: Sequence[int], max_tokens: int) -> str:
    """Greedy decoding as it is defined: the whole sequence through the model for every token, no cache at all."""
    import mlx.core as mx

    tokens = list(prompt)
    while len(tokens) < len(prompt) + max_tokens:
        token = int(mx.argmax(model(mx.array([tokens]))[0, -1]).item())
        tokens.append(token)
        if token in chat.stop_tokens:
            break
    return chat.text(tokens[len(prompt) :])


def prompts_of(chat: Chat, texts: Sequence[str]) -> list[list[int]]:
    system = {"role": "system", "content": "You are a helpful coding agent. Use the tools."}
    return [chat.prompt([system, {"role": "user", "content": text}], []) for text in texts]  # type: ignore[list-item]


TEXTS = ["a", "Read the file src/app.py", "What does main do?", "a b", "Read the file README.md " * 12]
