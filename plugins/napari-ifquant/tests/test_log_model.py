"""Random keys in real windows: after each of them the log on the disk is what a pure model says,
and so is the cell on view.

IFQUANT_SEQUENCES=300 runs that many sequences instead of the short form.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_model import EDITS
from reviewer import KEYS, Headless, Reviewer, Windowless

from napari_ifquant import keys

SEQUENCES = int(os.environ.get("IFQUANT_SEQUENCES", "3"))
EVENTS = 40
FOCI = ("canvas", "dock", "floating")


def test_the_reviewer_knows_every_key() -> None:
    spelled = {"-": "Minus", "=": "Equal"}
    assert set(KEYS) == {
        spelled.get(name, name.replace("Control-", "Control+").replace("Shift-", "Shift+"))
        for key in keys.KEYS
        for name in key.keys
    }


def test_random_keys_without_windows(results: Path) -> None:
    from napari.components import ViewerModel

    events, lines = 0, Counter[str]()
    for seed in range(1000, 1000 + 2 * SEQUENCES):
        viewer = ViewerModel()
        viewer.add_labels(
            np.zeros((40, 40), np.uint8), name="mine", scale=(0.5, 0.5), units=("um", "um")
        )
        reviewer = Windowless(viewer, Headless(viewer, results / "a", f"r{seed}"), seed, "canvas")
        for _ in range(EVENTS):
            reviewer.step()
        reviewer.finish()
        events += EVENTS
        lines += Counter(line.action for log in reviewer.logs.values() for line in log.lines)
        if len(FOCI) < SEQUENCES:
            print(
                f"{seed} without windows: {events} events, lines {dict(sorted(lines.items()))}",
                flush=True,
            )
    assert {"undo", "redo", *EDITS} <= set(lines)


@pytest.mark.parametrize("focus", FOCI)
def test_random_keys_leave_the_log_that_was_meant(
    focus: str, results: Path, viewers: list[Any]
) -> None:
    from napari_ifquant.launch import open_review

    shutil.copytree(results / "a", results / "b")
    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    viewer.add_labels(
        np.zeros((40, 40), np.uint8), name="mine", scale=(0.5, 0.5), units=("um", "um")
    )
    gc.freeze()  # napari looks through all objects at every layer that goes
    events, lines = Counter[str](), Counter[str]()
    for seed in range(FOCI.index(focus), SEQUENCES, len(FOCI)):
        reviewer = Reviewer(viewer, widget, seed, focus)
        for _ in range(EVENTS):
            reviewer.step()
        reviewer.finish()
        events += reviewer.events
        lines += Counter(line.action for log in reviewer.logs.values() for line in log.lines)
        if len(FOCI) < SEQUENCES:
            print(
                f"{seed} {focus}: {events.total()} events, lines {dict(sorted(lines.items()))}",
                flush=True,
            )
    gc.unfreeze()
    assert {"undo", "redo"} <= set(lines)
