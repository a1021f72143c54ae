"""Publishing a folder of files: all of it at once, private to its user, never over something else.

In: a folder that may or may not exist, and its files, as bytes or as the path of a file to move there. Out:
whether it stood there already.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tracemill.curate.errors import ExportError

Content = bytes | Path


def publish(
    folder: Path, files: Mapping[str, Content], about: Mapping[str, Content], option: str = "--name"
) -> bool:
    """Write `files` and what is told `about` them into `folder`; True if `files` stood there already.

    Folders are 0700, files 0600. Where `files` stand there as they are, only what differs in `about` is
    replaced. ExportError where the folder holds other files or cannot be written; it names the `option` that
    chooses another one.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _taken(folder) and _made(folder, {**files, **about}):
            return False
        _refuse_other(folder, files, option)
        for name, data in about.items():
            _replace(folder / name, data)
    except OSError as error:
        mend = f"mend that or choose another {option}"
        if is_full(error):
            mend = "free some space on that disk, or set TRACEMILL_HOME to a larger one"
        raise ExportError(f"Cannot write {folder}: {error.strerror or error}; {mend}.") from error
    return True


def is_full(error: Exception) -> bool:
    """Whether there was no room left to write, as Python says it, or as polars and DuckDB do."""
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)


def _taken(folder: Path) -> bool:
    """Whether there is something that a folder moved there would replace."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _made(folder: Path, files: Mapping[str, Content]) -> bool:
    """Write the folder under another name and move it; False if somebody else made it in the meantime."""
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, data in files.items():
            _write(made / name, data)
        made.rename(folder)
    except OSError:
        if _taken(folder):
            return False
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def _refuse_other(folder: Path, files: Mapping[str, Content], option: str) -> None:
    for name, data in files.items():
        if not (folder / name).is_file() or not _same(folder / name, data):
            what = f"another {name}" if (folder / name).exists() else f"other files and no {name}"
            raise ExportError(
                f"{folder} holds {what}; choose a different {option}, or move that folder away."
            )


def _replace(file: Path, data: Content) -> None:
    if file.is_file() and _same(file, data):
        return
    made = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        _write(made, data)
        made.replace(file)
    finally:
        made.unlink(missing_ok=True)


def _same(file: Path, data: Content) -> bool:
    return file.read_bytes() == data if isinstance(data, bytes) else filecmp.cmp(file, data, shallow=False)


def _write(file: Path, data: Content) -> None:
    if isinstance(data, Path):
        shutil.move(data, file)
        file.chmod(0o600)
        return
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
