"""Items asked of a model behind a network: many at once, each answer kept as it comes.

In: items, and what asks one of them (`endpoint`, `provider`). Out: the items that got no answer, and why. No
answer is no wrong answer: such items are not scored, and where they are many, nothing is.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from tracemill.curate.chat.codec import CLOSE, OPEN, Call, encode
from tracemill.curate.errors import CodecError
from tracemill.evaluate.costs import Usage
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import Progress
from tracemill.evaluate.items import Item
from tracemill.evaluate.sampling import GREEDY, Sampling
from tracemill.tracer.messages import parse_arguments

MOST_UNANSWERED = 0.05
"""The share of items that may go without an answer; with more there is no score."""
TRIES = 9
"""How often a request is sent: again after time-outs, broken connections, HTTP 408, 409, 429 and 5xx."""


@dataclass(frozen=True)
class Request:
    """How each item is asked: most tokens of an answer, seconds to wait for it, how it is drawn."""

    max_tokens: int = 256
    seconds: float = 120.0
    sampling: Sampling = GREEDY


@dataclass(frozen=True)
class Reply:
    """What a model wrote, calls as `<tool_call>` text, and what that took."""

    text: str
    usage: Usage


class UnansweredError(Exception):
    """One item got no answer; the message is a clause that says why."""


def whole_reply(text: str, usage: Usage) -> Reply:
    """The reply; UnansweredError where it was cut off (`usage.cut`) before it said anything.

    A model that thinks where nobody sees it may have no tokens left for its answer, which is no wrong one.
    """
    if usage.cut and not text.strip():
        raise UnansweredError("cut off before it said anything; raise --max-tokens")
    return Reply(text, usage)


Ask = Callable[[Item], Awaitable[Reply]]
"""Raises UnansweredError for an item, and EvaluationError where no other item would fare better."""


class Remote(Protocol):
    """A model that is asked over a network."""

    @property
    def model(self) -> str:
        """Its name, as a person gives it."""
        ...

    @property
    def place(self) -> str:
        """The URL or the provider: with the name, all that is known of what answers."""
        ...

    def asking(self, request: Request) -> AbstractAsyncContextManager[Ask]:
        """A connection; EvaluationError where there is none to be had."""
        ...


async def ask_all(
    remote: Remote,
    items: Sequence[Item],
    request: Request,
    *,
    concurrency: int,
    most: int,
    each: Callable[[str, str, Usage], None],
    progress: Progress | None = None,
) -> dict[str, str]:
    """Ask every item, `concurrency` at a time; `each` gets the id, the text and the usage of each answer.

    Returns the ids of items without an answer, with the reasons; EvaluationError as soon as they are more
    than `most`, or where one answer shows that there will be no other.
    """
    unanswered: dict[str, str] = {}
    turnstile, done = asyncio.Semaphore(concurrency), 0

    async def one(ask: Ask, item: Item) -> None:
        nonlocal done
        async with turnstile:
            try:
                reply = await ask(item)
            except UnansweredError as error:
                unanswered[item.id] = str(error)
                if len(unanswered) > most:
                    raise EvaluationError(_too_many(remote, unanswered, len(items))) from error
            else:
                each(item.id, reply.text, reply.usage)
        done += 1
        if progress:
            progress(f"asking {remote.model}", done, len(items))

    try:
        async with remote.asking(request) as ask, asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(ask, item))
    except* EvaluationError as errors:
        raise _first(errors) from None
    return unanswered


def _first(errors: BaseExceptionGroup[EvaluationError]) -> EvaluationError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _too_many(remote: Remote, unanswered: Mapping[str, str], asked: int) -> str:
    reason, _ = Counter(unanswered.values()).most_common(1)[0]
    return (
        f"{len(unanswered)} of {asked} items got no answer from {remote.model} at {remote.place} ({reason}): "
        f"more than {MOST_UNANSWERED:.0%} may not, so nothing is scored. What was answered is kept: "
        "mend it, or lower --concurrency, and run this again."
    )


def completion(content: str | None, calls: Iterable[tuple[str, str | Mapping[str, Any] | None]]) -> str:
    """The text of an answer with structured calls (name, arguments), as the codec writes it.

    Arguments that are no JSON object stay what they are, so the call cannot be read back.
    """
    return "\n".join(
        [*([content] if content else []), *(_call(name, arguments) for name, arguments in calls)]
    )


def _call(name: str, arguments: str | Mapping[str, Any] | None) -> str:
    value = parse_arguments(arguments)
    try:
        if isinstance(value, Mapping):
            return encode("", [Call(name, dict(cast("Mapping[str, Any]", value)))])
    except CodecError:  # numbers that are not JSON
        pass
    return f"{OPEN}\n{json.dumps({'name': name, 'arguments': str(value)})}\n{CLOSE}"
