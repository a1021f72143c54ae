"""`tracemill promote` and `rollback` as a user runs them: verdicts of a real warehouse, a real adapter."""

from __future__ import annotations

import getpass
import json
import shutil
from pathlib import Path

import pytest

from adapters import lora_adapter, record_verdict, remember
from command_line import Run
from tiny import tiny_model
from tracemill.cli.rival import against_promoted
from tracemill.curate.chat.codec import Call, encode
from tracemill.evaluate.items import Item, exactly
from tracemill.evaluate.results import Header, stored_item, write_results
from tracemill.evaluate.scoring import score
from tracemill.tracer.home import Home
from tracemill.train.adapter import load_adapter
from tracemill.train.errors import PromotionError
from tracemill.train.promotion import FILE, current, history, promoted
from tracemill.warehouse.lineage import Dataset, DatasetRow, Evaluation, EvaluationItem, Training
from tracemill.warehouse.store import record_dataset, record_evaluation, record_training


@pytest.fixture
def home(home: Home) -> Home:
    """A home with the adapters `tiny-a` and `tiny-b`, of which nothing is known."""
    base = tiny_model(home.models / "tiny")
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        lora_adapter(home.adapters / name, base, seed=seed)
    return home


def refusal(run: Run, *words: str) -> str:
    """The one line with which a command refuses."""
    ended = run(*words)
    assert (ended.code, ended.out) == (1, "")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    return line


def test_what_was_found_better_is_promoted_and_taken_back(home: Home, tracemill: Run) -> None:
    for name in ("tiny-a", "tiny-b"):
        record_verdict(home, name, "better")
    first = tracemill("promote", "tiny-a")
    assert "tiny-a is promoted." in first.out
    assert "Nobody asked what tiny-a lost of its base's general ability" in first.err
    record_verdict(home, "tiny-b", "not better", "guard/quick")
    assert promoted(home).path == home.adapters / "tiny-a"
    told = json.loads(tracemill("promote", str(home.adapters / "tiny-b"), "--json").out)
    assert (told["changed"], told["adapter"], told["verdict"], told["forced"]) == (
        True,
        "tiny-b",
        "better",
        False,
    )
    assert (told["by"], told["suite"]) == (getpass.getuser(), "rows-1/test")
    again = tracemill("promote", "tiny-b")
    assert "tiny-b is promoted already" in again.out and "general ability" not in again.err
    assert len(history(home)) == 2

    assert "tiny-b is taken back. tiny-a is promoted again." in tracemill("rollback").out
    assert promoted(home).path.name == "tiny-a"
    back = json.loads(tracemill("rollback", "--json").out)
    assert (back["taken_back"], back["adapter"]) == ("tiny-a", None)
    with pytest.raises(PromotionError, match="No adapter is promoted"):
        promoted(home)
    assert "nothing to take back" in refusal(tracemill, "rollback")
    assert [step.action for step in history(home)] == ["promote", "promote", "rollback", "rollback"]
    assert (home.root / FILE).stat().st_mode & 0o777 == 0o600

    shown = tracemill("promote", "--show")
    assert shown.code == 0
    assert "No adapter is promoted" in shown.out
    assert shown.out.count("rollback") == 2
    assert tracemill("promote", "tiny-b").code == 0
    assert json.loads(tracemill("promote", "--show", "--json").out)["promoted"]["adapter"] == "tiny-b"


@pytest.mark.parametrize(
    ("verdicts", "why"),
    [
        ([], "No evaluation has compared tiny-a with its base"),
        ([("undecided", "one")], "better than its base on what it had not seen: undecided on one"),
        ([("not better", "one")], "not seen: not better on one"),
        ([("better", "one"), ("worse", "guard")], "tiny-a is worse than its base on guard"),
        ([("better", "one"), ("undecided", "one")], "undecided on one"),
        ([(None, "one")], "No evaluation has compared"),
        ([("better", "rows-1/train")], "better on rows-1/train (rows to learn from, or to choose"),
        ([("better", "rows-1/valid (quick)")], "better on rows-1/valid (quick) (rows to learn from"),
        ([("worse", "rows-1/train"), ("better", "one")], "tiny-a is worse than its base on rows-1/train"),
    ],
)
def test_what_was_not_found_better_is_refused_or_forced_for_all_to_see(
    home: Home, tracemill: Run, verdicts: list[tuple[str | None, str]], why: str
) -> None:
    for word, suite in verdicts:
        record_verdict(home, "tiny-a", word, suite)
    line = refusal(tracemill, "promote", "tiny-a")
    assert why in line
    assert "--force" in line
    assert history(home) == []
    ended = tracemill("promote", "tiny-a", "--force")
    assert ended.code == 0
    assert "Forced: no verdict speaks for tiny-a" in ended.err
    (step,) = history(home)
    assert step.forced
    assert "forced" in tracemill("promote", "--show").out


def answered(home: Home, name: str, right: int, suite: str = "mine", max_tokens: int = 64) -> Evaluation:
    """The result file of an adapter that has so many of 12 calls right, and what a warehouse would know of it."""
    card, due = load_adapter(home.adapters / name).card, encode("", [Call("now", {})])
    items = [
        Item(f"r{at}#1", f"s{at}", "time", "call", [{"role": "user", "content": f"{at}?"}], [],
             {"role": "assistant", "content": due}, calls=exactly([Call("now", {})]), source="here")
        for at in range(12)
    ]  # fmt: skip
    texts = [due if at < right else "Noon." for at in range(12)]
    header = Header(
        f"{name}-{suite}-{max_tokens}".replace("/", "-"), suite, "sha", "tiny", card["base_sha256"], name,
        card["weights_sha256"], max_tokens,
    )  # fmt: skip
    some = zip(items, texts, strict=True)
    write_results(home, header, [stored_item(one, text, score(one, text), due) for one, text in some])
    asked = [EvaluationItem(one.id, 1.0, session_id=one.session_id) for one in items]
    return Evaluation(header.evaluation, suite, "tiny", asked, name)


def test_what_is_worse_than_the_promoted_one_is_refused_or_forced(home: Home, tracemill: Run) -> None:
    for name, right in (("tiny-a", 12), ("tiny-b", 3)):
        record_verdict(home, name, "better")
        answered(home, name, right)
        answered(home, name, 6, suite="other")
    assert "compared" not in tracemill("promote", "tiny-a").err
    line = refusal(tracemill, "promote", "tiny-b")
    assert "tiny-b is not promoted. Against tiny-a, promoted so far, it is worse on mine: The adapter" in line
    assert (
        "On other it is undecided. `tracemill compare` shows where; --force promotes it all the same." in line
    )
    forced = tracemill("promote", "tiny-b", "--force")
    assert "Forced: tiny-b is worse than tiny-a; the history keeps that." in forced.err
    assert [step.forced for step in history(home)] == [False, True]
    back = tracemill("promote", "tiny-a", "--json")
    assert "Against tiny-b, promoted so far, it is better on mine: The adapter gains" in back.err
    told = json.loads(back.out)
    assert (told["forced"], [one["word"] for one in told["against_promoted"]["verdicts"]]) == (
        False,
        ["better", "undecided"],
    )


def test_what_was_not_asked_of_both_or_was_learned_compares_nobody(home: Home, tracemill: Run) -> None:
    tracemill("promote", "tiny-a", "--force")
    new = load_adapter(home.adapters / "tiny-b")
    for suite, tokens in (("mine", 64), ("rows-1/valid (quick)", 64)):
        answered(home, "tiny-a", 12, suite, tokens)
    for suite, tokens in (("mine", 32), ("yours", 64), ("rows-1/valid (quick)", 64)):
        answered(home, "tiny-b", 0, suite, tokens)
    rival = against_promoted(home, new)
    assert rival is not None and (rival.found, rival.beaten) == ([], False)
    remember(home, answered(home, "tiny-b", 0))
    rival = against_promoted(home, new)
    assert rival is not None and [one.shared for one in rival.found] == [12]
    assert rival.beaten and rival.plain()["verdicts"][0]["suite"] == "mine"
    # What either of them learned from is left out, by row and by session: 5 of 12, then all.
    for name, rows, left in (("tiny-a", range(5), [7]), ("tiny-b", range(5, 12), [])):
        learned = [
            DatasetRow(f"r{at}", "valid", f"x{at}") if at % 2 else DatasetRow(f"x{at}", "train", f"s{at}")
            for at in rows
        ]
        data = Dataset(f"of-{name}", "rows", "hash", {}, learned)
        remember(home, data, Training(name, "tiny", "", [], data.dataset_id))
        rival = against_promoted(home, new)
        assert rival is not None and [one.shared for one in rival.found] == left
    ended = tracemill("promote", "tiny-b", "--force")
    assert (ended.code, "tiny-b is promoted." in ended.out) == (0, True)
    assert "Nobody compared it with tiny-a, promoted so far: no suite that neither learned from" in ended.err


def test_a_verdict_that_came_later_counts(home: Home, tracemill: Run) -> None:
    record_verdict(home, "tiny-a", "worse")
    record_verdict(home, "tiny-a", "better")
    assert tracemill("promote", "tiny-a").code == 0
    (step,) = history(home)
    assert (step.verdict, step.forced) == ("better", False)


@pytest.mark.parametrize(("row", "split"), [("row", "train"), ("row", "valid"), ("row-2", "train")])
def test_rows_it_learned_from_speak_for_nothing_under_any_name(
    home: Home, tracemill: Run, row: str, split: str
) -> None:
    rows = [DatasetRow(row, split, "s-1"), DatasetRow("held", "test", "s-2")]
    record_dataset(home, Dataset("rows-1", "rows", "hash", {}, rows))
    record_training(home, Training("tiny-a", "tiny", "", [], "rows-1"))
    for item in (
        EvaluationItem("row#1", 1.0, session_id="s-1"),
        EvaluationItem("held#1~2", 1.0, session_id="s-2"),
    ):
        record_evaluation(home, Evaluation(item.item_id, "mine", "tiny", [item], "tiny-a", verdict="better"))
        if item.session_id == "s-1":
            assert "better on mine (rows to learn from" in refusal(tracemill, "promote", "tiny-a")
    assert tracemill("promote", "tiny-a").code == 0
    assert [step.forced for step in history(home)] == [False]


def test_an_adapter_that_is_gone_or_changed_is_one_sentence(home: Home, tracemill: Run) -> None:
    for name in ("tiny-a", "tiny-b"):
        tracemill("promote", name, "--force")
    shutil.rmtree(home.adapters / "tiny-b")
    with pytest.raises(PromotionError, match=r"tiny-b is gone: there is no folder .*`tracemill rollback`"):
        promoted(home)
    assert "promoted, but gone" in tracemill("promote", "--show").out
    assert "There is no adapter 'tiny-b'; there is tiny-a" in refusal(
        tracemill, "promote", "tiny-b", "--force"
    )
    tracemill("rollback")
    assert promoted(home).path.name == "tiny-a"
    lora_adapter(home.adapters / "tiny-a", home.models / "tiny", seed=7)
    with pytest.raises(PromotionError, match="is not the adapter that was promoted"):
        promoted(home)
    tracemill("promote", "tiny-a", "--force")
    shutil.move(home.adapters / "tiny-a", home.root / "elsewhere")
    lora_adapter(home.adapters / "tiny-c", home.models / "tiny")
    tracemill("promote", "tiny-c", "--force")
    assert "The adapter before tiny-c, tiny-a, is gone" in refusal(tracemill, "rollback")
    assert promoted(home).path.name == "tiny-c"


def test_a_moved_home_keeps_its_promotion(home: Home, tracemill: Run, tmp_path: Path) -> None:
    tracemill("promote", "tiny-a", "--force")
    shutil.move(home.root, tmp_path / "moved")
    assert promoted(Home(tmp_path / "moved")).path == tmp_path / "moved" / "adapters" / "tiny-a"


def test_a_damaged_history_is_not_taken_for_an_empty_one(home: Home, tracemill: Run) -> None:
    tracemill("promote", "tiny-a", "--force")
    text = (home.root / FILE).read_text()
    for broken in (text[:-20], "[]", text.replace('"v": 1', '"v": 2')):
        (home.root / FILE).write_text(broken)
        for words in (("promote", "tiny-b", "--force"), ("rollback",), ("promote", "--show")):
            assert "cannot be read as one that Tracemill wrote" in refusal(tracemill, *words)
        assert (home.root / FILE).read_text() == broken


def test_names_that_mean_no_adapter_or_several(home: Home, tracemill: Run) -> None:
    assert "Several adapters begin with 'tiny': tiny-a, tiny-b" in refusal(tracemill, "promote", "tiny")
    assert "there is tiny-a" in refusal(tracemill, "promote", "tyny-a")
    assert "is not an adapter" in refusal(tracemill, "promote", str(home.models / "tiny"))
    (home.adapters / "tiny-a" / "adapters.safetensors").write_bytes(b"cut")
    assert "changed after training" in refusal(tracemill, "promote", "tiny-a", "--force")
    for words in ((), ("tiny-b", "--show"), ("--show", "--force")):
        assert tracemill("promote", *words).code == 2
    assert current(history(home)) is None
