"""Batched generation with a shared prefix gives what one prompt after another gives, token for token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greedy import TEXTS, one_by_one, prompts_of
from tracemill.curate.chat.proof import Row
from tracemill.curate.chat.template import Chat
from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.generate import generate, load_model
from tracemill.evaluate.holdout import accuracy, evaluate_rows
from tracemill.train.errors import TrainError


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_equal_to_greedy_decoding_without_cache(model: Any, chat: Chat, batch_size: int) -> None:
    prompts = prompts_of(chat, TEXTS)
    expected = [one_by_one(model, chat, prompt, 12) for prompt in prompts]
    assert generate(model, chat, prompts, 12, batch_size=batch_size) == expected
    assert len(set(expected)) > 1


def test_a_prompt_that_is_the_prefix_and_one_token(model: Any, chat: Chat) -> None:
    prefix = chat.prompt([{"role": "user", "content": "Read the file src/app.py"}], [])
    prompts = [[*prefix, 70, 71, 72], [*prefix, 70], [*prefix, 80], [*prefix, 70, 71]]
    for asked in (prompts, prompts[:2], [prefix, prompts[0]], [prefix, prefix], [prefix]):
        assert generate(model, chat, asked, 8) == [one_by_one(model, chat, prompt, 8) for prompt in asked]


def test_a_prefix_longer_than_one_prefill_step(model: Any, chat: Chat) -> None:
    prefix = [300 + i % 90 for i in range(1030)]
    prompts = [[*prefix, 70], [*prefix, 80, 81]]
    assert generate(model, chat, prompts, 4) == [one_by_one(model, chat, prompt, 4) for prompt in prompts]


def test_it_stops_at_a_stop_token_and_leaves_it_out(model: Any, chat: Chat, folder: Path) -> None:
    prompts = prompts_of(chat, TEXTS)
    third = chat.tokenizer.encode(one_by_one(model, chat, prompts[1], 3))
    stopping = Chat.load(folder)
    stopping.stop_tokens = frozenset({third[-1]})
    assert generate(model, stopping, prompts, 12) == [
        one_by_one(model, stopping, prompt, 12) for prompt in prompts
    ]


def test_progress_counts_finished_completions(model: Any, chat: Chat) -> None:
    seen: list[tuple[str, int, int]] = []
    generate(model, chat, prompts_of(chat, TEXTS), 3, progress=lambda *step: seen.append(step))
    assert seen == [("generating", done, 5) for done in range(1, 6)]


def test_no_prompts_no_texts(model: Any, chat: Chat) -> None:
    assert generate(model, chat, [], 3) == []


def row(number: int, question: str) -> Row:
    answer = '<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
    return {
        "id": f"r{number}",
        "session_id": f"s{number}",
        "category": "read",
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "tools": [],
    }


def test_rows_are_scored_in_their_order(model: Any, chat: Chat) -> None:
    results = evaluate_rows(model, chat, [row(1, "x" * 50), row(2, "y")], max_tokens=5)
    assert [result.item.id for result in results] == ["r1#1", "r2#1"]
    for result in results:
        assert result.text == one_by_one(model, chat, chat.prompt(result.item.messages, []), 5)
    assert (accuracy(results).call, accuracy(results).direct) == (0.0, None)


def test_a_prompt_longer_than_the_context_is_named_before_anything_is_generated(
    model: Any, chat: Chat, folder: Path
) -> None:
    with pytest.raises(
        EvaluationError, match=r"The prompt of item r2#1 has \d+ tokens; its model reads 2048"
    ):
        evaluate_rows(model, chat, [row(1, "x"), row(2, "x y z " * 2000)], max_tokens=5, progress=refuse)


def refuse(what: str, done: int, total: int) -> None:
    raise AssertionError(f"{what} began")


def test_a_completion_ends_with_the_context(model: Any, chat: Chat) -> None:
    prompt = [300 + i % 90 for i in range(2045)]
    assert generate(model, chat, [prompt], 100) == [one_by_one(model, chat, prompt, 3)]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_without_a_model_or_adapter_is_named(
    folder: Path, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "empty")
    with pytest.raises(TrainError, match="Cannot load the model in"):
        load_model(tmp_path / "empty")
    with pytest.raises(EvaluationError, match="is not an adapter of"):
        load_model(folder, tmp_path / "empty")


def test_an_adapter_changes_what_is_generated(folder: Path, chat: Chat, tmp_path: Path) -> None:
    import json

    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers

    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    tuned = load_model(folder)
    tuned.freeze()
    linear_to_lora_layers(tuned, 2, parameters)
    weights = {
        name: mx.random.normal(value.shape) for name, value in tree_flatten(tuned.trainable_parameters())
    }
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), weights)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    prompts = prompts_of(chat, TEXTS)
    adapted = load_model(folder, tmp_path)
    found = generate(adapted, chat, prompts, 12)
    assert found == [one_by_one(adapted, chat, prompt, 12) for prompt in prompts]
    assert found != generate(load_model(folder), chat, prompts, 12)
