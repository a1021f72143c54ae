"""Recipes: the shipped one, files of one's own, and what is said about a mistake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracemill.curate.errors import RecipeError
from tracemill.curate.recipe import find, parse
from tracemill.curate.rewrites.preambles import PreambleOptions
from tracemill.curate.steps import STEPS, CallOptions, OutcomeOptions

MINE = """
name = "mine"
[source]
where = "agent = 'punie'"
[steps.duplicates]
[steps.outcome]
keep = ["good", "bad"]
[split]
valid = 0.2
test = 0
seed = 7
"""


def test_the_recipes_of_the_documentation_are_recipes() -> None:
    page = Path(__file__).parents[2] / "docs" / "beyond_imitation.md"
    found = re.findall(r"^```toml\n(.+?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert [parse(text, "the page").name for text in found] == ["mine", "distilled", "some_answers"]


def test_the_default_recipe_is_valid() -> None:
    recipe = find("default")
    assert recipe.name == "default"
    assert list(recipe.steps) == [
        "outcome",
        "calls",
        "duplicates",
        "near_duplicates",
        "branches",
        "learnable",
    ]
    assert recipe.steps.keys() <= STEPS.keys()
    assert recipe.steps["outcome"] == OutcomeOptions(keep=["good"])
    assert recipe.steps["calls"] == CallOptions(failed_calls="context")


def test_a_file_of_ones_own_keeps_its_order_and_options(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    recipe = find(file)
    assert recipe.where == "agent = 'punie'"
    assert list(recipe.steps) == ["duplicates", "outcome"]
    assert recipe.steps["outcome"] == OutcomeOptions(keep=["good", "bad"])
    assert (recipe.split.valid, recipe.split.test, recipe.split.seed) == (0.2, 0.0, 7)
    assert recipe.text == MINE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("keep =", "kep =", "In r, [steps.outcome]: nothing reads the key 'kep' (did you mean 'keep'?); its keys are keep."),
        ('["good", "bad"]', '["fine"]', "In r, [steps.outcome]: the key 'keep.0': Input should be 'good' or 'bad'."),
        ("steps.duplicates", "steps.duplicate", f"In r: there is no step 'duplicate' (did you mean 'duplicates'?); the steps are {', '.join(STEPS)}."),
        ("[steps.duplicates]", "[steps.duplicates]\nnear = 1", "In r, [steps.duplicates]: nothing reads the key 'near'; it takes none."),
        ("[split]", "[splits]", "In r: nothing reads the key 'splits' (did you mean 'split'?); its keys are name, source, rewrites, steps, split, order, replay, format, pairs."),
        ("seed = 7", 'seed = "7"', "In r, [split]: the key 'seed': Input should be a valid integer."),
        ("test = 0", "test = 0.8", "In r, [split]: valid and test together must leave something to learn from."),
        ('name = "mine"', "", "In r: the key 'name' is missing; add it."),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_mend(old: str, new: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse(MINE.replace(old, new), "r")
    assert str(error.value) == said


def test_a_name_cannot_leave_the_folder_of_data_sets() -> None:
    with pytest.raises(RecipeError, match="the key 'name'"):
        parse(MINE.replace('"mine"', '"../mine"'), "r")


def test_a_recipe_that_does_not_exist_is_named_with_its_likeness(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'default'"):
        find("defualt")
    with pytest.raises(RecipeError, match="Cannot read the recipe"):
        find(tmp_path / "none.toml")


@given(st.text() | st.text().map(lambda text: MINE + text))
def test_any_text_is_a_recipe_or_a_recipe_error(text: str) -> None:
    try:
        assert parse(text, "r").steps
    except RecipeError as error:
        assert str(error)


def test_several_sources_and_rewrites_keep_their_order() -> None:
    text = """
name = "two"
[[source]]
agent = "punie"
[[source]]
kind = "chat"
path = "old/set.jsonl"
weight = 0.5
[rewrites.preambles]
all = true
[steps.duplicates]
"""
    recipe = parse(text, "r")
    assert [(one.title, one.kind, one.weight) for one in recipe.sources] == [
        ("warehouse", "warehouse", 1.0),
        ("set", "chat", 0.5),
    ]
    assert recipe.rewrites == {"preambles": PreambleOptions(all=True)}
    assert recipe.where is None
    with pytest.raises(RecipeError, match=r"there is no rewrite 'preamble' \(did you mean 'preambles'\?\)"):
        parse(text.replace("preambles", "preamble"), "r")
    with pytest.raises(
        RecipeError, match=r"\[rewrites.preambles\]: nothing reads the key 'al' \(did you mean 'all'"
    ):
        parse(text.replace("all =", "al ="), "r")
