"""The journal: one line an experiment, its scores, and commands that mean the very same run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from shlex import split
from typing import Any, cast

import pytest
import typer.main
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from adapters import remember
from tracemill.cli.main import app
from tracemill.curate.recipe import find as find_recipe
from tracemill.curate.sources import both
from tracemill.evaluate import journal_pages as pages
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.journal import Experiment, find, journal, plain
from tracemill.evaluate.journal_commands import train_options
from tracemill.evaluate.results import Header, write_results
from tracemill.tracer.home import Home
from tracemill.train.config import Asked, fields, merged
from tracemill.train.defaults import choose
from tracemill.train.settings import Settings
from tracemill.warehouse.ingest import ingest
from tracemill.warehouse.lineage import (
    Dataset,
    DatasetRow,
    Evaluation,
    EvaluationItem,
    Note,
    Training,
)

HOSTILE = "</td><script>alert(1)</script> | [x](http://evil) \x1b[2J\n# no heading"
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
ADAPTER, DATASET = "smollm2-135m-0a1b2c3d4e", "default-" + "ab" * 5
OWN = 'name = "own"\n[steps.outcome]\n'


def dataset(name: str = DATASET, **changes: Any) -> Dataset:
    text = find_recipe("default").text
    made = Dataset(
        name, f"/project/datasets/{name}", "ab" * 32, {"text": text, "where": find_recipe("default").where},
        [DatasetRow("r1", "train", "s1")], base="smollm2", seed=find_recipe("default").split.seed,
        counts={"splits": {"train": 40, "valid": 5, "test": 6}},
    )  # fmt: skip
    return replace(made, **changes)


def training(name: str = ADAPTER, data: str = DATASET, **asked: Any) -> Training:
    settings = choose(40, {"seed": 3} | asked)[0]
    return Training(
        name, "smollm2-135m", f"/project/adapters/{name}", [], data, 3, "f" * 64, settings.asdict(),
        details={"judge": "exact tool calls on valid, 128 tokens, code 0", "dataset_sha256": "cd" * 32},
    )  # fmt: skip


def evaluation(name: str, right: int, of: int, **changes: Any) -> Evaluation:
    calls = [EvaluationItem(f"c{i}", float(i < right), CALL, "x", f"s{i // 2}", "read") for i in range(of)]
    words = [EvaluationItem(f"d{i}", 1.0, "Words.", "x", f"t{i}", "talk") for i in range(3)]
    made = Evaluation(
        name, f"{DATASET}/test", "smollm2-135m", [*calls, *words], dataset_id=DATASET, score=right / of
    )
    return replace(made, **changes)


@pytest.fixture
def filled(home: Home) -> Home:
    """A base and its adapter on the holdout, the guard of the adapter, and a note that means harm."""
    home.ensure(home.datasets / DATASET)
    home.ensure(home.adapters / ADAPTER)
    tuned = evaluation("e1" * 8, 12, 12, training_id=ADAPTER, baseline_id="e0" * 8, verdict="better")
    guard = [
        EvaluationItem("g1", 1.0, "4", "4", None, "reasoning"),
        EvaluationItem("p", 0.25, None, None, None, "text"),
    ]
    kept = Evaluation(
        "e2" * 8, "guard/quick", "smollm2-135m", guard, ADAPTER, score=1.0, verdict="not better"
    )
    made = training(rank=16, patience=None, layers=None)
    remember(home, dataset(), made, evaluation("e0" * 8, 2, 12), tuned, kept, Note(ADAPTER, HOSTILE))
    write_results(home, Header("e1" * 8, tuned.suite, "s", "smollm2-135m", "b", ADAPTER, "f", 128), [])
    return home


def named(home: Home, name: str) -> Experiment:
    return find(journal(home), name)


def test_an_experiment_says_what_it_was_made_of_and_what_came_of_it(filled: Home) -> None:
    tuned, base = journal(filled)  # it was trained before either was evaluated
    assert (base.id, base.dataset, base.recipe, base.seed) == ("smollm2-135m", None, None, None)
    assert [(one.suite, one.score, one.items) for one in base.scores] == [("holdout", 2 / 12, 12)]
    assert (tuned.id, tuned.dataset, tuned.rows, tuned.seed, tuned.gone) == (ADAPTER, DATASET, 51, 3, False)
    assert tuned.recipe is not None and (tuned.recipe.name, tuned.recipe.text) == ("default", None)
    holdout, guard = tuned.scores
    assert holdout.low is not None and 0.4 < holdout.low < 1 and holdout.high == 1
    assert (guard.suite, guard.items, guard.told) == ("guard/quick", 1, "kept")
    assert tuned.verdict == "better (holdout); kept (guard/quick)"
    assert [one.split("\n")[0] for one in tuned.notes] == [HOSTILE.split("\n", maxsplit=1)[0]]
    for part in ("0a1b", ADAPTER[:14], ADAPTER):
        assert named(filled, part) == tuned
    with pytest.raises(EvaluationError, match="may be any of 2 experiments"):
        named(filled, "smollm2")
    with pytest.raises(EvaluationError, match="There is no experiment 'gone'"):
        named(filled, "gone")


def test_the_command_says_what_was_not_the_default_and_nothing_else(filled: Home) -> None:
    assert named(filled, ADAPTER).command == (
        "tracemill export --recipe default --model smollm2-135m && \\\n"
        f'tracemill train "$TRACEMILL_HOME"/datasets/{DATASET} --model smollm2-135m --rank 16 --layers all '
        "--patience 0 --seed 3 && \\\n"
        f'tracemill evaluate smollm2-135m --adapter "$TRACEMILL_HOME"/adapters/{ADAPTER} '
        f'--dataset "$TRACEMILL_HOME"/datasets/{DATASET} --max-tokens 128 && \\\n'
        f'tracemill evaluate smollm2-135m --adapter "$TRACEMILL_HOME"/adapters/{ADAPTER} '
        "--suite guard --size quick"
    )
    assert named(filled, "smollm2-135m").command == (
        f'tracemill evaluate smollm2-135m --dataset "$TRACEMILL_HOME"/datasets/{DATASET}'
    )


def test_a_recipe_of_ones_own_a_condition_and_other_suites(home: Home) -> None:
    own = dataset("mine", recipe={"text": OWN, "where": "agent = 'a'"}, seed=7, base=None)
    others = [
        evaluation(name * 16, 1, 2, suite=suite, dataset_id=None, training_id="t-1")
        for name, suite in (("a", "bfcl (quick)"), ("b", "tutor"), ("c", "live"))
    ]
    judged = evaluation(
        "d" * 16, 3, 4, suite="tutor, judged by openai:x, human", training_id="t-1", baseline_id="0" * 16,
        details={"criterion": "tone", "net": {"estimate": 0.5, "low": 0.25, "high": 0.75}},
    )  # fmt: skip
    remember(home, own, training("t-1", "mine"), *others, judged)
    one = named(home, "t-1")
    front, _, rest = one.command.partition("\nEND_OF_RECIPE\n")
    assert f"{front}\n" == f"cat > own.toml <<'END_OF_RECIPE'\n{OWN}"
    lines = rest.split(" && \\\n")
    assert (
        lines[0]
        == "tracemill export --recipe own.toml --where 'agent = '\"'\"'a'\"'\"'' --seed 7 --name mine"
    )
    assert lines[2].endswith("--suite bfcl --size quick") and lines[3].endswith(
        "--suite tutor.toml --size full"
    )
    assert lines[4] == (
        f"tracemill judge {'0' * 16} t-1 --suite tutor --by openai:x --by human --criterion tone"
    )
    assert one.remarks == [
        "The live tasks are those of `tracemill demo`.",
        "The suite tutor is a file of its author's.",
    ]
    assert one.gone
    (judging,) = (score for score in one.scores if "judged" in score.suite)
    assert (judging.low, judging.high) == (0.625, 0.875)


def test_a_condition_beside_that_of_the_recipe_is_told_apart(home: Home) -> None:
    text = 'name = "own"\n[source]\nwhere = "task IS NOT NULL"\n[steps.outcome]\n'
    recorded = both("task IS NOT NULL", "agent = 'a' -- mine")
    remember(home, dataset("d", recipe={"text": text, "where": recorded}), training("t-1", "d"))
    assert "--where 'agent = '\"'\"'a'\"'\"' -- mine'" in named(home, "t-1").command


def test_the_same_home_gives_the_same_pages_also_when_the_warehouse_is_made_anew(filled: Home) -> None:
    def both_pages() -> tuple[str, str]:
        found = journal(filled)
        return pages.markdown(filled, found), pages.html(filled, found)

    before = both_pages()
    assert both_pages() == before
    filled.warehouse.unlink()
    filled.snapshot.unlink()
    ingest(filled)
    assert both_pages() == before
    for page in before:
        assert not re.search(r"(?<!\\)<script", page) and "\x1b" not in page and ADAPTER in page
        assert "tracemill train" in page and f"export TRACEMILL_HOME={filled.root}" in page
    assert "http://evil" not in before[0] and "\n# no heading" not in before[0]
    assert "src=" not in before[1] and 'href="http' not in before[1]


def test_an_adapter_that_only_its_card_knows_is_in_it_and_a_broken_card_is_not(filled: Home) -> None:
    card = {"base": "tiny", "dataset": "d", "dataset_sha256": "e" * 64, "weights_sha256": "f" * 64,
            "settings": Settings(seed=5, every=10).asdict()}  # fmt: skip
    for name, text in (("copied-1", json.dumps(card)), ("broken", "{"), (".draft", json.dumps(card))):
        home_folder = filled.ensure(filled.adapters / name)
        (home_folder / "tracemill.json").write_text(text)
    found = named(filled, "copied-1")
    assert (found.made, found.base, found.seed, found.rows) == (None, "tiny", 5, None)
    assert found.remarks == ["The warehouse does not know how the data set d was made."]
    assert "--steps 130 --batch-size 5" in found.command
    assert {one.id for one in journal(filled)} == {ADAPTER, "smollm2-135m", "copied-1"}
    assert json.loads(json.dumps(plain(found)))["made"] is None


SHARE = st.floats(0, 0.9).map(lambda value: round(value, 3))
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "batch_size": st.integers(1, 64), "batch_tokens": st.integers(1, 9999), "grad_checkpoint": st.booleans(),
        "learning_rate": st.floats(1e-7, 1.0), "schedule": st.sampled_from(["constant", "linear", "cosine"]),
        "warmup": SHARE, "weight_decay": SHARE, "rank": st.integers(1, 64), "scale": st.floats(0.01, 40.0),
        "dropout": SHARE, "layers": st.one_of(st.just("all"), st.integers(1, 40)), "dora": st.booleans(),
        "modules": st.lists(st.sampled_from(["q_proj", "self_attn.v_proj"]), min_size=1, unique=True),
        "every": st.integers(1, 99), "patience": st.integers(0, 9), "guard_loss": SHARE, "guard_floor": SHARE,
        "context": st.integers(8, 9999), "seed": st.integers(0, 99),
    },
)  # fmt: skip
LENGTH = st.one_of(
    st.just({}),
    st.integers(1, 999).map(lambda n: {"steps": n}),
    st.floats(0.1, 9.0).map(lambda n: {"epochs": n}),
)


@lru_cache
def train_command() -> Any:
    return cast(Any, typer.main.get_command(app)).commands["train"]


def parsed(words: list[str]) -> dict[str, Any]:
    """What `tracemill train` makes of words, as its own parser reads them."""
    given = train_command().make_context("train", ["folder", *words]).params
    given = {key: value for key, value in given.items() if key in Asked.model_fields and value is not None}
    if given.get("layers", "all") != "all":
        given["layers"] = int(given["layers"])
    if "modules" in given:
        given["modules"] = given["modules"].split(",")
    return fields(merged(None, given))


@examples(max_examples=60)
@given(GIVEN, LENGTH, st.booleans(), st.booleans(), st.integers(1, 3000), st.booleans())
def test_the_options_of_a_training_run_give_its_very_settings(
    given_: dict[str, Any], length: dict[str, Any], full: bool, pairs: bool, rows: int, known: bool
) -> None:
    asked = given_ | length | ({"method": "dpo", "beta": 0.25} if pairs else {})
    if full:
        asked = {
            key: value
            for key, value in asked.items()
            if key not in ("rank", "scale", "dropout", "modules", "dora")
        }
        asked["full"] = True
    settings, _ = choose(rows, fields(merged(None, asked)))
    stored = replace(settings, steps=settings.steps_for(rows)).asdict()
    words = train_options(json.loads(json.dumps(stored)), rows if known else None)
    again, _ = choose(rows, parsed(words))
    assert replace(again, steps=again.steps_for(rows)) == replace(settings, steps=settings.steps_for(rows))
    if known and not asked:
        assert words == []


def test_a_run_that_went_on_from_an_adapter_names_it_and_leaves_it_its_shape(filled: Home) -> None:
    card = {"base": "smollm2-135m", "dataset": DATASET, "dataset_sha256": "e" * 64, "weights_sha256": "f" * 64,
            "settings": {"rank": 64}, "start": "smollm2-135m-0000aaaa"}  # fmt: skip
    (filled.adapters / ADAPTER / "tracemill.json").write_text(json.dumps(card))
    command = named(filled, ADAPTER).command
    assert "--model smollm2-135m --adapter smollm2-135m-0000aaaa --patience 0 --seed 3" in command


def test_what_no_option_says_is_told(home: Home) -> None:
    remember(home, replace(training("demo-1"), recipe=Settings(steps=130).asdict()))
    one = named(home, "demo-1")
    assert "--steps 130 " in one.command and "--guard-loss 1 --guard-floor 0" in one.command
    assert "--every" not in one.command
    assert "Checkpoints were scored after steps 98, 130" in one.remarks[1]


def test_files_of_the_journal_are_for_the_user_alone(tmp_path: Path) -> None:
    pages.write(tmp_path / "j.md", "x\ud800\n")
    assert (tmp_path / "j.md").stat().st_mode & 0o777 == 0o600
    with pytest.raises(EvaluationError, match="Cannot write the journal"):
        pages.write(tmp_path / "no" / "j.md", "x")


def test_sampled_evaluations_and_suites_in_files_are_asked_again_as_they_were(
    home: Home, tmp_path: Path
) -> None:
    drawn = "5 samples at temperature 0.7, seed 1"
    mine, base = str(tmp_path / "my suite.jsonl"), "/project/models/tiny"
    some = [
        evaluation(name * 16, 1, 2, base="m", suite=suite, dataset_id=data)
        for name, suite, data in (
            ("a", f"{DATASET}/test ({drawn})", DATASET),
            ("b", f"bfcl (quick, {drawn})", None),
            ("c", f"mine ({drawn.replace('5 samples', '1 sample').replace('seed 1', 'seed 0')})", None),
            ("d", "mine", None),
        )
    ]
    remember(home, *some)
    for one in some:
        source = {"a": f"/elsewhere/{DATASET}", "c": mine, "d": mine}.get(one.evaluation_id[0])
        write_results(
            home, Header(one.evaluation_id, one.suite, "s", base, "b", None, None, 256, source=source), []
        )
    lines = named(home, "m").command.split(" && \\\n")
    how, front = "--samples 5 --temperature 0.7 --seed 1", f"tracemill evaluate {base} "
    assert lines == [
        f"{front}--suite bfcl --size quick {how}",
        f"{front}--dataset /elsewhere/{DATASET} {how}",
        f"{front}--suite '{mine}' --size full",
        f"{front}--suite '{mine}' --size full --samples 1 --temperature 0.7",
    ]
    for line in lines:
        cast(Any, typer.main.get_command(app)).commands["evaluate"].make_context("evaluate", split(line)[2:])
    assert named(home, "m").remarks == []


def test_models_behind_a_network_are_asked_again_where_they_were(home: Home) -> None:
    some = [
        evaluation("a" * 16, 1, 2, base="m at http://127.0.0.1:8080/v1", suite="bfcl", dataset_id=None),
        evaluation("b" * 16, 1, 2, base="openai:g at openai (https://x/v1)", suite="bfcl", dataset_id=None),
    ]
    remember(home, *some)
    one, other = (named(home, name) for name in ("m at", "openai"))
    assert one.command == "tracemill evaluate m --endpoint http://127.0.0.1:8080/v1 --suite bfcl --size full"
    assert other.command == "tracemill evaluate openai:g --suite bfcl --size full"
    assert other.remarks == ["openai:g was asked at openai (https://x/v1)."]
