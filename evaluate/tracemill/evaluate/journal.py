"""The journal: every experiment of a home, what it scored and how to do it again.

In: the warehouse (data sets, training runs, evaluations, notes), the adapters' cards, what is promoted. Out:
`Experiment`s, oldest first: one for each adapter, and one for each base model that was evaluated alone. The
same home gives the same experiments.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.journal_commands import Recipe, commands, recipe_of
from tracemill.evaluate.journal_scores import Scored, scored
from tracemill.evaluate.results import headers
from tracemill.tracer.home import Home
from tracemill.train.adapter import CARD
from tracemill.train.promotion import current, history
from tracemill.warehouse.read import query

Row = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """A line of the journal.

    id: the adapter, or the base model that was evaluated alone; made: UTC, None where nobody knows; rows: of
    the data set, all splits; hashes are SHA-256; gone: the folder of the adapter is not there any more;
    command: what makes it again, from the sessions of the home; remarks: what the command cannot say.
    """

    id: str
    made: datetime | None
    dataset: str | None
    dataset_sha256: str | None
    rows: int | None
    recipe: Recipe | None
    base: str
    adapter_sha256: str | None
    seed: int | None
    scores: list[Scored]
    notes: list[str]
    promoted: bool
    gone: bool
    command: str
    remarks: list[str]

    @property
    def verdict(self) -> str:
        """The newest verdict on each suite."""
        told = {
            one.told: [other.suite for other in self.scores if other.told == one.told] for one in self.scores
        }
        return "; ".join(f"{word} ({', '.join(suites)})" for word, suites in told.items() if word)


def journal(home: Home) -> list[Experiment]:
    """All experiments of a home with a snapshot, oldest first."""
    trained = {row["training_id"]: row for row in _rows(home, _TRAINED)}
    for name, row in _cards(home).items():
        known = trained.setdefault(name, row)
        known["details"] = row["details"] | known["details"]
    datasets = {row["dataset_id"]: row for row in _rows(home, _DATASETS)}
    notes: dict[str, list[str]] = defaultdict(list)
    for row in _rows(home, "SELECT about, note FROM notes ORDER BY written, event_id"):
        notes[row["about"]].append(row["note"])
    evaluated: dict[str, list[Row]] = defaultdict(list)
    for row in _rows(home, _EVALUATED):
        evaluated[row["training_id"] or row["base"]].append(row)
    scores = scored(home, [row for some in evaluated.values() for row in some])
    kept = {header.evaluation: header for _, header in headers(home)}
    on_top = current(history(home))
    found: list[Experiment] = []
    for name in sorted({*trained, *evaluated}):
        training = trained.get(name, {})
        some = evaluated.get(name, [])
        adapter = name in trained or any(row["training_id"] for row in some)
        dataset = datasets.get(training.get("dataset_id") or "", {})
        command, remarks = commands(home, name if adapter else None, training, dataset, some, kept)
        found.append(
            Experiment(
                id=name,
                made=training.get("created") or min((row["created"] for row in some), default=None),
                dataset=training.get("dataset_id"),
                dataset_sha256=dataset.get("content_hash") or training.get("dataset_sha256"),
                rows=sum(dataset["splits"].values()) if dataset else None,
                recipe=recipe_of(dataset) if dataset else None,
                base=training.get("base") or some[0]["base"],
                adapter_sha256=training.get("adapter_hash"),
                seed=training.get("seed"),
                scores=[scores[row["evaluation_id"]] for row in some],
                notes=notes.get(name, []),
                promoted=on_top is not None and on_top.adapter == name,
                gone=adapter and not (home.adapters / name).is_dir() and not _is_folder(training.get("path")),
                command=command,
                remarks=remarks,
            )
        )
    return sorted(found, key=lambda one: (one.made is None, one.made or datetime.min, one.id))


def find(experiments: Sequence[Experiment], name: str) -> Experiment:
    """The experiment called so, or whose name begins with it or ends in a hash that does; else an error."""
    exact = [one for one in experiments if one.id == name]
    found = exact or [
        one for one in experiments if one.id.startswith(name) or one.id.rpartition("-")[2].startswith(name)
    ]
    if len(found) == 1 and name:
        return found[0]
    if found:
        told = ", ".join(one.id for one in found[:5])
        raise EvaluationError(f"{name!r} may be any of {len(found)} experiments ({told}); write more of it.")
    raise EvaluationError(f"There is no experiment {name!r}; `tracemill journal` lists them.")


def plain(one: Experiment) -> dict[str, Any]:
    """An experiment as plain values, for JSON."""
    recipe = {"name": one.recipe.name, "text": one.recipe.text} if one.recipe else None
    scores = [{**vars(score), "made": score.made.isoformat()} for score in one.scores]
    made = one.made.isoformat() if one.made else None
    return {**vars(one), "made": made, "recipe": recipe, "scores": scores, "verdict": one.verdict}


def _is_folder(path: str | None) -> bool:
    return path is not None and Path(path).is_dir()


def _rows(home: Home, sql: str) -> list[Row]:
    found = query(home, sql).to_dicts()
    for row in found:
        for name in ("recipe", "details", "splits"):
            if name in row:
                row[name] = json.loads(row[name] or "{}")
    return found


def _cards(home: Home) -> Mapping[str, Row]:
    """Adapters of the home by their cards, which say more of some than the warehouse does."""
    found: dict[str, Row] = {}
    for file in sorted(home.adapters.glob(f"[!.]*/{CARD}")):
        try:
            card = json.loads(file.read_text("utf-8"))
            found[file.parent.name] = {
                "dataset_id": card["dataset"],
                "dataset_sha256": card["dataset_sha256"],
                "base": card["base"],
                "seed": card["settings"].get("seed"),
                "adapter_hash": card["weights_sha256"],
                "recipe": card["settings"],
                "details": {"judge": card.get("judge"), "start": card.get("start")},
                "path": str(file.parent),
            }
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue  # no card of ours
    return found


_TRAINED = """
SELECT training_id, dataset_id, base, seed, path, adapter_hash, CAST(recipe AS VARCHAR) AS recipe,
       CAST(details AS VARCHAR) AS details, details->>'dataset_sha256' AS dataset_sha256, created
FROM training_runs ORDER BY training_id
"""
_DATASETS = """
SELECT dataset_id, path, content_hash, base, seed, CAST(recipe AS VARCHAR) AS recipe,
       CAST(counts->'splits' AS VARCHAR) AS splits, created
FROM datasets ORDER BY dataset_id
"""
# The newest evaluation on each suite.
_EVALUATED = """
SELECT evaluation_id, suite, base, training_id, dataset_id, baseline_id, score, verdict,
       CAST(details AS VARCHAR) AS details, created
FROM evaluations
QUALIFY row_number() OVER (PARTITION BY training_id, base, suite ORDER BY created DESC, evaluation_id) = 1
ORDER BY suite, evaluation_id
"""
