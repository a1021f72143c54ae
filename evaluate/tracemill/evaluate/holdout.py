"""A model on held-out rows: prompts, completions, scores.

In: a loaded model, its `Chat` and data set rows. Out: an `ItemResult` for every turn worth learning, and the
accuracy over them. Training takes `call_judge` to choose its checkpoint.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracemill.curate.chat.proof import Row, prove
from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import BATCH, Progress, called, context_length, generate
from tracemill.evaluate.items import Item, items
from tracemill.evaluate.sampling import GREEDY, Sampling, item_seed, sampler
from tracemill.evaluate.scoring import Score, score
from tracemill.evaluate.statistics import Interval, proportion
from tracemill.train.choice import Judged

ENOUGH = 20
"""Direct answers of which one is no more than the 5% that a checkpoint may lose."""


@dataclass(frozen=True)
class ItemResult:
    """What a model wrote for an item, and how right it is."""

    item: Item
    text: str
    score: Score

    def asdict(self) -> dict[str, Any]:
        """The result as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Accuracy:
    """Share of right items by kind, None where there is none of that kind; of answers the mean score."""

    call: float | None
    direct: float | None
    answer: float | None = None


@dataclass(frozen=True)
class Tally:
    """How many items of a kind are right: the share with its 95% interval."""

    name: str
    n: int
    right: int
    share: Interval


def evaluate_rows(
    model: Any,
    chat: Chat,
    rows: Iterable[Row],
    *,
    max_tokens: int,
    batch_size: int = BATCH,
    progress: Progress | None = None,
) -> list[ItemResult]:
    """Complete and score every turn of `rows` that is worth learning, in their order.

    EvaluationError, before anything is generated, for a row that cannot be read or a prompt that is too long.
    """
    return evaluate_items(
        model, chat, items(rows), max_tokens=max_tokens, batch_size=batch_size, progress=progress
    )


def evaluate_items(
    model: Any,
    chat: Chat,
    asked: Sequence[Item],
    *,
    max_tokens: int,
    batch_size: int = BATCH,
    progress: Progress | None = None,
    known: Mapping[str, str] | None = None,
    each: Callable[[str, str], None] | None = None,
    sampling: Sampling = GREEDY,
) -> list[ItemResult]:
    """Complete and score `asked`, in their order; `known` completions (by item) are not made again.

    `each` gets every new completion, with its item's id, as it is finished. EvaluationError, before anything
    is generated, for a prompt that is too long.
    """
    texts = dict(known or {})
    new = [item for item in asked if item.id not in texts]
    prompts = [chat.prompt(item.messages, item.tools) for item in new]
    _check_fit(new, prompts, context_length(model))

    def finished(position: int, text: str) -> None:
        texts[new[position].id] = text
        if each:
            each(new[position].id, text)

    heat = sampling.temperature
    drawn = [sampler(heat, item_seed(sampling.seed, item.id)) for item in new] if heat else None
    generate(
        model,
        chat,
        prompts,
        max_tokens,
        batch_size=batch_size,
        progress=progress,
        each=finished,
        samplers=drawn,
    )
    return scored(asked, texts)


def scored(asked: Sequence[Item], texts: Mapping[str, str]) -> list[ItemResult]:
    """The results of items whose completions are known."""
    return [ItemResult(item, texts[item.id], score(item, texts[item.id])) for item in asked]


def accuracy(results: Sequence[ItemResult]) -> Accuracy:
    """Exact tool calls over items that ask for some, direct answers over items that ask for none, answers."""
    return Accuracy(_share(results, "call"), _share(results, "direct"), _share(results, "answer"))


def tally(results: Sequence[ItemResult]) -> list[Tally]:
    """Tool calls and answers, all and by category, and direct answers; what is not asked for is left out."""
    groups: dict[str, list[ItemResult]] = {}
    for kind, name in (("call", "all tool calls"), ("answer", "all answers")):
        group = [result for result in results if result.item.kind == kind]
        groups[name] = group
        for category in sorted({result.item.category for result in group}):
            mine = [one for one in group if one.item.category == category]
            groups.setdefault(category or "no category", []).extend(mine)
    groups["direct answers"] = [result for result in results if result.item.kind == "direct"]
    return [_tally(name, group) for name, group in groups.items() if group]


def _tally(name: str, results: Sequence[ItemResult]) -> Tally:
    right = [result.score.right for result in results]
    share = proportion(right, [result.item.session_id for result in results])
    return Tally(name, len(right), sum(right), share)


def _share(results: Sequence[ItemResult], kind: str) -> float | None:
    values = [result.score.value for result in results if result.item.kind == kind]
    return sum(values) / len(values) if values else None


def prove_rows(chat: Chat, rows: Sequence[Row], progress: Progress | None) -> None:
    """ProofError where the template of `chat` distorts one of `rows`."""
    for done, row in enumerate(rows, start=1):
        prove(chat, row)
        if progress:
            progress("proving tokens", done, len(rows))


def check_rows(rows: Iterable[Row], chat: Chat) -> int:
    """How many turns of `rows` ask for a tool call; EvaluationError for a prompt longer than the context.

    The context is that of the base folder's config.json, so this can be asked before a model is loaded.
    """
    asked = items(rows)
    prompts = [chat.prompt(item.messages, item.tools) for item in asked]
    config = json.loads((chat.folder / "config.json").read_text("utf-8"))
    _check_fit(asked, prompts, config.get("max_position_embeddings"))
    return sum(item.kind == "call" for item in asked)


def _check_fit(asked: Sequence[Item], prompts: Sequence[Sequence[int]], context: int | None) -> None:
    if context is None:
        return
    for item, prompt in zip(asked, prompts, strict=True):
        if len(prompt) >= context:
            raise EvaluationError(
                f"The prompt of item {item.id} has {len(prompt)} tokens; its model reads {context}: "
                "leave the row out or choose a model with a longer context."
            )


def call_judge(
    rows: Sequence[Row], max_tokens: int, progress: Progress | None = None
) -> Callable[[Any, Chat], Judged]:
    """What training asks at a checkpoint: the share of exact tool calls on `rows`, None where none is due.

    Direct answers guard what the model could do before, where there are ENOUGH of them.
    """
    scoring = called(progress, "scoring a checkpoint")

    def judge(model: Any, chat: Chat) -> Judged:
        results = evaluate_rows(model, chat, rows, max_tokens=max_tokens, progress=scoring)
        share = accuracy(results)
        counts = Counter(result.item.kind for result in results)
        guard = {} if share.direct is None or counts["direct"] < ENOUGH else {"direct answers": share.direct}
        return Judged(share.call, counts["call"], guard)

    return judge
