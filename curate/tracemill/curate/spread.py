"""Work spread over processes: a pure function over a stream of jobs, the results in the order of the jobs.

In: a function that can be pickled, and jobs. Out: its results, one after another, with only a few jobs in
memory at a time. A few jobs are done right here, for new processes take a second to start.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from threading import Thread
from typing import Any, TypeVar

from tracemill.curate.errors import ExportError

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
_FEW = 4
_MOST = 8


def spread(work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[_Result]:
    """`work(job)` for each job, in order; in as many processes as there are cores, at most eight."""
    stream = iter(jobs)
    first = list(islice(stream, _FEW))
    cores = min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST
    )
    if len(first) < _FEW or cores < 2:
        yield from map(work, chain(first, stream))
        return
    # Not forked: polars and DuckDB run threads, whose locks a fork would copy as they are.
    pool = ProcessPoolExecutor(
        cores, mp_context=multiprocessing.get_context("spawn"), initializer=_keep, initargs=(work,)
    )
    waiting: deque[Future[_Result]] = deque()
    try:
        for job in chain(first, stream):
            waiting.append(pool.submit(_do, job))
            if len(waiting) > 2 * cores:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ExportError(
            "A process that reads conversations ended before its work was done, likely for want of memory: "
            "close other programs or name fewer sources; a script of yours that exports needs "
            "`if __name__ == '__main__':`."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


# What a process works with, a tokenizer perhaps, is sent to it once and not with every job.
_kept: list[Callable[[Any], Any]] = []


def _keep(work: Callable[[Any], Any]) -> None:
    _kept[:] = [work]
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(job: Any) -> Any:
    return _kept[0](job)
