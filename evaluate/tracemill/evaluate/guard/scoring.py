"""Whether an answer to a guard item is right.

In: a `GuardItem` and the text a model wrote. Out: a `Mark`. Saying nothing is wrong, and so is calling a
tool, in whatever format: none was offered. What was thought before `</think>` is left out. The rules:

- number: the last number of the answer equals the right one; `1,024`, `7.0` and `seven` are numbers;
- words: one of the right answers stands among the first words of the answer, whatever its case;
- choice: the answer begins with the right option and a stop or comma, or names it and no other;
- code: the code of the answer and then the checks run to their end in the sandbox.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tracemill.curate.chat.codec import decode
from tracemill.curate.chat.prefixes import THOUGHT
from tracemill.curate.wire import calls_in
from tracemill.evaluate.guard.items import GuardItem
from tracemill.evaluate.sandbox import End, Limits, run_code

Failure = Literal["", "no-answer", "called-a-tool", "wrong-answer", "no-code"] | End
FIRST_WORDS = 20
"""How far into an answer its word may stand: a long list of guesses is no answer."""

_NUMBER = re.compile(r"(?<![\w.])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)")
_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_IN_WORDS = re.compile(
    rf"\b(?:(?P<tens>{'|'.join(_TENS)})(?:[- ](?P<one>{'|'.join(_UNITS[1:10])}))?"
    rf"|(?P<unit>{'|'.join(_UNITS)}))\b"
)
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_TAGGED = re.compile(r"<code>\s*(.*?)</code>", re.DOTALL)
_CODE = re.compile(r"^(?:def|class|import|from|@|async def)\b.*", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Mark:
    """Right where `failure` is ""; `detail` says more, such as how code ended."""

    failure: Failure
    detail: str = ""

    @property
    def right(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.failure


def mark(item: GuardItem, text: str, limits: Limits | None = None) -> Mark:
    """Mark the answer `text`. EvaluationError only where code cannot be run on this machine at all."""
    said = text.rpartition(THOUGHT)[2].strip()
    decoded = decode(said)
    if decoded.calls or decoded.errors or calls_in(said).calls:
        return Mark("called-a-tool")
    if not said:
        return Mark("no-answer")
    if item.rule == "code":
        return _mark_code(item, said, limits)
    rules = {"number": _number_right, "words": _words_right, "choice": _choice_right}
    return Mark("" if rules[item.rule](item, said) else "wrong-answer")


def code_of(text: str) -> str:
    """The code in an answer: its fenced Python blocks, those in `<code>`, or all from its first line."""
    blocks = [
        body for language, body in _FENCE.findall(text) if language.lower() in {"", "py", "python", "python3"}
    ]
    blocks = blocks or [body.rstrip("\n") for body in _TAGGED.findall(text) if _CODE.search(body)]
    if blocks:
        return "\n\n".join(blocks) + "\n"
    found = _CODE.search(text)
    return found[0] + "\n" if found else ""


def _number_right(item: GuardItem, said: str) -> bool:
    numbers = _NUMBER.findall(_IN_WORDS.sub(_digits, said.casefold()))
    return bool(numbers) and float(numbers[-1].replace(",", "").replace("−", "-")) == float(item.right[0])


def _digits(match: re.Match[str]) -> str:
    if match["unit"]:
        return str(_UNITS.index(match["unit"]))
    return str(20 + 10 * _TENS.index(match["tens"]) + (_UNITS.index(match["one"]) if match["one"] else 0))


def _words_right(item: GuardItem, said: str) -> bool:
    start = " ".join(said.split()[:FIRST_WORDS])
    return any(_names(start, answer) for answer in item.right)


def _choice_right(item: GuardItem, said: str) -> bool:
    first = re.match(r"\W*(\w+)\W*(?:[.,:;!\n]|$)", said)
    named = [option for option in item.options if first and first[1].casefold() == option.casefold()]
    named = named or [option for option in item.options if _names(said, option)]
    return len(named) == 1 and named[0] in item.right


def _names(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None


def _mark_code(item: GuardItem, said: str, limits: Limits | None) -> Mark:
    code = code_of(said)
    if not code:
        return Mark("no-code")
    found = run_code([*[item.before] * bool(item.before), code, item.checks], limits)
    return Mark("") if found.finished else Mark(found.end, found.reason)
