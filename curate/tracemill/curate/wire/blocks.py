"""What every reader of a wire format is given, and what they share.

A reader gets a `Source` and the place right behind the token that opens its format. It gives the calls and
the place behind them, or raises UnreadableError. It looks at each character a
bounded number of times, so reading a text takes time in proportion to its length, whatever stands in it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from tracemill.curate.chat.codec import Call
from tracemill.curate.wire.objects import UnreadableError, calls_of, past_space, values_at
from tracemill.tracer.messages import Tool


@dataclass
class Source:
    """A text, stop tokens cut off its end, and the tools that were offered (none: nobody knows)."""

    text: str
    tools: Sequence[Tool] = ()
    tried: int = 0
    """Up to here JSON was tried and found broken: only tokens may begin there."""
    _next: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def find(self, token: str, at: int) -> int:
        """The next place of `token` from `at` on, or the end of the text; remembered, as `at` only grows."""
        since, found = self._next.get(token, (0, -1))
        if not since <= at <= found:
            found = self.text.find(token, at)
            found = len(self.text) if found < 0 else found
            self._next[token] = (at, found)
        return found

    @cached_property
    def begin(self) -> int:
        """Where the turn itself begins: behind white space and a block of reasoning."""
        begin = past_space(self.text, 0)
        if self.text.startswith("<think>", begin):
            begin = past_space(self.text, self.text.find("</think>") + len("</think>"))
        return begin

    def tool(self, name: str) -> Tool | None:
        """The offered tool of that name."""
        return next((tool for tool in self.tools if tool["name"] == name), None)


Reader = Callable[[Source, int], tuple[list[Call], int]]


@dataclass(frozen=True)
class Format:
    """A format with tokens of its own: its name, the regex that opens it, its closing token, its reader."""

    name: str
    opens: str
    closes: str
    read: Reader


def close(source: Source, at: int, token: str, opening: str = "") -> int:
    """The place behind the closing `token`, which stands at `at` but for white space.

    It may be missing where the turn ends or the next call begins: what it closes is read in full. Otherwise
    UnreadableError.
    """
    at = past_space(source.text, at)
    if source.text.startswith(token, at):
        return at + len(token)
    if at == len(source.text) or (opening and source.text.startswith(opening, at)):
        return at
    raise UnreadableError(f"text where {token} should be: {source.text[at : at + 40]!r}", at)


def json_calls(token: str, opening: str = "") -> Reader:
    """A reader of JSON calls up to the closing `token`."""

    def read(source: Source, at: int) -> tuple[list[Call], int]:
        values, end = values_at(source.text, past_space(source.text, at))
        calls: list[Call] = []
        for value in values:
            found = calls_of(value)
            if found is None:
                raise UnreadableError(f'no "name" with "arguments" in {json.dumps(value)[:60]}', end)
            calls += found
        return calls, close(source, end, token, opening)

    return read


def ask(parser: str, text: str, tools: Sequence[Tool] = ()) -> list[Call]:
    """What mlx-lm's tool parser of that name reads in `text`; UnreadableError where it cannot."""
    module = importlib.import_module(f"{_parsers()}.{parser}")
    offered = [{"type": "function", "function": dict(tool)} for tool in tools]
    try:
        with warnings.catch_warnings():
            # Their `ast.literal_eval` warns about "\d" in a string, which is no concern of ours.
            warnings.simplefilter("ignore")
            found: object = module.parse_tool_call(text, offered or None)
        items = cast(list[dict[str, Any]], found if isinstance(found, list) else [found])
        return [_checked(item) for item in items]
    except Exception as error:  # They raise all kinds of errors on text that is cut off.
        raise UnreadableError(
            f"mlx-lm's parser {parser} says {type(error).__name__}: {error!s:.80}"
        ) from None


@cache
def _parsers() -> str:
    """The package of mlx-lm's tool parsers, under a name of its own.

    To import `mlx_lm` itself is to import transformers, a second and more in each process; no parser needs
    it.
    """
    found = find_spec("mlx_lm")
    if found is None or found.origin is None:
        raise ImportError("mlx_lm is not installed; install tracemill again.")
    package = ModuleType("mlx_lm_tool_parsers")
    package.__path__ = [str(Path(found.origin).parent / "tool_parsers")]
    sys.modules[package.__name__] = package
    return package.__name__


def _checked(item: dict[str, Any]) -> Call:
    """A call whose arguments are a JSON object; ValueError where Python made them something else."""
    name, given = item["name"], item["arguments"]
    if not isinstance(name, str) or not name or not isinstance(given, dict):
        raise ValueError("no name with an object of arguments")
    plain = cast(dict[Any, Any], given)
    if not all(isinstance(key, str) for key in plain):
        raise ValueError("the name of an argument is not text")
    return Call(name, json.loads(json.dumps(plain, allow_nan=False)))


def ahead(pattern: str) -> re.Pattern[str]:
    """A regex for readers: dots match line ends, white space in it is ignored."""
    return re.compile(pattern, re.DOTALL | re.VERBOSE)
