"""A model of any provider that Pydantic AI knows, by a name such as `anthropic:claude-haiku-4-5`.

In: the name; the key is where the provider's own library looks for it. Out: what asks it an item, through
Pydantic AI, which turns messages and tools into what the provider takes and tries again as its library does.
Many providers refuse a name such as `math.gcd`: such a tool is `math_gcd` there and `math.gcd` here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from tracemill.evaluate.costs import Usage, cost
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item
from tracemill.evaluate.remote import TRIES, Ask, Reply, Request, UnansweredError, completion, whole_reply
from tracemill.evaluate.sampling import item_seed
from tracemill.tracer.messages import Message, Tool


@dataclass(frozen=True)
class Provider:
    """A model by its name of the form `provider:name`."""

    model: str

    @property
    def place(self) -> str:
        """The provider and the URL it is asked at; EvaluationError as of `asking`."""
        return self._place

    @cached_property
    def _place(self) -> str:
        name, url = self.model.partition(":")[0], served_at(self._inferred())
        return f"{name} ({url})" if url else name

    @asynccontextmanager
    async def asking(self, request: Request) -> AsyncGenerator[Ask]:
        """The model; EvaluationError where name, key or the provider's package is missing."""
        model = self._inferred()
        client = getattr(model, "client", None)
        if hasattr(client, "max_retries"):  # the libraries of OpenAI and Anthropic, and who uses them
            cast(Any, client).max_retries = TRIES - 1

        async def ask(item: Item) -> Reply:
            return await _asked(model, self, item, request)

        async with model:
            yield ask

    def _inferred(self) -> Model:
        try:
            return infer_model(self.model)
        except Exception as error:  # each provider's library has errors of its own
            raise EvaluationError(f"{self.model} cannot be asked: {_sentence(error).rstrip('.')}.") from error


def served_at(model: Model) -> str:
    """The URL that a model is asked at, without name and password; "" where it has none.

    A variable such as OPENAI_BASE_URL may lead one name to another server.
    """
    return re.sub(r"//[^/@]*@", "//", model.base_url or "").rstrip("/")


async def _asked(model: Model, provider: Provider, item: Item, request: Request) -> Reply:
    settings = ModelSettings(
        max_tokens=request.max_tokens, temperature=request.sampling.temperature, timeout=request.seconds
    )
    if request.sampling.temperature:
        settings["seed"] = item_seed(request.sampling.seed, item.id)
    names = provider_names(item.tools)
    ours = {theirs: name for name, theirs in names.items()}
    parameters = ModelRequestParameters(function_tools=_tools(item.tools, names))
    try:
        response = await model_request(
            model,
            neutral_to_parts(item.messages, names),
            model_settings=settings,
            model_request_parameters=parameters,
        )
    except ModelHTTPError as error:
        if error.status_code in {401, 403, 404}:
            raise EvaluationError(
                f"{provider.model} cannot be asked: {_sentence(error)}; mend the name or the key."
            ) from error
        raise UnansweredError(f"HTTP {error.status_code}: {_sentence(error)}") from error
    except Exception as error:  # each provider's library has errors of its own
        raise UnansweredError(f"{type(error).__name__}: {_sentence(error)}") from error
    texts = [part.content for part in response.parts if isinstance(part, TextPart)]
    calls = [
        (ours.get(part.tool_name, part.tool_name), part.args)
        for part in response.parts
        if isinstance(part, ToolCallPart)
    ]
    return whole_reply(completion("".join(texts), calls), _usage(provider, response))


def provider_names(tools: Sequence[Tool]) -> dict[str, str]:
    """For each tool a name of up to 64 letters, digits, `_` and `-`, no two alike; its own if it is one."""
    found: dict[str, str] = {}
    for tool in sorted(tools, key=lambda one: _plain(one["name"]) != one["name"]):
        plain, count = _plain(tool["name"]), 2
        while plain in found.values():
            plain, count = f"{_plain(tool['name'])[:60]}_{count}", count + 1
        found[tool["name"]] = plain
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64]


def neutral_to_parts(messages: Sequence[Message], names: Mapping[str, str]) -> list[ModelMessage]:
    """Neutral messages as those of Pydantic AI: what stands between two answers is one request.

    `names` are those that tools have at the provider.
    """
    found: list[ModelMessage] = []
    waiting: list[ModelRequestPart] = []
    for message in messages:
        if message["role"] == "assistant":
            if waiting:
                found.append(ModelRequest(waiting))
            waiting = []
            found.append(ModelResponse(_answer_parts(message, names)))
        else:
            waiting.append(_request_part(message, names))
    return [*found, ModelRequest(waiting)] if waiting else found


def _request_part(message: Message, names: Mapping[str, str]) -> ModelRequestPart:
    text = message["content"]
    if message["role"] == "tool":
        name = message.get("name", "")
        return ToolReturnPart(names.get(name, name), text, message.get("tool_call_id", ""))
    return SystemPromptPart(text) if message["role"] == "system" else UserPromptPart(text)


def _answer_parts(message: Message, names: Mapping[str, str]) -> list[ModelResponsePart]:
    calls = message.get("tool_calls", [])
    parts: list[ModelResponsePart] = [TextPart(message["content"])] if message["content"] or not calls else []
    return parts + [
        ToolCallPart(names.get(call["name"], call["name"]), call["arguments"], call["id"]) for call in calls
    ]


def _tools(tools: Sequence[Tool], names: Mapping[str, str]) -> list[ToolDefinition]:
    return [
        ToolDefinition(
            name=names[tool["name"]],
            description=tool["description"],
            parameters_json_schema=tool["parameters"],
            # A provider's strict mode would offer other schemas than those that were recorded.
            strict=False,
        )
        for tool in tools
    ]


def _usage(provider: Provider, response: ModelResponse) -> Usage:
    name, found = response.model_name or provider.model, response.usage
    known = found.has_values()
    return Usage(
        name,
        found.input_tokens if known else None,
        found.output_tokens if known else None,
        cost(response) if known else None,
        cut=response.finish_reason == "length",
    )


def _sentence(error: Exception) -> str:
    """The first sentence of what an exception says."""
    return " ".join(str(error).split()).partition(". ")[0][:300]
