"""Near duplicates: what they are, that planted ones are found among real code, and whom of them is kept."""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import answer, assistant, call, chat, conversation, frame, frames, user
from planted_copies import edited
from tracemill.curate.copies import NearOptions
from tracemill.curate.features.likeness import SLOTS, likeness, minhash, packed, shingles, signature, words
from tracemill.curate.features.talk import Talk
from tracemill.curate.near import clusters
from tracemill.curate.near.candidates import WINDOW, components, estimate, stacked
from tracemill.curate.near.clusters import Clusters, find
from tracemill.curate.near.reading import of_talks
from tracemill.curate.near.shingled import Shingled
from tracemill.curate.pipeline import Curated, curate
from tracemill.tracer.messages import Message

TEXT = "the agent reads the file and then it writes the other file before all tests of the project run again"


def talk(text: str) -> Talk:
    return Talk([user(text)])


def found(texts: list[str], threshold: float = 0.8, **options: object) -> Clusters:
    talks = [talk(text) for text in texts]
    signatures = stacked([minhash(one) for one in talks])
    return find(signatures, of_talks(lambda: talks), threshold, **options)  # type: ignore[arg-type]


def run(rows: pl.LazyFrame, **options: object) -> Curated:
    return curate(rows, {"near_duplicates": NearOptions.model_validate(options)})


def jaccard(left: str, right: str) -> float:
    a, b = set(shingles(left).tolist()), set(shingles(right).tolist())
    return len(a & b) / len(a | b)


def test_what_is_asked_and_done_is_compared_and_nothing_else() -> None:
    system: Message = {"role": "system", "content": "You are a coder."}
    long = "x" * 1000
    said = [system, user(long), assistant("I read.", call({"path": "a.py"})), answer(long), user(long)]
    text = likeness(Talk(said))
    assert text.split("\n") == [long, "I read.", 'read_file {"path": "a.py"}', long[:300], long[:300]]
    as_text = 'I read.\n<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
    row = [user(long), assistant(as_text), answer(long), user(long)]
    assert likeness(Talk(row, as_found=True)) == text
    assert len(likeness(talk("y" * 10**6))) == 200_000


def test_words_are_levelled_and_languages_without_spaces_count_by_character() -> None:
    assert words("Read  FILE_a.py!") == [b"read", b"file_a", b"py"]
    assert words("Größe 日本語") == ["größe", "日", "本", "語"]
    assert (
        jaccard("一二三四五六七八九十一二三四五六七八九十", "一二三四五六七八九十一二三四五六七八九二") > 0.8
    )


def test_shingles_are_words_and_pairs_counted() -> None:
    ten = "a b c d e f g h i j"
    assert len(shingles(ten)) == 19
    assert len(shingles(f"{ten} {ten}")) == 39
    assert jaccard(ten, f"{ten} {ten}") == pytest.approx(19 / 39)


@pytest.mark.parametrize("text", ["", "!!", "Run it.", "one two three four five six seven"])
def test_a_short_text_is_like_an_equal_one_only(text: str) -> None:
    assert len(shingles(text)) == 1
    assert jaccard(text, text.upper()) == 1
    assert jaccard(text, f"{text} now") == 0


def test_a_signature_estimates_the_similarity() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices([str(n) for n in range(400)], k=200)) for _ in range(40)]
    pairs = [(text, edited(text, rate, rng, ["new"])) for text in texts for rate in (0.02, 0.05, 0.1, 0.3)]
    signatures = stacked([signature(shingles(text)) for pair in pairs for text in pair])
    assert signatures.shape == (2 * len(pairs), SLOTS)
    even = np.arange(0, len(signatures), 2)
    errors = estimate(signatures, even, even + 1) - np.array([jaccard(*pair) for pair in pairs])
    assert abs(errors.mean()) < 0.01
    assert errors.std() < 0.05
    assert abs(errors).max() < 0.15


def code_chunks(number: int) -> list[str]:
    """Thirty lines each of the standard library, in the order of its files."""
    chunks: list[str] = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        lines = file.read_text("utf-8", errors="replace").split("\n")
        chunks += ["\n".join(lines[at : at + 30]) for at in range(0, len(lines) - 29, 30)]
    return [chunk for chunk in dict.fromkeys(chunks) if len(words(chunk)) >= 60][:number]


def test_planted_copies_are_found_among_real_code() -> None:
    chunks, rng = code_chunks(2000), random.Random(2)
    assert len(chunks) == 2000
    pool = [word.decode() for word in words(" ".join(chunks[:50])) if isinstance(word, bytes)]
    sources = rng.sample(range(len(chunks)), 300)
    copies = [edited(chunks[at], 0.05, rng, pool) for at in sources]
    joined = found([*chunks, *copies])
    together = joined.cluster[len(chunks) :] == joined.cluster[sources]
    assert together.mean() >= 0.98
    alone = found(chunks)
    assert (alone.leader != np.arange(len(chunks))).mean() <= 0.02


def test_signatures_agree_with_all_pairs_compared() -> None:
    rng = random.Random(3)
    base = [" ".join(rng.choices([str(n) for n in range(60)], k=40)) for _ in range(12)]
    texts = [edited(text, rate, rng, ["new"]) for text in base for rate in (0.01, 0.05, 0.1, 0.15)]
    talks = [talk(text) for text in texts]
    signatures = stacked([minhash(one) for one in talks])
    sets = [set(packed(one).tolist()) for one in talks]

    def near(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        pairs = zip(left, right, strict=True)
        return np.array([len(sets[a] & sets[b]) >= 0.8 * len(sets[a] | sets[b]) for a, b in pairs], bool)

    expected = np.arange(len(texts))
    for left in range(len(texts)):
        for right in range(left):
            if near(np.array([left]), np.array([right]))[0]:
                expected[expected == max(expected[left], expected[right])] = min(
                    expected[left], expected[right]
                )
    assert components(signatures, near).tolist() == expected.tolist()
    assert found(texts).cluster.tolist() == expected.tolist()


def test_thousands_of_copies_are_joined_without_comparing_all_with_all() -> None:
    many = 40 * WINDOW
    signatures = stacked([signature(shingles(TEXT))] * many)
    judged = 0

    def count(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        nonlocal judged
        judged += len(left)
        return np.ones(len(left), bool)

    assert not components(signatures, count).any()
    assert judged < 3 * many
    assert (found([TEXT] * many).leader == 0).all()


def test_what_goes_is_near_to_what_stays_even_in_a_chain() -> None:
    listed = [f"w{number}" for number in range(100)]
    chain = [
        " ".join([f"x{at}" if at < cut else word for at, word in enumerate(listed)]) for cut in (0, 8, 16)
    ]
    assert jaccard(chain[0], chain[1]) > 0.8 > jaccard(chain[0], chain[2])
    joined = found(chain)
    assert joined.cluster.tolist() == [0, 0, 0]
    assert joined.leader.tolist() == [0, 0, 2]
    assert joined.similarity[1] == pytest.approx(jaccard(chain[0], chain[1]))
    preferred = found(chain, preference=np.array([1, 0, 2]))
    assert preferred.leader.tolist() == [1, 1, 1]
    fixed = found(chain, preference=np.array([1, 0, 2]), fixed=np.array([True, True, False]))
    assert fixed.leader.tolist() == [0, 1, 1]


@given(st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=24), st.randoms())
def test_clusters_of_many_that_differ_are_led_as_small_ones_are(picks: list[int], rng: random.Random) -> None:
    """Variants of one text in 16 places, of which some are near to each other and most are not."""
    texts = [
        " ".join(
            f"{'a' if pick >> place & 1 else 'b'}{place} w{place} v{place} u{place}" for place in range(16)
        )
        for pick in picks
    ]
    preference = np.array(rng.sample(range(len(texts)), len(texts)))
    fixed = np.array([rng.random() < 0.1 for _ in texts])
    whole = found(texts, preference=preference, fixed=fixed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_ROUNDS", 1)
        again = found(texts, preference=preference, fixed=fixed)
    assert again.leader.tolist() == whole.leader.tolist()
    assert again.similarity.tolist() == whole.similarity.tolist()


def test_a_diffuse_cluster_costs_no_square(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    texts = [
        " ".join(f"{rng.choice('aab')}{place} w{place} v{place} u{place}" for place in range(40))
        for _ in range(800)
    ]
    compared = 0
    plain = Shingled.similarity

    def counted(self: Shingled, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(left)
        return plain(self, left, right)

    monkeypatch.setattr(Shingled, "similarity", counted)
    leaders: list[int] = []
    for rounds in (10**9, 8):
        monkeypatch.setattr(clusters, "_ROUNDS", rounds)
        monkeypatch.setattr(clusters, "_LIKELY", 32)
        compared = 0
        result = found(texts, 0.84)
        assert np.bincount(result.cluster).max() > len(texts) / 2, "they are one cluster"
        leaders.append(len(set(result.leader.tolist())))
        assert rounds > 8 or compared < 300 * len(texts)
    assert len(texts) / 4 < leaders[0] <= leaders[1] < 1.3 * leaders[0]


def near_chat(number: int, extra: str = "", **columns: Any) -> dict[str, object]:
    return conversation(number, [user(TEXT), assistant(f"{TEXT}{extra}")], **columns)


def test_the_best_the_shortest_the_earliest_is_kept() -> None:
    better = frame(near_chat(1, outcome="bad"), near_chat(2, " indeed"), near_chat(3, " indeed"))
    assert run(better).rows["conversation_id"].to_list() == ["c2"]
    shorter = frame(near_chat(1, " indeed"), near_chat(2))
    assert run(shorter).rows["conversation_id"].to_list() == ["c2"]
    held_out = frame(near_chat(1), near_chat(2, " indeed", split="test", outcome="bad"))
    curated = run(held_out)
    assert curated.rows["conversation_id"].to_list() == ["c2"]
    assert curated.dropped.select("reason", "evidence").row(0) == (
        "near copy",
        "97% alike, by words and pairs of words, to conversation c2, which is kept of 2 near copies",
    )
    assert curated.rows["cluster"].to_list() == ["c2"]


def test_all_may_be_kept_and_marked_for_the_splits() -> None:
    rows = frame(near_chat(1), near_chat(2, " indeed"), conversation(3, chat("else")))
    curated = run(rows, keep="all")
    assert curated.rows.select("conversation_id", "cluster").rows() == [
        ("c1", "c1"),
        ("c2", "c1"),
        ("c3", None),
    ]
    assert curated.dropped.is_empty()


@given(frames(), st.sampled_from([0.5, 0.8, 1.0]), st.randoms())
def test_the_order_of_rows_does_not_matter_and_nothing_is_lost(
    rows: pl.LazyFrame, threshold: float, rng: random.Random
) -> None:
    once = run(rows, threshold=threshold)
    every = [*once.rows["conversation_id"], *once.dropped["conversation_id"]]
    assert sorted(every) == sorted(rows.collect()["conversation_id"])
    assert once.dropped.null_count().sum_horizontal().sum() == 0
    order = list(range(len(every)))
    rng.shuffle(order)
    again = run(rows.collect()[order].lazy(), threshold=threshold)
    assert again.rows["conversation_id"].to_list() == once.rows["conversation_id"].to_list()
    assert again.dropped.sort("conversation_id").equals(once.dropped.sort("conversation_id"))
    twice = run(once.rows.lazy().drop("context", "prompt", "cluster"), threshold=threshold)
    assert twice.rows["conversation_id"].to_list() == once.rows["conversation_id"].to_list()
    assert twice.dropped.is_empty()


@given(st.text(max_size=300))
def test_any_text_has_shingles(text: str) -> None:
    assert len(shingles(text)) >= 1
    assert len(minhash(talk(text))) == 2 * SLOTS
    assert jaccard(text, text) == 1
