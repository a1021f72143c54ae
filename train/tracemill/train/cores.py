"""How many cores this process can have to itself, on Linux.

OpenBLAS's threads wait for each other by spinning. Where another program holds a core that one of them needs,
the rest burn theirs until it runs: on a busy machine two threads were measured 17 times slower than one
(a forward pass on two cores under load: 10.9 and 16.9 s against 0.6 and 1.0 s). So it gets as many threads as
there are cores that others leave free. In: `/proc/stat` and the affinity of this process. Out: numbers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SAMPLE = 0.1  # seconds: the shortest time that tells anything (the kernel counts in hundredths)
NOISE = 0.2  # of a core: what a machine does in the background without being busy


@dataclass(frozen=True)
class Usage:
    """Processor time so far, in seconds: of the cores allowed to us, and of this process with its threads."""

    elapsed: float
    idle: float
    own: float

    @classmethod
    def now(cls, stat: str | None = None) -> Usage:
        """Read the clocks; `stat` is the text of /proc/stat (proc(5)), all zero where there is none."""
        ticks = os.sysconf("SC_CLK_TCK")
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        elapsed = idle = 0
        for line in (_read("/proc/stat") if stat is None else stat).splitlines():
            name, *columns = line.split()
            if name in allowed:
                # user nice system idle iowait irq softirq steal; guest time is in user already
                values = [int(column) for column in columns[:8]]
                elapsed += sum(values)
                idle += values[3] + values[4]
        return cls(elapsed / ticks, idle / ticks, time.process_time())


def usable_cores() -> int:
    """Physical cores this process may run on, within the CPU quota of its container (cgroup v2)."""
    allowed = os.sched_getaffinity(0)
    topology = "/sys/devices/system/cpu/cpu{}/topology/core_cpus_list"
    cores = len({_read(topology.format(cpu)) or str(cpu) for cpu in allowed})
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, cores)


def free_cores(before: Usage, after: Usage, cores: int) -> int:
    """Of `cores` cores, those that other programs left to us between two readings; at least 1.

    cores * (1 - others / elapsed) with others = elapsed - idle - own, rounded down above a little noise.
    """
    elapsed = after.elapsed - before.elapsed
    if elapsed <= 0:
        return cores
    others = elapsed - (after.idle - before.idle) - (after.own - before.own)
    return max(1, min(cores, math.floor(cores * (1 - others / elapsed) + NOISE)))


class Threads:
    """The number of threads of a library, and when processor time was last looked at."""

    def __init__(self, set_number: Callable[[int], object]):
        """Start looking; the number stays as it is until `adapt`."""
        self._set_number = set_number
        self._cores = usable_cores()
        self._seen = Usage.now()
        self._number = self._cores

    def adapt(self) -> int:
        """Set the number to the cores left free since the last look, if that is long enough ago to tell."""
        usage = Usage.now()
        if usage.elapsed - self._seen.elapsed >= SAMPLE * len(os.sched_getaffinity(0)):
            self.use(free_cores(self._seen, usage, self._cores))
            self._seen = usage
        return self._number

    def use(self, number: int) -> None:
        """Set the number."""
        self._number = number
        self._set_number(number)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
