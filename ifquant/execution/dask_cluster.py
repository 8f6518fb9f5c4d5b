"""An existing Dask cluster as executor. Nothing else in ifquant knows Dask.

Workers open the slides themselves and leave their parts in the folder of the results, so both must
be visible to them under the same paths. That, the installed versions and the threads are checked
when a run starts, and once more in each process that joins later (one without ifquant is dropped by
Dask as soon as it is sent a task).
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ifquant import provenance
from ifquant.errors import IfquantError, MissingDependency, RequestError, ResourceError
from ifquant.files import storage
from ifquant.files.run_lock import LOCK_NAME

if TYPE_CHECKING:
    from distributed import Client

R = TypeVar("R")

CONNECT_S = 15
FIRST_WORKER_S = 600.0
"""How long to wait for the first worker: batch systems start them when tasks are waiting."""
SETTLE_S = 3.0
"""How long a network file system may take to show a worker a file that was just written."""


@dataclass(frozen=True)
class Needs:
    """What a worker needs for one run; picklable.

    Attributes
    ----------
    lock
        Content of the lock file in `out`: it proves that the worker sees the same folder, not one
        of the same name.
    inputs
        Files to open, with their sizes in bytes (None: a folder).
    begin
        Called before the first task; None where ifquant may not even be there.
    """

    code: str
    versions: tuple[tuple[str, str], ...]
    out: str | None
    lock: str
    inputs: tuple[tuple[str, int | None], ...] = ()
    begin: Callable[[], object] | None = None


@contextmanager
def cluster_workers(
    scheduler: str,
    *,
    begin: Callable[[], object] | None = None,
    inputs: Sequence[str | Path] = (),
    out: str | Path | None = None,
) -> Iterator[Executor]:
    """Connect to a scheduler, check its workers, and yield them as an executor.

    Parameters
    ----------
    scheduler
        Address, or path of a scheduler file.
    begin, inputs, out
        See `executor`.

    Raises
    ------
    MissingDependency
        If `distributed` is not installed.
    RequestError
        If no scheduler answers or a worker lacks something.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingDependency(
            "--scheduler needs the package distributed: pip install 'ifquant[dask]'"
        ) from error
    where = {"scheduler_file": scheduler} if os.path.isfile(scheduler) else {"address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with: dask scheduler"
        ) from error
    needs = _needs(inputs, out)
    # for workers that join later; opening a slide says clearly enough that it is not there
    later = replace(needs, inputs=(), begin=begin)
    with client:
        _wait_for_a_worker(client, scheduler)
        _check_workers(client, needs)
        yield ClusterWorkers(client, later)


class ClusterWorkers(Executor):
    """Tasks run on the cluster, each once more on another worker if its worker dies."""

    def __init__(self, client: Client, needs: Needs) -> None:
        self._client = client
        self._needs = needs
        self._pool = client.get_executor(pure=False)

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Hand a task to the scheduler."""
        inner = self._pool.submit(run_checked, self._needs, fn, *args, **kwargs)
        outer: Future[R] = Future()
        inner.add_done_callback(lambda done: _pass_on(done, outer))
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        return outer


def _pass_on(inner: Future[R], outer: Future[R]) -> None:
    """Give the outcome of a Dask future to ours, with Dask's own failures explained."""
    from distributed import KilledWorker

    if not outer.set_running_or_notify_cancel():
        return
    if inner.cancelled():
        outer.set_exception(
            ResourceError(
                "the connection to the Dask scheduler was lost; run again: finished tiles are kept"
            )
        )
    elif isinstance(error := inner.exception(), KilledWorker):
        outer.set_exception(
            ResourceError(
                f"Dask workers died {error.allowed_failures + 1} times on the same part of a slide,"
                f" most likely because memory ran out (the last was {error.last_worker.address});"
                " give workers more memory or use a smaller --tile-size, and run again: finished"
                " tiles are kept"
            )
        )
    elif error is not None:
        outer.set_exception(error)
    else:
        outer.set_result(inner.result())


# ---- what workers need ---------------------------------------------------------------------------


def _needs(inputs: Sequence[str | Path], out: str | Path | None) -> Needs:
    folder = None if out is None else os.path.abspath(out)
    sizes = tuple((os.path.abspath(path), _size(os.path.abspath(path))) for path in inputs)
    lock = "" if folder is None else _content(Path(folder) / LOCK_NAME)
    return Needs(
        provenance.code_digest(), tuple(provenance.versions().items()), folder, lock, sizes
    )


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _size(path: str) -> int | None:
    return None if os.path.isdir(path) or not os.path.exists(path) else os.path.getsize(path)


def missing_needs(needs: Needs) -> list[str]:
    """Say what this process lacks for a run; empty: nothing."""
    found = provenance.versions()
    other = [
        f"{name} {found.get(name)} instead of {version}"
        for name, version in needs.versions
        if found.get(name) != version
    ]
    if other:
        return [f"it has {', '.join(other)}; install the same versions there"]
    if provenance.code_digest() != needs.code:
        return [
            f"its ifquant {found['ifquant']} has other code than the one that started the run;"
            " install the same there"
        ]
    said = [] if needs.out is None else _folder_problems(Path(needs.out), needs.lock)
    for path, size in needs.inputs:
        if not os.path.exists(path):
            said.append(f"it cannot see {path}; slides must lie on a disk that all workers share")
        elif _size(path) != size:
            said.append(f"its {path} is another file ({_size(path)} bytes instead of {size})")
    return said


def _folder_problems(out: Path, lock: str) -> list[str]:
    """Say why unfinished parts cannot be left in the folder of the results."""
    until = time.monotonic() + SETTLE_S
    while not (same := _content(out / LOCK_NAME) == lock) and time.monotonic() < until:
        time.sleep(0.2)
    if not same:
        what = "is another folder than that of the run" if out.is_dir() else "does not exist"
        return [f"its {out} {what}; results must lie on a disk that all workers share"]
    probe = out / storage.part_name("probe")
    try:
        storage.write_bytes(probe, b"probe")
        storage.remove(probe)
    except (IfquantError, OSError) as error:
        return [f"it cannot write into {out} ({error})"]
    return []


def run_checked(needs: Needs, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Run a task on a worker that has been checked for this run."""
    problems = _checked(needs)
    if problems:
        raise RequestError(
            f"a Dask worker on {_host()} cannot work on this run: {'; '.join(problems)}."
        )
    return function(*args, **kwargs)


@lru_cache(maxsize=1)
def _checked(needs: Needs) -> tuple[str, ...]:
    """Check once per process and run; what an earlier run left open may be another file by now."""
    from threadpoolctl import threadpool_limits

    from ifquant.execution.threads import one_thread_per_library

    one_thread_per_library()
    threadpool_limits(1, "blas")  # in this process from now on
    if needs.begin is not None:
        needs.begin()
    return tuple(missing_needs(needs))


def _host() -> str:
    return platform.node() or "an unnamed computer"


# ---- the check at the start ----------------------------------------------------------------------


def _wait_for_a_worker(client: Client, scheduler: str) -> None:
    if client.ncores():
        return
    # a waiting task makes adaptive clusters start a worker
    wakes = client.submit(lambda: True, pure=False)
    try:
        wakes.result(timeout=FIRST_WORKER_S)
    except TimeoutError:
        raise RequestError(
            f"the Dask scheduler {scheduler} has had no worker for {FIRST_WORKER_S / 60:.0f}"
            f" minutes; start some: dask worker {scheduler} --nthreads 1"
        ) from None


def _check_workers(client: Client, needs: Needs) -> None:
    """Refuse a cluster of which any worker cannot do the run, with every reason by worker."""
    problems: dict[str, list[str]] = {}
    processes = {}
    for worker, answer in client.run(_look_function(), asdict(needs), on_error="return").items():
        if isinstance(answer, BaseException):
            problems[worker] = [
                f"it cannot be asked ({type(answer).__name__}: {answer}); install the same Python"
                " and packages there"
            ]
        elif isinstance(answer, str):
            problems[worker] = [
                f"ifquant cannot be loaded there ({answer}); install it in the environment of the"
                " worker"
            ]
        else:
            processes[worker], problems[worker] = tuple(answer[0]), list(answer[1])
    for worker, threads in client.nthreads().items():
        if threads != 1:
            problems.setdefault(worker, []).append(
                f"it runs {threads} tasks at once in one process; start it with --nthreads 1"
            )
    here = (_host(), os.getpid())
    crowded = Counter(processes.values())
    for worker, process in processes.items():
        if crowded[process] > 1 or process == here:
            problems[worker].append(
                "it shares its process with another worker or with the run; start workers as"
                " processes of their own"
            )
    lines = [
        f"  worker {worker}: {problem}"
        for worker, found in sorted(problems.items())
        for problem in found
    ]
    if lines:
        listed = "\n".join(lines)
        raise RequestError(
            f"{len([w for w in problems if problems[w]])} Dask worker(s) cannot work on this"
            f" run:\n{listed}"
        )


def _look_function() -> Callable[[Any], Any]:
    """Make the function that is sent by value, so that a worker without ifquant can still say
    so.
    """

    def look(needs: Any) -> Any:
        try:
            from ifquant.execution.dask_cluster import check_here
        except ImportError as error:
            return str(error)
        return check_here(needs)

    return look


def check_here(needs: dict[str, Any]) -> tuple[tuple[str, int], list[str]]:
    """Say which process this is, and what it lacks of `Needs` (as a dict: a worker without ifquant
    can unpickle that).
    """
    return (_host(), os.getpid()), missing_needs(Needs(**needs))
