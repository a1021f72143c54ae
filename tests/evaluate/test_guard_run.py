"""A model on the guard, and what an adapter lost: real models, real generation, real sandbox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tiny import scripted_model, tiny_model
from tracemill.curate.chat.template import Chat
from tracemill.evaluate import sandbox
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import load_model
from tracemill.evaluate.guard.items import Size, guard_items, passages
from tracemill.evaluate.guard.run import (
    GuardResult,
    GuardResults,
    guard_judge,
    mark_all,
    run_guard,
    tally_guard,
)
from tracemill.evaluate.guard.text import LOST, TextResult, mean_interval, read_texts
from tracemill.evaluate.guard.verdict import compare_guard, guard_verdict

Scripted = Callable[[str, Sequence[str]], tuple[Any, Chat]]


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    folder = tmp_path_factory.mktemp("guard")

    def make(name: str, answer: Sequence[str]) -> tuple[Any, Chat]:
        path = scripted_model(folder / name, answer)
        return load_model(path), Chat.load(path)

    return make


@pytest.fixture(scope="module")
def sayer(scripted: Scripted) -> GuardResults:
    return run_guard(*scripted("yes", ["Yes", "."]), "quick")


@pytest.mark.slow
def test_a_model_that_always_says_yes_has_the_yes_questions_right(sayer: GuardResults) -> None:
    right = {one.item.id for one in sayer.answers if one.right}
    assert right == {item.id for item in guard_items("quick") if "yes" in item.right}
    assert {one.text for one in sayer.answers} == {"Yes."}
    assert {one.failure for one in sayer.answers if one.item.rule == "code"} == {"no-code"}
    assert sayer.notes == []


@pytest.mark.slow
def test_a_model_that_calls_tools_has_none(scripted: Scripted, sayer: GuardResults) -> None:
    call = ['<tool_call>\n{"name": "look", "arguments": {"answer": "yes"', "}}\n</tool_call>"]
    calling = run_guard(*scripted("calling", call), "quick")
    assert {one.failure for one in calling.answers} == {"called-a-tool"}
    assert [one.right for one in tally_guard(calling)] == [0, 0, 0, None, None]
    assert not guard_verdict(sayer, calling).kept


@pytest.mark.slow
def test_what_training_asks_at_a_checkpoint(scripted: Scripted, sayer: GuardResults) -> None:
    model, chat = scripted("judged", ["Yes", "."])
    seen: list[tuple[str, int, int]] = []
    figures = guard_judge(chat, "quick", lambda *step: seen.append(step))(model)
    assert list(figures) == ["answers", "text in english", "text in python"]
    assert figures["answers"] == sum(one.right for one in sayer.answers) / 48
    # Made and loaded anew, the same model gives the same figures to the last bit.
    assert list(figures.values())[1:] == [one.share.estimate for one in tally_guard(sayer)[3:]]
    assert {what for what, _, _ in seen} == {"guarding general ability"}
    assert all(done <= total for _, done, total in seen)


def test_text_is_scored_as_cross_entropy_is_defined(tmp_path: Path) -> None:
    import mlx.core as mx

    folder = tiny_model(tmp_path / "tiny")
    model, chat = load_model(folder), Chat.load(folder)
    short = replace(passages("quick")[0], text="Plants need light, water and air.")
    (found,) = read_texts(model, chat, [short])
    tokens = chat.tokenizer.encode(short.text, add_special_tokens=False)
    losses: list[float] = []
    for end in range(1, len(tokens)):
        logits = model(mx.array([tokens[:end]]))[0, -1]
        losses.append(float((mx.logsumexp(logits) - logits[tokens[end]]).item()))
    assert found.tokens == len(losses)
    assert found.loss == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert found.predicted == pytest.approx(math.exp(-found.loss))


def test_weights_that_are_no_numbers_predict_nothing(tmp_path: Path) -> None:
    import mlx.core as mx

    folder = tiny_model(tmp_path / "tiny")
    model, chat = load_model(folder), Chat.load(folder)
    before = read_texts(model, chat, passages("quick"))
    model.model.norm.weight = model.model.norm.weight * mx.array(math.nan)
    after = read_texts(model, chat, passages("quick"))
    assert {one.loss for one in after} == {LOST}
    verdict = guard_verdict(GuardResults("quick", [], before, []), GuardResults("quick", [], after, []))
    assert not verdict.kept
    assert [one.change.estimate for one in verdict.changes] == [pytest.approx(-1.0)] * 2


@pytest.mark.slow
def test_where_code_cannot_be_held_in_it_is_left_out_and_told(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child.py").write_text(
        'import os\nos.write(int(__import__("sys").argv[1]), b\'{"unprotected": "old"}\')'
    )
    monkeypatch.setattr(sandbox, "_CHILD", tmp_path / "child.py")
    results = run_guard(*scripted("silent", []), "quick")
    assert {one.item.category for one in results.answers} == {"direct answers", "reasoning"}
    assert {one.failure for one in results.answers} == {"no-answer"}
    assert "nothing would hold it in: old" in results.notes[0]


def test_code_that_attacks_fails_and_the_evaluation_goes_on() -> None:
    code = [item for item in guard_items("standard") if item.rule == "code"]
    attacks = [
        "import os\nfor _ in range(20):\n    if os.fork() == 0:\n        import time; time.sleep(20)",
        "def f():\n    pass\nbytearray(10 * 2**30)",
        "def f():\n    pass\nopen('/etc/evil', 'w')",
        "import socket\nsocket.create_connection(('127.0.0.1', 9))",
        "def f():\n    pass\nimport os\nos.kill(os.getppid(), 9)",
    ]
    written = {item.id: f"```python\n{item.solution}```" for item in code}
    written |= {item.id: attack for item, attack in zip(code, attacks, strict=False)}
    seen: list[int] = []
    results = mark_all(code, written, lambda _what, done, _total: seen.append(done))
    assert [one.failure for one in results] == [
        "refused",
        "memory",
        "refused",
        "refused",
        "refused",
        *[""] * 15,
    ]
    assert seen == list(range(1, 21))


# Verdicts, on results made up of real items.


def results(
    right: Callable[[str, int], bool], loss: Callable[[str, int], float], size: Size = "standard"
) -> GuardResults:
    counts: dict[str, int] = {}
    answers: list[GuardResult] = []
    for item in guard_items(size):
        counts[item.category] = counts.get(item.category, -1) + 1
        answers.append(
            GuardResult(item, "", "" if right(item.category, counts[item.category]) else "wrong-answer")
        )
    texts = [
        TextResult(one.id, one.kind, one.digest, 90, loss(one.kind, int(one.id.split("-")[1])))
        for one in passages(size)
    ]
    return GuardResults(size, answers, texts, [])


def noisy(seed: int, size: Size = "standard") -> GuardResults:
    random = Random(seed)
    return results(lambda _c, _n: random.random() < 0.6, lambda _k, _n: 2 + random.random(), size)


def test_a_model_is_as_good_as_itself() -> None:
    verdict = guard_verdict(noisy(1, "quick"), noisy(1, "quick"))
    assert verdict.kept
    assert [one.change.estimate for one in verdict.changes] == [0.0] * 6


def test_tallies() -> None:
    tallies = {one.name: one for one in tally_guard(noisy(1, "quick"))}
    assert list(tallies) == ["direct answers", "reasoning", "code", "text in english", "text in python"]
    assert [one.n for one in tallies.values()] == [24, 16, 8, 4, 4]
    for one in tallies.values():
        assert 0 <= one.share.low <= one.share.estimate <= one.share.high <= 1


@pytest.mark.parametrize("category", ["direct answers", "reasoning", "code"])
@pytest.mark.parametrize("seed", range(40))
def test_a_planted_regression_is_always_found(category: str, seed: int) -> None:
    base = noisy(seed)
    hit = [one for one in base.answers if one.item.category == category and one.right]
    size = sum(one.item.category == category for one in base.answers)
    gone = {one.item.id for one in Random(seed).sample(hit, int(0.1 * size) + 1)}
    answers = [replace(one, failure="wrong-answer") if one.item.id in gone else one for one in base.answers]
    verdict = guard_verdict(base, replace(base, answers=answers))
    assert not verdict.kept
    assert category in verdict.reason
    assert verdict.lost_items == [one.item.id for one in base.answers if one.item.id in gone]
    assert guard_verdict(replace(base, answers=answers), base).kept


@pytest.mark.parametrize("kind", ["english", "python"])
@pytest.mark.parametrize("seed", range(20))
def test_a_planted_loss_of_language_is_always_found(kind: str, seed: int) -> None:
    base, random = noisy(seed), Random(seed)
    worse = [
        replace(one, loss=one.loss + (0.15 + 0.05 * random.random()) * (one.kind == kind))
        for one in base.texts
    ]
    verdict = guard_verdict(base, replace(base, texts=worse))
    assert not verdict.kept
    assert f"text in {kind}" in verdict.reason
    (changed,) = [one for one in verdict.changes if one.blocks]
    assert changed.found
    assert changed.change.low < changed.change.estimate < changed.change.high < 0


def test_what_may_be_lost_is_set() -> None:
    base = results(lambda _c, n: n < 18, lambda _k, _n: 2.0)
    after = results(lambda c, n: n < (16 if c == "code" else 18), lambda _k, _n: 2.08)
    assert guard_verdict(base, after, 0.10).kept  # 2 of 20 are ten points, no more
    strict = guard_verdict(base, after, 0.05)
    assert not strict.kept
    assert strict.reason == (
        "General ability fell by more than 5: code −10.0 points (may be chance), "
        "text in english −7.7 %, text in python −7.7 %."
    )
    (code,) = [one for one in strict.changes if one.name == "code"]
    assert (code.n, code.base, code.adapter, code.gained, code.lost, code.found) == (
        20,
        0.9,
        0.8,
        0,
        2,
        False,
    )


def test_what_chose_the_checkpoint_does_not_judge_it() -> None:
    chose = {one.id for one in (*guard_items("quick"), *passages("quick"))}
    base = results(lambda _c, _n: True, lambda _k, _n: 2.0)

    def lost(where: Callable[[str], bool]) -> GuardResults:
        answers = [replace(one, failure="no-answer" if where(one.item.id) else "") for one in base.answers]
        texts = [replace(one, loss=3.0 if where(one.id) else 2.0) for one in base.texts]
        return replace(base, answers=answers, texts=texts)

    found = compare_guard(base, lost(lambda name: name in chose))
    assert found.verdict.kept and not found.notes
    assert len(found.base.answers) == 124 - 48
    assert "(82 items and texts)" in found.verdict.reason
    fallen = compare_guard(base, lost(lambda name: name not in chose))
    assert {one.adapter for one in fallen.verdict.changes if not one.name.startswith("text")} == {0.0}
    (told,) = compare_guard(replace(base, size="quick"), replace(base, size="quick")).notes
    assert "a little too kind" in told


def test_a_large_loss_is_told_from_chance() -> None:
    base = results(lambda _c, _n: True, lambda _k, _n: 2.0)
    after = results(lambda c, n: c != "reasoning" or n % 2 == 0, lambda _k, _n: 2.0)
    verdict = guard_verdict(base, after)
    assert verdict.reason == (
        "General ability fell by more than 10: reasoning −50.0 points, all answers −25.8 points."
    )
    assert len(verdict.lost_items) == 32


def test_only_equal_items_are_compared() -> None:
    with pytest.raises(EvaluationError, match="different items of the guard"):
        guard_verdict(noisy(1, "quick"), noisy(1))
    empty = GuardResults("quick", [], [], [])
    with pytest.raises(EvaluationError, match="no items to compare"):
        guard_verdict(empty, empty)


def test_the_interval_of_a_mean() -> None:
    # A textbook case: mean 3, standard error sqrt(0.5), t(4) = 2.776.
    found = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.estimate == 3
    assert found.low == pytest.approx(3 - 2.776445 * 0.5**0.5)
    with pytest.raises(ValueError, match="no interval"):
        mean_interval([1.0])
