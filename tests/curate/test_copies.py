"""Steps against learning the same thing many times: template families, earlier data sets, test suites."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import assistant, chat, conversation, frame, frames, user
from tracemill.curate.copies import AgainstOptions, FamilyOptions, SuiteOptions
from tracemill.curate.dataset import load
from tracemill.curate.errors import RecipeError
from tracemill.curate.export import export
from tracemill.curate.features.templates import template
from tracemill.curate.manifest import dropped_of
from tracemill.curate.near.earlier import matches
from tracemill.curate.pipeline import Curated, curate
from tracemill.tracer.home import Home

ASKED = "Please read the configuration of the second project and tell me which of its options are never used"


def dropped(curated: Curated) -> list[tuple[str, str, str]]:
    return curated.dropped.select("conversation_id", "reason", "evidence").rows()


SAME = [
    ("Show recent commits (4)", "show recent  commits (8)"),
    ("Find the definition of PaymentGateway", "Find the definition of user_service"),
    ("What does src/main.py do?", "What does ./lib/a-b.ts do?"),
    ("Open https://a.b/c?d=1 now", "Open /etc/hosts now"),
    ('Write "hello there" to config.toml', "Write `x = 1` to notes.md"),
    ("Call parse() twice", "Call os.path.join() twice"),
    ("Explain Foo.bar, don't run it", "Explain np.linalg.norm, don't run it"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_prompts_of_a_template_are_one_family(one: str, other: str) -> None:
    assert template(one) == template(other)


@pytest.mark.parametrize("other", ["Show recent branches (4)", "Show commits (4)", "Show recent commits"])
def test_prompts_that_ask_something_else_are_not(other: str) -> None:
    assert template("Show recent commits (4)") != template(other)


def family_of(number: int) -> pl.LazyFrame:
    return frame(*(conversation(at, chat(f"Show recent commits ({at})")) for at in range(number)))


def test_a_family_is_capped_and_the_seed_draws() -> None:
    rows = pl.concat([family_of(30), frame(conversation(99, chat("Else")), conversation(98, [user("")]))])
    kept: list[list[str]] = []
    for seed in (0, 1):
        curated = curate(rows, {"families": FamilyOptions(max_per_family=3, seed=seed)})
        kept.append(curated.rows["conversation_id"].to_list())
        assert len(kept[-1]) == 5
        assert kept[-1][-2:] == ["c98", "c99"]
    assert kept[0] != kept[1]
    curated = curate(rows, {"families": FamilyOptions(max_per_family=3)})
    evidence = "one of 30 prompts such as: show recent commits ( ⟨number⟩ ); 3 of them are kept"
    assert {row[1:] for row in dropped(curated)} == {("template family", evidence)}


@given(frames(), st.integers(1, 3), st.randoms())
def test_a_cap_holds_whatever_the_order(rows: pl.LazyFrame, most: int, rng: random.Random) -> None:
    steps = {"families": FamilyOptions(max_per_family=most)}
    once = curate(rows, steps)
    every = [*once.rows["conversation_id"], *once.dropped["conversation_id"]]
    assert sorted(every) == sorted(rows.collect()["conversation_id"])
    sizes = once.rows.filter(pl.col("family").is_not_null()).group_by("family").len()["len"]
    assert (sizes <= most).all()
    order = list(range(len(every)))
    rng.shuffle(order)
    again = curate(rows.collect()[order].lazy(), steps)
    assert again.rows["conversation_id"].to_list() == once.rows["conversation_id"].to_list()
    twice = curate(once.rows.lazy().drop("context", "prompt"), steps)
    assert twice.dropped.is_empty()


def write(folder: Path, *prompts: str) -> Path:
    folder.mkdir()
    lines = [json.dumps({"messages": [user(prompt), assistant("So be it.")]}) for prompt in prompts]
    (folder / "train.jsonl").write_text("\n".join([*lines, "broken"]) + "\n")
    return folder


def asked(number: int, prompt: str) -> dict[str, object]:
    return conversation(number, [user(prompt), assistant("So be it.")])


def test_what_stands_in_an_earlier_data_set_is_not_learned_again(tmp_path: Path) -> None:
    old = write(tmp_path / "old", ASKED, ASKED.replace("second", "first"), "Something else entirely")
    rows = frame(
        asked(1, ASKED), asked(2, ASKED.replace("second", "third")), asked(3, "New"), asked(4, "New")
    )
    steps = {"against": AgainstOptions(datasets=[str(old)])}
    curated = curate(rows, steps)
    assert curated.rows["conversation_id"].to_list() == ["c3", "c4"]
    place = "by words and pairs of words, to old/train:1 of the data set old"
    assert dropped(curated)[0] == ("c1", "learned before", f"100% alike, {place}")
    assert dropped(curated)[1][1:] == ("nearly learned before", f"86% alike, {place}")
    strict = curate(rows, {"against": AgainstOptions(datasets=[str(old)], threshold=1)})
    assert strict.rows["conversation_id"].to_list() == ["c2", "c3", "c4"]
    assert curate(curated.rows.lazy().drop("context", "prompt"), steps).dropped.is_empty()


def test_an_earlier_data_set_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no earlier data set at .*: give a \.jsonl file, or a folder"):
        curate(frame(), {"against": AgainstOptions(datasets=[str(tmp_path)])})


def test_prompts_of_a_suite_are_kept_out(tmp_path: Path) -> None:
    suite = tmp_path / "suite.jsonl"
    lines = [{"question": "Is it?"}, {"messages": [user(ASKED)]}, {"other": 1}, [1]]
    suite.write_text("\n".join(json.dumps(line) for line in lines))
    text = tmp_path / "more.txt"
    text.write_text("\nRun the tests\n")
    rows = frame(
        *(conversation(at, chat(prompt)) for at, prompt in enumerate(["is  IT?", f"{ASKED} here", "Run it"]))
    )
    steps = {"decontaminate": SuiteOptions(suites=[str(suite), str(text)])}
    curated = curate(rows, steps)
    assert curated.rows["conversation_id"].to_list() == ["c2"]
    assert dropped(curated) == [
        ("c0", "in a test suite", "its prompt is 100% alike to suite.jsonl, line 1"),
        ("c1", "in a test suite", "its prompt is 94% alike to suite.jsonl, line 2"),
    ]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(RecipeError, match="No prompt can be read in"):
        curate(rows, {"decontaminate": SuiteOptions(suites=[str(tmp_path / "none.txt")])})


def test_the_most_similar_prompt_is_named() -> None:
    near, nearer = (
        ASKED.replace("second", "third").replace("never", "often"),
        ASKED.replace("second", "third"),
    )
    found = list(matches([ASKED, "brief", near], [near, nearer, "Short"], 0.7))
    assert found[0] is not None and found[0][0] == 1
    assert found[1] is None
    assert found[2] == (0, 1.0)
    assert list(matches([ASKED], [], 0.8)) == [None]


def test_texts_are_read_again_where_they_lie(home: Home, tmp_path: Path) -> None:
    prompts = [f"{ASKED} number {at}" for at in range(4)]
    prompts += [f"What of {at} {' '.join(f'{at}x{word}' for word in range(12))}?" for at in range(40)]
    write(tmp_path / "source", *prompts)
    old = write(tmp_path / "old", prompts[-1])
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\n[source]\nkind = "chat"\npath = "source"\n'
        f'[steps.near_duplicates]\n[steps.against]\ndatasets = ["{old}"]\n'
    )
    dataset = export(home, recipe=recipe)
    manifest = load(dataset.folder).manifest
    assert manifest is not None
    told = dropped_of(dataset.folder, manifest).select("step", "conversation_id").rows()
    assert told == [
        ("read", "source/train:45"),
        *(("near_duplicates", f"source/train:{at}") for at in (2, 3, 4)),
        ("against", "source/train:44"),
    ]


def test_what_was_only_context_in_an_earlier_data_set_was_not_learned(tmp_path: Path) -> None:
    def earlier(name: str, weights: list[int], **more: object) -> dict[str, object]:
        said = [user(ASKED), assistant("One."), user("And then?"), assistant("Two.")]
        for message, weight in zip(said[1::2], weights, strict=True):
            message["weight"] = weight  # type: ignore[typeddict-unknown-key]
        return {"id": name, "messages": said, **more}

    def kept(*rows: dict[str, object]) -> bool:
        (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        one = frame(conversation(1, [user(ASKED), assistant("One."), user("And then?"), assistant("Two.")]))
        curated = curate(one, {"against": AgainstOptions(datasets=[str(tmp_path / "old.jsonl")])})
        return curated.rows.height == 1

    assert not kept(earlier("a", [1, 1]))
    assert kept(earlier("a", [0, 0])), "nothing of it was learned"
    assert kept(earlier("a", [0, 1])), "the first turn was not"
    by_turn = earlier("a@1", [1, 1])
    by_turn["messages"] = by_turn["messages"][:2]  # type: ignore[index]
    assert not kept(by_turn, earlier("a@3", [0, 1])), "a row a turn: each was learned in its own"
