"""Whether training, evaluation and serving see the same tokens, found by running the code of each.

In: a `Family`, a base model's chat as the three load it, and a conversation. Out: an `Outcome`: in how many
sequences it is learned, or why it is refused. The served prompt comes from the request handlers themselves, ours
and that of mlx-lm, fed what an OpenAI client sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from families import as_request, as_row
from tracemill.curate.chat.proof import learned_turns, prove
from tracemill.curate.chat.template import TEMPLATE_FILE, Chat
from tracemill.curate.errors import ProofError
from tracemill.evaluate.items import items
from tracemill.tracer.messages import Message, Tool


@dataclass(frozen=True)
class Outcome:
    """What became of a conversation under a template."""

    sequences: int
    """How many training sequences learn it; 0 where it is refused."""
    refusal: str = ""
    stock: bool = True
    """Whether mlx-lm's own server, given the adapter's template, builds the same prompts."""


class Family:
    """A base model as training, evaluation and serving load it; the latter two with the adapter's template."""

    def __init__(self, folder: Path, adapter: Path):
        self.folder = folder
        self.trained = Chat.load(folder)
        adapter.mkdir(parents=True, exist_ok=True)
        (adapter / TEMPLATE_FILE).write_text(self.trained.template, "utf-8")
        self.evaluated = Chat.load(folder, adapter)
        self.served = Chat.load(folder, adapter).tokenizer  # mlx-lm's tokenizer, as its server holds it

    @property
    def stops(self) -> list[str]:
        """The stop tokens as text."""
        return sorted(self.trained.tokenizer.decode([token]) for token in self.trained.stop_tokens)

    def outcome(self, name: str, messages: list[Message], tools: list[Tool]) -> Outcome:
        """Train on the conversation, ask for each of its turns, and compare the prompts token for token."""
        row = as_row(name, messages, tools)
        try:
            parts = prove(self.trained, row)
        except ProofError as error:
            return Outcome(0, str(error).removeprefix(f"Row {name}: "))
        trained = [part.tokens[:start] for part in parts for start, _ in part.spans]
        evaluated = [self.evaluated.prompt(item.messages, item.tools) for item in items([row])]
        assert evaluated == trained, f"{self.folder.name}, {name}: evaluation sees other tokens"
        positions = learned_turns(row["messages"])
        served = [self._asked(messages[:position], tools, ours=True) for position in positions]
        assert served == trained, f"{self.folder.name}, {name}: the server sees other tokens"
        stock = [self._asked(messages[:position], tools, ours=False) for position in positions]
        return Outcome(len(parts), stock=stock == trained)

    def _asked(self, messages: list[Message], tools: list[Tool], *, ours: bool) -> list[int] | None:
        """The prompt that our server, or mlx-lm's, makes of a request; None where it cannot."""
        from mlx_lm.server import ResponseGenerator

        from tracemill.train.serving import Generator

        sent, offered = as_request(messages, tools)
        request: Any = SimpleNamespace(
            request_type="chat", messages=sent, tools=offered or None, role_mapping=None
        )
        asked: Any = SimpleNamespace(chat_template_kwargs=None)
        server: Any = SimpleNamespace(
            _chat=None,
            cli_args=SimpleNamespace(model=str(self.folder)),
            model_provider=SimpleNamespace(
                model=None, processor=None, cli_args=SimpleNamespace(chat_template_args={})
            ),
        )
        made = (Generator if ours else ResponseGenerator)._tokenize  # pyright: ignore[reportPrivateUsage]
        if ours:
            return list(made(server, self.served, request, asked)[0])
        try:
            return list(made(server, self.served, request, asked)[0])
        except Exception:  # whatever a template may raise
            return None
