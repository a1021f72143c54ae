"""Which files of a public data set hold which split, as its card or their names say.

In: the names of the files, and the metadata at the top of the card (README.md). Out: `Layout`. Only Parquet
and JSON are ever read: no scripts, no pickles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, cast

from tracemill.curate.errors import DatasetError
from tracemill.curate.names import suggest
from tracemill.curate.splits import Split

ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json")
_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


@dataclass(frozen=True)
class Layout:
    """The configuration that was chosen (null where there is none), and the files of each of its splits."""

    config: str | None
    files: dict[str, list[str]]


def split_of(name: str) -> Split:
    """Which of ours a split of theirs is; one that says nothing is learned from."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return "train"


def layout(
    names: Iterable[str], card: Mapping[str, Any], config: str | None, wanted: Sequence[str]
) -> Layout:
    """The files of a data set by split; DatasetError where what is asked for is not there."""
    known = sorted(name for name in names if name.endswith(ENDINGS) and not _hidden(name))
    chosen, patterns = _config(card, config)
    if patterns is None:
        files = _by_name(known)
    else:
        files = {
            split: [name for name in known if any(_matches(name, one) for one in globs)]
            for split, globs in patterns.items()
        }
    files = {split: found for split, found in files.items() if found}
    for one in wanted:
        if one not in files:
            held = f"; it holds {', '.join(files)}" if files else ""
            raise DatasetError(f"There is no split {one!r}{suggest(one, files)}{held}.")
    files = {split: found for split, found in files.items() if not wanted or split in wanted}
    if not files:
        raise DatasetError(f"It holds no file that ends in {', '.join(ENDINGS)}, and others are not read.")
    return Layout(chosen, files)


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") for part in parts) or (
        len(parts) == 1 and name in ("dataset_infos.json", "dataset_dict.json", "state.json")
    )


def _by_name(names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(split_of(name), []).append(name)
    return found


def _config(card: Mapping[str, Any], wanted: str | None) -> tuple[str | None, dict[str, list[str]] | None]:
    """The configuration that is meant, and the patterns of its files by split; None without a card's."""
    listed = card.get("configs")
    given = [
        cast("dict[str, Any]", one)
        for one in (cast("list[Any]", listed) if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    configs = {str(one.get("config_name", "default")): one for one in given if one.get("data_files")}
    if not configs:
        if wanted is not None:
            raise DatasetError(
                f"Its card names no configuration, so there is no {wanted!r}; leave --config out."
            )
        return None, None
    name = wanted
    if name is None:
        default = next((key for key, one in configs.items() if one.get("default") is True), None)
        name = default or ("default" if "default" in configs else None)
        if name is None and len(configs) > 1:
            raise DatasetError(
                f"It has several configurations ({', '.join(configs)}); choose one with --config."
            )
        name = name or next(iter(configs))
    if name not in configs:
        raise DatasetError(
            f"There is no configuration {name!r}{suggest(name, configs)}; it has {', '.join(configs)}."
        )
    return name, _patterns(configs[name])


def _patterns(config: Mapping[str, Any]) -> dict[str, list[str]]:
    files: Any = config["data_files"]
    base = str(config.get("data_dir") or "")
    found: dict[str, list[str]] = {}
    if isinstance(files, dict):
        listed = [{"split": key, "path": value} for key, value in cast("dict[str, Any]", files).items()]
    else:
        listed = cast("list[Any]", files) if isinstance(files, list) else [files]
    for one in listed:
        entry: dict[str, Any] = cast("dict[str, Any]", one) if isinstance(one, dict) else {"path": one}
        paths = entry.get("path") or []
        for path in cast("list[Any]", paths) if isinstance(paths, list) else [paths]:
            whole = str(PurePosixPath(base) / str(path))
            found.setdefault(str(entry.get("split") or split_of(whole)), []).append(whole)
    return found


def _matches(name: str, pattern: str) -> bool:
    # As in a shell, `**/` may stand for nothing.
    return fnmatchcase(name, pattern) or fnmatchcase(name, pattern.replace("**/", ""))
