"""A small slide through a run, to be reviewed: made once, copied where a test writes."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.commands.review_subject import load_subject
from ifquant.execution.executors import Execution
from ifquant.geometry.runs import CellRuns, paint
from ifquant.geometry.windows import Window
from ifquant.recipe.model import Recipe
from ifquant.results.run_record import run_recipe
from ifquant.review.decisions import Decision
from ifquant.review.log_lines import FIRST, to_line
from ifquant.review.review_session import ReviewSession
from ifquant.review.subject import Labels, Subject

GATES = {"PanCK": 340.0, "CD11c": 300.0, "TGFB1": 250.0, "IL1B": 250.0}
"""Given gates: small slides hold too few cells for fitted ones."""
START = datetime.datetime(2026, 3, 1, 9, 0, tzinfo=datetime.UTC)


class Clock:
    """A second later at every look."""

    def __init__(self, start: datetime.datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime.datetime:
        self.now += datetime.timedelta(seconds=1)
        return self.now


def recipe(**more: Any) -> Recipe:
    gates = {
        "markers": {marker: {"method": "value", "value": value} for marker, value in GATES.items()}
    }
    return recipe_for(PANELS["tgfb_il1b"], gates=gates, **more)


def run_slide(
    folder: Path,
    seed: int = 11,
    name: str = "a",
    size: tuple[int, int] = (420, 480),
    effect: float = 0.0,
    **more: Any,
) -> Path:
    """Write and run one slide; returns the folder of the results."""
    slide = write_slide(
        folder / f"{name}.ome.tif",
        simulated(*size, seed=seed, effect=effect).image,
        PANELS["tgfb_il1b"],
    )
    result = ifquant.run(
        recipe(**more), [slide], folder / "results", execution=Execution(quiet=True)
    )
    assert result.exit_code == 0, result.summary_lines()
    return folder / "results"


def subject_of(results: Path, name: str = "a") -> Subject:
    return load_subject(results / name, run_recipe(results))


def session_on(
    subject: Subject,
    reviewer: str = "anna",
    decisions: tuple[Decision, ...] = (),
    clock: Clock | None = None,
    save: Callable[[Decision], object] = lambda _: None,
) -> ReviewSession:
    return ReviewSession(subject, reviewer, decisions, save=save, clock=clock or Clock())  # type: ignore[arg-type]


def log_of(decisions: Sequence[Decision]) -> bytes:
    """Whole log of these decisions."""
    lines, previous = [], FIRST
    for decision in decisions:
        line, previous = to_line(decision, previous)
        lines.append(line + "\n")
    return "".join(lines).encode()


class GeometryInMemory:
    """Outlines as runs; `ids` name the objects, ascending."""

    def __init__(self, ids: NDArray[np.int64], nuclei: CellRuns, cells: CellRuns) -> None:
        self._ids, self._nuclei, self._cells = ids, nuclei, cells

    def of(self, row: int) -> tuple[CellRuns, CellRuns]:
        return self._nuclei.take([row]), self._cells.take([row])

    def anchor(self, row: int) -> tuple[int, int]:
        nucleus = self._nuclei.take([row])
        return int(nucleus.y[0]), int(nucleus.x0[0])

    def centroid_px(self, row: int) -> tuple[float, float]:
        box = Window(*self._cells.bounding_boxes[row].tolist())
        y, x = np.nonzero(paint(self._cells.take([row]), [1], box))
        return float(y.mean() + box.y0 + 0.5), float(x.mean() + box.x0 + 0.5)

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        nuclei, cells = (paint(runs, self._ids, window) for runs in (self._nuclei, self._cells))
        return nuclei.astype(np.int64), cells.astype(np.int64)

    def area(self, rows: NDArray[np.bool_]) -> CellRuns:
        return self._cells.take(rows)

    def all(self) -> tuple[CellRuns, CellRuns]:
        return self._nuclei, self._cells


def copied(template: Path, folder: Path) -> Path:
    """Copy of a slide's folder with its results; the copy's slide stays where it was."""
    return Path(shutil.copytree(template, folder / "results"))
