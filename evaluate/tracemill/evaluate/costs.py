"""What requests to an endpoint took: tokens, and money where the price is known.

In: what a server says of each request, and the prices of genai-prices. Out: `Usage`, and its sum over many
requests. A price that nobody knows is None, never 0: a model of one's own has no list price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar, cast

from genai_prices import Usage as Tokens
from genai_prices import calc_price

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelResponse

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Usage:
    """Tokens of a request and its price in US dollars, None where unknown; `model` is what answered.

    cut: the answer reached the most tokens it may have and ends there; when: the day of the answer (UTC).
    """

    model: str
    input_tokens: int | None
    output_tokens: int | None
    dollars: float | None = None
    cut: bool = False
    when: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Spent:
    """The sum of `requests`: None where any of them is unknown; `cut` answers were cut off."""

    requests: int
    input_tokens: int | None
    output_tokens: int | None
    dollars: float | None
    cut: int = 0


def spent(usages: Iterable[Usage]) -> Spent:
    """What several requests took together."""
    all_of_them = list(usages)
    return Spent(
        len(all_of_them),
        total(one.input_tokens for one in all_of_them),
        total(one.output_tokens for one in all_of_them),
        total(one.dollars for one in all_of_them),
        sum(one.cut for one in all_of_them),
    )


def total(values: Iterable[N | None]) -> N | None:
    """The sum of `values`, None where any of them is."""
    known = list(values)
    return None if None in known else cast(N, sum(one for one in known if one is not None))


def cost(response: ModelResponse) -> float | None:
    """What an answer through Pydantic AI cost in US dollars, None where its price is unknown."""
    try:
        return float(response.cost().total_price)
    except (LookupError, ValueError, AssertionError):
        return None


def price(url: str, usage: Usage, cached: int = 0) -> Usage:
    """`usage` of a request at `url` with its list price, if it has one; `cached` input tokens cost less."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return usage
    tokens = Tokens(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=cached
    )
    try:
        return replace(
            usage, dollars=float(calc_price(tokens, usage.model, provider_api_url=url).total_price)
        )
    except (LookupError, ValueError):
        return usage
