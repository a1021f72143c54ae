"""The token proof over stock chat templates: `python benchmarks/templates.py`.

Every template of the package `trl` (fetched without its dependencies) with every conversation of
`tests/families.py`. Out: `benchmarks/results/templates.md`: for each pair whether training, evaluation and
serving see equal tokens, or why the conversation is refused. The tokenizer has SmolLM2-135M's vocabulary and
the special tokens that each template writes, for few of the real ones are to be had offline.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import tempfile
from pathlib import Path

from tracemill.tracer.home import Home
from tracemill.train import blas

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from families import REQUIREMENT, family_folders, shapes
from token_proof import Family, Outcome
from tracemill.train.base import SMOLLM2, resolve

RESULT = Path(__file__).parent / "results" / "templates.md"
REASONS = (
    ("T", "the template knows no tools, or writes no call", r"knows no tools|writes no call"),
    ("F", "the learned tokens would not read back as the recorded calls", r"do not parse back"),
    ("X", "the template raises an error for such a conversation", r"refused a conversation"),
    ("P", "the template does not write an answer as it asks for one", r"served prompt is not how"),
    ("S", "a stop token stands in the recorded text, or none ends the turn", r"stop token"),
    ("C", "what was recorded is changed or left out, or holds a stop token", r""),
)
FRONT = (
    ("macro strftime_now(", "a fixed date"),
    ("set enable_thinking = false -%}\n", "thinking left out"),
    ("set rewritten = namespace(", "calls as text"),
)


def main() -> None:
    home = Home.find()
    blas.activate(home)  # before anything imports MLX

    base = resolve(SMOLLM2, home)
    names = list(shapes([]))
    table: dict[str, dict[str, Outcome]] = {}
    ends: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for family, folder in family_folders(Path(scratch) / "bases", base.path):
            found = Family(folder, Path(scratch) / "adapters" / family)
            ends[family] = facts(found.stops, found.trained.template)
            table[family] = {name: found.outcome(name, *shape) for name, shape in shapes(found.stops).items()}
            print(f"{family}: {sum(bool(one.sequences) for one in table[family].values())} of {len(names)}")
    RESULT.write_text(report(names, table, ends), "utf-8")
    print(RESULT)


def report(names: list[str], table: dict[str, dict[str, Outcome]], ends: dict[str, str]) -> str:
    """The Markdown document."""
    cells = [one for row in table.values() for one in row.values()]
    equal = [one for one in cells if one.sequences]
    whole = sum(max(one.sequences for one in row.values()) == 1 for row in table.values())
    stock = sum(one.stock for one in equal)
    lines = [
        "# The token proof over stock chat templates",
        "",
        f"{len(table)} templates of {REQUIREMENT}, {len(names)} conversations each. Equal tokens in "
        f"training, evaluation and serving: {len(equal)} of {len(cells)}; the other "
        f"{len(cells) - len(equal)} are refused before anything is trained, each with a reason. No pair is "
        "trained on other tokens than it is served.",
        "",
        f"Of the {len(equal)}, mlx-lm's own server builds the same prompts for {stock} when it is given the "
        f"adapter's template. Python {platform.python_version()}, "
        f"mlx-lm {importlib.metadata.version('mlx-lm')}, "
        f"transformers {importlib.metadata.version('transformers')}; a byte-level tokenizer with the "
        "vocabulary of SmolLM2-135M that splits text as those of Llama 3 and Qwen do, and has the special "
        "tokens that the template writes.",
        "",
        "## Conversations",
        "",
        *(f"{number}. {name}" for number, name in enumerate(names, start=1)),
        "",
        "## Outcomes",
        "",
        "`1` equal, one sequence for the conversation; `2` and more: equal, a sequence for each turn (the "
        "template rewrites history); letters are refusals:",
        "",
        *(f"- `{letter}`: {told}" for letter, told, _ in REASONS),
        "",
        "| template | " + " | ".join(str(number) for number in range(1, len(names) + 1)) + " |",
        "|---|" + "---|" * len(names),
        *(f"| {family} | " + " | ".join(map(_cell, row.values())) + " |" for family, row in table.items()),
        "",
        f"A conversation is one sequence throughout in {whole} of the templates.",
        "",
        "## The tokens a turn ends with, and one refusal of each kind, per template",
        "",
    ]
    for family, row in table.items():
        lines += [f"### {family}", "", ends[family], ""]
        told: dict[str, str] = {}
        for name, one in row.items():
            if one.refusal:
                told.setdefault(_letter(one.refusal), f"- {name}: {_shown(one.refusal)}")
        lines += [*told.values(), ""] if told else ["Nothing is refused.", ""]
    return "\n".join([*lines, "Made by `python benchmarks/templates.py`.", ""])


def facts(stops: list[str], template: str) -> str:
    """The tokens that end a turn, and what `curate/chat/settle.py` put in front of the template."""
    front = [what for mark, what in FRONT if mark in template]
    ends = " ".join(f"`{end}`" for end in stops)
    return f"Turns end with {ends}. In front of it: {', '.join(front) or 'nothing'}."


def _cell(one: Outcome) -> str:
    return str(one.sequences) if one.sequences else _letter(one.refusal)


def _letter(refusal: str) -> str:
    return next(letter for letter, _, pattern in REASONS if re.search(pattern, refusal))


def _shown(refusal: str) -> str:
    """A refusal without the scratch folder it names, safe in Markdown."""
    plain = re.sub(r"/\S*/bases/", "", refusal)
    return re.sub(r"([<>*_|`\[\]])", r"\\\1", plain)


if __name__ == "__main__":
    main()
