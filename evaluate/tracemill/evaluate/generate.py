"""Generation for many prompts at once, in process, on mlx-lm: greedy, or drawn by a sampler for each.

In: a loaded model and the token ids of each prompt. Out: the text of each completion, in the order asked.
What prompts share is computed once (`prefill`); the result is that of one prompt after another without any
cache. MLX is imported inside the functions, because the BLAS must be activated before it
(`tracemill.train.blas`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel

Progress = Callable[[str, int, int], None]
Sampler = Callable[[Any], Any]
"""Log probabilities of the next token, an MLX array of (1, vocabulary), to the token drawn."""
Completions = Generator[tuple[int, list[int]]]
"""The number of each prompt and the tokens of its completion, as soon as it is finished."""
BATCH = 64
"""Completions at once: 15% faster than half as many on the CPU, for the weights are read half as often."""
PREFILLED = 16
"""Whole prompts that go through a model at once, which needs memory for the attention of all."""


def called(progress: Progress | None, what: str) -> Progress | None:
    """`progress` with `what` in place of the name that a stage gives itself; None without one."""
    return progress and (lambda _, done, total: progress(what, done, total))


def load_model(base: Path, adapter: Path | None = None) -> Any:
    """The mlx-lm model of the folder `base`, with the LoRA weights of the folder `adapter` on it.

    TrainError where `base` cannot be loaded, EvaluationError where `adapter` does not fit it.
    """
    from mlx_lm.utils import load_adapters

    from tracemill.train.finetune import load_base

    model = load_base(base)
    if adapter is None:
        return model
    try:
        model = load_adapters(model, str(adapter))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise EvaluationError(
            f"{adapter} is not an adapter of {base}: {error}; name the base it was trained on."
        ) from error
    model.eval()
    return model


def check_base(base: BaseModel, adapter: Adapter | None) -> None:
    """EvaluationError where `adapter` is of another base."""
    if adapter is not None and adapter.card["base_sha256"] != base.digest:
        raise EvaluationError(
            f"The adapter {adapter.path} was trained on another base ({adapter.card['base']}) "
            f"than {base.path}; name that base, or train again."
        )


def context_length(model: Any) -> int | None:
    """How many tokens the model can attend to, None where its configuration does not say."""
    return getattr(getattr(model, "args", None), "max_position_embeddings", None)


def generate(
    model: Any,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    batch_size: int = BATCH,
    progress: Progress | None = None,
    each: Callable[[int, str], None] | None = None,
    samplers: Sequence[Sampler] | None = None,
) -> list[str]:
    """Complete every prompt, up to a stop token of `chat`, `max_tokens` or the end of the context.

    Greedily, or with `samplers`, one for each prompt. Returns the texts without the stop token, in the order
    of `prompts`; progress counts finished completions, and `each` gets the number of its prompt and the text
    of each as it is finished.
    """
    from tracemill.evaluate.prefill import can_batch, fitting

    if not prompts:
        return []
    complete = _way(model, prompts)
    if complete is not _sharing and not can_batch(model):
        batch_size = 1
    tokenized = [list(prompt) for prompt in prompts]
    # Neighbours in lexicographic order share the most, so families of prompts stay together.
    order = sorted(range(len(prompts)), key=tokenized.__getitem__)
    texts: dict[int, str] = {}
    while order:
        count = fitting([tokenized[i] for i in order], share=complete is _sharing)
        # Completions in order of prompt length, so that little of a batch is padding.
        some, order = sorted(order[:count], key=lambda i: len(prompts[i])), order[count:]
        asked = _Asked(
            [tokenized[i] for i in some],
            [_room(model, prompts[i], max_tokens) for i in some],
            chat.stop_tokens,
            batch_size,
            [samplers[i] for i in some] if samplers else None,
        )
        with closing(complete(model, asked)) as completions:
            for position, tokens in completions:
                text = texts[some[position]] = chat.text(tokens)
                if each:
                    each(some[position], text)
                if progress:
                    progress("generating", len(texts), len(prompts))
    return [texts[position] for position in range(len(prompts))]


def _room(model: Any, prompt: Sequence[int], max_tokens: int) -> int:
    """How many tokens a completion can have; ValueError for none."""
    context = context_length(model)
    room = min(max_tokens, context - len(prompt)) if context else max_tokens
    if room < 1:
        raise ValueError(
            f"A prompt of {len(prompt)} tokens and {max_tokens} more leave no room to complete it."
        )
    return room


@dataclass(frozen=True)
class _Asked:
    """Prompts that are completed together."""

    prompts: list[list[int]]
    room: list[int]
    """How many tokens each completion can have."""
    stops: frozenset[int]
    """Tokens that end one."""
    batch_size: int
    samplers: list[Sampler] | None


def _way(model: Any, prompts: Sequence[Sequence[int]]) -> Callable[..., Completions]:
    """The fastest way to complete `prompts` that is right for `model`."""
    from tracemill.evaluate.prefill import can_prefill
    from tracemill.evaluate.shared_prefix import can_share

    if not can_prefill(model, prompts):
        return _by_mlx_lm
    return _sharing if can_share(model) else _copying


def _sharing(model: Any, asked: _Asked) -> Completions:
    from tracemill.evaluate.decode import decode
    from tracemill.evaluate.prefill import prefill
    from tracemill.evaluate.shared_prefix import sharing

    with sharing(model):
        filled = prefill(model, asked.prompts, share=True)
        last = [prompt[-1] for prompt in asked.prompts]
        yield from decode(model, filled, last, asked.room, asked.stops, asked.batch_size, asked.samplers)


def _copying(model: Any, asked: _Asked) -> Completions:
    from tracemill.evaluate.prefill import prefill

    return _by_mlx_lm(model, asked, prefill(model, asked.prompts, share=False).rows)


def _by_mlx_lm(model: Any, asked: _Asked, caches: list[list[Any]] | None = None) -> Completions:
    """With caches of any kind; `caches` have all but the last token of each prompt."""
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(
        model,
        stop_tokens=[[token] for token in sorted(asked.stops)],
        completion_batch_size=asked.batch_size,
        prefill_batch_size=min(asked.batch_size, PREFILLED),
    )
    rest = [prompt[-1:] for prompt in asked.prompts] if caches else asked.prompts
    uids = generator.insert(rest, asked.room, caches=caches, samplers=asked.samplers)
    position = {uid: number for number, uid in enumerate(uids)}
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    while responses := generator.next_generated():
        for response in responses:
            tokens[response.uid].append(int(response.token))
            if response.finish_reason is not None:
                yield position[response.uid], tokens[response.uid]
    generator.close()
