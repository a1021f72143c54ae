"""What makes two conversations near copies: what the user asks and what the assistant does, as shingles.

In: a `Talk`. Out: its `likeness`, the text that is compared: the first user message and the assistant turns
with their calls in full, and the beginning of what answers the assistant (tool results and later user
messages, which in many wire formats are tool results too). The system prompt is left out: all conversations
of an agent share it.

The shingles of a text are its words and its pairs of neighbouring words, counted: the second "return" is
another shingle than the first. A text that has 5% of its words replaced, dropped or added keeps a Jaccard
similarity above 0.8 (with pairs alone, or with triples, it often does not; `benchmarks/near_duplicates.py`).
Of a text of few words the whole is the one shingle, so that it is like an equal text only.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - a compiled module without stubs

from tracemill.curate.chat.codec import OPEN, decode
from tracemill.curate.features.talk import Talk
from tracemill.tracer.messages import Message

_Number = TypeVar("_Number", np.uint64, np.uint32)
Packed = NDArray[np.uint32]
"""Shingles of 32 bits each, sorted, each once."""
SLOTS = 128
"""Slots of a signature, 16 bits each: 256 bytes a conversation."""
NEAR = 0.82
"""The Jaccard similarity from which on two conversations are near copies, unless another is asked for.

With it every copy of which 5% of the words were edited is found, and least is lost that nobody copied
(`benchmarks/near_duplicates.py`).
"""
_SEED = 42
_ANSWER, _TEXT = 300, 200_000
_FEW_WORDS = 8

# What is no word of ASCII text becomes a space.
_SPACED = bytes(
    code if code >= 128 or chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
)
# Chinese, Japanese and Korean put no spaces between words: there, each character counts as one.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORDS = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")
_ASCII = re.compile(r"[\x00-\x7f]+")

_LEFT, _RIGHT, _COUNT, _MIX = (
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xFF51AFD7ED558CCD)
)
_HALF = np.uint64(32)


def likeness(talk: Talk) -> str:
    """The text by which the conversation is compared with others, 200,000 characters of it at most."""
    parts: list[str] = []
    asked = False
    for message in talk.messages:
        if message["role"] == "assistant":
            parts += _said(message, talk.as_found)
        elif message["role"] == "user" and not asked:
            asked = True
            parts.append(message["content"])
        elif message["role"] != "system":
            parts.append(message["content"][:_ANSWER])
    return "\n".join(parts)[:_TEXT]


def _said(message: Message, as_found: bool) -> list[str]:
    """The text of an assistant turn and its calls, the same whether they stand in text or apart."""
    content = message["content"]
    calls = [(call["name"], call["arguments"]) for call in message.get("tool_calls", [])]
    if as_found and OPEN in content and not (decoded := decode(content)).errors:
        content, calls = decoded.content, [(call.name, call.arguments) for call in decoded.calls]
    texts = (f"{name} {json.dumps(given, ensure_ascii=False, sort_keys=True)}" for name, given in calls)
    return [content, *texts]


def extent(talk: Talk) -> int:
    """How many characters its messages have, system prompts aside."""
    return sum(len(message["content"]) for message in talk.messages if message["role"] != "system")


def minhash(talk: Talk) -> bytes:
    """The signature of the conversation, see `signature`."""
    return signature(shingles(likeness(talk)))


def words(text: str) -> list[bytes] | list[str]:
    """The words of a text in lower case: runs of letters, digits and underscores."""
    lower = text.lower()
    if lower.isascii():
        return lower.encode().translate(_SPACED).split()
    if _WORDS.search(_ASCII.sub("", lower)) is None:
        # Dashes, quotes, emoji: no letters among them, so they are spaces as in ASCII text.
        found = lower.encode("ascii", "replace").translate(_SPACED).split()
        if len(found) >= _FEW_WORDS:
            return found
    return _WORDS.findall(lower)


def shingles(text: str) -> NDArray[np.uint64]:
    """The shingles of a text as 64-bit hashes, sorted, each once; never empty."""
    found = words(text)
    if len(found) < _FEW_WORDS:
        whole = " ".join(text.lower().split()) if not found else repr(found)
        digest = sha256(whole.encode("utf-8", "surrogatepass")).digest()[:8]
        return np.frombuffer(digest, np.uint64)
    hashes = np.array(RMinHash.hash_token_sets([found])[0], np.uint64)
    grams = np.concatenate([hashes, hashes[:-1] * _LEFT + hashes[1:] * _RIGHT])
    grams.sort()
    first = _firsts(grams)
    # Of equal ones, the second is told by 1, the third by 2 and so on.
    times = np.arange(len(grams)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    grams += times.astype(np.uint64) * _COUNT
    grams ^= grams >> _HALF
    grams *= _MIX
    grams ^= grams >> _HALF
    return _each_once(grams)


def _each_once(values: NDArray[_Number]) -> NDArray[_Number]:
    """The values sorted, each once; sorts in place."""
    # `np.unique` takes four times as long.
    values.sort()
    return values[_firsts(values)]


def _firsts(values: NDArray[_Number]) -> NDArray[np.bool_]:
    """Whether a value is another than the one before it."""
    first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def packed(talk: Talk) -> Packed:
    """The shingles by which conversations are compared exactly."""
    return _each_once((shingles(likeness(talk)) >> _HALF).astype(np.uint32))


def signature(found: NDArray[np.uint64]) -> bytes:
    """The MinHash signature of shingles: `SLOTS` slots of 16 bits.

    Two signatures agree in as large a part of their slots as the Jaccard similarity of the shingles, give or
    take 0.04 (one standard deviation), and by accident in one slot of 65,536.
    """
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(found, [0, len(found)], SLOTS, _SEED)
    return np.array(matrix.to_rows()[0], np.uint32).astype(np.uint16).tobytes()
