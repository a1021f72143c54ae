"""A whole evaluation: a base model, an adapter on it, a suite.

In: a `Suite` and models. Out: item results, a `Report`, and what the warehouse remembers of them. Every row
of a data set passes the token proof before a model is loaded. Activate the BLAS first: MLX is imported on the
way (`tracemill.train.blas`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.curate.splits import Split
from tracemill.evaluate.comparison import compare
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import BATCH, Progress, called, check_base, load_model
from tracemill.evaluate.holdout import ItemResult, accuracy, evaluate_items, prove_rows
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.plots import Curve
from tracemill.evaluate.report import Report, turn_text
from tracemill.evaluate.results import headers
from tracemill.evaluate.sampling import GREEDY, Sampling, sampled
from tracemill.evaluate.suites import SUFFIXES, ItemSuite
from tracemill.tracer.home import Home
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel
from tracemill.warehouse.lineage import Evaluation, EvaluationItem
from tracemill.warehouse.read import query
from tracemill.warehouse.store import record_evaluation


@dataclass(frozen=True)
class Suite:
    """What is asked, and how: a split of a data set, or the items `asked`."""

    dataset: Dataset | None
    split: Split = "test"
    max_tokens: int = 256
    """Most tokens of a completion."""
    batch_size: int = BATCH
    """Completions generated at once; changes the speed alone."""
    asked: ItemSuite | None = None
    """The items, where they are not all of the split."""
    sampling: Sampling = GREEDY

    @property
    def name(self) -> str:
        """What the warehouse calls it."""
        of_split = f"{self.dataset.name}/{self.split}" if self.dataset else ""
        how = [self.asked.size] if self.asked and self.asked.size != "full" else []
        how += [self.sampling.text] if self.sampling != GREEDY else []
        return (self.asked.name if self.asked else of_split) + (f" ({', '.join(how)})" if how else "")

    @property
    def source(self) -> str | None:
        """The folder of the data set or the file of the suite, None where it is neither."""
        if self.dataset is not None:
            return str(self.dataset.folder.absolute())
        path = Path(self.asked.source) if self.asked else None
        return str(path.absolute()) if path and path.suffix in SUFFIXES else None

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked."""
        if self.asked is not None:
            return self.asked.digest
        return self.dataset.digest if self.dataset else ""

    def items(self) -> list[Item]:
        """What is asked, each sample an item of its own; EvaluationError where there is nothing."""
        return sampled(items(self.rows()) if self.asked is None else self.asked.items, self.sampling)

    def rows(self) -> list[Row]:
        """The rows of a data set to be scored, none of another suite; EvaluationError where there is none."""
        if self.dataset is None:
            return []
        rows = self.dataset.rows(self.split)
        if self.asked is not None:
            wanted = {item.id.rpartition("#")[0] for item in self.asked.items}
            return [row for row in rows if row["id"] in wanted]
        if not rows:
            raise EvaluationError(
                f"{self.dataset.folder} has no rows in {self.split}.jsonl; "
                "choose another split, or export more sessions."
            )
        return rows


def score_model(
    suite: Suite,
    base: BaseModel,
    adapter: Adapter | None = None,
    progress: Progress | None = None,
    known: Mapping[str, str] | None = None,
    each: Callable[[str, str], None] | None = None,
) -> list[ItemResult]:
    """Score `base`, with `adapter` if given, on every item of the suite; `known` texts are not made again.

    `each` gets every new text as it is finished, with the id of its item. EvaluationError where the two do
    not belong together, ProofError where the template distorts a row.
    """
    check_base(base, adapter)
    chat = Chat.load(base.path, adapter.path if adapter else None)
    prove_rows(chat, suite.rows(), progress)
    model = load_model(base.path, adapter.path if adapter else None)
    return evaluate_items(
        model,
        chat,
        suite.items(),
        max_tokens=suite.max_tokens,
        batch_size=suite.batch_size,
        progress=called(progress, f"generating with the {'adapter' if adapter else 'base'}"),
        known=known,
        each=each,
        sampling=suite.sampling,
    )


def compare_adapter(
    suite: Suite, base: BaseModel, adapter: Adapter, progress: Progress | None = None
) -> Report:
    """Score `base` without and with `adapter` on the same items, and say which is better."""
    after = score_model(suite, base, adapter, progress)
    return make_report(suite, base, adapter, score_model(suite, base, None, progress), after)


def make_report(
    suite: Suite, base: BaseModel, adapter: Adapter, before: list[ItemResult], after: list[ItemResult]
) -> Report:
    """The report on `adapter`, from what it scored (`after`) and what its base alone did (`before`)."""
    manifest, card = suite.dataset.manifest if suite.dataset else None, adapter.card
    scores = [(step, score) for step, score in card["scores"] if score is not None]
    return Report(
        title=f"{adapter.path.name} against {Path(base.name).name}, its base, on {suite.name}",
        facts=_facts(suite, base, adapter),
        comparison=compare(before, after),
        base=before,
        adapter=after,
        curve=Curve(card["losses"], scores, card["best_step"]),
        retention=manifest.steps if manifest else [],
    )


def _share(card: Mapping[str, Any]) -> str:
    """How much of what a checkpoint learned is in the adapter, where it is not all."""
    strength = card.get("strength", 1.0)
    return "" if strength == 1 else f", {100 * strength:.0f}% of what it learned"


def _facts(suite: Suite, base: BaseModel, adapter: Adapter) -> list[tuple[str, str]]:
    asked, card = suite.items(), adapter.card
    sessions = {item.session_id for item in asked}
    settings = card["settings"]
    return [
        ("Base", f"{base.name}, SHA-256 {base.digest[:16]}"),
        ("Adapter", f"{adapter.path.name}, SHA-256 {card['weights_sha256'][:16]}"),
        (
            "Scored on",
            f"{suite.name}, {len(asked)} items of {len(sessions)} sessions, SHA-256 {suite.digest[:16]}",
        ),
        ("Trained on", f"{card['dataset']}, SHA-256 {card['dataset_sha256'][:16]}"),
        (
            "Training",
            f"{settings['steps']} steps of {settings['batch_size']}, rank {settings['rank']}, learning rate "
            f"{settings['learning_rate']:g}, seed {settings['seed']}; "
            f"step {card['best_step']} was kept{_share(card)}",
        ),
        (
            "Template",
            f"SHA-256 {card['template_sha256'][:16]}" + ", proved for every row" * bool(suite.dataset),
        ),
        ("Decoding", f"{suite.sampling.text}, at most {suite.max_tokens} tokens"),
        ("Software", f"Tracemill {version('tracemill')}, MLX {version('mlx')}, mlx-lm {version('mlx-lm')}"),
    ]


def remember(
    home: Home,
    suite: Suite,
    base: BaseModel,
    adapter: Adapter | None,
    results: Sequence[ItemResult],
    *,
    report: Report | None = None,
    path: str | None = None,
) -> None:
    """Put the results of one model into the warehouse; the same evaluation done again replaces itself.

    With `report`, what `results` of its adapter were compared with; `path` is its file.
    """
    record(
        home,
        suite,
        identity(suite, base, adapter),
        base.name,
        results,
        training_id=adapter.path.name if adapter else None,
        baseline_id=identity(suite, base, None) if report else None,
        report=report,
        path=path,
    )


def record(
    home: Home,
    suite: Suite,
    evaluation: str,
    base: str,
    results: Sequence[ItemResult],
    *,
    training_id: str | None = None,
    baseline_id: str | None = None,
    report: Report | None = None,
    path: str | None = None,
) -> None:
    """Put results into the warehouse as `evaluation`; `base` is the model, or the one below it."""
    record_evaluation(
        home,
        Evaluation(
            evaluation_id=evaluation,
            suite=suite.name,
            base=base,
            items=[
                EvaluationItem(
                    item_id=result.item.id,
                    score=result.score.value,
                    expected=turn_text(result.item.expected),
                    generated=result.text,
                    session_id=result.item.session_id,
                    category=result.item.category,
                    details=asdict(result.score),
                )
                for result in results
            ],
            training_id=training_id,
            dataset_id=suite.dataset.name if suite.dataset else None,
            baseline_id=baseline_id,
            path=path,
            counts=dict(Counter(result.score.failure or "right" for result in results)),
            score=_overall(results),
            verdict=report.comparison.verdict.word if report else None,
            details=asdict(report.comparison) if report else {},
        ),
    )


def of_other_counts(home: Home, suite: Suite, named: Callable[[Suite], str]) -> list[str]:
    """The evaluations that differ from this in the number of samples alone, and so have samples of it.

    A sample's name and seed are the same however many there are; one alone is named otherwise.
    """
    if suite.sampling.samples == 1:
        return []
    counts = {header.sampling.samples for _, header in headers(home)} - {1, suite.sampling.samples}
    return [
        named(replace(suite, sampling=replace(suite.sampling, samples=count))) for count in sorted(counts)
    ]


def is_recorded(home: Home, evaluation: str) -> bool:
    """Whether the warehouse knows it: a process that was killed may have left its result file alone."""
    if not home.snapshot.exists():
        return False
    found = query(home, f"SELECT 1 FROM evaluations WHERE evaluation_id = '{evaluation}'")
    return bool(found.height)


def _overall(results: Sequence[ItemResult]) -> float | None:
    """The share of calls that are right, else the mean of answers, else the share of direct answers."""
    found = accuracy(results)
    return next((one for one in (found.call, found.answer, found.direct) if one is not None), None)


def identity(suite: Suite, base: BaseModel, adapter: Adapter | None) -> str:
    """The name of an evaluation: a hash of all that decides what is generated."""
    parts = [
        base.digest,
        adapter.card["weights_sha256"] if adapter else "",
        suite.digest,
        suite.split,
        str(suite.max_tokens),
    ]
    if suite.sampling != GREEDY:
        parts.append(suite.sampling.text)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
