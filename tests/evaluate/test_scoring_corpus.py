"""Every hand-labelled turn of the wire corpus as a completion: the score says what a person says of it."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracemill.curate.chat.codec import Call, decode, encode
from tracemill.curate.wire import calls_in
from tracemill.evaluate.items import Item, exactly
from tracemill.evaluate.scoring import FAILURES, score
from wire_tools import TOOLS

CORPUS = {
    f"{path.stem}-{i}": case
    for path in sorted((Path(__file__).parents[1] / "curate" / "wire_corpus").glob("*.toml"))
    for i, case in enumerate(tomllib.loads(path.read_text("utf-8"))["case"], start=1)
}
DIRECT = Item("item", "session", "", "direct", [], TOOLS, {"role": "assistant", "content": "Yes."})


def labelled(case: dict[str, Any]) -> list[Call]:
    named = [call.partition(" ") for call in case.get("calls", [])]
    return [Call(name, json.loads(arguments)) for name, _, arguments in named]


def due(calls: list[Call], offered: bool) -> Item:
    return replace(DIRECT, kind="call", calls=exactly(calls), tools=TOOLS if offered else [])


def item_calls(item: Item) -> list[Call]:
    return [Call(want.name, {key: one for key, (one,) in want.arguments.items()}) for want in item.calls]


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
def test_what_a_person_finds_is_what_is_scored(case: dict[str, Any]) -> None:
    text, calls, errors = case["text"], labelled(case), case.get("errors", [])
    offered = bool(case.get("offered"))
    item = due(calls or [Call("now", {})], offered)
    found, strict = score(item, text), decode(text)
    if strict.calls and not strict.errors:
        # The agent's parser executes it, also where a person sees a quotation.
        assert found.failure not in ("parse", "no-call", "other-format")
        assert found.right == (list(strict.calls) == item_calls(item))
    elif calls and not errors:
        assert found.lenient and found.failure == ("parse" if strict.errors else "other-format")
    elif errors:
        assert found.failure == "parse" and not found.lenient
    else:
        assert found.failure == ("parse" if strict.errors else "no-call") and not found.lenient
    words = score(replace(DIRECT, tools=TOOLS if offered else []), text)
    if calls and not errors:
        assert not words.right and not words.lenient
        assert words.failure in ("unwanted-call", "other-format", "parse")


def test_the_corpus_reaches_right_and_wrong_of_every_reading() -> None:
    found = Counter(
        score(due(labelled(case) or [Call("now", {})], bool(case.get("offered"))), case["text"]).failure
        for case in CORPUS.values()
    )
    assert len(CORPUS) >= 300
    assert all(found[kind] >= 10 for kind in ("", "parse", "other-format", "no-call"))


def mangled(text: str, rng: random.Random) -> str:
    """`text` cut, doubled, nested, or with some characters gone, swapped or put in."""
    for _ in range(rng.randint(0, 3)):
        at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        text = rng.choice(
            [
                text[:at],
                text[at:],
                text[:at] + text[to:],
                text + text[at:to],
                text[:at] + text + text[at:],
                text[:at]
                + rng.choice(['"', "}", "{", "<", ">", "\\", "\ud800", "\x00", "\n", "```", "]"])
                + text[at:],
                text[:at] + text[at:to][::-1] + text[to:],
            ]
        )
    return text


@pytest.mark.slow
def test_of_100_000_mangled_turns_none_crashes_and_no_attempt_is_called_no_call() -> None:
    rng = random.Random(6)
    texts = [case["text"] for case in CORPUS.values()]
    texts += [encode("Now.", [Call("read_file", {"path": "a.py", "limit": n})]) for n in range(20)]
    item = due([Call("read_file", {"path": "a.py", "limit": 1})], offered=True)
    seen: Counter[str] = Counter()
    for _ in range(100_000):
        text = mangled(rng.choice(texts), rng)
        found = score(item, text)
        seen[found.failure] += 1
        assert found.failure in ("", *FAILURES)
        assert found.lenient or not found.right
        strict, wire = decode(text), calls_in(text, TOOLS)
        if strict.errors or (not strict.calls and wire.errors):
            assert found.failure == "parse", text
        if found.failure == "no-call":
            assert not strict.calls and not strict.errors and not wire.calls and not wire.errors, text
            assert not re.search(r"</?tool_call>", text), text
        words = score(DIRECT, text)
        assert words.failure in ("", "parse", "unwanted-call", "other-format", "no-answer")
        assert words.lenient or not words.right
    assert all(seen[kind] > 100 for kind in ("parse", "no-call", "other-format"))
