"""The warehouse file: who may write it, how it is opened, how its copy for queries is published.

In: a home. Out: the lock that one writer at a time holds, a connection that alone has the file open, the
snapshot; and one sentence for whatever a full disk, a foreign file or a second program does to us.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import duckdb
from filelock import FileLock, Timeout

from tracemill.tracer.home import Home
from tracemill.warehouse.errors import BusyError, WarehouseError

Progress = Callable[[str, int, int], None]
"""(what, done, total)."""

LOCK_SECONDS = 10.0
"""How long a second writer waits for the first."""


@contextmanager
def locked(home: Home, seconds: float = LOCK_SECONDS) -> Generator[None]:
    """Alone with spool files and warehouse; BusyError if another process keeps them for that long."""
    path = home.ensure(home.root) / "warehouse.lock"
    try:
        with FileLock(path, timeout=seconds, mode=0o600):
            yield
    except Timeout as busy:
        raise BusyError(
            f"Another tracemill process has been ingesting into {home.root} for {seconds:g} s; "
            "try again when it is done."
        ) from busy


@contextmanager
def errors_of(home: Home) -> Generator[None]:
    """Turn what a full disk, a foreign file or a second program does to us into one sentence."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.TransactionException, duckdb.FatalException) as error:
        if "Conflicting lock" in str(error):
            mend = "close the other program that has it open"
        elif "not a valid DuckDB" in str(error):
            mend = "delete it, and the next ingestion makes it again from the spool"
        else:
            mend = "free some space or set TRACEMILL_HOME to a folder you can write"
        reason = " ".join(str(error).split())
        raise WarehouseError(f"Cannot write the warehouse {home.warehouse}: {reason}; {mend}.") from error
    except RuntimeError as error:
        # What DuckDB makes of Ctrl-C while it works.
        if str(error) == "Query interrupted":
            raise KeyboardInterrupt from error
        raise


@contextmanager
def opened(path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection that writes to the warehouse and alone has it open."""
    new = not path.exists()
    connection = duckdb.connect(":memory:")
    try:
        connection.execute("SET enable_progress_bar = false")  # it goes to standard output
        connection.execute(f"SET temp_directory = '{quoted(path)}.tmp'")
        # Attached, not opened: after a kill, DuckDB replays its log before it knows the JSON of our columns.
        connection.execute(f"ATTACH '{quoted(path)}' AS warehouse")
        connection.execute("USE warehouse")
        if new:
            path.chmod(0o600)
        yield connection
    finally:
        connection.close()


def quoted(path: Path) -> str:
    """A path between the quotes of an SQL string."""
    return str(path).replace("'", "''")


def is_behind(home: Home) -> bool:
    """Whether the warehouse is newer than the snapshot (after a kill), or there is no snapshot yet."""
    try:
        return home.snapshot.stat().st_mtime_ns < home.warehouse.stat().st_mtime_ns
    except FileNotFoundError:
        return True


def publish(home: Home) -> None:
    """Put a copy of the closed warehouse in the place of the snapshot; readers of the old one keep it.

    A copy of the file and not COPY FROM DATABASE: its cost is that of reading the file, and it is exact.
    """
    temporary = home.snapshot.with_suffix(".new")
    try:
        temporary.touch(mode=0o600)
        with home.warehouse.open("rb") as warehouse, temporary.open("wb") as copy:
            _copy(warehouse, copy)
            copy.flush()
            os.fsync(copy.fileno())  # else a power cut can leave an empty file under the good name
        temporary.replace(home.snapshot)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    left = os.fstat(source.fileno()).st_size
    try:
        # Linux copies without passing the bytes through us, or has the files share them where it can.
        while left and (done := os.copy_file_range(source.fileno(), target.fileno(), min(left, 1 << 30))):
            left -= done
    except (AttributeError, OSError):
        source.seek(0)
        target.seek(0)
        left = os.fstat(source.fileno()).st_size
    if left:
        shutil.copyfileobj(source, target, 1 << 20)
