"""The commands that make an experiment again: export, train, evaluate, with whatever was not the default.

In: what the warehouse knows of a data set, a training run and evaluations. Out: lines for a shell, in which
$TRACEMILL_HOME is the home, and remarks on what no command says. The warehouse keeps the text of a recipe:
one that does not come with Tracemill is written to a file first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from shlex import quote
from typing import Any

from tracemill.curate.errors import RecipeError
from tracemill.curate.recipe import parse, shipped
from tracemill.evaluate.results import Header
from tracemill.evaluate.suites import NAMES
from tracemill.tracer.home import Home
from tracemill.train.config import NOT_FULL
from tracemill.train.defaults import choose
from tracemill.train.settings import Settings

MAX_TOKENS_TRAINING, MAX_TOKENS = 128, 256
"""Most tokens of a completion, where a command does not say: when checkpoints are scored, when evaluating."""
_JOIN = " && \\\n"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """The recipe of a data set: its name, and its text where it does not come with Tracemill."""

    name: str
    text: str | None = None


def recipe_of(dataset: Row) -> Recipe | None:
    """The recipe that a data set was exported by; the operation where it was made of others."""
    told = dataset["recipe"]
    text = told.get("text")
    if text is None:
        return Recipe(f"dataset {told['operation']}") if "operation" in told else None
    name = next((name for name, known in shipped().items() if known == text), None)
    if name:
        return Recipe(name)
    try:
        return Recipe(parse(text, "the recipe").name, text)
    except RecipeError:  # of another version of Tracemill
        return Recipe("of another version", text)


def commands(
    home: Home,
    adapter: str | None,
    training: Row,
    dataset: Row,
    evaluations: Sequence[Row],
    known: Mapping[str, Header],
) -> tuple[str, list[str]]:
    """All commands of an experiment as one, and the remarks on it."""
    lines: list[str] = []
    remarks: list[str] = []
    before = ""
    place = _place(home, training.get("dataset_id"), dataset)
    if training:
        before, line, told = _export(dataset, training)
        lines += [line] if line else []
        remarks += [told] if told else []
        lines.append(_train(training, dataset, place))
        remarks += _unsaid(training["recipe"])
    for row in evaluations:
        header = known.get(row["evaluation_id"])
        of_training = place if row["dataset_id"] == training.get("dataset_id") else ""
        line, told = _evaluate(row, adapter, header, _asked_of(home, row, header) or of_training)
        lines += [line] if line else []
        remarks += [told] if told else []
    return before + _JOIN.join(lines), remarks


def _place(home: Home, name: str | None, dataset: Row) -> str:
    """The folder of a data set, in a shell."""
    path = dataset.get("path")
    if name and (not path or Path(path).parent == home.datasets or (home.datasets / name).is_dir()):
        return f'"$TRACEMILL_HOME"/datasets/{quote(name)}'
    return quote(path) if path else ""


def _asked_of(home: Home, row: Row, header: Header | None) -> str:
    """The folder of the data set that was asked, in a shell, as the result file has it; '' without one."""
    name = row["dataset_id"]
    return _place(home, name, {"path": header.source}) if name and header and header.source else ""


def _export(dataset: Row, training: Row) -> tuple[str, str, str]:
    """What is to be written to a file first, the command, and a remark; '' for what there is none of."""
    recipe = recipe_of(dataset) if dataset else None
    if recipe is None:
        name = training.get("dataset_id")
        return "", "", f"The warehouse does not know how the data set {name} was made."
    told = dataset["recipe"]
    if "text" not in told:
        sources = ", ".join(str(one) for one in told.get("sources", []))
        operation = told["operation"]
        return (
            "",
            "",
            f"{dataset['dataset_id']} was made by `tracemill dataset {operation}` of {sources or 'another'}.",
        )
    before, which = "", recipe.name
    if recipe.text is not None:
        which = f"{re.sub(r'[^A-Za-z0-9._-]', '-', recipe.name)}.toml"
        text = recipe.text if recipe.text.endswith("\n") else f"{recipe.text}\n"
        end = "END_OF_RECIPE"
        while end in text:
            end += "_"
        before = f"cat > {which} <<'{end}'\n{text}{end}\n"
    words = ["tracemill export --recipe", quote(which)]
    words += ["--model", quote(training["base"])] if dataset["base"] else []
    try:
        plan = parse(told["text"], "the recipe")
    except RecipeError:
        return before, " ".join(words), "Its recipe is of another version of Tracemill and may need mending."
    condition = _narrowed(plan.sources[0].where, plan.where, told.get("where"))
    words += ["--where", quote(condition)] if condition else []
    words += ["--seed", str(dataset["seed"])] if dataset["seed"] not in (None, plan.split.seed) else []
    usual = f"{plan.name}-{dataset['content_hash'][:10]}"
    words += ["--name", quote(dataset["dataset_id"])] if dataset["dataset_id"] != usual else []
    return before, " ".join(words), ""


def _narrowed(given: str | None, own: str | None, recorded: str | None) -> str | None:
    """What `--where` was, of the condition that was recorded and that of the recipe."""
    if recorded in (None, own):
        return None
    front = f"({given}\n) AND ("
    if given and recorded and recorded.startswith(front) and recorded.endswith("\n)"):
        return recorded.removeprefix(front).removesuffix("\n)")
    return recorded


def _train(training: Row, dataset: Row, place: str) -> str:
    words = ["tracemill train", place, "--model", quote(training["base"])]
    rows = dataset["splits"].get("train") if dataset else None
    details = training["details"]
    words += train_options(training["recipe"], rows, details.get("start"))
    tokens = re.search(r"(\d+) tokens", details.get("judge") or "")
    if tokens and int(tokens[1]) != MAX_TOKENS_TRAINING:
        words += ["--max-tokens", tokens[1]]
    return " ".join(words)


def _unsaid(settings: Row) -> list[str]:
    """What no option says of the settings of the demo and of programs of one's own."""
    if "checkpoints" not in settings or settings.get("every") is not None:
        return []
    known = {field.name for field in fields(Settings)}
    made = Settings(**{key: value for key, value in settings.items() if key in known})
    steps = ", ".join(str(step) for step in made.checkpoint_steps())
    return [
        f"Checkpoints were scored after steps {steps}, as `tracemill demo` has it; --every cannot say that."
    ]


def train_options(settings: Mapping[str, Any], rows: int | None, start: str | None = None) -> list[str]:
    """The options of `tracemill train` for these settings, but for those it chooses for `rows` rows itself.

    All of them where nobody knows how many rows there were; `start` is the adapter that was gone on from.
    """
    known = {field.name for field in fields(Settings)}
    asked = {key: value for key, value in settings.items() if key in known and key != "in_order"}
    asked["modules"] = tuple(asked.get("modules", ()))
    if asked.get("epochs") is not None:
        asked.pop("steps", None)  # they come of the epochs
    full, tuned = asked.get("method") == "full", asked.get("beta") is not None
    words: list[str] = ["--method", "dpo"] if tuned else []
    words += ["--adapter", quote(start)] if start else []
    for key, value in asked.items():
        settled = key in ("method", "rank", "scale", "layers", "modules") and start is not None
        idle = key == "guard_floor" and asked.get("guard_loss") is None
        if settled or idle or (full and key in NOT_FULL):
            continue
        others = {name: one for name, one in asked.items() if name != key}
        # Without a word about steps, epochs are chosen.
        if rows is not None and key != "steps" and value == getattr(choose(rows, others)[0], key):
            continue
        words += _option(key, value)
    return words


_WORD: Mapping[tuple[str, Any], Sequence[str]] = {
    ("method", "lora"): (),
    ("method", "dora"): ("--dora",),
    ("method", "full"): ("--full",),
    ("grad_checkpoint", False): (),
    ("grad_checkpoint", True): ("--grad-checkpoint",),
    ("layers", None): ("--layers", "all"),
    ("patience", None): ("--patience", "0"),
    ("guard_loss", None): ("--guard-loss", "1", "--guard-floor", "0"),
    ("modules", ()): (),
}
"""What is not said by the name of a setting and its value."""


def _option(key: str, value: Any) -> Sequence[str]:
    if (key, value) in _WORD:
        return _WORD[key, value]
    if value is None or key == "checkpoints":  # which no option says
        return ()
    text = ",".join(value) if key == "modules" else str(value)
    return (f"--{key.replace('_', '-')}", quote(text))


def _evaluate(row: Row, adapter: str | None, header: Header | None, place: str) -> tuple[str, str]:
    """The command of an evaluation and a remark; '' for what there is none of."""
    suite, _, judges = row["suite"].partition(", judged by ")
    if judges:
        return _judge(row, suite, judges.split(", ")), ""
    if suite == "live":
        return "", "The live tasks are those of `tracemill demo`."
    model, endpoint = (header.base, header.endpoint or "") if header else _model(row["base"])
    words = ["tracemill evaluate", quote(model)]
    words += ["--endpoint", quote(endpoint)] if endpoint.startswith("http") else []
    words += ["--adapter", f'"$TRACEMILL_HOME"/adapters/{quote(adapter)}'] if adapter else []
    told = f"{model} was asked at {endpoint}." if " (" in endpoint else ""
    if suite.startswith("guard/"):
        return " ".join([*words, "--suite guard --size", suite.removeprefix("guard/")]), ""
    found = _NAMED.fullmatch(suite)
    name, size = (found[1], found[2] or "full") if found else (suite, "full")
    dataset = row["dataset_id"]
    if dataset and name.startswith(f"{dataset}/"):
        split = name.removeprefix(f"{dataset}/")
        words += ["--dataset", place or f'"$TRACEMILL_HOME"/datasets/{quote(dataset)}']
        words += ["--split", split] if split != "test" else []
        words += ["--size", size] if size != "full" else []
    else:
        file = header.source if header else None
        words += ["--suite", quote(name if name in NAMES else file or f"{name}.toml"), "--size", size]
        told = told if name in NAMES or file else f"The suite {name} is a file of its author's."
    words += ["--max-tokens", str(header.max_tokens)] if header and header.max_tokens != MAX_TOKENS else []
    if found and found[3]:
        words += ["--samples", found[3], "--temperature", found[4]]
        words += ["--seed", found[5]] if found[5] != "0" else []
    return " ".join(words), told


_NAMED = re.compile(
    r"(.*) \((?=[qs\d])(quick|standard)?(?:, )?(?:(\d+) samples? at temperature (\S+), seed (\d+))?\)"
)
"""The name of an evaluated suite (`Suite.name`): its own, the size, samples, temperature and seed."""


def _model(base: str) -> tuple[str, str]:
    """Model and place of the name under which the warehouse has it, where no result file says more."""
    asked = re.fullmatch(r"(.+) at ([^\s/]+(?: \(\S+\))?|https?://\S+)", base)
    return (asked[1], asked[2]) if asked else (base, "")


def _judge(row: Row, suite: str, judges: Sequence[str]) -> str:
    from tracemill.evaluate.judge.pairs import CRITERION

    one, other = row["baseline_id"], row["training_id"] or Path(row["base"]).name
    words = ["tracemill judge", quote(one), quote(other), "--suite", quote(suite)]
    words += [word for name in judges for word in ("--by", quote(name))]
    criterion = row["details"].get("criterion", CRITERION)
    return " ".join([*words, *(["--criterion", quote(criterion)] if criterion != CRITERION else [])])
