"""A real model of two layers, its folder and its chat template, made once and changed by no test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiny import tiny_model

if TYPE_CHECKING:
    from tracemill.curate.chat.template import Chat


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("evaluate") / "tiny")


@pytest.fixture(scope="session")
def model(folder: Path) -> Any:
    from tracemill.evaluate.generate import load_model

    return load_model(folder)


@pytest.fixture(scope="session")
def chat(folder: Path) -> Chat:
    from tracemill.curate.chat.template import Chat

    return Chat.load(folder)
