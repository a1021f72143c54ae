"""How far judges agree beyond chance: Cohen's kappa for two, Krippendorff's alpha for more.

In: what each judge said of each item, None where it said nothing. Out: a number, 1 for always and 0 for as
often as by chance; None where it is not defined, because nothing but one word was ever said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def cohen_kappa(one: Sequence[str | None], other: Sequence[str | None]) -> float | None:
    """Cohen 1960, Educ. Psychol. Meas. 20:37, over the items that both spoke of."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not both:
        return None
    n = len(both)
    first, second = Counter(a for a, _ in both), Counter(b for _, b in both)
    observed = sum(a == b for a, b in both) / n
    chance = sum(count * second[word] for word, count in first.items()) / n**2
    return None if chance >= 1 else (observed - chance) / (1 - chance)


def krippendorff_alpha(judges: Sequence[Sequence[str | None]]) -> float | None:
    """Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, for nominal data; a row for each judge.

    Items that fewer than two judges spoke of are left out.
    """
    items = [[word for word in item if word is not None] for item in zip(*judges, strict=True)]
    items = [item for item in items if len(item) > 1]
    words = Counter(word for item in items for word in item)
    n = sum(words.values())
    expected = n**2 - sum(count**2 for count in words.values())
    if not expected:
        return None
    observed = sum(
        (len(item) ** 2 - sum(count**2 for count in Counter(item).values())) / (len(item) - 1)
        for item in items
    )
    return 1 - (n - 1) * observed / expected
