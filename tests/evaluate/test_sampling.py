"""Several samples: drawn the same again whatever the batch, and summed up as pass@k and pass^k."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from tracemill.curate.chat.template import Chat
from tracemill.evaluate.holdout import ItemResult, evaluate_items, scored
from tracemill.evaluate.items import Item
from tracemill.evaluate.sampling import GREEDY, Sampling, item_seed, passes, sampled, sampler

HOT = Sampling(3, 1.5, seed=7)


def ask(name: str, question: str, session: str = "") -> Item:
    return Item(
        id=name,
        session_id=session or name,
        category="",
        kind="direct",
        messages=[{"role": "user", "content": question}],
        tools=[],
        expected={"role": "assistant", "content": "Yes."},
    )


ASKED = [ask("a", "Read the file src/app.py"), ask("b", "What does main do?")]


def drawn_alone(model: Any, chat: Chat, item: Item, max_tokens: int, sampling: Sampling) -> str:
    """Sampling as it is defined: the whole sequence through the model for every token, no cache, no batch."""
    import mlx.core as mx

    prompt = chat.prompt(item.messages, item.tools)
    tokens, draw = list(prompt), sampler(sampling.temperature, item_seed(sampling.seed, item.id))
    while len(tokens) < len(prompt) + max_tokens:
        logits = model(mx.array([tokens]))[:, -1]
        tokens.append(int(draw(logits - mx.logsumexp(logits, axis=-1, keepdims=True)).item()))
        if tokens[-1] in chat.stop_tokens:
            break
    return chat.text(tokens[len(prompt) :])


def texts(model: Any, chat: Chat, sampling: Sampling, batch_size: int) -> dict[str, str]:
    found = evaluate_items(
        model, chat, sampled(ASKED, sampling), max_tokens=8, batch_size=batch_size, sampling=sampling
    )
    return {one.item.id: one.text for one in found}


def test_samples_are_those_drawn_alone_whatever_the_batch(model: Any, chat: Chat) -> None:
    expected = {item.id: drawn_alone(model, chat, item, 8, HOT) for item in sampled(ASKED, HOT)}
    assert list(expected) == ["a~1", "a~2", "a~3", "b~1", "b~2", "b~3"]
    assert len(set(expected.values())) == 6
    assert texts(model, chat, HOT, 16) == texts(model, chat, HOT, 2) == expected
    other = texts(model, chat, Sampling(3, 1.5, seed=8), 16)
    assert all(other[name] != expected[name] for name in expected)


def test_one_sample_has_the_name_of_its_item_and_samples_have_its_hash() -> None:
    assert sampled(ASKED, GREEDY) == sampled(ASKED, Sampling(1, 0.5)) == ASKED
    assert [one.digest for one in sampled(ASKED, Sampling(2, 0.5))] == [
        one.digest for item in ASKED for one in (item, item)
    ]


def results(outcomes: dict[str, list[bool]], session: str = "") -> list[ItemResult]:
    """Direct answers: what is right says something, what is wrong nothing."""
    items = {
        f"{name}~{n}": "Yes." if ok else "" for name, row in outcomes.items() for n, ok in enumerate(row, 1)
    }
    return scored([ask(name, "?", session or name.rpartition("~")[0]) for name in items], items)


def test_pass_at_k_and_pass_hat_k_are_shares_of_all_ways_to_choose_k_samples() -> None:
    outcomes = {
        "a": [True, False, True, False, False],
        "b": [True] * 5,
        "c": [False] * 5,
        "d~x": [True] * 4 + [False],
    }
    found = passes(results(outcomes), Sampling(5, 0.7))
    assert [(one.name, one.n, one.k) for one in found] == [("direct answers", 4, k) for k in (1, 2, 4, 5)]
    for one in found:
        chosen = [list(combinations(row, one.k)) for row in outcomes.values()]
        some = [sum(any(way) for way in ways) / len(ways) for ways in chosen]
        every = [sum(all(way) for way in ways) / len(ways) for ways in chosen]
        assert one.one.estimate == pytest.approx(sum(some) / 4)
        assert one.all.estimate == pytest.approx(sum(every) / 4)
        for interval in (one.one, one.all):
            assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
    assert found[0].one.estimate == found[0].all.estimate


def test_an_item_with_a_sample_that_nobody_answered_is_left_out() -> None:
    found = passes(results({"a": [True, True], "b": [False]}), Sampling(2, 0.7))
    assert [(one.n, one.one.estimate, one.all.estimate) for one in found] == [(1, 1.0, 1.0)] * 2
    assert (found[0].one.low, found[0].one.high) == (0.0, 1.0)  # one session tells nothing of others


def test_items_of_one_session_tell_less_than_items_of_many() -> None:
    outcomes = {f"{n}": [n % 2 == 0, n % 4 == 0] for n in range(24)}
    apart = passes(results(outcomes), Sampling(2, 0.7))[0].one
    together = passes(results(outcomes, "one"), Sampling(2, 0.7))[0].one
    assert apart.high - apart.low < 0.5 < together.high - together.low
