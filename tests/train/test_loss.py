"""The loss in chunks is the loss, and so is its gradient; the logits are never all there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize("count", [1, 256, 2100])
def test_loss_and_gradient_are_those_of_all_logits_at_once(count: int) -> None:
    import mlx.core as mx
    import mlx.nn as nn

    from tracemill.train.loss import cross_entropy

    mx.random.seed(1)
    head, states = mx.random.normal((6_000, 16)), mx.random.normal((count, 16))
    targets = mx.random.randint(0, 6_000, (count,))

    def plain(states: mx.array) -> mx.array:
        return nn.losses.cross_entropy(states @ head.T, targets, reduction="sum") / 7

    def ours(states: mx.array) -> mx.array:
        return cross_entropy(lambda some: some @ head.T, states, targets).sum() / 7

    found: list[Any] = []
    peaks: list[int] = []
    for loss in (plain, ours):
        mx.eval(head, states, targets)
        mx.reset_peak_memory()
        found.append(mx.value_and_grad(loss)(states))
        mx.eval(found[-1])
        peaks.append(mx.get_peak_memory())
    assert found[1][0].item() == pytest.approx(found[0][0].item(), rel=1e-5)
    np.testing.assert_allclose(np.array(found[1][1]), np.array(found[0][1]), rtol=1e-3, atol=1e-5)
    assert count < 2100 or peaks[1] < 0.6 * peaks[0], peaks
