"""The steps of the suites bfcl-steps and bfcl-steps-long beside bfcl-eval's own execution and checker.

In: the packages bfcl-eval and mpmath, installed or in the folder `--bfcl` (`pip install --no-deps --target
FOLDER bfcl-eval mpmath`). Out: a table: whether the results in our histories are those of bfcl-eval's own
execution, whether its multi-turn checker takes our steps, one call at a time, for a right rollout, and
whether it still does with every alternative made first.

    python benchmarks/bfcl_steps.py --bfcl FOLDER > benchmarks/results/bfcl_steps.md
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections import Counter, defaultdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tracemill.curate.chat.codec import calls_of
from tracemill.evaluate.items import Item
from tracemill.evaluate.suites.bfcl_steps import load_bfcl_steps

KINDS = ("base", "miss_func", "miss_param", "long_context")
COLUMNS = {
    "results": "results in our histories",
    "same": "the same as bfcl-eval's",
    "rollouts": "conversations asked to their end",
    "valid": "right to its checker",
    "others": "alternatives",
    "turn": "right to it in their turn",
    "end": "right to the end",
}


def main() -> None:
    """Hold all items of both suites against the package and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bfcl", type=Path, help="folder that bfcl-eval and mpmath were installed into")
    folder = parser.parse_args().bfcl
    if folder:
        sys.path.insert(0, str(folder))
    # Some functions tell local time; ours are run with this one.
    os.environ["TZ"] = "UTC"
    time.tzset()
    spec = find_spec("bfcl_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("bfcl-eval is not installed; see --help")
    data = Path(spec.submodule_search_locations[0]) / "data"
    items = [item for long in (False, True) for item in load_bfcl_steps(data, long=long).items]
    by_conversation: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_conversation[item.id.partition(":")[0]].append(item)
    package = Package()
    counts = {kind: Counter[str]() for kind in KINDS}
    for kind in KINDS:
        for one in package.conversations(data, kind):
            counts[kind] += package.judged(one, kind, by_conversation[one["id"]])
    print(page(counts, version("bfcl-eval"), len(items)))


class Package:
    """bfcl-eval's execution and checker, which keep their objects under the name of each use."""

    def __init__(self) -> None:
        place = "bfcl_eval.eval_checker.multi_turn_eval"
        self.execute = importlib.import_module(f"{place}.multi_turn_utils").execute_multi_turn_func_call
        self.check = importlib.import_module(f"{place}.multi_turn_checker").multi_turn_checker
        self.uses = 0

    def conversations(self, data: Path, kind: str) -> list[dict[str, Any]]:
        """All of a category, each with its right calls."""
        name = f"BFCL_v4_multi_turn_{kind}.json"
        asked, right = (
            [json.loads(line) for line in file.read_text("utf-8").splitlines()]
            for file in (data / name, data / "possible_answer" / name)
        )
        return [{**one, "right": other["ground_truth"]} for one, other in zip(asked, right, strict=True)]

    def judged(self, one: dict[str, Any], kind: str, items: list[Item]) -> Counter[str]:
        """The counts of a conversation, from its items."""
        told = Counter[str]()
        theirs = self.results(one, kind)
        ours = max((results(item) for item in items), key=len)
        told["results"], told["same"] = len(ours), sum(map(str.__eq__, ours, theirs))
        # Of a call that is due, where it stands among those of its turn.
        places = {tuple(map(int, item.id.partition(":")[2].split("."))): item for item in items if item.calls}
        said = [[[call] for call in turn] for turn in one["right"]]
        made = {at - 1: 0 for at, _ in places}
        for (turn, at), item in places.items():
            said[turn - 1][at - 1] = [python(item)]
            made[turn - 1] += 1
        told["rollouts"] = sum(made.values()) == sum(len(turn) for turn in one["right"])
        told["valid"] = bool(told["rollouts"] and self.is_valid(one, said, len(said)))
        for (turn, at), item in places.items():
            for other in item.alternatives:
                place = next(
                    later - 1
                    for (same, later), each in places.items()
                    if same == turn and later > at and [*each.calls] == [*other]
                )
                order = [list(calls) for calls in said]
                order[turn - 1].insert(at - 1, order[turn - 1].pop(place))
                told["others"] += 1
                told["turn"] += self.is_valid(one, order, turn)
                told["end"] += self.is_valid(one, order, len(order))
        return told

    def results(self, one: dict[str, Any], kind: str) -> list[str]:
        """What its own execution of the right calls gives."""
        name = self.named()
        found: list[str] = []
        for turn in one["right"]:
            long = kind == "long_context"
            start = (one["initial_config"], one["involved_classes"], name, one["id"])
            found += self.execute(turn, *start, long_context=long)[0]
        return found

    def is_valid(self, one: dict[str, Any], said: list[list[list[str]]], turns: int) -> bool:
        """What its checker says of a rollout, up to a number of turns."""
        kind = one["id"].rpartition("_")[0]
        return bool(self.check(said[:turns], one["right"][:turns], one, kind, self.named())["valid"])

    def named(self) -> str:
        """A name that was not used before."""
        self.uses += 1
        return f"use{self.uses}"


def results(item: Item) -> list[str]:
    """What the calls in an item's history gave."""
    return [message["content"] for message in item.messages if message["role"] == "tool"]


def python(item: Item) -> str:
    """The call that is due, as the text that the package executes."""
    (call,) = calls_of(item.expected)
    return f"{call.name}({', '.join(f'{key}={value!r}' for key, value in call.arguments.items())})"


def page(counts: dict[str, Counter[str]], release: str, items: int) -> str:
    """The results as Markdown."""
    text = [
        "# Our steps of multi-turn conversations beside bfcl-eval",
        "",
        f"bfcl-eval {release}, all {items} items of bfcl-steps and bfcl-steps-long. Made by "
        "`python benchmarks/bfcl_steps.py`.",
        "",
        f"| conversations | {' | '.join(COLUMNS.values())} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    text += [f"| {kind} | {' | '.join(str(one[key]) for key in COLUMNS)} |" for kind, one in counts.items()]
    return "\n".join(
        [
            *text,
            "",
            "- bfcl-eval executes a call as its answer has it, we as a model would write it: every argument "
            "named, one call at a time.",
            "- A conversation is asked to its end where every right call of it is a step. Of miss_func and "
            "miss_param the turn behind the gap alone is asked; `logarithm`, which needs mpmath, ends one.",
            "- Where an alternative is right in its turn and not to the end, a later turn lists files in the "
            "order in which they were made.",
        ]
    )


if __name__ == "__main__":
    main()
