"""The card of a data set: what is in it, what looks wrong with it and what to do, as pages for people.

In: one or more data sets, made by an export or by anybody. Out: a `Card`, which writes itself as Markdown
(`markdown`), as one HTML page that needs nothing else (`html`), and as plain values. The same data set gives
the same bytes. Nothing in it is measured that the files do not show, but for what their manifest tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tracemill.curate.card.advice import Finding, advice
from tracemill.curate.card.facts import Facts, facts
from tracemill.curate.card.groups import copies_of, languages_of, leaks_of, without_secrets
from tracemill.curate.card.measure import learning, measure
from tracemill.curate.card.reading import ROWS, Data, choose
from tracemill.curate.card.shown import Shown, texts
from tracemill.curate.chat.template import Chat
from tracemill.curate.sieve import Progress

EXAMPLES = 10
FILES = ("card.md", "card.html")


@dataclass(frozen=True)
class Example:
    """A row as it stands: its id, its data set, its split and its messages."""

    row: str
    data: str
    split: str
    shown: Shown


@dataclass(frozen=True)
class Card:
    """All that the pages tell: what is in a data set, what looks wrong, rows by chance, rows of clusters."""

    facts: Facts
    findings: list[Finding]
    examples: list[Example]
    members: dict[str, Shown]

    @property
    def wrong(self) -> list[Finding]:
        """The findings that somebody should look at, what is bad first."""
        return [one for one in self.findings if one.level != "fine"]

    @property
    def fine(self) -> list[Finding]:
        """What was looked for and is in order."""
        return [one for one in self.findings if one.level == "fine"]

    def plain(self) -> dict[str, Any]:
        """The facts and findings as plain values; texts of rows stay in the data set."""
        told = {name: value for name, value in asdict(self.facts).items() if name != "manifest"}
        return {
            **told,
            "findings": [
                {
                    **{key: value for key, value in asdict(one).items() if key != "ill"},
                    **{key: value for key, value in asdict(one.ill).items() if key != "bad_from"},
                }
                for one in self.findings
            ],
        }

    def pages(self) -> dict[str, bytes]:
        """The Markdown and the HTML, by file name."""
        from tracemill.curate.card.html import html
        from tracemill.curate.card.markdown import markdown

        return dict(zip(FILES, (markdown(self).encode(), html(self).encode()), strict=True))


def make(
    sets: Sequence[Data],
    name: str,
    chat: Chat | None = None,
    progress: Progress | None = None,
    most: int = ROWS,
) -> Card:
    """The card of data sets; with `chat` it counts tokens too. At most `most` rows are looked at.

    DatasetError where a file cannot be read or there is no row at all.
    """
    rows = choose(sets, progress, most)
    measured = measure(rows, chat, progress)
    learned = learning(measured.rows)
    near, languages, leaks = copies_of(learned), languages_of(learned), leaks_of(measured.rows)
    told = facts(rows, measured, near, languages, leaks, name)
    open_rows = without_secrets(measured.rows).select("conversation_id", "data", "side", "draw")
    random = open_rows.unique("draw", keep="first", maintain_order=True).sort("draw").head(EXAMPLES)
    draws = dict(open_rows.select("conversation_id", "draw").iter_rows())
    members = [member.row for cluster in told.clusters for member in cluster.members]
    found = texts(rows, {*random["draw"], *(draws[row] for row in members)})
    return Card(
        told,
        advice(measured, near, languages, leaks, all(data.manifest for data in sets)),
        [Example(row, data, split, found[at]) for row, data, split, at in random.iter_rows()],
        {row: found[draws[row]] for row in members},
    )
