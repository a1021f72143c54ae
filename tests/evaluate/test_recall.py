"""An evaluation that was killed goes on where it was, and ends with the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tiny import tiny_model
from tracemill.evaluate.evaluation import Suite, identity
from tracemill.evaluate.recall import score_once
from tracemill.evaluate.results import folder, known_texts, read_results
from tracemill.evaluate.sampling import Sampling
from tracemill.evaluate.suites import load_suite
from tracemill.tracer.home import Home
from tracemill.train.base import resolve
from tracemill.warehouse.read import query


def test_a_killed_evaluation_goes_on_and_a_second_one_has_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracemill.evaluate import holdout

    base = resolve(str(tiny_model(tmp_path / "tiny")), Home(tmp_path))
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(f'[[item]]\nid = "i{i}"\nprompt = "Say {i}"\nexact = "{i}"' for i in range(6)))
    suite = Suite(None, max_tokens=6, batch_size=2, asked=load_suite(str(file), "full"))
    name = identity(suite, base, None)
    whole, killed = Home(tmp_path / "whole"), Home(tmp_path / "killed")
    results = score_once(whole, suite, base, None)
    (made,) = folder(whole).iterdir()
    assert [one.text for one in read_results(made).items] == [one.text for one in results]

    def stop(_what: str, done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_once(killed, suite, base, None, stop)
    before = known_texts(killed, name)
    assert 1 <= len(before) < 6 and not (folder(killed) / f"{name}.jsonl").exists()
    asked: list[int] = []
    generate = holdout.generate

    def counting(model: object, chat: object, prompts: list[object], *rest: object, **more: object) -> object:
        asked.append(len(prompts))
        return generate(model, chat, prompts, *rest, **more)  # pyright: ignore

    monkeypatch.setattr(holdout, "generate", counting)
    assert score_once(killed, suite, base, None) == results
    assert asked == [6 - len(before)]
    assert score_once(killed, suite, base, None) == results
    assert len(asked) == 1
    (again,) = folder(killed).iterdir()
    assert again.read_bytes() == made.read_bytes()
    found = query(killed, "SELECT suite, score, path FROM evaluations").rows()
    assert [(row[0], row[1], Path(str(row[2])).name) for row in found] == [("mine", 0.0, f"{name}.jsonl")]


def test_of_more_samples_only_the_further_ones_are_drawn(tmp_path: Path) -> None:
    base = resolve(str(tiny_model(tmp_path / "tiny")), Home(tmp_path))
    file = tmp_path / "mine.toml"
    file.write_text('[[item]]\nid = "i"\nprompt = "Say it"\nexact = "it"')
    two = Suite(None, max_tokens=4, asked=load_suite(str(file), "full"), sampling=Sampling(2, 1.5))
    three = replace(two, sampling=Sampling(3, 1.5))
    totals: list[int] = []

    def progress(what: str, _done: int, total: int) -> None:
        if what.startswith("generating"):
            totals.append(total)

    home = Home(tmp_path / "home")
    first = score_once(home, two, base, None, progress)
    assert {*totals} == {2}
    totals.clear()
    found = score_once(home, three, base, None, progress)
    assert found[:2] == first and {*totals} == {1}
    assert score_once(Home(tmp_path / "other"), three, base, None) == found
