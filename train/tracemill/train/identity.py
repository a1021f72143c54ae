"""What a model server serves, by content; and the proof that an adapter is served as it was trained.

In: the folders of a base model and an adapter. Out: an `Identity`, or ServerError where the adapter has no
weights, was changed after training, or was trained on another base or with another template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tracemill.curate.chat.template import TEMPLATE_FILE
from tracemill.train.adapter import CARD, CONFIG, WEIGHTS, file_sha256
from tracemill.train.base import BaseModel, check_folder, folder_digest
from tracemill.train.errors import ServerError


@dataclass(frozen=True)
class Identity:
    """What a server serves, by content: SHA-256 of each part."""

    base: str
    adapter: str | None
    template: str


def identify(base: Path | BaseModel, adapter: Path | None) -> Identity:
    """What is in the folders; ServerError or BaseModelError where they cannot be served together.

    A `BaseModel` that was just resolved is not read again. An adapter of others, without our card, is served
    as it is.
    """
    folder = base.path if isinstance(base, BaseModel) else base
    check_folder(folder)
    for name in (WEIGHTS, CONFIG) if adapter else ():
        if not (cast(Path, adapter) / name).is_file():
            raise ServerError(f"{adapter} is not an adapter: it has no {name}.")
    own = adapter / TEMPLATE_FILE if adapter else folder / TEMPLATE_FILE
    template = own if own.is_file() else folder / TEMPLATE_FILE
    found = Identity(
        base=base.digest if isinstance(base, BaseModel) else folder_digest(folder),
        adapter=file_sha256(adapter / WEIGHTS) if adapter else None,
        template=file_sha256(template) if template.is_file() else "",
    )
    if adapter is not None and (adapter / CARD).is_file():
        _check(adapter, folder, _card(adapter / CARD), found)
    return found


def _check(adapter: Path, base: Path, card: dict[str, Any], found: Identity) -> None:
    if card.get("base_sha256") not in (None, found.base):
        raise ServerError(
            f"The adapter {adapter} was trained on another base ({card.get('base')}) than {base}; "
            "name that base, or train again."
        )
    if card.get("weights_sha256") not in (None, found.adapter):
        raise ServerError(f"{adapter / WEIGHTS} changed after training, by its hash in {CARD}; train again.")
    if card.get("template_sha256") not in (None, found.template):
        raise ServerError(
            f"{adapter / TEMPLATE_FILE} is not the template that {adapter.name} was trained with, by its "
            f"hash in {CARD}; restore it, or train again."
        )


def _card(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise ServerError(f"{file} cannot be read ({error!r}); train again.") from error
