"""`tracemill export`: what was recorded, curated into a data set.

In: a recipe and, with `--model`, the base model whose chat template the rows are proved for. Out: the
retention table, the splits and the folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tracemill.cli import knobs, output

if TYPE_CHECKING:
    from tracemill.curate.chat.template import Chat
    from tracemill.curate.dataset import Dataset
    from tracemill.curate.manifest import Manifest
    from tracemill.tracer.home import Home


def export(
    recipe: knobs.Recipe = "default",
    name: Annotated[
        str | None,
        typer.Option(help="Name of the data set; by default the recipe's and a hash of what is in it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Base model the tokens are proved for: smollm2-135m, a folder or a Hugging Face id."
        ),
    ] = None,
    where: knobs.Where = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the splits instead of the recipe's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Curate sessions into train.jsonl, valid.jsonl and test.jsonl, with a manifest and a card.

    Ingests first. The same sessions and recipe give the same data set, which is then reused.
    """
    from tracemill.curate.export import export as write
    from tracemill.tracer.home import Home
    from tracemill.warehouse.ingest import ingest

    home = Home.find()
    with output.progress() as progress:
        ingest(home, progress)
        chat = _chat(model, home, progress)
        dataset = write(home, recipe=recipe, where=where, name=name, chat=chat, seed=seed, progress=progress)
    manifest = dataset.manifest
    assert manifest is not None, "an export has its manifest"
    if as_json:
        output.emit_json(_summary(dataset, manifest))
    else:
        show(dataset)


def _chat(model: str | None, home: Home, progress: output.ProgressCallback) -> Chat | None:
    """The chat template of `model`; without one, that of the default base model if it is here already."""
    from tracemill.curate.chat.template import Chat
    from tracemill.train.base import SMOLLM2, cached, resolve

    folder = resolve(model, home, progress).path if model else cached(SMOLLM2, home)
    return Chat.load(folder) if folder else None


def _summary(dataset: Dataset, manifest: Manifest) -> dict[str, object]:
    parts = manifest.model_dump(
        include={"name", "content", "seed", "where", "proof", "steps", "splits", "pairs"}
    )
    return {"folder": dataset.folder, "reused": dataset.reused, **parts}


def show(dataset: Dataset) -> None:
    """Print the retention table, the splits and the folder of an exported data set."""
    manifest = dataset.manifest
    assert manifest is not None, "an export has its manifest"
    output.table(
        ("step", "in", "kept", "dropped", "turns out of the loss", "reasons"),
        [
            (step.step, step.rows_in, step.kept, step.dropped, step.context, _listed(step.reasons))
            for step in manifest.steps
        ],
    )
    output.table(
        ("split", "rows", "sessions", "turns learned", "turns as context", "tool calls learned"),
        [
            (split, count.rows, count.sessions, count.learned, count.context, _listed(count.tools))
            for split, count in manifest.splits.items()
        ],
    )
    hard = {split: count.hard_negatives for split, count in manifest.splits.items() if count.hard_negatives}
    if hard:
        output.say(f"Rows in which a tool was tempting and rightly not called: {_listed(hard)}.")
    if manifest.pairs:
        output.table(
            ("split", "preference pairs"),
            [(split, _listed(kinds)) for split, kinds in manifest.pairs.splits.items()],
        )
    output.say("No session, prompt or task stands in two splits.")
    if manifest.proof:
        output.say(f"The tokens of all {manifest.proof.rows} rows are proved for {manifest.proof.base}.")
    else:
        output.say("The tokens are not proved for any base model; --model names one.")
    output.say(f"{dataset.folder}{' (it was there already)' if dataset.reused else ''}")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {number}" for what, number in counts.items())
