"""The trainee's tokenizer and chat template: messages in, the tokens a server would feed the model out.

A `Chat` is loaded through mlx-lm, as `mlx_lm.server` does, so both apply the same template to the same
messages. Importing mlx-lm imports MLX: on Linux activate the BLAS first (`tracemill.train.blas`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.settle import settle
from tracemill.curate.chat.stops import turn_ends
from tracemill.curate.errors import TemplateError
from tracemill.tracer.messages import Message, Tool

TEMPLATE_FILE = "chat_template.jinja"


def chatml_tools() -> str:
    """Our own ChatML template with tools, for base models whose template knows none."""
    return (files("tracemill.curate.chat") / "templates" / "chatml_tools.jinja").read_text("utf-8")


class Chat:
    """A tokenizer with its chat template; formats conversations and nothing else.

    `template` is the one that `settle` makes of the tokenizer's, which has it from then on.
    """

    def __init__(self, tokenizer: Any, folder: Path):
        self.tokenizer = tokenizer
        self.folder = folder
        self.template = settle(tokenizer.chat_template, self._write)
        tokenizer.chat_template = self.template
        self.digest = hashlib.sha256(self.template.encode()).hexdigest()

    @classmethod
    def load(cls, folder: Path, adapter: Path | None = None) -> Chat:
        """Load the tokenizer of the MLX folder `folder`, with the template of `adapter` if it carries one.

        TemplateError where there is no tokenizer or no chat template.
        """
        if not (folder / "tokenizer.json").exists() and not (folder / "tokenizer_config.json").exists():
            raise TemplateError(f"{folder} has no tokenizer.json; a base model folder needs its tokenizer.")
        from mlx_lm.tokenizer_utils import load as load_tokenizer
        from mlx_lm.utils import load_config

        # The length that a tokenizer believes in only makes it warn; who trains or serves knows the model's.
        extra: dict[str, Any] = {"trust_remote_code": False, "model_max_length": 10**9}
        if adapter is not None and (adapter / TEMPLATE_FILE).exists():
            extra["chat_template"] = (adapter / TEMPLATE_FILE).read_text("utf-8")
        try:
            config = cast(dict[str, Any], load_config(folder))
            tokenizer = load_tokenizer(folder, extra, eos_token_ids=config.get("eos_token_id"))
        except Exception as error:  # a broken file makes transformers raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TemplateError(f"The tokenizer in {folder} cannot be loaded: {reason}; mend it.") from error
        if not isinstance(tokenizer.chat_template, str):
            raise TemplateError(f"{folder} has no chat template; add a {TEMPLATE_FILE} to it.")
        return cls(tokenizer, folder)

    @cached_property
    def stop_tokens(self) -> frozenset[int]:
        """The tokens a completion ends with: those of the model's configuration, and the template's own."""
        configured = frozenset[int](self.tokenizer.eos_token_ids)
        return configured | turn_ends(self.tokenizer, configured, lambda messages: self.written(messages, []))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """The tokens a server feeds the model to get the turn after `messages`."""
        return list(self._apply(messages, tools, add_generation_prompt=True))

    def conversation(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """The tokens of a whole conversation, with nothing waiting to be written."""
        return list(self._apply(messages, tools, add_generation_prompt=False))

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a completion, up to its first stop token."""
        end = next((i for i, token in enumerate(tokens) if token in self.stop_tokens), len(tokens))
        return self.tokenizer.decode(list(tokens[:end]))

    def written(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, add_generation_prompt: bool = False
    ) -> str:
        """The text of a conversation, special tokens and all."""
        return self._apply(messages, tools, add_generation_prompt=add_generation_prompt, tokenize=False)

    def _apply(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        *,
        add_generation_prompt: bool,
        tokenize: bool = True,
    ) -> Any:
        from jinja2 import TemplateError as JinjaError

        try:
            return self.tokenizer.apply_chat_template(
                [served(message) for message in messages],
                tools=toolset(tools),
                add_generation_prompt=add_generation_prompt,
                tokenize=tokenize,
            )
        except (JinjaError, ValueError, TypeError) as error:
            raise TemplateError(
                f"The chat template of {self.folder} refused a conversation: {error}."
            ) from error

    def _write(
        self,
        template: str,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
    ) -> str:
        return self.tokenizer.apply_chat_template(
            messages,
            tools=tools,
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )


def toolset(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """The tools as a template gets them; None where none are offered."""
    return [{"type": "function", "function": _offered(tool)} for tool in tools] or None


def _offered(tool: Tool) -> dict[str, Any]:
    """A tool with its keys in one order: a template writes them as they come."""
    parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    return {"name": tool["name"], "description": tool.get("description") or "", "parameters": parameters}


def served(message: Message) -> dict[str, Any]:
    """A neutral message as `mlx_lm.server` hands it to the template: OpenAI's form, arguments as objects."""
    made: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": _object(call["arguments"])},
            }
            for call in calls
        ]
    plain = cast(dict[str, Any], message)
    return made | {key: plain[key] for key in ("tool_call_id", "name") if key in plain}


def _object(arguments: dict[str, Any] | str) -> object:
    """What JSON text stands for, as the server reads it; text that is not JSON stays what it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments
