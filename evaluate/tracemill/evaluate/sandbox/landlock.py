"""Which files a process may still read and change: Landlock, Linux 5.13 and later.

In: folders and files to read, one folder to change. Out: nothing; the rules stay on the process for good and
need no privileges. Standard library only: this runs in the isolated interpreter.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

# linux/landlock.h; the numbers of these system calls are the same on every architecture.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = 1 << 0 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _READ_FILE | _READ_DIR
_KNOWN_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many kinds of access to files each version of Landlock knows; 16 from version 5 on."""


def version() -> int:
    """The version of Landlock in this kernel, 0 where there is none."""
    return max(_call(_CREATE, None, 0, 1), 0)


def restrict(read: Iterable[str], change: str) -> None:
    """Leave this process the right to read `read` and to change what lies below `change`.

    It must have given up new privileges. OSError where the kernel knows no Landlock.
    """
    known = version()
    if not known:
        raise OSError(ctypes.get_errno(), "no Landlock in this kernel")
    handled = (1 << _KNOWN_BITS.get(known, 16)) - 1
    # Accesses to files, to TCP ports (all are refused), and signals to who is not restricted likewise.
    attributes = struct.pack("=QQQ", handled, 3, 3)[: 8 if known < 4 else 16 if known < 6 else 24]
    rules = _checked(_call(_CREATE, attributes, len(attributes), 0))
    for path in read:
        _allow(rules, path, _READ & handled)
    _allow(rules, change, handled & ~1)
    _allow(rules, os.devnull, (_READ_FILE | _WRITE_FILE) & handled)
    _checked(_call(_RESTRICT, rules, 0, 0))
    os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What is not there needs no rule.
    try:
        access &= -1 if os.path.isdir(path) else _OF_FILES  # noqa: PTH112 (loads far less than pathlib)
        _checked(_call(_ADD, rules, 1, struct.pack("=Qi", access, place), 0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return libc.syscall(ctypes.c_long(number), *wide)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock is not to be had")
    return result
