"""Slide, patient and group are nowhere on screen when hidden; and the same look at the screen finds
them when they are not.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from screens import key, wait, words_on_screen

SLIDE, PATIENT, GROUP, VISIT = "okafor_t2", "P-0815", "anti-TGFB-arm", "week-12"
SECRETS = ("okafor", PATIENT, GROUP, VISIT)


@pytest.fixture(scope="module")
def sheeted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run with a sample sheet."""
    from reviewing import PANELS, recipe, simulated, write_slide

    import ifquant
    from ifquant.execution.executors import Execution

    folder = tmp_path_factory.mktemp("sheet")
    slide = write_slide(
        folder / f"{SLIDE}.ome.tif", simulated(260, 260, seed=11).image, PANELS["tgfb_il1b"]
    )
    (folder / "samples.csv").write_text(
        f"slide,patient,group,visit\n{slide.name},{PATIENT},{GROUP},{VISIT}\n"
    )
    run = ifquant.run(
        recipe(),
        [slide],
        folder / "results",
        samples=folder / "samples.csv",
        execution=Execution(quiet=True),
    )
    assert run.exit_code == 0, run.summary_lines()
    return folder / "results"


def test_slide_patient_and_group_are_nowhere_when_hidden(
    sheeted: Path, tmp_path: Path, viewers: list[Any]
) -> None:
    from napari_ifquant.gates_widget import GatesWidget
    from napari_ifquant.launch import open_review

    results = Path(shutil.copytree(sheeted, tmp_path / "results"))
    viewer, widget = open_review(results)
    viewers.append(viewer)
    viewer.window.add_dock_widget(GatesWidget(viewer), name="Gates", area="right", tabify=True)
    assert told(viewer) == set(SECRETS), (
        "the control: all of them are on screen when nothing is hidden"
    )
    assert widget.panel.slide.text() == f"{SLIDE}, patient {PATIENT}, group {GROUP}, visit {VISIT}"

    widget.choice.form.hide_sample.setChecked(True)
    widget.start()
    assert widget.panel.slide.text() == "slide 1"
    assert told(viewer) == set()
    for name in ("A", "N", "X", "U", "K", "S", "Escape", "R", "Escape", "E", "Escape"):
        key(viewer, name)
        assert told(viewer) == set(), name
    widget.apply()
    wait(lambda: widget.choice.apply_button.isEnabled())
    assert widget.message.text().startswith("slide 1: "), widget.message.text()
    assert told(viewer) == set()
    widget.review.layers.named("cell centers").visible = True
    assert np.asarray(viewer.screenshot(canvas_only=False, flash=False)).any()
    assert told(viewer) == set()
    assert widget.review.session.decisions[0].queue.hidden == ("sample",)

    widget.choice.form.hide_sample.setChecked(False)
    widget.start()
    assert told(viewer) == set(SECRETS)
    widget.close_review()


def told(viewer: Any) -> set[str]:
    """Which secrets can be read."""
    words = words_on_screen(viewer)
    return {secret for secret in SECRETS if any(secret in text for text in words)}


def test_the_gates_dock_follows_what_a_new_review_hides(
    sheeted: Path, tmp_path: Path, viewers: list[Any]
) -> None:
    from napari_ifquant.gates_widget import NO_REVIEW, GatesWidget
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(Path(shutil.copytree(sheeted, tmp_path / "results")))
    viewers.append(viewer)
    gates = GatesWidget(viewer)
    viewer.window.add_dock_widget(gates, name="Gates", area="right", tabify=True)
    gates.marker.setCurrentText("IL1B")
    widget.choice.form.blind.setChecked(True)
    widget.start()
    assert [gates.marker.itemText(i) for i in range(gates.marker.count())] == ["PanCK", "CD11c"]
    assert "IL1B" not in gates.text.text()
    widget.close_review()
    assert gates.marker.count() == 0
    assert gates.text.text() == NO_REVIEW
    assert gates.histogram.gate is None
