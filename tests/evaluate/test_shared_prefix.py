"""A prefix that is read once for all rows gives the attention, and the texts, of a copy for each row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from os.path import commonprefix
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlx_lm.models import gemma2, llama
from mlx_lm.models.base import create_causal_mask, scaled_dot_product_attention

from greedy import TEXTS, one_by_one, prompts_of
from tracemill.curate.chat.template import Chat
from tracemill.evaluate import decode as decoding
from tracemill.evaluate import prefill
from tracemill.evaluate.generate import generate, load_model
from tracemill.evaluate.shared_prefix import Beginning, Rows, attend, can_share, sharing

ROWS, SIZE, PREFIX, OWN = 3, 8, 11, 6


@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (4, 4), (4, 1)])
@pytest.mark.parametrize("length", [1, OWN])
@pytest.mark.parametrize("sharp", [1, 100], ids=["flat", "sharp"])
@pytest.mark.parametrize("shared", [0, PREFIX])
def test_equal_to_attention_over_all_keys(
    heads: int, key_heads: int, length: int, sharp: float, shared: int
) -> None:
    mx.random.seed(heads + length)
    queries = sharp * mx.random.normal((ROWS, heads, length, SIZE))
    keys, values = mx.random.normal((2, ROWS, key_heads, OWN, SIZE))
    prefix = tuple(mx.random.normal((2, 1, key_heads, max(shared, 1), SIZE)))
    hidden = create_causal_mask(length, OWN - length, left_padding=mx.array([0, 2, 0]))
    keys[1, :, :2] = 30 * queries[1, 0, 0]  # What is hidden would win by far, were it seen.
    found = attend(queries, keys, values, (prefix[0], prefix[1]) if shared else None, 0.3, hidden)
    seen = mx.concatenate(
        [mx.ones((ROWS, 1, length, shared), mx.bool_), mx.broadcast_to(hidden, (ROWS, 1, length, OWN))], -1
    )
    every = [
        mx.concatenate([mx.repeat(before, ROWS, axis=0)[:, :, :shared], own], axis=2)
        for before, own in zip(prefix, (keys, values), strict=True)
    ]
    expected = mx.fast.scaled_dot_product_attention(queries, *every, scale=0.3, mask=seen)
    looking = mx.any(seen, axis=-1)[:, 0]  # a padded query that sees nothing may give anything
    found, expected = (part.swapaxes(1, 2) * looking[..., None, None] for part in (found, expected))
    assert mx.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("mask", ["causal", mx.zeros((1, 1))])
def test_a_mask_that_is_not_of_true_and_false_is_refused(mask: Any) -> None:
    part = mx.zeros((1, 1, 1, 4))
    with pytest.raises(ValueError, match="true and false"):
        attend(part, part, part, None, 1.0, mask)


def test_a_llama_shares_and_is_left_as_it_was(model: Any) -> None:
    before = llama.scaled_dot_product_attention, llama.swiglu
    assert can_share(model)
    with pytest.raises(KeyError), sharing(model):
        assert llama.scaled_dot_product_attention is not before[0]
        raise KeyError
    assert (llama.scaled_dot_product_attention, llama.swiglu) == before


class Own(llama.Attention):
    """Attention of an architecture that does not call the function which others share."""

    def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        rows, length, _ = x.shape
        asked, keys, values = (
            part(x).reshape(rows, length, count, -1).transpose(0, 2, 1, 3)
            for part, count in (
                (self.q_proj, self.n_heads),
                (self.k_proj, self.n_kv_heads),
                (self.v_proj, self.n_kv_heads),
            )
        )
        at = cache.offset if cache else 0
        asked, keys = self.rope(asked, offset=at), self.rope(keys, offset=at)
        if cache:
            keys, values = cache.update_and_fetch(keys, values)
        found = mx.fast.scaled_dot_product_attention(asked, keys, values, scale=self.scale, mask=mask)
        return self.o_proj(found.transpose(0, 2, 1, 3).reshape(rows, length, -1))


def test_a_model_that_attends_by_itself_has_copies(folder: Path, chat: Chat) -> None:
    model = load_model(folder)
    for layer in model.layers:
        layer.self_attn.__class__ = Own
    assert not can_share(model)
    prompts = prompts_of(chat, TEXTS)
    assert generate(model, chat, prompts, 8) == [one_by_one(model, chat, prompt, 8) for prompt in prompts]


def test_a_model_that_sees_the_last_tokens_only_has_its_own_caches(model: Any, chat: Chat) -> None:
    args = llama.ModelArgs(
        **{**vars(model.args), "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
    )
    windowed = llama.Model(args)
    windowed.update(model.parameters())
    assert not can_share(windowed)
    prompts = prompts_of(chat, TEXTS)
    found = generate(windowed, chat, prompts, 8)
    assert found == [one_by_one(windowed, chat, prompt, 8) for prompt in prompts]
    assert found != generate(model, chat, prompts, 8)


@pytest.mark.parametrize("key_heads", [2, 4])
def test_a_model_that_mlx_lm_cannot_batch_goes_one_by_one(model: Any, chat: Chat, key_heads: int) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "head_dim": 8}
    heads = {"num_attention_heads": 2 * key_heads, "num_key_value_heads": key_heads}
    mx.random.seed(0)
    gemma = gemma2.Model(
        gemma2.ModelArgs("gemma2", rms_norm_eps=1e-5, vocab_size=model.args.vocab_size, **size, **heads)
    )
    assert not prefill.can_batch(gemma)
    assert prefill.can_batch(model)
    prompts = prompts_of(chat, TEXTS)
    assert generate(gemma, chat, prompts, 6) == [one_by_one(gemma, chat, prompt, 6) for prompt in prompts]


def test_completions_join_as_others_end(model: Any, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of(chat, [f"{'word ' * (7 * number % 5)}{number}" for number in range(13)])
    expected = [one_by_one(model, chat, prompt, 9) for prompt in prompts]
    frequent = chat.tokenizer.encode(expected[0])[-1]
    stopping: Any = SimpleNamespace(text=chat.text, stop_tokens=frozenset({frequent, *chat.stop_tokens}))
    expected = [one_by_one(model, stopping, prompt, 9) for prompt in prompts]
    prefixes: set[int] = set()
    joined: list[int] = []
    decode, extend = decoding.decode, Rows.extend

    def decoded(model: Any, filled: prefill.Prefilled, *others: Any) -> Any:
        prefixes.update(keys.shape[2] for keys, _ in filled.prefix or [])
        return decode(model, filled, *others)

    def extended(rows: Rows, others: Rows) -> None:
        extend(rows, others)
        joined.append(len(rows.offset))

    monkeypatch.setattr(decoding, "decode", decoded)
    monkeypatch.setattr(Rows, "extend", extended)
    assert generate(model, stopping, prompts, 9, batch_size=5) == expected
    assert prefixes == {len(commonprefix(prompts))}  # noqa: RUF071 (tokens, no paths)
    assert max(joined) == 5


def test_threads_do_not_disturb_each_other(folder: Path, chat: Chat) -> None:
    prompts = prompts_of(chat, TEXTS)
    expected = generate(load_model(folder), chat, prompts, 6)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: generate(load_model(folder), chat, prompts, 6), range(6)))
    assert found == [expected] * 6
    assert llama.scaled_dot_product_attention is scaled_dot_product_attention


def test_attention_sinks_are_refused(model: Any) -> None:
    part = mx.zeros((1, 1, 1, 4))
    with sharing(model), pytest.raises(ValueError, match="plain attention only"):
        llama.scaled_dot_product_attention(part, part, part, Beginning(), 1.0, None, sinks=part)


def test_a_gpu_has_its_own_attention(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    assert not can_share(model)


def test_prompts_that_go_on_for_several_steps(
    model: Any, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "STEP", 16)
    prompts = [[300 + (i * step) % 90 for i in range(70)] for step in (1, 1, 3)]
    prompts = [[*range(400, 420), *prompt, last] for last, prompt in enumerate(prompts, 70)]
    assert can_share(model)
    assert generate(model, chat, prompts, 6) == [one_by_one(model, chat, prompt, 6) for prompt in prompts]


def test_what_is_shared_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "TOGETHER", 110)
    long = list(range(100))
    alike = [[*long, 1], [*long, 2], [*long, 3]]
    assert prefill.fitting(alike, share=True) == 3
    assert prefill.fitting(alike, share=False) == 1
    assert prefill.fitting([long, [200, *long]], share=True) == 1
    assert prefill.fitting([long[:50], [50] * 50, [60] * 50], share=True) == 2


def test_a_stranger_does_not_take_the_prefix_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "WORTH", 150)
    long = list(range(100))
    alike = [[*long, 1], [*long, 2], [*long, 3]]
    assert prefill.fitting([*alike, [200]], share=True) == 3
    assert prefill.fitting([*alike[:2], [200]], share=True) == 3
    turns = [long[:50], long, [*long, 1]]
    assert prefill.fitting([*turns, [200]], share=True) == 4


@given(st.lists(st.integers(1, 3000), min_size=1).map(sorted), st.integers(1, 4))
def test_groups_are_bounded_with_their_padding(lengths: list[int], lanes: int) -> None:
    groups = prefill._groups(list(enumerate(lengths)), lanes)
    assert [prompt for group in groups for prompt in group] == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * lengths[group[-1]] <= 2 * prefill.AT_ONCE


def test_no_room_is_said(model: Any, chat: Chat) -> None:
    with pytest.raises(ValueError, match="A prompt of 2048 tokens and 3 more leave no room"):
        generate(model, chat, [[300] * 2048], 3)
