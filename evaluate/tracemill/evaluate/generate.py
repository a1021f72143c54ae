"""Generation for many prompts at once, in process, on mlx-lm: greedy, or drawn by a sampler for each.

In: a loaded model and the token ids of each prompt. Out: the text of each completion, in the order asked.
What prompts share is computed once (`prefill`); the result is that of one prompt after another without any
cache. MLX is imported inside the functions, because the BLAS must be activated before it
(`tracemill.train.blas`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel

Progress = Callable[[str, int, int], None]
Sampler = Callable[[Any], Any]
"""Log probabilities of the next token, an MLX array of (1, vocabulary), to the token drawn."""
BATCH = 64
"""Completions at once: 15% faster than half as many on the CPU, for their weights are read half as often."""


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
    from tracemill.evaluate.prefill import fitting

    # Neighbours in lexicographic order share the most, so families of prompts stay together.
    order = sorted(range(len(prompts)), key=lambda i: list(prompts[i]))
    texts: dict[int, str] = {}

    def finished(position: int, tokens: Sequence[int]) -> None:
        texts[position] = chat.text(tokens)
        if each:
            each(position, texts[position])
        if progress:
            progress("generating", len(texts), len(prompts))

    while order:
        count = fitting([prompts[i] for i in order])
        some, order = order[:count], order[count:]
        chosen = {i: samplers[i] for i in some} if samplers else None
        _complete(model, chat, {i: prompts[i] for i in some}, max_tokens, batch_size, finished, chosen)
    return [texts[position] for position in range(len(prompts))]


def _complete(
    model: Any,
    chat: Chat,
    prompts: Mapping[int, Sequence[int]],
    max_tokens: int,
    batch_size: int,
    finished: Callable[[int, Sequence[int]], None],
    samplers: Mapping[int, Sampler] | None = None,
) -> None:
    # Completions in order of prompt length, so that little of a batch is padding.
    order = sorted(prompts, key=lambda i: len(prompts[i]))
    asked = [list(prompts[i]) for i in order]
    context = context_length(model)
    room = [min(max_tokens, context - len(prompt)) if context else max_tokens for prompt in asked]
    drawn = [samplers[i] for i in order] if samplers else None
    with closing(_completions(model, chat, asked, room, batch_size, drawn)) as completions:
        for position, tokens in completions:
            finished(order[position], tokens)


def _completions(
    model: Any,
    chat: Chat,
    prompts: list[list[int]],
    room: list[int],
    batch_size: int,
    samplers: list[Sampler] | None,
) -> Generator[tuple[int, list[int]]]:
    """The number of each prompt and the tokens of its completion, as soon as it is finished."""
    from tracemill.evaluate.decode import decode
    from tracemill.evaluate.prefill import can_prefill, prefill
    from tracemill.evaluate.shared_prefix import can_share, sharing

    last = [prompt[-1:] for prompt in prompts]
    if not can_prefill(model, prompts):
        yield from _by_mlx_lm(model, chat, prompts, None, room, batch_size, samplers)
    elif not can_share(model):
        caches = prefill(model, prompts, share=False).rows
        yield from _by_mlx_lm(model, chat, last, caches, room, batch_size, samplers)
    else:
        with sharing(model):
            filled = prefill(model, prompts, share=True)
            yield from decode(model, filled, last, room, chat.stop_tokens, batch_size, samplers)


def _by_mlx_lm(
    model: Any,
    chat: Chat,
    prompts: list[list[int]],
    caches: list[list[Any]] | None,
    room: list[int],
    batch_size: int,
    samplers: list[Sampler] | None,
) -> Iterator[tuple[int, list[int]]]:
    """As `_completions`, with caches of any kind."""
    from mlx_lm.generate import BatchGenerator

    generator = BatchGenerator(
        model,
        stop_tokens=[[token] for token in sorted(chat.stop_tokens)],
        completion_batch_size=batch_size,
        prefill_batch_size=batch_size,
    )
    uids = generator.insert(prompts, room, caches=caches, samplers=samplers)
    position = {uid: number for number, uid in enumerate(uids)}
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    while responses := generator.next_generated():
        for response in responses:
            tokens[response.uid].append(int(response.token))
            if response.finish_reason is not None:
                yield position[response.uid], tokens[response.uid]
    generator.close()
