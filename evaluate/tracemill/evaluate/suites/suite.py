"""A suite in memory: its items, a smaller one of the same kind, and what is wrong with it.

In: items. Out: an `ItemSuite`. The sizes are nested: an item of `quick` is in `standard` and `full` too, and
each size has the categories in the proportions of the whole. Which items it takes depends on them alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, get_args

from tracemill.evaluate.errors import EvaluationError
from tracemill.evaluate.items import Item

Size = Literal["quick", "standard", "full"]
SIZES: tuple[Size, ...] = get_args(Size)
AT_MOST: dict[Size, int | None] = {"quick": 48, "standard": 240, "full": None}
"""How many items a size has at most."""


@dataclass(frozen=True)
class ItemSuite:
    """Items under a name; `source` is the file, folder or package they come from, with its version.

    note: what its score must not be taken for, "" for nothing.
    """

    name: str
    size: Size
    items: list[Item]
    source: str
    note: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all items, in their order."""
        lines = "\n".join(f"{item.id} {item.digest}" for item in self.items)
        return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def sized(suite: ItemSuite, size: Size) -> ItemSuite:
    """The suite in a size, checked first; EvaluationError names what is wrong and how many more there are."""
    wrong = problems(suite.items)
    if wrong:
        more = f" (and {len(wrong) - 1} more; `tracemill suite check` lists them)" if len(wrong) > 1 else ""
        raise EvaluationError(f"{suite.source}: {wrong[0]}{more}.")
    most = AT_MOST[size]
    if most is None or len(suite.items) <= most:
        return replace(suite, size=size)
    places = _places(suite.items)
    chosen = set(sorted(places, key=lambda name: (places[name], name))[:most])
    return replace(suite, size=size, items=[item for item in suite.items if item.id in chosen])


def problems(items: Sequence[Item]) -> list[str]:
    """What is wrong with items: none at all, ids twice, calls that cannot be right; a sentence each."""
    if not items:
        return ["the suite has no items; add some"]
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    found = [f"the id {name!r} stands twice; change one" for name in twice]
    return found + [f"item {item.id}: {told}" for item in items for told in _of_item(item)]


def _of_item(item: Item) -> list[str]:
    offered = {tool["name"] for tool in item.tools}
    # Rows of a data set may have been recorded where nobody knew what was offered.
    right = [*item.calls, *chain.from_iterable(item.alternatives)]
    unknown = {call.name for call in right} - offered if offered else set[str]()
    found = [f"it expects a call of {name!r}, which is not offered; add the tool" for name in sorted(unknown)]
    names = Counter(tool["name"] for tool in item.tools)
    found += [f"the tool {name!r} is offered twice; keep one" for name, count in names.items() if count > 1]
    return found


def _places(items: Sequence[Item]) -> dict[str, float]:
    """Where each item stands in its category, 0..1, in an order that its content decides."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.category].append(item)
    places: dict[str, float] = {}
    for group in groups.values():
        ordered = sorted(group, key=lambda item: hashlib.sha256(f"{item.id} {item.digest}".encode()).digest())
        places |= {item.id: (rank + 0.5) / len(ordered) for rank, item in enumerate(ordered)}
    return places
