"""An OpenAI-compatible server, asked by its URL.

In: the URL, the name of a model there and maybe a key. Out: what asks it an item. The messages and tools of
an item are sent as they are, with OpenAI's own client, which tries again with growing pauses and waits as
long as a `Retry-After` of up to two minutes asks for. Calls come back structured or as `<tool_call>` text;
either way they become that text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import ValidationError

from tracemill.curate.chat.structured import openai_tools
from tracemill.evaluate.costs import Usage, price
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item
from tracemill.evaluate.remote import TRIES, Ask, Reply, Request, UnansweredError, completion, whole_reply
from tracemill.evaluate.sampling import item_seed
from tracemill.evaluate.wire_form import Completion, Models, Tokens, wire_messages

# Fewer digits make another model, as in claude-sonnet-4 and claude-sonnet-4-5.
_DATED = re.compile(r"-(\d{3,8}|(\d{4}-)?\d\d-\d\d)")
_HOST = re.compile(r"[\w.:%-]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Endpoint:
    """A model behind a URL such as `http://127.0.0.1:8080/v1`; `key` is sent where there is one."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    @property
    def place(self) -> str:
        """The URL."""
        return self.url

    @asynccontextmanager
    async def asking(self, request: Request) -> AsyncGenerator[Ask]:
        """A connection to the server; EvaluationError where no such server answers."""
        async with _client(self.url, self.key, request.seconds) as client:
            names = await _names(client, self.url)

            async def ask(item: Item) -> Reply:
                return await _asked(client, self, item, request, names)

            yield ask


async def find_endpoint(url: str, model: str | None, key: str | None, seconds: float) -> Endpoint:
    """The endpoint at `url`; without a `model` the one that the server has.

    EvaluationError where the URL is none, or where no server or more than one model is found.
    """
    wrong = EvaluationError(f"{url!r} is no URL of a server; it is like http://127.0.0.1:8080/v1.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise wrong from error
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or not url.isprintable():
        raise wrong
    if parts.username or parts.password:
        raise EvaluationError("Put no name or password into the URL; name a variable with --key-variable.")
    plain = url.rstrip("/").removesuffix("/chat/completions")
    if model is not None:
        return Endpoint(plain, model, key)
    async with _client(plain, key, seconds) as client:
        names = await _names(client, plain)
    if len(names) != 1:
        told = f"serves {_listed(names)}" if names else "does not say what it serves"
        raise EvaluationError(
            f"{plain} {told}: name one, as in `tracemill evaluate NAME --endpoint {plain}`."
        )
    return Endpoint(plain, names[0], key)


def _client(url: str, key: str | None, seconds: float) -> AsyncOpenAI:
    # A proxy of the environment would carry the prompts off this machine.
    inside = urlsplit(url).hostname in _LOOPBACK
    return AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        timeout=seconds,
        max_retries=TRIES - 1,
        http_client=DefaultAsyncHttpxClient(trust_env=not inside),
    )


async def _names(client: AsyncOpenAI, url: str) -> list[str]:
    """What the server says it has, nothing where it has no such list; EvaluationError where none answers."""
    try:
        raw = await client.with_options(max_retries=1).models.with_raw_response.list()
    except APITimeoutError as error:
        raise EvaluationError(
            f"{url} does not answer in time; see if it is busy, or raise --timeout."
        ) from error
    except APIConnectionError as error:
        told = error.__cause__ or error
        raise EvaluationError(
            f"Nothing answers at {url} ({told}); start the server, or mend the URL."
        ) from error
    except APIStatusError as error:
        if error.status_code in {401, 403}:
            raise EvaluationError(_refused(url, error.status_code)) from error
        return []
    try:
        return [one.id for one in Models.model_validate_json(raw.content).data]
    except ValidationError:
        if _is_page(raw.content):
            raise EvaluationError(_page(url)) from None
        return []


async def _asked(
    client: AsyncOpenAI, endpoint: Endpoint, item: Item, request: Request, names: Sequence[str]
) -> Reply:
    body: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.sampling.temperature}
    if item.tools:
        body["tools"] = openai_tools(item.tools)
    if request.sampling.temperature:
        body["seed"] = item_seed(request.sampling.seed, item.id)
    messages: Any = wire_messages(item.messages)
    try:
        # The client waits anew for every piece of an answer, so one that trickles in would never end.
        async with asyncio.timeout(request.seconds * TRIES):
            raw = await client.chat.completions.with_raw_response.create(
                model=endpoint.model, messages=messages, **body
            )
    except (APITimeoutError, TimeoutError) as error:
        raise UnansweredError(f"no answer within {request.seconds:g} seconds, {TRIES} times") from error
    except APIConnectionError as error:
        raise UnansweredError(f"the connection broke: {error.__cause__ or error}") from error
    except APIStatusError as error:
        raise _told(endpoint, error, names) from error
    if _is_page(raw.content):
        raise EvaluationError(_page(endpoint.url))
    try:
        found = Completion.model_validate_json(raw.content)
    except ValidationError as error:
        raise UnansweredError("what came back is no chat completion") from error
    if found.model and not _same(endpoint.model, found.model):
        raise EvaluationError(
            f"{endpoint.url} answers as {found.model!r} where {endpoint.model!r} was asked: "
            "if it is the one you mean, name it so."
        )
    choice, tokens = found.choices[0], found.usage or Tokens()
    calls = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
    name, cut = found.model or endpoint.model, choice.finish_reason == "length"
    usage = Usage(name, tokens.prompt_tokens, tokens.completion_tokens, cut=cut)
    cached = tokens.prompt_tokens_details and tokens.prompt_tokens_details.cached_tokens
    return whole_reply(completion(choice.message.content, calls), price(endpoint.url, usage, cached or 0))


def _told(
    endpoint: Endpoint, error: APIStatusError, names: Sequence[str]
) -> EvaluationError | UnansweredError:
    status = error.status_code
    if status in {401, 403}:
        return EvaluationError(_refused(endpoint.url, status))
    if status == 404:
        has = f"it serves {_listed(names)}" if names else "mend the name, or the URL"
        return EvaluationError(
            f"{endpoint.url} does not know the model {endpoint.model!r} (HTTP 404); {has}."
        )
    if status == 429:
        wait = error.response.headers.get("retry-after")
        return UnansweredError(
            "too many requests (HTTP 429)" + (f"; wait {wait[:40]} seconds" if wait else "")
        )
    return UnansweredError(f"HTTP {status}: {_message(error)}")


def _message(error: APIStatusError) -> str:
    """What the server says of it, shortened; the same for the same reason as far as possible."""
    body = error.body
    told = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(told or error.response.reason_phrase).split())[:200]


def _refused(url: str, status: int) -> str:
    return (
        f"{url} refuses the key, or wants one (HTTP {status}): put it into an environment variable, and name "
        "that with --key-variable."
    )


def _page(url: str) -> str:
    return f"{url} answers with a web page, not as an API does; the URL of an API often ends in /v1."


def _is_page(content: bytes) -> bool:
    return content.lstrip()[:1] == b"<"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _same(asked: str, answers: str) -> bool:
    """Whether a model is the one that was asked: by name, by its file, or as a dated version of it."""
    asked, answers = asked.lower().removesuffix("-latest"), answers.lower()
    short = answers.rpartition("/")[2].removesuffix(".gguf")
    return (
        any(
            name == asked.rpartition("/")[2]
            or name.startswith((f"{asked}:", f"{asked}@"))
            or (name.startswith(asked) and _DATED.fullmatch(name.removeprefix(asked)))
            for name in (answers, short)
        )
        or answers == asked
    )
