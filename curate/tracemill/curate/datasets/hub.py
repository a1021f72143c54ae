"""A public data set of the Hugging Face hub, or a folder laid out as one, on this machine.

In: `org/name` or the path of a folder. Out: `Fetched`: the folder, the files of each split, what the card
says. Only the card and the Parquet and JSON files of the splits asked for are downloaded: no code, no
pickles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracemill.curate.datasets.layout import Layout, layout
from tracemill.curate.errors import DatasetError
from tracemill.curate.sieve import Progress
from tracemill.tracer.home import Home

CARD = "README.md"
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class Wanted:
    """Which part of a data set: its configuration, its splits (all, where none is named), its revision."""

    config: str | None = None
    splits: Sequence[str] = ()
    revision: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A data set here: `source` is its id, or the name of its folder; `revision` the commit, if it has one.

    `scratch` is the folder to be deleted once it is read, null for a folder of the user's own.
    """

    source: str
    revision: str | None
    folder: Path
    layout: Layout
    licence: str | None
    note: str | None
    scratch: Path | None = None


def fetch(source: str, wanted: Wanted, home: Home, progress: Progress | None = None) -> Fetched:
    """The data set `source`; DatasetError where it is not there, cannot be reached or holds no such part."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if wanted.revision is not None:
            raise DatasetError(f"{source} is a folder here, which has no revisions; leave --revision out.")
        return _local(folder, wanted)
    if folder.exists():
        raise DatasetError(f"{source} is a file; give the folder that holds it.")
    if not _ID.fullmatch(source) or source.startswith("."):
        raise DatasetError(
            f"There is no folder {source}; give one, or the id of a data set of the Hugging Face hub, "
            "as org/name."
        )
    return _from_hub(source, wanted, home, progress)


def _local(folder: Path, wanted: Wanted) -> Fetched:
    card, note = _card(folder / CARD)
    names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    return Fetched(
        folder.resolve().name, None, folder, _laid_out(names, card, wanted, str(folder)), _licence(card), note
    )


def _from_hub(name: str, wanted: Wanted, home: Home, progress: Progress | None) -> Fetched:
    """A data set of the hub; an interrupted download is taken up again by the next one."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()

    def download(file: str, commit: str | None, draft: Path) -> Path:
        return Path(hf_hub_download(name, file, repo_type="dataset", revision=commit, local_dir=draft))

    try:
        info = HfApi().dataset_info(name, revision=wanted.revision)
        names = [file.rfilename for file in info.siblings or []]
        draft = home.ensure(home.ensure(home.root / "cache") / f"hub-{name.replace('/', '--')}-{info.sha}")
        card, note = _card(download(CARD, info.sha, draft)) if CARD in names else ({}, None)
        found = _laid_out(names, card, wanted, name)
        files = [file for listed in found.files.values() for file in listed]
        for done, file in enumerate(files):
            if progress:
                progress(f"download {name}", done, len(files))
            download(file, info.sha, draft)
        if progress:
            progress(f"download {name}", len(files), len(files))
    except DatasetError:
        raise
    except Exception as error:  # the hub's client raises errors of several HTTP libraries
        told = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DatasetError(
            f"{name} could not be downloaded from the Hugging Face hub ({told}); check the id, the revision "
            "and the connection, or give a folder that holds it."
        ) from error
    return Fetched(name, info.sha, draft, found, _licence(card), note, scratch=draft)


def _laid_out(names: Sequence[str], card: Mapping[str, Any], wanted: Wanted, source: str) -> Layout:
    try:
        return layout(names, card, wanted.config, wanted.splits)
    except DatasetError as error:
        raise DatasetError(f"{source}: {error}") from error


def _card(file: Path) -> tuple[dict[str, Any], str | None]:
    """The metadata at the top of a card, and what is wrong with it, if anything."""
    from huggingface_hub.repocard import metadata_load
    from yaml import YAMLError

    if not file.is_file():
        return {}, None
    try:
        return metadata_load(file) or {}, None
    except (YAMLError, ValueError):
        return (
            {},
            f"The metadata at the top of {file.name} cannot be read, so files were found by their names.",
        )


def _licence(card: Mapping[str, Any]) -> str | None:
    value = card.get("license_name") or card.get("license")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value) if value else None
