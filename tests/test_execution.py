"""Executors run every task once, report errors, and keep the number in flight bounded."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ifquant.errors import RequestError
from ifquant.execution.executors import Execution, SerialExecutor, executor, run_tasks
from ifquant.pipeline.slide_measurement import worker_start


def double(value: int) -> int:
    return 2 * value


def explode(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_runs_once(workers: int) -> None:
    with executor(Execution(workers=workers), begin=worker_start) as pool:
        seen = list(run_tasks(pool, double, range(20), in_flight=4))
    assert sorted(seen) == [2 * i for i in range(20)]


def test_the_first_error_stops_the_rest() -> None:
    started: list[int] = []

    def watched(value: int) -> int:
        started.append(value)
        return explode(value)

    with pytest.raises(ValueError, match="three"):
        list(run_tasks(SerialExecutor(), watched, range(100), in_flight=2))
    assert max(started) < 10


def test_in_flight_is_bounded() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def watched(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1

    with ThreadPoolExecutor(8) as pool:
        list(run_tasks(pool, watched, range(40), in_flight=3))
    assert most <= 3


@pytest.mark.parametrize(
    ("options", "message"), [({"workers": 0}, "--workers"), ({"tile_size_px": 10}, "--tile-size")]
)
def test_wrong_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Execution(**options)


def test_linear_algebra_uses_one_thread_while_something_runs() -> None:
    """Also where numpy was there before ifquant: sums of several threads differ in their last
    bits.
    """
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {
            library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
        }

    with threadpool_limits(2, "blas"):
        assert threads() == {2}
        for workers in (1, 2):
            with executor(Execution(workers=workers), begin=worker_start) as pool:
                assert threads() == {1}
                assert pool.submit(len, "abc").result() == 3
            assert threads() == {2}
