"""A real Dask scheduler and worker processes on this machine, for tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120


class Cluster:
    """A scheduler and its workers, each a process of its own; workers have another working folder
    than the test.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self.file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler",
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            "--scheduler-file",
            self.file,
        )
        until = time.monotonic() + PATIENCE_S
        while not self.file.exists() and time.monotonic() < until:
            time.sleep(0.05)

    @property
    def address(self) -> str:
        import json

        return str(json.loads(self.file.read_text())["address"])

    def add_worker(self, *, threads: int = 1, python_path: Path = ROOT) -> subprocess.Popen[bytes]:
        """Start a worker that imports ifquant from `python_path`, and wait until the scheduler
        knows it.
        """
        before = self.count()
        words = (
            "--nthreads",
            str(threads),
            "--no-nanny",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--local-directory",
            self.folder,
        )
        worker = self._start("dask_worker", self.address, *words, python_path=python_path)
        self.workers.append(worker)
        until = time.monotonic() + PATIENCE_S
        while self.count() == before and time.monotonic() < until:
            time.sleep(0.1)
        assert self.count() == before + 1, (self.folder / "log.txt").read_text()[-3000:]
        return worker

    def count(self) -> int:
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return len(client.ncores())

    def _start(
        self, module: str, *words: object, python_path: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(python_path)}
        with (self.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *map(str, words)],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def cluster(folder: Path, *, workers: int = 0) -> Iterator[Cluster]:
    """Start a scheduler and some good workers; end them all."""
    made = Cluster(folder)
    try:
        for _ in range(workers):
            made.add_worker()
        yield made
    finally:
        made.stop()
