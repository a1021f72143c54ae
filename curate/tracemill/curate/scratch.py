"""Where texts lie while they are curated: a private folder in the cache of the home.

In: a home. Out: a folder for the length of a `with`. What a process that was killed left there is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from tracemill.curate.errors import ExportError
from tracemill.curate.folder import is_full
from tracemill.tracer.home import Home
from tracemill.warehouse.errors import QueryError

_PREFIX = "curate-"
_NEW = 60
"""Seconds in which a folder may have been made and not be locked yet."""


@contextmanager
def scratch(home: Home) -> Generator[Path]:
    """A private folder in the home's cache, gone in the end; ExportError where the disk is full."""
    cache = home.ensure(home.root / "cache")
    _remove_left(cache)
    try:
        with TemporaryDirectory(prefix=_PREFIX, dir=cache, ignore_cleanup_errors=True) as folder:
            lock = _lock(folder)
            try:
                yield Path(folder)
            finally:
                if lock is not None:
                    os.close(lock)
    except (OSError, pl.exceptions.PolarsError, QueryError) as error:
        if not is_full(error):
            raise
        place = getattr(error, "filename", None) or cache
        raise ExportError(
            f"Cannot write to {place}: {os.strerror(errno.ENOSPC)}; conversations lie there while they are "
            "curated, so free some space or set TRACEMILL_HOME to a larger disk."
        ) from error


def _lock(folder: str | Path) -> int | None:
    """The lock of a folder, to be closed; None where somebody else holds it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _remove_left(cache: Path) -> None:
    for folder in cache.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _NEW and (lock := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
