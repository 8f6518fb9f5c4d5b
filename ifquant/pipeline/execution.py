"""How a run is executed: never part of the recipe, never in a digest, never visible in a result.

`executor` yields a `concurrent.futures.Executor`: in this process, in worker processes, or on a Dask cluster. The rest of ifquant knows
only that interface. Workers are started with `spawn` (fork and threads deadlock) and use one thread in every
library.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from ifquant.base.tiles import Window
from ifquant.errors import MissingDependency, RequestError

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)


@dataclass(frozen=True)
class Execution:
    """Execution options of one run.

    Attributes
    ----------
    workers
        Local processes; 1 works in this process.
    tile_size_px
        Side of a tile's core.
    scheduler
        Address of a Dask scheduler (``tcp://host:8786``), instead of local processes.
    crop
        Work on this window of every slide only.
    fresh
        Recompute everything, ignoring finished work.
    quiet
        No progress bar.
    """

    workers: int = 1
    tile_size_px: int = 2048
    scheduler: str | None = None
    crop: Window | None = None
    fresh: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RequestError(f"--workers is {self.workers}; it must be at least 1.")
        if self.tile_size_px < 64:
            raise RequestError(f"--tile-size is {self.tile_size_px} px; it must be at least 64 px (2048 is a good choice).")


class SerialExecutor(Executor):
    """Runs each task at once, in this process."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Run `fn` now; its result or exception is in the returned future. Interrupts are not caught."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def one_thread_per_library() -> None:
    """Ask every numeric library for one thread; effective for libraries imported afterwards and for child processes."""
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")


@contextmanager
def executor(execution: Execution) -> Iterator[Executor]:
    """Yield the executor that `execution` asks for.

    Raises
    ------
    MissingDependency
        If a scheduler is given and `distributed` is not installed.
    """
    one_thread_per_library()
    if execution.scheduler is not None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependency("--scheduler needs the package distributed: pip install 'ifquant[dask]'") from error
        with Client(execution.scheduler, timeout="15s") as client:
            yield client.get_executor(pure=False)
    elif execution.workers == 1:
        yield SerialExecutor()
    else:
        pool = ProcessPoolExecutor(execution.workers, mp_context=get_context("spawn"))
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_tasks(pool: Executor, function: Callable[[T], R], tasks: Iterable[T], *, in_flight: int) -> Iterator[R]:
    """Run `function` on every task, at most `in_flight` at once, and yield each result as it arrives, in any order.

    The first error cancels what has not started, waits for what has, and is raised.
    """
    todo = iter(tasks)
    pending = {pool.submit(function, task) for task in islice(todo, in_flight)}
    try:
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
            pending |= {pool.submit(function, task) for task in islice(todo, len(finished))}
    except BaseException:
        for future in pending:
            future.cancel()
        wait(pending, timeout=60)
        raise
