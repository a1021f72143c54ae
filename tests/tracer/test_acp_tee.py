"""The tee between real processes: not a byte changed, and none held back."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import select
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from acp_wire import Start, eventually

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ACP over pipes is recorded on Unix only")


def pieces(data: bytes, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = chance.choice([1, 7, 100, 4096, 65536, 200_000])
        yield data[at : at + size]
        at += size


def noise(seed: int, size: int) -> bytes:
    """Some of it JSON lines, most of it not."""
    chance = random.Random(seed)
    lines = [json.dumps({"method": "session/update", "params": {"text": "ü" * 50}}).encode() + b"\n"] * 1000
    return b"".join([*lines, chance.randbytes(size), *lines])


# Reads to the end while it writes, both in odd pieces, and says what it read.
BOTH_WAYS = """
import hashlib, os, random, threading
read = hashlib.sha256()
def take():
    while data := os.read(0, random.choice([1, 100, 70000])):
        read.update(data)
def give():
    data = open(os.environ["NOISE"], "rb").read()
    at = 0
    while at < len(data):
        size = random.choice([1, 7, 100, 4096, 65536, 200000])
        at += os.write(1, data[at : at + size])
writer = threading.Thread(target=give)
writer.start()
take()
writer.join()
open(os.environ["NOISE"] + ".read", "w").write(read.hexdigest())
"""


def test_not_a_byte_is_changed_in_either_direction(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, back = noise(1, 3_000_000), noise(2, 3_000_000)
    (tmp_path / "noise").write_bytes(back)
    monkeypatch.setenv("NOISE", str(tmp_path / "noise"))
    wire = start(BOTH_WAYS)

    def give() -> None:
        for piece in pieces(there, 3):
            rest = memoryview(piece)
            while rest:
                rest = rest[wire.to.write(rest) :]
        wire.to.close()

    giving = threading.Thread(target=give)
    giving.start()
    got = wire.fro.read()
    giving.join()
    told = wire.wait()
    assert hashlib.sha256(got).digest() == hashlib.sha256(back).digest()
    assert (tmp_path / "noise.read").read_text() == hashlib.sha256(there).hexdigest()
    assert (told["code"], told["lost"], told["counted"]["faults"]) == (0, 0, 0)
    assert told["counted"]["broken"] > 1000


ECHO = "import os\nwhile data := os.read(0, 65536): os.write(1, data)"


def test_a_byte_arrives_before_the_next_is_sent(start: Start) -> None:
    wire = start(ECHO)
    wire.to.write(b"?")
    assert wire.fro.read(1) == b"?"
    took: list[float] = []
    for number in range(200):
        began = time.perf_counter()
        wire.to.write(bytes([number]))
        assert os.read(wire.fro.fileno(), 10) == bytes([number])
        took.append(time.perf_counter() - began)
    # Through four pipes and three processes on a busy machine; held back it would be for ever.
    assert statistics.median(took) < 0.05
    wire.to.close()
    assert wire.wait()["code"] == 0


def fill(descriptor: int) -> int:
    """Write until nobody takes any more for half a second; how many bytes that was."""
    os.set_blocking(descriptor, False)
    written = 0
    while select.select([], [descriptor], [], 0.5)[1]:
        written += os.write(descriptor, bytes(4096))
    return written


def test_nobody_can_write_faster_than_the_other_reads(start: Start) -> None:
    wire = start("import time; print('up', flush=True); time.sleep(60)")
    assert wire.fro.readline() == b"up\n"
    # Two pipes, and what is in our hands.
    assert fill(wire.to.fileno()) < 1_000_000
    wire.process.terminate()
    assert wire.wait()["code"] == 128 + signal.SIGTERM


def test_an_agent_waits_for_an_editor_that_does_not_read(start: Start, tmp_path: Path) -> None:
    count = tmp_path / "count"
    agent = f"import os\nn = 0\nwhile True:\n n += os.write(1, bytes(4096)); open({str(count)!r}, 'w').write(str(n))"
    start(agent)
    eventually(lambda: count.exists() and int(count.read_text() or 0) > 60_000)
    time.sleep(0.5)
    before = count.read_text()
    time.sleep(0.3)
    assert count.read_text() == before
    assert int(before) < 1_000_000


def test_pipes_that_do_not_block(start: Start) -> None:
    (inside, to), (fro, outside) = os.pipe(), os.pipe()
    for descriptor in (inside, outside):
        os.set_blocking(descriptor, False)
    with contextmanager(_files)(to, fro) as (writing, reading):
        wire = start(ECHO, stdin=inside, stdout=outside)
        os.close(inside)
        os.close(outside)
        data = random.Random(5).randbytes(1_000_000)
        giving = threading.Thread(target=lambda: (writing.write(data), writing.close()))
        giving.start()
        time.sleep(0.3)
        assert reading.read() == data
        giving.join()
        assert wire.process.wait(timeout=60) == 0


def _files(to: int, fro: int) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    with os.fdopen(to, "wb") as writing, os.fdopen(fro, "rb") as reading:
        yield cast("BinaryIO", writing), cast("BinaryIO", reading)


def test_no_descriptor_of_ours_reaches_the_agent(start: Start) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("lists descriptors in /proc")
    wire = start("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], flush=True)")
    assert json.loads(wire.fro.readline()) == [0, 1, 2]
    assert fcntl.fcntl(wire.to.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
