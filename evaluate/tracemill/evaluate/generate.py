"""Greedy generation for many prompts at once, in process, on mlx-lm.

In: a loaded model and the token ids of each prompt. Out: the text of each completion, in the order asked. The
longest prefix that all prompts share (system prompt and tools) is computed once; the result is that of one
prompt after another without any cache. MLX is imported inside the functions, because the BLAS must be
activated before it (`tracemill.train.blas`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError

Progress = Callable[[str, int, int], None]
PREFILL = 512


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
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EvaluationError(
            f"{adapter} is not an adapter of {base}: {error}; name the base it was trained on."
        ) from error
    model.eval()
    return model


def context_length(model: Any) -> int | None:
    """How many tokens the model can attend to, None where its configuration does not say."""
    return getattr(getattr(model, "args", None), "max_position_embeddings", None)


def generate(
    model: Any,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    max_tokens: int,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> list[str]:
    """Complete every prompt greedily, up to a stop token of `chat`, `max_tokens` or the end of the context.

    Returns the texts without the stop token, in the order of `prompts`; progress counts finished completions.
    """
    from mlx_lm.generate import BatchGenerator

    if not prompts:
        return []
    shared = _prefix_length(model, prompts)
    cache = _prefix_cache(model, prompts[0][:shared]) if shared else None
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    context = context_length(model)
    room = [min(max_tokens, context - len(prompts[i])) if context else max_tokens for i in order]
    generator = BatchGenerator(
        model,
        stop_tokens=[[token] for token in sorted(chat.stop_tokens)],
        completion_batch_size=batch_size,
        prefill_batch_size=batch_size,
        prefill_step_size=PREFILL,
    )
    uids = generator.insert(
        [list(prompts[i][shared:]) for i in order], room, caches=[cache for _ in order] if cache else None
    )
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    done = 0
    while responses := generator.next_generated():
        for response in responses:
            tokens[response.uid].append(int(response.token))
            if response.finish_reason is not None:
                done += 1
                if progress:
                    progress("generating", done, len(prompts))
    generator.close()
    texts = {position: chat.text(tokens[uid]) for position, uid in zip(order, uids, strict=True)}
    return [texts[position] for position in range(len(prompts))]


def _prefix_length(model: Any, prompts: Sequence[Sequence[int]]) -> int:
    """Length of the longest common prefix that leaves every prompt a token of its own, 0 where there is none.

    Only plain key-value caches can be copied into a batch at any length.
    """
    from mlx_lm.models.cache import KVCache, make_prompt_cache

    if len(prompts) < 2 or any(type(cache) is not KVCache for cache in make_prompt_cache(model)):
        return 0
    longest = min(map(len, prompts)) - 1
    return next((i for i in range(longest) if len({prompt[i] for prompt in prompts}) > 1), longest)


def _prefix_cache(model: Any, prefix: Sequence[int]) -> list[Any]:
    import mlx.core as mx
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    for start in range(0, len(prefix), PREFILL):
        model(mx.array([prefix[start : start + PREFILL]]), cache=cache)
        mx.eval([layer.state for layer in cache])
    return cache
