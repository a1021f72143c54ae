"""A whole evaluation on a real tiny model and a real adapter: report, warehouse, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from tiny import tiny_model
from tracemill.curate.chat.codec import Call, encode
from tracemill.curate.dataset import Dataset, load
from tracemill.curate.errors import ProofError
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.evaluation import Suite, compare_adapter, remember, score_model
from tracemill.evaluate.report import render_html
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel, resolve


def write_dataset(folder: Path, answer: str = "Done.") -> Dataset:
    """A data set by hand: 4 rows to learn and 3 to be scored on, two items each."""
    folder.mkdir()
    for split, names in (("train", "abcd"), ("test", "xyz")):
        rows = [
            {
                "id": f"{split}-{name}",
                "session_id": f"s-{name}",
                "category": "read",
                "tools": [{"name": "read_file", "description": "Read.", "parameters": {"type": "object"}}],
                "messages": [
                    {"role": "user", "content": f"Read {name}.py"},
                    {"role": "assistant", "content": encode("", [Call("read_file", {"path": f"{name}.py"})])},
                    {"role": "tool", "content": "x = 1"},
                    {"role": "assistant", "content": answer},
                ],
            }
            for name in names
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tiny_model(tmp_path_factory.mktemp("evaluation") / "tiny")
    return resolve(str(folder), Home(folder.parent))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return Suite(write_dataset(tmp_path_factory.mktemp("dataset") / "mine"), max_tokens=12, batch_size=4)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: BaseModel, suite: Suite) -> Adapter:
    from tracemill.train.choice import Judged
    from tracemill.train.finetune import finetune
    from tracemill.train.loop import Settings

    settings = Settings(steps=4, batch_size=2, layers=2, checkpoints=2)
    home = Home(tmp_path_factory.mktemp("adapters"))
    return finetune(
        home, suite.dataset, base, settings, lambda model, chat: Judged(0.5, 4), "always a half"
    ).adapter


def test_base_and_adapter_are_compared_on_the_same_items_and_the_report_says_on_what(
    suite: Suite, base: BaseModel, adapter: Adapter
) -> None:
    seen: list[str] = []
    report = compare_adapter(
        suite, base, adapter, lambda what, done, total: seen.append(f"{what} {done}/{total}")
    )
    assert [one.item.id for one in report.base] == [f"test-{name}#{at}" for name in "xyz" for at in (1, 3)]
    assert report.base == score_model(suite, base)
    assert report.adapter == score_model(suite, base, adapter)
    assert (report.comparison.calls.n, report.comparison.calls.sessions) == (3, 3)
    facts = dict(report.facts)
    assert report.title == f"{adapter.path.name} against tiny, its base, on mine/test"
    assert facts["Base"] == f"{base.name}, SHA-256 {base.digest[:16]}"
    assert adapter.card["weights_sha256"][:16] in facts["Adapter"]
    assert facts["Scored on"].startswith("mine/test, 6 items of 3 sessions, SHA-256 ")
    assert facts["Training"].startswith("4 steps of 2, rank 8, learning rate 0.0003, seed 0; step ")
    assert facts["Decoding"] == "greedy, at most 12 tokens"
    assert report.curve is not None and len(report.curve.losses) == 4
    assert "generating with the base 6/6" in seen and "generating with the adapter 6/6" in seen
    assert "proving tokens 3/3" in seen
    assert "mine/test" in render_html(report)


def test_the_warehouse_remembers_each_evaluation_once(
    suite: Suite, base: BaseModel, adapter: Adapter, home: Home
) -> None:
    report = compare_adapter(suite, base, adapter)
    for _ in range(2):
        remember(home, suite, base, None, report.base)
        remember(home, suite, base, adapter, report.adapter, report=report, path="/r.html")
    with duckdb.connect(str(home.snapshot), read_only=True) as warehouse:
        evaluations = warehouse.execute(
            "SELECT suite, base, training_id, dataset_id, path, verdict, score, baseline_id, evaluation_id"
            " FROM evaluations ORDER BY training_id NULLS FIRST"
        ).fetchall()
        items = warehouse.execute(
            "SELECT count(*), count(DISTINCT item_id), any_value(expected) FROM evaluation_items WHERE item_id LIKE '%#3'"
        ).fetchone()
    alone, tuned = evaluations
    assert alone[:8] == ("mine/test", base.name, None, "mine", None, None, 0.0, None)
    assert tuned[2:6] == (adapter.path.name, "mine", "/r.html", report.comparison.verdict.word)
    assert tuned[7] == alone[8] != tuned[8]
    assert items == (6, 3, "Done.")


def test_an_adapter_of_another_base_is_refused(suite: Suite, adapter: Adapter, tmp_path: Path) -> None:
    other = resolve(str(tiny_model(tmp_path / "other", seed=1)), Home(tmp_path))
    with pytest.raises(EvaluationError, match="was trained on another base"):
        score_model(suite, other, adapter)


def test_rows_the_template_distorts_are_refused_before_anything_is_generated(
    base: BaseModel, tmp_path: Path
) -> None:
    distorted = Suite(write_dataset(tmp_path / "odd", answer="<|im_end|> and more"))
    with pytest.raises(ProofError, match="Row test-x"):
        score_model(distorted, base)


def test_a_split_without_rows_is_one_sentence(suite: Suite) -> None:
    with pytest.raises(EvaluationError, match=r"has no rows in valid\.jsonl"):
        Suite(suite.dataset, "valid").rows()
