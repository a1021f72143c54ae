"""Preference pairs as token sequences ready to learn from.

In: the pairs of a data set (`curate/pairs/reading.py`) and a `Chat`. Out: `Examples`, whose sequences stand
in twos: what was chosen, and what was rejected after the very same prompt tokens. Of each the last turn bears
loss, through its stop token, and nothing else. No MLX.
"""

from __future__ import annotations

from collections.abc import Sequence

from tracemill.curate.chat.fit import fit_answers
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.render import Rendered
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.curate.errors import ProofError, TemplateError
from tracemill.curate.pairs.reading import read_pairs
from tracemill.train.errors import TrainError
from tracemill.train.examples import Examples


def pair_sequences(chat: Chat, pairs: Sequence[tuple[Row, Row]], context: int) -> Examples:
    """Two proved sequences for each pair, chosen and rejected in turn, none longer than `context` tokens.

    A pair that is not faithful, does not fit or is the same tokens twice is dropped, with the reason.
    """
    parts: list[Rendered] = []
    dropped: list[str] = []
    cut = 0
    for pair in pairs:
        try:
            answers, was_cut = fit_answers(chat, pair, context)
        except (ProofError, TemplateError) as error:
            dropped.append(str(error))
            continue
        if answers[0].tokens == answers[1].tokens:
            dropped.append(
                f"Pair {pair[0]['id']}: what was chosen and what was rejected are the same tokens."
            )
            continue
        parts += answers
        cut += was_cut
    return Examples(parts, cut, dropped)


def preferences(chat: Chat, dataset: Dataset, context: int) -> tuple[Examples, list[Rendered]]:
    """What the pairs of a data set give to learn from, and the sequences to measure it on, if there are any.

    TrainError where there is nothing to learn from.
    """
    rows = read_pairs(dataset, "train")
    if not rows:
        raise TrainError(
            f"{dataset.folder} holds no preference pairs to learn from (train_pairs.jsonl); add `[pairs]` to "
            "a recipe and export with it, or write pairs of prompt, chosen and rejected there."
        )
    examples = pair_sequences(chat, rows, context)
    if not examples.parts:
        raise TrainError(
            f"None of the {len(rows)} pairs in {dataset.folder} can be learned within the context of "
            f"{context} tokens ({examples.dropped[0].rstrip('.')}); raise --context or export other sessions."
        )
    return examples, pair_sequences(chat, read_pairs(dataset, "valid"), context).parts
