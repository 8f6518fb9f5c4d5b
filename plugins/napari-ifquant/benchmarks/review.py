"""Speed and memory of the review on a large slide: open, next pair, recolor after a gate moves. In
a real window.

``python plugins/napari-ifquant/benchmarks/review.py FOLDER [SIDE]``: the slide (simulated tissue
repeated, its true cells as masks) and its results are made in FOLDER on the first call. Times are
wall seconds and, in brackets, CPU seconds of this process.
"""

from __future__ import annotations

import ifquant.cli  # isort: skip

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import ifquant
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window
from ifquant.recipe.model import Recipe
from ifquant.simulation.simulated_window import CHANNELS, SimulationOptions, simulate_window
from ifquant.slides import tiff_writer

TILE_PX = 2048
GATES = {"PanCK": 340.0, "CD11c": 300.0, "TGFB1": 250.0, "IL1B": 250.0}


def make(folder: Path, side: int) -> Path:
    """Write slide, masks and results, unless they are there."""
    results = folder / f"results_{side}"
    if (results / "run.json").is_file():
        return results
    field = simulate_window(
        SimulationOptions(size=(TILE_PX, TILE_PX), seed=5), Window(0, 0, TILE_PX, TILE_PX)
    )
    n = side // TILE_PX
    image = np.tile(field.image, (1, n, n))
    top = int(field.cells.max())
    shift = np.kron(
        np.arange(n * n).reshape(n, n) * top, np.ones((TILE_PX, TILE_PX), np.int64)
    ).astype(np.uint32)
    masks = [
        np.where(np.tile(m, (n, n)) > 0, np.tile(m, (n, n)) + shift, 0).astype(np.uint32)
        for m in (field.nuclei, field.cells)
    ]
    slides, nuclei, cells = (folder / f"{name}_{side}" for name in ("slides", "nuclei", "cells"))
    tiff_writer.write_image(slides / "big.ome.tif", image, names=list(CHANNELS), pixel_size_um=0.5)
    for where, mask in zip((nuclei, cells), masks, strict=True):
        tiff_writer.write_image(where / "big.tif", mask, pixel_size_um=0.5, labels=True)
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
    recipe = Recipe.model_validate(
        {
            "channels": [{"name": name, "role": roles.get(name, "marker")} for name in CHANNELS],
            "segmentation": {
                "method": "labels",
                "nuclei": str(nuclei / "big.tif"),
                "cells": str(cells / "big.tif"),
            },
            "gates": {
                "markers": {
                    marker: {"method": "value", "value": value} for marker, value in GATES.items()
                }
            },
            "priming": {"response": "IL1B", "ligand": "TGFB1"},
            "outputs": {"csv": False},
        }
    )
    result = ifquant.run(recipe, [slides / "big.ome.tif"], results, execution=Execution(quiet=True))
    assert result.exit_code == 0, result.summary_lines()
    return results


def timed(name: str, act: Callable[[], Any], repeat: int = 1) -> Any:
    """Do something and tell how long it took."""
    from qtpy.QtWidgets import QApplication

    wall, cpu = [], []
    out = None
    for _ in range(repeat):
        t, c = time.perf_counter(), time.process_time()
        out = act()
        QApplication.processEvents()
        wall.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
    print(
        f"{name:<46} {np.median(wall):7.3f} s  ({np.median(cpu):.3f})  max {max(wall):.3f}",
        flush=True,
    )
    return out


def main() -> None:
    """Measure."""
    folder, side = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 8192
    results = make(folder, side)

    from qtpy.QtWidgets import QApplication

    from napari_ifquant.launch import open_review, own_viewer

    process = psutil.Process()
    viewer = own_viewer()
    viewer.window._qt_window.resize(1500, 950)
    QApplication.processEvents()
    started = time.time() - process.create_time()
    print(
        f"{'program started, an empty window':<46} {started:7.3f} s  ({time.process_time():.3f}) "
        " with what this benchmark made"
    )
    print(f"memory before {process.memory_info().rss / 2**20:.0f} MB")
    _, widget = timed("open the slide for review", lambda: open_review(results, viewer=viewer))
    review = widget.review
    print(
        f"{len(review.view.subject)} cells, pixels from the {review.view.source}; memory"
        f" {process.memory_info().rss / 2**20:.0f} MB"
    )
    timed("draw it", lambda: viewer.screenshot(flash=False))
    timed("next pair", lambda: (review.next(), viewer.screenshot(flash=False)), 15)
    timed("accept and go on", lambda: (review.accept(), viewer.screenshot(flash=False)), 10)
    viewer.reset_view()
    timed("whole slide on view", lambda: viewer.screenshot(flash=False))
    values = iter(np.linspace(300, 420, 30))
    timed(
        "gate moved, whole slide on view",
        lambda: (review.preview_gate("PanCK", float(next(values))), viewer.screenshot(flash=False)),
        10,
    )
    timed(
        "gate moved, without the screenshot",
        lambda: review.preview_gate("PanCK", float(next(values))),
        10,
    )
    viewer.scene.camera.zoom = 1.0
    steps = iter(np.linspace(300, side * 0.5 - 300, 12))

    def pan() -> None:
        viewer.scene.camera.center = (float(next(steps)), side * 0.25)
        viewer.screenshot(flash=False)

    timed("pan", pan, 10)
    print(
        f"memory {process.memory_info().rss / 2**20:.0f} MB, peak of the process"
        f" {_peak_mb():.0f} MB"
    )
    widget.close_review()
    viewer.close()


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
