"""Our strict score beside bfcl-eval's own checker, on its simple, multiple and parallel categories.

In: the package bfcl-eval, installed or in the folder `--bfcl` (`pip install --no-deps --target FOLDER
bfcl-eval`); its checker is imported, its table of hosted models (which needs a dozen clients) is not. For
every question answers are made: right ones from its own answers, and one for each way to spoil them. Out: a
table of both judgements, and every disagreement by its cause.

    python benchmarks/bfcl_agreement.py --bfcl FOLDER > benchmarks/results/bfcl_agreement.md
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.items import Item
from tracemill.evaluate.scoring import score
from tracemill.evaluate.suites.bfcl import load_bfcl

CATEGORIES = ("simple_python", "multiple", "parallel")
Calls = list[Call]

CAUSES = {
    "text": "bfcl-eval drops ` ,./-_*^` and case from text before it compares, also within lists; we "
    "compare to the letter, because paths and code are text.",
    "number": "JSON has one kind of number: to us `5.0` is `5`, also where an integer is due; "
    "bfcl-eval compares Python types.",
    "default": "An argument that has the schema's default is the same call to us, said or not; bfcl-eval "
    "wants it said, or left out, as its answer has it.",
    "unexplained": "Nobody has looked at these.",
}


def main() -> None:
    """Judge all answers twice and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bfcl", type=Path, help="folder that bfcl-eval was installed into")
    folder = parser.parse_args().bfcl
    if folder:
        sys.path.insert(0, str(folder))
    check, data = checker()
    raw = {one["id"]: one for one in questions(data)}
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    causes: dict[str, Counter[str]] = defaultdict(Counter)
    examples: dict[str, str] = {}
    for item in load_bfcl(data).items:
        if item.category not in CATEGORIES:
            continue
        for how, calls in answers(item):
            ours = score(item, encode("", calls)).right
            theirs = check(raw[item.id], calls, item.category)
            counts[item.category, how][f"{ours}/{theirs}"] += 1
            if ours != theirs:
                cause = explain(item, calls, ours)
                causes[cause]["we say right" if ours else "we say wrong"] += 1
                examples.setdefault(cause, f"{item.id}, {how}: `{encode('', calls)[12:-13][:240]}`")
    print(page(counts, causes, examples, version("bfcl-eval")))


def checker() -> tuple[Callable[[dict[str, Any], Calls, str], bool], Path]:
    """bfcl-eval's checker as a function, and the folder of its data."""
    import bfcl_eval

    # The checker asks this table whether a model writes `_` for `.` in names; ours does not.
    hosted = types.ModuleType("bfcl_eval.constants.model_config")
    hosted.MODEL_CONFIG_MAPPING = defaultdict(lambda: types.SimpleNamespace(underscore_to_dot=False))  # type: ignore[attr-defined]
    sys.modules["bfcl_eval.constants.model_config"] = hosted
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    def check(question: dict[str, Any], calls: Calls, category: str) -> bool:
        said = [{call.name: call.arguments} for call in calls]
        right = question["ground_truth"]
        return ast_checker(question["function"], said, right, Language.PYTHON, category, "ours")["valid"]

    return check, Path(bfcl_eval.__path__[0]) / "data"


def questions(data: Path) -> Iterator[dict[str, Any]]:
    """Every question with its answer, as they stand in the package."""
    for category in CATEGORIES:
        name = f"BFCL_v4_{category}.json"
        right = {one["id"]: one for one in lines(data / "possible_answer" / name)}
        for one in lines(data / name):
            yield {**one, "ground_truth": right[one["id"]]["ground_truth"]}


def lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line."""
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


def answers(item: Item) -> Iterator[tuple[str, Calls]]:
    """Right answers, and answers that are spoilt in one place, each with what was done."""
    rng = random.Random(item.id)
    first = [
        Call(want.name, {key: one[0] for key, one in want.arguments.items() if key not in want.optional})
        for want in item.calls
    ]
    yield "right", first
    for _ in range(3):
        drawn = [
            Call(
                want.name,
                {
                    key: rng.choice(list(one))
                    for key, one in want.arguments.items()
                    if key not in want.optional or (rng.random() < 0.5 and list(one) != [""])
                },
            )
            for want in item.calls
        ]
        yield "right, other accepted values", rng.sample(drawn, len(drawn))
    yield "no call", []
    yield "a call twice", [*first, first[0]]
    at = rng.randrange(len(first))

    def spoilt(name: str | None = None, **arguments: Any) -> Calls:
        call = Call(name or first[at].name, {**first[at].arguments, **arguments})
        return [*first[:at], call, *first[at + 1 :]]

    yield "another tool", spoilt(name="other_tool")
    yield "an argument that there is not", spoilt(no_such_argument=1)
    for key, value in first[at].arguments.items():
        rest = {name: one for name, one in first[at].arguments.items() if name != key}
        yield "an argument left out", [*first[:at], Call(first[at].name, rest), *first[at + 1 :]]
        for how, other in values(value):
            yield how, spoilt(**{key: other})
    tool = next(tool for tool in item.tools if tool["name"] == first[at].name)
    for key, field in tool["parameters"]["properties"].items():
        if key not in first[at].arguments and "default" in field:
            yield "a default said", spoilt(**{key: field["default"]})


def values(value: Any) -> Iterator[tuple[str, Any]]:
    """What `value` is turned into, and how."""
    if isinstance(value, bool):
        yield "the other truth value", not value
    elif isinstance(value, int | float):
        yield "another number", value + 1
        yield "a number as text", str(value)
        yield "5.0 for 5", float(value)
    elif isinstance(value, str):
        yield "text in capitals", value.upper()
        yield "text without punctuation and spaces", re.sub(r"[ ,./_*^-]", "", value)
        yield "text with a word more", value + " more"
    elif isinstance(value, list):
        yield "a list turned round", value[::-1]
        yield "a list with one less", value[:-1]
        yield "a list as text", json.dumps(value)
        if value and isinstance(value[0], str):
            yield "a list in capitals", [str(one).upper() for one in value]
    elif isinstance(value, dict):
        yield "an object with a field more", {**value, "no_such_field": 1}
        yield "an object with a field less", dict(list(value.items())[1:])


def explain(item: Item, calls: Calls, ours: bool) -> str:
    """Why the two judgements differ: the rule which, taken over from bfcl-eval, would make them agree."""
    if not ours:
        loose = re.compile(r"[ ,./\-_*^]")
        alike = fits_under(item, calls, lambda text: loose.sub("", text).lower().replace("'", '"'))
        return "text" if alike else "unexplained"
    written = [value for call in calls for value in leaves(call.arguments)]
    accepted = {
        repr(leaf) for want in item.calls for one in want.arguments.values() for leaf in leaves(list(one))
    }
    if any(isinstance(value, int | float) and repr(value) not in accepted for value in written):
        return "number"
    keys = [call.arguments.keys() for call in calls]
    if any(
        set(want.arguments) - set(want.optional) != set(key)
        for want, key in zip(item.calls, keys, strict=False)
    ):
        return "default"
    return "number" if any(isinstance(value, int | float) for value in written) else "unexplained"


def fits_under(item: Item, calls: Calls, plain: Callable[[str], str]) -> bool:
    """Whether the calls are right when all text, theirs and ours, goes through `plain`."""

    def deep(value: Any) -> Any:
        if isinstance(value, str):
            return plain(value)
        if isinstance(value, list):
            return [deep(one) for one in value]
        return {key: deep(one) for key, one in value.items()} if isinstance(value, dict) else value

    wanted = [
        replace(want, arguments={key: [deep(one) for one in right] for key, right in want.arguments.items()})
        for want in item.calls
    ]
    said = [Call(call.name, deep(call.arguments)) for call in calls]
    return score(replace(item, calls=wanted), encode("", said)).right


def leaves(value: Any) -> Iterator[Any]:
    """The values in a value that hold no others."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        yield value
    else:
        for one in inner:
            yield from leaves(one)


def page(
    counts: dict[tuple[str, str], Counter[str]],
    causes: dict[str, Counter[str]],
    examples: dict[str, str],
    release: str,
) -> str:
    """The results as Markdown."""
    total = sum((sum(one.values()) for one in counts.values()), 0)
    agreed = sum(one["True/True"] + one["False/False"] for one in counts.values())
    text = [
        "# Our strict score beside bfcl-eval's checker",
        "",
        f"bfcl-eval {release}, the questions of {', '.join(CATEGORIES)}; answers made from its own, "
        "and spoilt in one place each. Made by `python benchmarks/bfcl_agreement.py`.",
        "",
        f"{agreed} of {total} judgements agree ({100 * agreed / total:.1f}%).",
        "",
        "| answers | both right | both wrong | we right, bfcl-eval wrong | we wrong, bfcl-eval right |",
        "|---|---|---|---|---|",
    ]
    whole: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, how), found in counts.items():
        whole[how].update(found)
    for how, one in whole.items():
        cells = [one[key] for key in ("True/True", "False/False", "True/False", "False/True")]
        text.append(f"| {how} | {' | '.join(map(str, cells))} |")
    text += ["", "| category | answers | agree |", "|---|---|---|"]
    for category in CATEGORIES:
        found = sum((one for (name, _), one in counts.items() if name == category), Counter[str]())
        same = found["True/True"] + found["False/False"]
        text.append(f"| {category} | {sum(found.values())} | {100 * same / sum(found.values()):.1f}% |")
    text += ["", "## Every disagreement", "", "| cause | we say right | we say wrong |", "|---|---|---|"]
    text += [
        f"| {name} | {one['we say right']} | {one['we say wrong']} |" for name, one in sorted(causes.items())
    ]
    text += [""] + [f"- **{name}**: {CAUSES[name]} First: {examples[name]}" for name in sorted(causes)]
    return "\n".join(text)


if __name__ == "__main__":
    main()
