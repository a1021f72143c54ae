"""Each shipped form of a model beside the adapter it came from.

In: a fused folder, its adapter and base, and a data set where there is one. Out: a `Measured` for each form:
how its logits differ, how many greedy completions are the same, and the paired comparison of the scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tracemill.cli.output import ProgressCallback
from tracemill.curate.chat.proof import prove
from tracemill.curate.chat.template import Chat
from tracemill.curate.dataset import Dataset
from tracemill.evaluate.comparison import Group, compare
from tracemill.evaluate.evaluation import Suite, score_model
from tracemill.evaluate.generate import called, generate
from tracemill.evaluate.holdout import ItemResult
from tracemill.evaluate.recall import score_once
from tracemill.tracer.home import Home
from tracemill.tracer.messages import Message, Tool
from tracemill.train.adapter import Adapter
from tracemill.train.base import BaseModel, folder_digest
from tracemill.train.fidelity import Fidelity, fidelity
from tracemill.train.finetune import load_base
from tracemill.train.fuse import Fused, adapted
from tracemill.train.gguf_export import read_back
from tracemill.train.known import Interval
from tracemill.train.modelcard import Change, Measured

ROWS, TOKENS = 8, 512
"""Sequences whose logits are compared, and how much of each."""
TOOL: Tool = {
    "name": "read_file",
    "description": "Read a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
QUESTIONS = (
    "Read the file README.md.", "What is in src/app.py?", "Hello!", "What is 12 times 3?",
    "Write a Python function that adds two numbers.", "Name three colours.", "Open tests/test_app.py.",
    "Explain what a list is in Python.",
)  # fmt: skip


@dataclass(frozen=True)
class _Form:
    """A form under its name: what is shipped of it, and the MLX folder that it is scored in."""

    name: str
    file: Path
    folder: Path


def measure(
    home: Home,
    fused: Fused,
    adapter: Adapter,
    base: BaseModel,
    dataset: Dataset | None,
    max_tokens: int,
    progress: ProgressCallback,
) -> list[Measured]:
    """Compare the folder, and the GGUF file in it, with `adapter` on `base`; the BLAS must be active."""
    suite = Suite(dataset, "test", max_tokens) if dataset else None
    chat = Chat.load(base.path, adapter.path)
    sequences = _sequences(chat, suite)
    with tempfile.TemporaryDirectory(prefix="tracemill-gguf-") as scratch:
        bits = fused.card["bits"]
        forms = [_Form(f"{bits} bits" if bits else "fused", fused.path, fused.path)]
        if fused.gguf:
            read_back(fused.gguf, fused.path, Path(scratch) / "model")
            forms.append(_Form("GGUF, 16 bits", fused.gguf, Path(scratch) / "model"))
        return [
            _measured(home, form, adapter, base, suite, sequences, max_tokens, progress) for form in forms
        ]


def _measured(
    home: Home,
    form: _Form,
    adapter: Adapter,
    base: BaseModel,
    suite: Suite | None,
    sequences: Sequence[Sequence[int]],
    max_tokens: int,
    progress: ProgressCallback,
) -> Measured:
    telling = called(progress, f"scoring: {form.name}")
    changes: list[Change] = []
    if suite is None:
        asked = "made-up prompts"
        texts = [_texts(base, adapter, None, max_tokens), _texts(base, adapter, form.folder, max_tokens)]
    else:
        asked = suite.name
        before = score_once(home, suite, base, adapter, progress)
        found = BaseModel(str(form.file), form.folder, folder_digest(form.folder))
        after = (
            score_once(home, suite, found, None, telling)
            if form.folder == form.file
            else score_model(suite, found, None, telling)  # a file in a folder that goes away
        )
        texts = [[one.text for one in results] for results in (before, after)]
        changes = _changes(before, after)
    return Measured(
        name=form.name,
        file=form.file.name,
        size=_size(form.file),
        fidelity=_fidelity(form, adapter, base, sequences),
        same=sum(one == other for one, other in zip(*texts, strict=True)),
        completions=len(texts[0]),
        asked=asked,
        changes=changes,
    )


def _fidelity(form: _Form, adapter: Adapter, base: BaseModel, sequences: Sequence[Sequence[int]]) -> Fidelity:
    return fidelity(load_base(form.folder), adapted(adapter, base), load_base(base.path), sequences)


def _sequences(chat: Chat, suite: Suite | None) -> list[list[int]]:
    """What the logits are compared on: the first rows of the suite as they are trained, or our prompts."""
    if suite is None:
        return [chat.prompt(_asking(question), [TOOL])[:TOKENS] for question in QUESTIONS]
    return [prove(chat, row)[0].tokens[:TOKENS] for row in suite.rows()[:ROWS]]


def _texts(base: BaseModel, adapter: Adapter, form: Path | None, max_tokens: int) -> list[str]:
    """Greedy completions of the made-up prompts, by the adapter or by a form."""
    chat = Chat.load(form) if form else Chat.load(base.path, adapter.path)
    model = load_base(form) if form else adapted(adapter, base)
    return generate(model, chat, [chat.prompt(_asking(one), [TOOL]) for one in QUESTIONS], max_tokens)


def _asking(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def _changes(before: Sequence[ItemResult], after: Sequence[ItemResult]) -> list[Change]:
    if not any(one.item.kind == "call" for one in before):
        return []
    found = compare(before, after)
    return [_change(one) for one in (found.calls, found.lenient, found.direct) if one]


def _change(one: Group) -> Change:
    shares = (one.base, one.adapter, one.difference)
    adapter, form, difference = (Interval(share.estimate, share.low, share.high) for share in shares)
    return Change(one.name, one.n, adapter, form, difference, one.test.p)


def _size(file: Path) -> int:
    """Bytes of a file, or of the weights in a folder."""
    return sum(one.stat().st_size for one in ([file] if file.is_file() else file.glob("model*.safetensors")))
