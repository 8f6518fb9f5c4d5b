"""How a run is executed: never part of the recipe, never in a digest, never visible in a result.

`executor` yields a `concurrent.futures.Executor`: in this process, in worker processes
(`local_workers`), or on a Dask cluster (`cluster`). The rest of ifquant knows only that interface.
Every worker uses one thread in every library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ifquant.errors import RequestError, ResourceError
from ifquant.execution.threads import one_thread
from ifquant.geometry.windows import Window

logger = logging.getLogger("ifquant")

T = TypeVar("T")
R = TypeVar("R")

MAX_DEATHS = 3
"""How often the worker of one task may die (Dask's ``allowed-failures``); then the task itself is
what kills them."""


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
        A Dask scheduler instead of local processes: its address (``tcp://host:8786``) or the
        scheduler file it wrote.
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
            raise RequestError(
                f"--tile-size is {self.tile_size_px} px; it must be at least 64 px (2048 is a good"
                " choice)."
            )
        if self.scheduler is not None and self.workers > 1:
            raise RequestError(
                f"--scheduler and --workers {self.workers} are both given; a scheduler brings its"
                " own workers: leave one out."
            )

    @property
    def in_flight(self) -> int:
        """How many tasks are handed out at once: enough to keep every worker busy, few enough to
        stop soon.
        """
        return 2 * self.workers if self.scheduler is None else 256


class SerialExecutor(Executor):
    """Runs each task at once, in this process."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Run `fn` now; its result or exception is in the returned future. Interrupts are not
        caught.
        """
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def executor(
    execution: Execution,
    *,
    begin: Callable[[], object],
    inputs: Sequence[str | Path] = (),
    out: str | Path | None = None,
) -> Iterator[Executor]:
    """Yield the executor that `execution` asks for.

    When the block ends with an exception, interrupts included, work in progress is given up at
    once: what tasks write is whole or absent.

    Parameters
    ----------
    begin
        Called in each worker before its first task: a function of the module whose tasks follow, so
        that its libraries load at once.
    inputs
        Files that workers open.
    out
        Folder of the results, in which workers leave unfinished parts. Workers on other machines
        are checked for both at the start.

    Raises
    ------
    MissingDependency
        If a scheduler is given and `distributed` is not installed.
    RequestError
        If no scheduler answers, or a worker cannot do this run.
    """
    with one_thread():
        if execution.scheduler is not None:
            from ifquant.execution.dask_cluster import cluster_workers

            with cluster_workers(execution.scheduler, begin=begin, inputs=inputs, out=out) as pool:
                yield pool
        elif execution.workers == 1:
            yield SerialExecutor()
        else:
            from ifquant.execution.local_workers import LocalWorkers

            with LocalWorkers(execution.workers, begin) as pool:
                yield pool


def run_tasks(
    pool: Executor, function: Callable[[T], R], tasks: Iterable[T], *, in_flight: int
) -> Iterator[R]:
    """Run `function` on every task, at most `in_flight` at once, and yield each result as it
    arrives, in any order.

    Tasks whose worker died are run again. The first error cancels what has not started, waits for
    what has, and is raised; an interrupt waits for nothing.

    Raises
    ------
    ResourceError
        If the worker of one task died `MAX_DEATHS` times.
    """
    todo = iter(tasks)
    pending: dict[Future[R], tuple[T, int]] = {}

    def start(task: T, deaths: int = 0) -> None:
        pending[pool.submit(function, task)] = (task, deaths)

    def top_up() -> None:
        while len(pending) < in_flight:
            try:
                start(next(todo))
            except StopIteration:
                return

    try:
        top_up()
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                task, deaths = pending.pop(future)
                if isinstance(future.exception(), BrokenExecutor):
                    _refuse_more(deaths + 1)
                    start(task, deaths + 1)
                else:
                    yield future.result()
            top_up()
    except BaseException as error:
        for future in pending:
            future.cancel()
        wait(pending, timeout=60 if isinstance(error, Exception) else 0)
        raise


def _refuse_more(deaths: int) -> None:
    if deaths > MAX_DEATHS:
        raise ResourceError(
            f"worker processes were killed {deaths} times on the same part of a slide, most likely"
            " because memory ran out; use fewer workers or smaller tiles (--workers, --tile-size)"
            " and run again: finished tiles are kept. In a script, call ifquant.run below if"
            " __name__ == '__main__'."
        )
    logger.warning("a worker process was killed; its tiles are computed again")
