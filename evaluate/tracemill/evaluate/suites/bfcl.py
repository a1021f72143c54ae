"""The Berkeley Function Calling Leaderboard as a suite, from the data in the package bfcl-eval.

In: the installed package, of which nothing is imported. Out: an `ItemSuite`: single, multiple and parallel
calls in Python, the same asked by users (`live_`), and questions that none of the functions answers
(irrelevance). Left out are Java and JavaScript (values are source text there) and `live_relevance` (any call
is right); multi-turn is a suite of its own (`bfcl_steps`).

Its schemas are turned into JSON schema. Its answers list the right values of every argument; "" among them
says that the argument may be left out. Questions about the same functions are not independent: in the live
categories they share the second number of their id, and that is their session.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, cast

from tracemill.evaluate.items import Item, WantedCall
from tracemill.evaluate.suites.bfcl_data import expected_turn, lines, located, tool
from tracemill.evaluate.suites.suite import ItemSuite
from tracemill.tracer.messages import Message

CATEGORIES = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
)


def load_bfcl(folder: Path | None = None) -> ItemSuite:
    """All categories; `folder` is the package's `data` where it is not installed.

    EvaluationError with the line that installs it where it is not there.
    """
    data, source = located(folder, "bfcl")
    found = [item for category in CATEGORIES for item in _category(data, category)]
    return ItemSuite("bfcl", "full", found, source)


def _category(data: Path, category: str) -> Iterator[Item]:
    file = f"BFCL_v4_{category}.json"
    questions = lines(data / file)
    none_due = "irrelevance" in category
    answers = (
        {} if none_due else {one["id"]: one["ground_truth"] for one in lines(data / "possible_answer" / file)}
    )
    for question in questions:
        calls = tuple(_call(one) for one in answers.get(question["id"], []))
        yield Item(
            id=question["id"],
            session_id=_session(question["id"]),
            category=category,
            kind="direct" if none_due else "call",
            messages=[cast(Message, dict(message)) for message in question["question"][0]],
            tools=[tool(function) for function in question["function"]],
            expected=expected_turn(calls),
            calls=calls,
            source=f"bfcl-eval, {file}",
        )


def _session(name: str) -> str:
    """`live_simple_12-7-3` is one of several questions about the functions 7."""
    if not name.startswith("live_"):
        return name
    category, _, numbers = name.rpartition("_")
    return f"{category}_{numbers.split('-')[1]}"


def _call(answer: dict[str, dict[str, list[Any]]]) -> WantedCall:
    ((name, arguments),) = answer.items()
    return WantedCall(
        name,
        {
            key: tuple(plain for one in accepted if one != "" for plain in plain_values(one)) or ("",)
            for key, accepted in arguments.items()
        },
        tuple(key for key, accepted in arguments.items() if "" in accepted),
    )


def plain_values(value: Any) -> list[Any]:
    """The JSON values that an accepted one stands for: the fields of an object list theirs.

    `{"unit": ["m", ""]}` stands for `{"unit": "m"}` and `{}`; objects in objects are as they are.
    """
    if isinstance(value, list):
        return [list(one) for one in product(*(plain_values(part) for part in cast("list[Any]", value)))]
    if not isinstance(value, dict):
        return [value]
    fields = cast("dict[str, list[Any]]", value)
    choices = [[(key, one) for one in accepted] for key, accepted in fields.items()]
    return [{key: one for key, one in chosen if one != ""} for chosen in product(*choices)]
