"""Steps of multi-turn conversations: a small package in the layout of bfcl-eval's, and bfcl-eval itself."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tracemill.cli.main import main
from tracemill.curate.chat.codec import Call, calls_of, encode
from tracemill.evaluate.confusion import confusions
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.items import Item
from tracemill.evaluate.scoring import score
from tracemill.evaluate.suites import load_suite
from tracemill.evaluate.suites.bfcl_steps import DONE, NOT_DONE, RULES, THERE_NOW, load_bfcl_steps

SHELF = '''
import mpmath
from bfcl_eval.eval_checker.multi_turn_eval.func_source_code.long_context import MORE


class Shelf:
    def _load_scenario(self, scenario, long_context=False):
        self.books = scenario["books"] + MORE * long_context
        self.log = []

    def put(self, title, place=0):
        """Order does not matter to the state, only to the log of `lend`."""
        self.books = sorted([*self.books, title])

    def lend(self, title, to):
        if title not in self.books:
            raise ValueError(f"no {title}")
        self.books.remove(title)
        self.log.append((title, to))
        return {"lent": title, "left": len(self.books)}

    def weigh(self, grams):
        try:
            return {"log": mpmath.log(grams)}
        except Exception as error:
            return {"error": str(error)}
'''
FUNCTIONS = {
    "put": {"title": {"type": "string"}, "place": {"type": "integer", "default": 0}},
    "lend": {"title": {"type": "string"}, "to": {"type": "string"}},
    "weigh": {"grams": {"type": "float"}},
}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "base": {
        "said": ["Put Emma and Ulysses up.", "Lend Emma to Ann and then Dune to Bob.", "Weigh 5 g. Lend it."],
        "right": [
            ["put('Emma')", "put(title='Ulysses', place=0)"],
            ["lend(title='Emma', to='Ann')", "lend(title='Dune', to='Bob')"],
            ["weigh(grams=5)", "lend(title='Ulysses', to='Ann')"],
        ],
    },
    "miss_func": {
        "said": ["Put Emma up.", "Lend it to Ann.", None, "Put Ulysses up."],
        "right": [["put('Emma')"], [], ["lend('Emma', to='Ann')"], ["put('Ulysses')"]],
        "missed_function": {"2": ["lend"]},
    },
    "miss_param": {
        "said": ["Lend Dune.", "To Ann.", "Lend it again."],
        "right": [[], ["lend(title='Dune', to='Ann')"], ["lend(title='Dune', to='Ann')"]],
    },
    "long_context": {"said": ["Put Emma up."], "right": [["put('Emma')", "lend('Emma', 'Ann')"]]},
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path, with a package laid out like bfcl-eval."""
    top = tmp_path_factory.mktemp("site")
    data = top / "bfcl_eval" / "data"
    sources = top / "bfcl_eval" / "eval_checker" / "multi_turn_eval" / "func_source_code"
    for folder in (data / "possible_answer", data / "multi_turn_func_doc", sources):
        folder.mkdir(parents=True)
    (top / "bfcl_eval" / "__init__.py").write_text("raise ImportError('nothing of it may be imported')\n")
    (top / "bfcl_eval-1.2.3.dist-info").mkdir()
    (top / "bfcl_eval-1.2.3.dist-info" / "METADATA").write_text("Name: bfcl-eval\nVersion: 1.2.3\n")
    (sources / "long_context.py").write_text("MORE = ['more'] * 9\n")
    (sources / "shelf.py").write_text(SHELF)
    docs = [
        {"name": name, "description": name, "parameters": {"type": "dict", "properties": fields}}
        for name, fields in FUNCTIONS.items()
    ]
    (data / "multi_turn_func_doc" / "shelf.json").write_text("\n".join(map(json.dumps, docs)))
    for kind, one in CONVERSATIONS.items():
        name, file = f"multi_turn_{kind}_7", f"BFCL_v4_multi_turn_{kind}.json"
        asked = {
            "id": name,
            "question": [[{"role": "user", "content": text}] if text else [] for text in one["said"]],
            "initial_config": {"Shelf": {"books": ["Dune"]}},
            "involved_classes": ["Shelf"],
            **{key: one[key] for key in one.keys() & {"missed_function"}},
        }
        (data / file).write_text(json.dumps(asked))
        (data / "possible_answer" / file).write_text(json.dumps({"id": name, "ground_truth": one["right"]}))
    return top


@pytest.fixture(scope="module")
def steps(package: Path) -> dict[str, Item]:
    found = load_bfcl_steps(package / "bfcl_eval" / "data").items
    return {item.id.removeprefix("multi_turn_"): item for item in found}


def test_a_conversation_becomes_steps_ends_and_gaps(steps: dict[str, Item]) -> None:
    told = {name: (item.category.replace("multi_turn_", ""), item.expected) for name, item in steps.items()}
    due = {name: (category, [one.name for one in calls_of(turn)]) for name, (category, turn) in told.items()}
    assert due == {
        "base_7:1.1": ("steps of base", ["put"]),
        "base_7:1.2": ("steps of base", ["put"]),
        "base_7:2.1": ("steps of base", ["lend"]),
        "base_7:2.2": ("steps of base", ["lend"]),
        # What it answers cannot be known without mpmath, so the conversation ends with the question.
        "base_7:3.1": ("steps of base", ["weigh"]),
        "miss_func_7:2.end": ("gaps of miss_func", []),
        "miss_func_7:3.1": ("steps of miss_func", ["lend"]),
        "miss_param_7:1.end": ("gaps of miss_param", []),
        "miss_param_7:2.1": ("steps of miss_param", ["lend"]),
    }
    assert {item.session_id for item in steps.values()} == {"multi_turn_7"}
    assert [item.kind for item in steps.values()] == [
        "call" if calls else "direct" for _, calls in due.values()
    ]


def test_the_history_is_what_was_said_and_what_the_functions_answered(steps: dict[str, Item]) -> None:
    told = [(one["role"], one["content"]) for one in steps["base_7:2.2"].messages]
    assert told == [
        ("system", RULES),
        ("user", "Put Emma and Ulysses up."),
        ("assistant", ""),
        ("tool", "None"),
        ("assistant", ""),
        ("tool", "None"),
        ("assistant", DONE),
        ("user", "Lend Emma to Ann and then Dune to Bob."),
        ("assistant", ""),
        ("tool", '{"lent": "Emma", "left": 2}'),
    ]
    first = steps["base_7:2.2"].messages[2]
    assert [(one.name, one.arguments) for one in calls_of(first)] == [("put", {"title": "Emma"})]


def test_up_to_the_gap_the_function_is_not_offered(steps: dict[str, Item]) -> None:
    gap, after = steps["miss_func_7:2.end"], steps["miss_func_7:3.1"]
    assert [one["name"] for one in gap.tools] == ["put", "weigh"]
    assert [one["name"] for one in after.tools] == ["put", "lend", "weigh"]
    assert [one["content"] for one in after.messages[-2:]] == [NOT_DONE, THERE_NOW]
    assert score(gap, "I have no way to lend a book.").right
    assert score(gap, encode("", [Call("put", {"title": "Emma"})])).failure == "unwanted-call"


def test_a_call_that_could_as_well_come_first_is_right(steps: dict[str, Item]) -> None:
    free, ordered = steps["base_7:1.1"], steps["base_7:2.1"]
    emma, ulysses = Call("put", {"title": "Emma"}), Call("put", {"title": "Ulysses"})
    for text, failure in (
        (encode("", [emma]), ""),
        (encode("", [ulysses]), ""),
        (encode("", [emma, ulysses]), "extra-call"),
        (encode("", [Call("put", {"title": "Dune"})]), "wrong-value"),
        (encode("", [Call("weigh", {"grams": 5})]), "wrong-tool"),
        (encode("", [Call("put", {"title": "ulysses"})]), "wrong-value"),
        ("Done.", "no-call"),
    ):
        assert score(free, text).failure == failure
    assert score(free, encode("", [Call("put", {"title": "ulysses"})])).lenient
    # The log of what was lent would be another one.
    assert not ordered.alternatives
    assert score(ordered, encode("", [Call("lend", {"title": "Dune", "to": "Bob"})])).failure == "wrong-value"


def test_an_alternative_stands_on_the_diagonal_and_in_the_hash(steps: dict[str, Item]) -> None:
    from dataclasses import replace

    item = steps["base_7:1.1"]
    other = replace(item, alternatives=[[replace(item.calls[0], name="weigh", arguments={})]])
    text = encode("", [Call("weigh", {})])
    (table,) = confusions([[ItemResult(other, text, score(other, text))]])
    assert (table.rows, table.columns, table.counts) == (["weigh"], ["weigh"], [[1]])
    assert len({item.digest, other.digest, replace(item, alternatives=()).digest}) == 3


def test_long_results_are_a_suite_of_their_own(package: Path) -> None:
    found = load_bfcl_steps(package / "bfcl_eval" / "data", long=True)
    assert [item.id for item in found.items] == [f"multi_turn_long_context_7:1.{at}" for at in (1, 2, "end")]
    assert found.items[-1].messages[-1]["content"] == '{"lent": "Emma", "left": 10}'


def test_show_says_what_it_is_not(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(package)  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.delitem(sys.modules, "bfcl_eval", raising=False)
    monkeypatch.setattr(sys, "argv", ["tracemill", "suite", "show", "bfcl-steps", "--size", "full", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    told = json.loads(capsys.readouterr().out)
    assert "not the leaderboard's multi-turn score" in told["note"]
    assert told["items"][0]["source"] == "bfcl-eval, BFCL_v4_multi_turn_base.json, turn 1"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "func_source_code/shelf.py",
            "import subprocess\nsubprocess.run(['ls'])\nclass Shelf: pass",
            "process",
        ),
        ("func_source_code/shelf.py", "class Chair: pass", "there is no class Shelf"),
        (
            "possible_answer",
            '{"id": "multi_turn_long_context_7", "ground_truth": [["burn()"]]}',
            "burn is not",
        ),
        (
            "possible_answer",
            '{"id": "multi_turn_long_context_7", "ground_truth": [["put(1+x)"]]}',
            "malformed",
        ),
    ],
)
def test_a_package_that_is_not_what_it_should_be_is_refused(
    package: Path, tmp_path: Path, file: str, text: str, told: str
) -> None:
    import shutil

    copy = tmp_path / "bfcl_eval"
    shutil.copytree(package / "bfcl_eval", copy)
    answers = copy / "data" / "possible_answer" / "BFCL_v4_multi_turn_long_context.json"
    (answers if file == "possible_answer" else copy / "eval_checker" / "multi_turn_eval" / file).write_text(
        text
    )
    with pytest.raises(EvaluationError, match=rf"{told}.*install it again"):
        load_bfcl_steps(copy / "data", long=True)


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="the package bfcl-eval is not installed")
@pytest.mark.slow
def test_the_right_steps_pass_the_checker_of_bfcl_eval() -> None:
    pytest.importorskip("mpmath")  # pyright: ignore[reportUnknownMemberType]
    import importlib

    checks = importlib.import_module("bfcl_eval.eval_checker.multi_turn_eval.multi_turn_checker")
    suite = load_suite("bfcl-steps", "full")
    data = Path(str(find_spec("bfcl_eval").submodule_search_locations[0])) / "data"  # type: ignore[union-attr, index]
    file = "BFCL_v4_multi_turn_base.json"
    asked, right = (
        {one["id"]: one for one in map(json.loads, place.read_text("utf-8").splitlines())}
        for place in (data / file, data / "possible_answer" / file)
    )
    made: dict[str, dict[int, list[list[str]]]] = defaultdict(lambda: defaultdict(list))
    for item in suite.items:
        calls = calls_of(item.expected)
        assert score(item, encode("" if calls else "No.", calls)).right, item.id
        name, _, place = item.id.partition(":")
        for call in calls:
            words = ",".join(f"{key}={value!r}" for key, value in call.arguments.items())
            made[name][int(place.partition(".")[0]) - 1].append([f"{call.name}({words})"])
    whole = 0
    for name, turns in ((name, turns) for name, turns in made.items() if name in asked):
        truth = right[name]["ground_truth"]
        if sum(len(turn) for turn in turns.values()) == sum(len(turn) for turn in truth):
            said = [turns[at] for at in range(len(truth))]
            found = checks.multi_turn_checker(said, truth, asked[name], "multi_turn_base", "ours")
            assert found["valid"], (name, found)
            whole += 1
    assert whole >= 195
