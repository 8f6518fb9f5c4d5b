"""What a user sees while a run goes on: a bar with rate and time left on a terminal, plain lines
elsewhere, nothing when quiet.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger("ifquant")

HEARTBEAT_S = 30.0


class Reporter:
    """Shows stages of slides; one instance per run."""

    def __init__(self, *, quiet: bool) -> None:
        self._terminal = sys.stderr.isatty() and not quiet
        self._quiet = quiet
        self._last = 0.0
        self._done: dict[str, int] = {}
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def slide(self, name: str, number: int, total: int) -> Iterator[Reporter]:
        """Show the progress of one slide."""
        self._done.clear()
        self._tasks.clear()
        self.say(f"[{number}/{total}] {name}")
        if not self._terminal:
            yield self
            return
        columns = (
            TextColumn("  {task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Progress(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as self._bar:
            yield self
        self._bar = None

    def advance(self, stage: str, done: int, total: int) -> None:
        """`done` more of the `total` parts of a stage are finished."""
        self._done[stage] = self._done.get(stage, 0) + done
        if self._bar is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bar.add_task(stage, total=total, rate="")
            task = self._bar.tasks[[t.id for t in self._bar.tasks].index(self._tasks[stage])]
            rate = f"{task.speed:.2f}/s" if task.speed else ""
            self._bar.update(
                self._tasks[stage],
                total=total,
                completed=self._done[stage] % (total + 1) or total,
                rate=rate,
            )
        elif time.monotonic() - self._last > HEARTBEAT_S:
            self.say(f"  {stage} {self._done[stage]}/{total}")

    def say(self, text: str) -> None:
        """Log a line; shown unless quiet."""
        self._last = time.monotonic()
        logger.info(text)
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)
