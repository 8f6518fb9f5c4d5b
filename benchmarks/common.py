"""What benchmarks share: the helper modules of tests/, memory of processes, rows and logs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from tissue import PANELS  # noqa: E402
from tissue import recipe_for as recipe_of_panel  # noqa: E402

from ifquant.recipe.model import Recipe  # noqa: E402

IFQUANT = [sys.executable, "-c", "from ifquant.cli import main; main()"]
"""The command line program, run from the source beside this folder."""


def recipe_for(method: str) -> Recipe:
    """Recipe of a simulated slide, at its defaults, with a method of segmentation."""
    return recipe_of_panel(PANELS["tgfb_il1b"], segmentation={"method": method})


class Log:
    """Prints lines, and keeps a file with all of them up to date."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.text = path, ""

    def __call__(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        self.text += line + "\n"
        if self.path:
            self.path.write_text(self.text)


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Rows of a file with one JSON object per line; none without a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a process and its children; shared pages count for each."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        total = process.memory_info().rss / 1e6
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss / 1e6
    return total


def watch(
    process: subprocess.Popen[Any], see: Callable[[float, float], None], every_s: float
) -> None:
    """Call `see(seconds, MB)` with the memory of a process tree until the process ends."""
    own, started = psutil.Process(process.pid), time.perf_counter()
    while process.poll() is None:
        see(time.perf_counter() - started, memory_mb(own))
        time.sleep(every_s)
