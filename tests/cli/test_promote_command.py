"""`tracemill promote` and `rollback` as a user runs them: verdicts of a real warehouse, a real adapter."""

from __future__ import annotations

import getpass
import json
import shutil
from pathlib import Path

import pytest

from adapters import lora_adapter, record_verdict
from command_line import Run
from tiny import tiny_model
from tracemill.tracer.home import Home
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
