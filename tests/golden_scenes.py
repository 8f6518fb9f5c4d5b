"""Scenes whose outputs must not change when the code is only moved: tools/golden.py compares them
between revisions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from point_cohorts import write_cohort
from reviewing import Clock, recipe, run_slide, subject_of
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.commands.review_apply import apply_reviews
from ifquant.commands.review_log import ReviewLog
from ifquant.execution.executors import Execution
from ifquant.review.review_session import ReviewSession

QUIET = Execution(quiet=True)
PRIMING = {"response": "IL1B", "ligand": "TGFB1", "min_exposed": 30, "permutations": 199}


def inputs(scene: str, out: str) -> None:
    """Make what a scene starts from, in its folder `inputs`."""
    place = Path(out) / "inputs"
    place.mkdir(parents=True)
    if scene == "panels":
        for name in ("tgfb_il1b", "all_at_once"):
            write_slide(place / f"{name}.ome.tif", simulated(700, 720, seed=5).image, PANELS[name])
    elif scene == "cohort":
        rows = ["slide,path,patient,group"]
        for seed in range(4):
            write_slide(
                place / f"s{seed}.ome.tif",
                simulated(900, 900, seed=40 + seed, effect=0.8).image,
                PANELS["tgfb_il1b"],
            )
            rows.append(f"s{seed},s{seed}.ome.tif,P{seed},{'ab'[seed % 2]}")
        (place / "samples.csv").write_text("\n".join(rows) + "\n")
    elif scene == "foreign":
        write_cohort(place, beta=0.6, n=6)


def outputs(scene: str, out: str) -> None:
    """Make the outputs of a scene."""
    {
        "examples": examples,
        "panels": panels,
        "cohort": cohort,
        "foreign": foreign,
        "review": review,
    }[scene](Path(out))


def run(recipe: Any, images: list[Path], out: Path, **more: Any) -> None:
    """Run, and keep the label images as arrays beside the results."""
    result = ifquant.run(recipe, images, out, execution=QUIET, **more)
    assert result.exit_code == 0, result.summary_lines()
    for status in result.slides:
        keep_labels(out / status.name)


def keep_labels(folder: Path) -> None:
    """Write the label images of a slide as raw bytes, which do not depend on how a store packs
    them.
    """
    for kind in ("nuclei", "cells"):
        labels: Any = zarr.open_array(
            str(folder / "labels.ome.zarr" / "labels" / kind / "0"), mode="r"
        )
        (folder / f"{kind}.labels.bin").write_bytes(
            repr(labels.shape).encode() + labels[...].tobytes()
        )


def examples(out: Path) -> None:
    """What `make example` does."""
    run(
        Path("example_images/recipe.toml"),
        [],
        out / "results",
        samples=Path("example_images/samples.csv"),
    )


def panels(out: Path) -> None:
    """Two panels of channels, by the classical method."""
    for name in ("tgfb_il1b", "all_at_once"):
        run(recipe_for(PANELS[name]), [out / "inputs" / f"{name}.ome.tif"], out / name)


def cohort(out: Path) -> None:
    """Four slides of four patients with [priming], and the question asked of them."""
    asked = recipe(priming=PRIMING)
    run(asked, [], out / "results", samples=out / "inputs" / "samples.csv")
    ifquant.analyze(
        out / "results",
        asked,
        out / "analysis",
        samples=out / "inputs" / "samples.csv",
        execution=QUIET,
    )


def foreign(out: Path) -> None:
    """A cohort of another program's table."""
    table, asked, sheet = (
        out / "inputs" / name for name in ("cells.csv", "recipe.toml", "samples.csv")
    )
    ifquant.analyze(table, asked, out / "analysis", samples=sheet, execution=QUIET)


def touching(results: Path) -> list[tuple[int, int]]:
    """Pairs of neighbors in the label image, in raster order."""
    labels: Any = zarr.open_array(
        str(results / "a" / "labels.ome.zarr" / "labels" / "cells" / "0"), mode="r"
    )
    left, right = labels[...][:, :-1], labels[...][:, 1:]
    meet = (left != right) & (left > 0) & (right > 0)
    return list(
        dict.fromkeys((int(a), int(b)) for a, b in zip(left[meet], right[meet], strict=True))
    )


def review(out: Path) -> None:
    """A slide reviewed, with a decision of every kind; applied."""
    results = run_slide(out / "inputs", priming=PRIMING).rename(out / "results")
    subject = subject_of(results)
    with ReviewLog(results / "a", "anna") as log:
        session = ReviewSession(subject, "anna", save=log.append, clock=Clock())
        ids = [int(i) for i in subject.ids]
        session.accept(ids[3])
        session.change_phenotype(ids[5], "tumor")
        session.exclude(ids[7], "fold")
        pair = next(pair for pair in touching(results) if not {ids[3], ids[5], ids[7]} & set(pair))
        session.merge(*pair)
        session.undo()
        session.redo()
        session.change_gate("PanCK", 360.0, "foot of the peak")
        session.exclude_region([(5.0, 5.0), (60.0, 5.0), (60.0, 60.0), (5.0, 60.0)], "artefact")
    assert apply_reviews(results).exit_code == 0
    for folder in (results / "a", results / "a" / "reviewed"):
        keep_labels(folder)
