"""CPU seconds and memory of `ifquant run`, stage by stage, on a simulated slide, beside
scikit-image on the same pixels and labels.

    python benchmarks/pipeline.py --size 4096 [--method classical] [--tile-size 2048]
    [--no-scikit-image]

Stages are timed by wrapping the functions the pipeline calls; nested stages are subtracted from
those around them. The peak is that of the whole process tree. Kernels are compiled before (a run on
a small slide), files are in the page cache. What a run costs whatever the slide is timed apart: a
process of its own on a slide of 64 x 64 px. At the end `regionprops_table` measures what
`ifquant.quantify` does, on the label images that this run wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import quantification
from common import memory_mb, recipe_for

import ifquant
from ifquant.execution.executors import Execution
from ifquant.execution.threads import one_thread_per_library
from ifquant.geometry.windows import Window
from ifquant.simulation.simulated_slides import simulate_slides
from ifquant.slides.slide import SlideRef, read_labels

STAGES = (
    ("hash the file", "ifquant.slides.slide", "fingerprint"),
    ("read pixels", "ifquant.slides.slide", "Slide.read"),
    ("calibrate", "ifquant.pipeline.slide_measurement", "calibrate_slide"),
    ("network maps", "ifquant.pipeline.slide_measurement", "compute_maps"),
    ("nuclei", "ifquant.pipeline.tile", "_nuclei"),
    ("cells", "ifquant.cells.growth", "grow_cells"),
    ("measure", "ifquant.cells.measurement", "measure_cells"),
    ("tiles, rest", "ifquant.pipeline.slide_measurement", "compute_tile"),
    ("assemble", "ifquant.pipeline.slide_measurement", "assemble"),
    ("gates, phenotypes", "ifquant.pipeline.slide_classification", "classify_cells"),
    ("proximity", "ifquant.proximity.distances", "proximity"),
    ("table stage, rest", "ifquant.commands.run", "finish_slide"),
    ("write tables", "ifquant.results.slide_outputs", "write_cells"),
    ("write labels", "ifquant.results.slide_outputs", "write_labels"),
    ("outputs, rest (pictures)", "ifquant.results.slide_outputs", "write_slide"),
    ("report", "ifquant.report.run_page", "write_report"),
)


class Clock:
    """CPU seconds per stage, nested stages counted once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stack: list[float] = []

    def timed(self, stage: str, function: Any) -> Any:
        """Wrap a function so that its time counts for `stage`."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            self._stack.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.process_time() - started
                own = spent - self._stack.pop()
                self.seconds[stage] = self.seconds.get(stage, 0.0) + own
                if self._stack:
                    self._stack[-1] += spent

        return wrapper


def install(clock: Clock) -> None:
    """Wrap every stage where the pipeline looks it up."""
    for stage, module_name, path in STAGES:
        holder: Any = importlib.import_module(module_name)
        *parents, name = path.split(".")
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, name, clock.timed(stage, getattr(holder, name)))


@contextlib.contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Peak resident memory of this process and its children in MB, sampled every 20 ms."""
    found, done, own = {"mb": 0.0}, threading.Event(), psutil.Process(os.getpid())

    def watch() -> None:
        while not done.wait(0.02):
            found["mb"] = max(found["mb"], memory_mb(own))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def fixed_cost(folder: Path, method: str) -> float:
    """CPU seconds of a process that runs a slide of 64 x 64 px: start-up, report, the least
    pictures.
    """
    slide = next(iter(simulate_slides(folder, n=1, size=64, seed=3)))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pipeline;"
        " pipeline.run_alone(*sys.argv[2:])"
    )
    before = os.times()
    command = [
        sys.executable,
        "-c",
        code,
        str(Path(__file__).parent),
        method,
        str(slide),
        str(folder / "out"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def run_alone(method: str, slide: str, out: str) -> None:
    """Run one slide, as `fixed_cost` does in a process of its own."""
    result = ifquant.run(recipe_for(method), [slide], out, execution=Execution(quiet=True))
    assert result.exit_code == 0, result.summary_lines()


def beside_scikit_image(slide: Path, folder: Path) -> None:
    """Time `ifquant.quantify` and `regionprops_table` on the pixels and the labels of a finished
    slide, and compare their answers.
    """
    with SlideRef((str(slide),)).open() as opened:
        whole = Window(0, 0, *opened.info.shape[1:])
        image = opened.read(range(len(quantification.NAMES)), whole)
    labels = {
        kind: read_labels(folder / "labels.ome.zarr", kind, whole).astype(np.int32)
        for kind in ("nuclei", "cells")
    }
    data = {"image": image, **labels}
    wanted = dict.fromkeys(quantification.BOTH, ("mean", "median", "sum"))
    small = {kind: np.ascontiguousarray(array[..., :300, :300]) for kind, array in data.items()}
    answers = {}
    for name, job in (
        (
            "ifquant.quantify",
            lambda data: quantification.ours(data, statistics=wanted, solidity=False),
        ),
        ("scikit-image regionprops_table", lambda data: quantification.skimage(data, False)),
    ):
        job(small)
        started = time.process_time()
        answers[name] = job(data)
        print(
            f"  {name:<32}{time.process_time() - started:8.2f} CPU s  (nuclei + cells: mean,"
            " median, sum, shape)",
            flush=True,
        )
    ours, (_, theirs) = answers.values()
    for c, name in enumerate(quantification.NAMES):
        np.testing.assert_allclose(
            ours[f"{name}_cell_mean"], theirs[f"intensity_mean-{c}"], rtol=1e-6
        )
        np.testing.assert_array_equal(ours[f"{name}_cell_median"], theirs[f"median-{c}"])
    print("  their means (to 1e-6) and medians of all cells agree")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--method", default="classical")
    parser.add_argument("--tile-size", type=int, default=Execution().tile_size_px)
    parser.add_argument(
        "--no-scikit-image",
        action="store_true",
        help="leave out the comparison, which takes a minute",
    )
    parser.add_argument(
        "--slide",
        type=Path,
        help="use this slide (five channels as simulated) instead of simulating one",
    )
    options = parser.parse_args()
    one_thread_per_library()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        small = next(iter(simulate_slides(root / "small", n=1, size=512, seed=1)))
        slide = options.slide or next(
            iter(simulate_slides(root / "slide", n=1, size=options.size, seed=7))
        )
        recipe = recipe_for(options.method)
        ifquant.run(recipe, [small], root / "warm", execution=Execution(quiet=True))
        clock = Clock()
        install(clock)
        with peak_memory() as peak:
            started, wall = time.process_time(), time.perf_counter()
            result = ifquant.run(
                recipe,
                [slide],
                root / "out",
                execution=Execution(quiet=True, tile_size_px=options.tile_size),
            )
            total, wall = time.process_time() - started, time.perf_counter() - wall
        assert result.exit_code == 0, result.summary_lines()
        import pandas as pd

        n = int(pd.read_csv(root / "out" / "slides.csv")["n_cells"].iloc[0])
        print(f"{slide.name}: {n} cells, method {options.method}, tiles of {options.tile_size} px")
        for stage, seconds in [
            *clock.seconds.items(),
            ("everything else", total - sum(clock.seconds.values())),
        ]:
            print(f"  {stage:<28}{seconds:8.2f} CPU s")
        fixed = fixed_cost(root / "tiny", options.method)
        print(
            f"  {'ifquant run':<28}{total:8.2f} CPU s, {wall:.1f} s wall, peak {peak['mb']:.0f} MB"
        )
        print(
            f"  of which on a slide of 64 x 64 px, with the start of the process: {fixed:.2f} CPU s"
        )
        if not options.no_scikit_image:
            beside_scikit_image(
                slide, next(path.parent for path in (root / "out").glob("*/slide.json"))
            )


if __name__ == "__main__":
    main()
