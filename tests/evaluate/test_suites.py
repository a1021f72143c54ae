"""Suites: what a file of one's own says, the sizes, bfcl-eval's data, and what is refused."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item
from tracemill.evaluate.scoring import score
from tracemill.evaluate.suites import load_suite
from tracemill.evaluate.suites.bfcl import load_bfcl, plain_values
from tracemill.evaluate.suites.custom import load_custom
from tracemill.evaluate.suites.suite import ItemSuite, problems, sized

MINE = """
name = "mine"

[[tools]]
name = "read_file"
parameters = {type = "object", properties = {path = {type = "string"}, limit = {type = "integer"}}}

[[item]]
id = "read"
category = "read"
system = "You are a coding agent."
prompt = "Show a.py"
calls = [{name = "read_file", arguments = {path = "a.py", limit = 5}, accept = {path = ["./a.py"]}, optional = ["limit"]}]

[[item]]
id = "chat"
prompt = "Thanks!"
direct = true

[[item]]
id = "sum"
prompt = "What is 1,200 + 34?"
numeric = 1234

[[item]]
id = "words"
prompt = "Which colours has the flag of France?"
keywords = ["blue", "white", "red"]
regexes = ["(?i)^the"]

[[item]]
id = "parts"
prompt = "Name four seasons."
partial = ["spring", "summer", "autumn", "winter"]

[[item]]
id = "exact"
prompt = "Say OK."
exact = "OK"

[[item]]
id = "short"
prompt = "Be brief."
scorer = "scorers.py:brief"
"""
SCORER = "def brief(item, text):\n    return 1 - min(len(text), 100) / 100 if item['id'] == 'short' else 0\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "scorers.py").write_text(SCORER)
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path / "mine.toml"


def read(**arguments: Any) -> str:
    return encode("", [Call("read_file", arguments)])


@pytest.mark.parametrize(
    ("name", "text", "failure", "value"),
    [
        ("read", read(path="a.py"), "", 1.0),
        ("read", read(path="./a.py", limit=5), "", 1.0),
        ("read", read(path="A.py", limit=5), "wrong-value", 0.0),
        ("read", read(path="a.py", limit=6), "wrong-value", 0.0),
        ("chat", "You are welcome.", "", 1.0),
        ("chat", read(path="a.py"), "unwanted-call", 0.0),
        ("sum", "1,200 and 34 make 1,234.", "", 1.0),
        ("sum", "<think>1234?</think>It is 1235.", "wrong-answer", 0.0),
        ("sum", "A lot.", "wrong-answer", 0.0),
        ("sum", read(path="a.py"), "unwanted-call", 0.0),
        ("sum", "", "no-answer", 0.0),
        ("words", "The flag is Blue, White and Red.", "", 1.0),
        ("words", "Blue, white and red.", "wrong-answer", 0.0),
        ("words", "The flag is blue and white.", "wrong-answer", 0.0),
        ("parts", "Spring, summer, autumn.", "wrong-answer", 0.75),
        ("parts", "Winter, spring, summer, autumn.", "", 1.0),
        ("exact", " OK\n", "", 1.0),
        ("exact", "OK.", "wrong-answer", 0.0),
        ("short", "x" * 25, "wrong-answer", 0.75),
    ],
)
def test_every_kind_of_item(mine: Path, name: str, text: str, failure: str, value: float) -> None:
    (item,) = (one for one in load_suite(str(mine), "full").items if one.id == name)
    found = score(item, text)
    assert (found.failure, found.value) == (failure, pytest.approx(value))
    assert found.lenient or not found.right


def test_an_item_says_where_it_comes_from_and_what_it_is(mine: Path, tmp_path: Path) -> None:
    suite = load_custom(mine)
    assert (suite.name, suite.source, len(suite.items)) == ("mine", str(mine), 7)
    first = suite.items[0]
    assert (first.id, first.category, first.source, len(first.digest)) == ("read", "read", "mine.toml", 32)
    assert [message["role"] for message in first.messages] == ["system", "user"]
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    (elsewhere / "mine.toml").write_text(MINE)
    (elsewhere / "scorers.py").write_text(SCORER)
    assert load_custom(elsewhere / "mine.toml").digest == suite.digest
    (elsewhere / "scorers.py").write_text(SCORER + "\n")
    assert load_custom(elsewhere / "mine.toml").digest != suite.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the suite has no items"),
        ("[[item]", "is not TOML"),
        ('[[item]]\nid = "a"\nprompt = "x"\n', "give calls, direct = true, or what the answer holds"),
        ('[[item]]\nid = "a"\ndirect = true\n', "give either a prompt or messages"),
        (
            '[[item]]\nid = "a"\nprompt = "x"\nkeyword = ["b"]\n',
            "item.0.keyword: Extra inputs are not permitted",
        ),
        ('[[item]]\nid = "a"\nprompt = "x"\nregexes = ["("]\n', "the regex '(' is none"),
        ('[[item]]\nid = "a"\nprompt = "x"\nscorer = "no.py:f"\n', "There is no scorer"),
        (
            '[[item]]\nid = "a"\nprompt = "x"\ncalls = [{name = "f"}]\n',
            "it expects calls and offers no tools",
        ),
        (
            '[[item]]\nid = "a"\nprompt = "x"\ntools = [{name = "g"}]\ncalls = [{name = "f"}]\n',
            "item a: it expects a call of 'f', which is not offered; add the tool",
        ),
        (
            '[[item]]\nid = "a"\nprompt = "x"\ntools = [{name = "f", parameters = {properties = {b = '
            '{type = "integer"}}}}]\ncalls = [{name = "f", arguments = {b = "c"}}]\n',
            "do not fit the tool's parameters",
        ),
        (2 * '[[item]]\nid = "a"\nprompt = "x"\ndirect = true\n', "the id 'a' stands twice"),
        (
            '[[item]]\nid = "a"\nprompt = "x"\ndirect = true\nhash = "0"\n',
            "its hash is not that of its content",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(EvaluationError) as found:
        load_suite(str(file), "full")
    assert told in str(found.value) and "\n" not in str(found.value)


def test_lines_of_json_are_a_suite_too(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text(
        '{"id": "a", "prompt": "Hi", "direct": true}\n\n{"id": "b", "prompt": "2?", "numeric": 2}\n'
    )
    assert [(item.id, item.kind) for item in load_custom(file).items] == [("a", "direct"), ("b", "answer")]
    file.write_text('{"id": "a", "prompt": "Hi", "direct": true}\n{"id": \n')
    with pytest.raises(EvaluationError, match=r"lines\.jsonl, line 2: not JSON"):
        load_custom(file)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("bfc", "did you mean 'bfcl'.*name holdout, bfcl, bfcl-steps, bfcl-steps-long, guard, or a"),
        ("live", "`tracemill demo`, which runs them"),
        ("holdout", "name one with --dataset"),
        ("missing.toml", "No such file"),
    ],
)
def test_suites_that_are_not_there(which: str, told: str) -> None:
    with pytest.raises(EvaluationError, match=told):
        load_suite(which)


def test_a_scorer_that_fails_is_named_with_its_item(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(
        "def f(item, text):\n    return 2\n\ndef g(item, text):\n    return 1 / 0\n"
    )
    for function, told in (("f", "gave 2 for item a"), ("g", "failed on item a: ZeroDivisionError")):
        (tmp_path / "s.toml").write_text(f'[[item]]\nid = "a"\nprompt = "x"\nscorer = "s.py:{function}"\n')
        (item,) = load_custom(tmp_path / "s.toml").items
        with pytest.raises(EvaluationError, match=told):
            score(item, "Hello.")


def direct(name: str, category: str) -> Item:
    return Item(name, name, category, "direct", [], [], {"role": "assistant", "content": "Yes."})


@given(st.lists(st.sampled_from("aabc"), min_size=1, max_size=600))
def test_sizes_are_nested_proportional_and_always_the_same(categories: list[str]) -> None:
    suite = ItemSuite("s", "full", [direct(str(i), one) for i, one in enumerate(categories)], "here")
    quick, standard = sized(suite, "quick"), sized(suite, "standard")
    assert len(quick.items) == min(48, len(categories)) and len(standard.items) == min(240, len(categories))
    ids = [[item.id for item in one.items] for one in (quick, standard, suite)]
    assert set(ids[0]) <= set(ids[1]) <= set(ids[2])
    assert ids[0] == sorted(ids[0], key=int)
    for category in set(categories):
        share = categories.count(category) / len(categories)
        assert abs(sum(item.category == category for item in quick.items) - share * len(quick.items)) <= 2
    assert sized(suite, "quick") == quick


def test_problems_are_all_told() -> None:
    twice = [direct("a", ""), direct("a", "")]
    assert problems(twice) == ["the id 'a' stands twice; change one"]
    assert problems([]) == ["the suite has no items; add some"]


def test_accepted_values_of_bfcl_stand_for_plain_ones() -> None:
    assert plain_values("x") == ["x"]
    assert plain_values({"a": [1, 2], "b": ["", "m"]}) == [
        {"a": 1},
        {"a": 1, "b": "m"},
        {"a": 2},
        {"a": 2, "b": "m"},
    ]
    assert plain_values([{"a": [1, 2]}, {"a": [3]}]) == [[{"a": 1}, {"a": 3}], [{"a": 2}, {"a": 3}]]


def write_bfcl(folder: Path) -> Path:
    """The package's layout with one question in each of two categories, none in the others."""
    from tracemill.evaluate.suites.bfcl import CATEGORIES

    (folder / "possible_answer").mkdir(parents=True)
    function = {
        "name": "area.of",
        "description": "Area.",
        "parameters": {
            "type": "dict",
            "properties": {"base": {"type": "float"}, "unit": {"type": "any"}},
            "required": ["base"],
        },
    }
    question = {"question": [[{"role": "user", "content": "How large?"}]], "function": [function]}
    answer = {"ground_truth": [{"area.of": {"base": [2.5], "unit": ["m", ""]}}]}
    for category in CATEGORIES:
        name = f"BFCL_v4_{category}.json"
        asked = category in ("live_simple", "irrelevance")
        line = json.dumps({"id": f"{category}_4-2-1"} | question) + "\n"
        (folder / name).write_text(line if asked else "")
        line = json.dumps({"id": f"{category}_4-2-1"} | answer) + "\n"
        (folder / "possible_answer" / name).write_text(line if category == "live_simple" else "")
    return folder


def test_bfcl_becomes_items_with_json_schemas(tmp_path: Path) -> None:
    irrelevant, live = load_bfcl(write_bfcl(tmp_path / "data")).items
    assert (irrelevant.kind, live.kind) == ("direct", "call")
    assert (live.session_id, live.category) == ("live_simple_2", "live_simple")
    properties = {"base": {"type": "number"}, "unit": {}}
    assert live.tools[0]["parameters"] == {"type": "object", "properties": properties, "required": ["base"]}
    for text, failure in (
        (encode("", [Call("area.of", {"base": 2.5})]), ""),
        (encode("", [Call("area.of", {"base": 2.5, "unit": "m"})]), ""),
        (encode("", [Call("area.of", {"base": 2.5, "unit": "M"})]), "wrong-value"),
        (encode("", [Call("area.of", {"base": "2.5"})]), "invalid-value"),
        (encode("", [Call("area.of", {"unit": "m"})]), "missing-argument"),
    ):
        assert score(live, text).failure == failure
    (tmp_path / "data" / "BFCL_v4_simple_python.json").write_text("{")
    with pytest.raises(EvaluationError, match="cannot be read"):
        load_bfcl(tmp_path / "data")


@pytest.mark.skipif(find_spec("bfcl_eval") is not None, reason="the package bfcl-eval is installed")
def test_bfcl_that_is_not_installed_says_how() -> None:
    with pytest.raises(EvaluationError, match="pip install --no-deps bfcl-eval"):
        load_suite("bfcl")


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="the package bfcl-eval is not installed")
def test_every_item_of_bfcl_is_right_with_its_own_answer() -> None:
    for item in load_suite("bfcl", "full").items:
        calls = [Call(one["name"], one["arguments"]) for one in item.expected.get("tool_calls", [])]  # pyright: ignore
        assert score(item, encode("" if calls else "No.", calls)).right, item.id
