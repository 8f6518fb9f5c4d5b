"""Real `ifquant run` processes, killed at chosen or random moments and started again. Shared with
benchmarks/same_bytes.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from outputs_compared import same_outputs

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 180
KILL_AT = """
import os, signal, sys
from ifquant import cli
from ifquant.files import storage
left = int(sys.argv.pop(1))
def count_down(operation, path):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
storage.before_mutation = count_down
cli.main()
"""
"""`ifquant` that kills itself before its n-th change to the disk: moments that a clock rarely
hits."""


@dataclass
class Request:
    """One run, by its words."""

    recipe: Path
    images: list[Path]
    out: Path
    tile_size: int = 160
    workers: int = 1
    more: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        options = ["--tile-size", self.tile_size, "--workers", self.workers, "-q"]
        return [
            str(word)
            for word in (
                "run",
                "-r",
                self.recipe,
                "-o",
                self.out,
                *options,
                *self.more,
                *self.images,
            )
        ]


def start(request: Request, *, kill_at: int | None = None) -> subprocess.Popen[str]:
    """Start a run as the leader of its own process group; with `kill_at` it kills itself before
    that change to the disk.
    """
    program = ["-m", "ifquant.cli"] if kill_at is None else ["-c", KILL_AT, str(kill_at)]
    return subprocess.Popen(
        [sys.executable, *program, *request.words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a run; its exit code and what it said."""
    said = process.communicate(timeout=PATIENCE_S)[1]
    return process.returncode, said


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Worker processes of a run."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
    return found


def tiles_done(out: Path, slide: str = "*") -> int:
    """How many tiles are finished; a file still being written has a name that begins with a dot
    (and a glob's * takes it).
    """
    return sum(
        not path.name.startswith(".") for path in out.glob(f"{slide}/.unfinished/*/tiles/*.npz")
    )


def slides_done(out: Path) -> int:
    return len(list(out.glob("*/slide.json")))


def wait_for(condition: object, process: subprocess.Popen[str]) -> None:
    """Wait until `condition()` holds, while the run goes on."""
    assert callable(condition)
    until = time.monotonic() + PATIENCE_S
    while not condition() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    assert condition(), process.communicate()[1]


def stop_group(process: subprocess.Popen[str]) -> None:
    """SIGKILL a run and all its children at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)


@dataclass
class Moment:
    """One kill: how, when, and what was there."""

    how: str
    at: float
    tiles: int
    slides: int

    def __str__(self) -> str:
        unit = "changes" if self.how == "self" else "s"
        return f"{self.how} at {self.at:.2f} {unit}: {self.tiles} tiles, {self.slides} slides done"


def killed_until_done(
    request: Request,
    whole: Path,
    how: str,
    rng: random.Random,
    *,
    kills: int,
    lasts_s: float,
    changes: int,
) -> list[Moment]:
    """Kill one request's run again and again, let the last run finish, and compare with the
    uninterrupted run.

    Parameters
    ----------
    how
        ``self``: before a random change to the disk; ``group``: SIGKILL to the run and its workers;
        ``parent``: to the run alone, its workers must end themselves; ``worker``: to one worker,
        the run must go on by itself; ``interrupt``: SIGINT to all, as Ctrl-C.
    lasts_s, changes
        How long an uninterrupted run takes, and how many changes to the disk it makes: the range of
        random moments.

    Raises
    ------
    AssertionError
        If anything differs, or is left over.
    """
    moments: list[Moment] = []
    done = False
    while not done:
        last = len(moments) >= kills
        at = rng.uniform(0, lasts_s) if how != "self" else rng.randrange(changes)
        process = start(request, kill_at=int(at) if how == "self" and not last else None)
        if not last and how != "self":
            if how == "worker":  # only while there are workers with something to do
                wait_for(lambda wanted=at / lasts_s: tiles_done(request.out) > 4 * wanted, process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=at if how != "worker" else 0)
            if process.poll() is None:
                moments.append(Moment(how, at, tiles_done(request.out), slides_done(request.out)))
                done = _end(process, how, rng)
                continue
        code, said = finish(process)
        if how == "self" and code == -signal.SIGKILL:
            moments.append(Moment(how, at, tiles_done(request.out), slides_done(request.out)))
            continue
        assert code == 0, f"exit code {code}: {said}"
        done = True
    same_outputs(request.out, whole)
    return moments


def _end(process: subprocess.Popen[str], how: str, rng: random.Random) -> bool:
    """End a run in one of the ways; whether it went on to its end nevertheless."""
    if how == "group":
        stop_group(process)
        return False
    if how == "parent":
        workers = workers_of(process)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, f"orphans: {alive}"
        process.communicate()
        return False
    if how == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
        code, said = finish(process)
        assert code in (130, -signal.SIGINT, 0), f"exit code {code}: {said}"
        return code == 0
    workers = workers_of(process)
    if workers:
        with contextlib.suppress(psutil.Error):
            rng.choice(workers).kill()
    code, said = finish(process)
    assert code == 0, f"exit code {code}: {said}"
    return True
