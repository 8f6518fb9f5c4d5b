"""One worker, one thread, in every library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)


def one_thread_per_library() -> None:
    """Ask every numeric library for one thread; effective for libraries imported afterwards and for
    child processes.
    """
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra that is already loaded use one thread, too: the last bits of its sums
    depend on how many there are.
    """
    from threadpoolctl import threadpool_limits

    one_thread_per_library()
    with threadpool_limits(1, "blas"):
        yield
