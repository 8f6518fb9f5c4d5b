"""Worker processes on this machine: replaced when one is killed, gone at once when the run is
interrupted or itself killed.

They are started with `spawn` (fork and threads deadlock). Killing them is always safe: whatever a
task writes is whole or absent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

R = TypeVar("R")


class LocalWorkers(Executor):
    """A `ProcessPoolExecutor` that survives the death of its processes; a context manager. `begin`:
    see `executor`.

    Tasks that were running or waiting when a process died fail with `BrokenExecutor` (`run_tasks`
    runs them again); the next `submit` starts new processes.
    """

    def __init__(self, workers: int, begin: Callable[[], object]) -> None:
        self._workers = workers
        self._pool = self._new_pool()
        for _ in range(
            workers
            # a process that starts loads libraries for seconds: now, while the run looks at its
            # first slide
        ):
            self._pool.submit(begin)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
        )

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Hand a task to the processes, new ones if the old ones died."""
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenExecutor:
            self._pool.shutdown(wait=True)
            self._pool = self._new_pool()
            return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes after their tasks."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the processes now."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes: after an error at once."""
        if kind is None:
            self.shutdown()
        else:
            self.kill()


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end with it however it ends: an orphan would go on
    writing into its folder.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
