"""The same through pixels: tissues segmented once, ligand and response redrawn, rendered and measured many times each.

    python benchmarks/calibration_pixels.py --out pixels.jsonl [--tissues 26 --draws 6]

Everything between truth and p-value is in it: optics, light that crosses contacts, camera, bleed-through, segmentation errors, wrong
phenotypes, the calibrated background, contacts measured at their pixels. Intervals are over tissues (t): the draws of a tissue share its
cells.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import cKDTree

import ifquant
from ifquant.base.runs import runs_of
from ifquant.base.tiles import Window
from ifquant.cells.contacts import measure_contacts
from ifquant.cells.measure import quantify
from ifquant.pipeline.execution import Execution
from ifquant.recipes.recipe import Recipe
from ifquant.simulation.simulate import CHANNELS, SimulationOptions, make_scene, render
from ifquant.simulation.simulate_cells import EXPOSURE_UM
from ifquant.simulation.simulate_options import MYELOID, TUMOR
from ifquant.simulation.simulate_places import KIND, X, Y
from ifquant.simulation.simulate_points import gaussian_field
from ifquant.simulation.simulate_stains import levels_of
from ifquant.slides import tiff_writer
from ifquant.slides.omezarr import read_labels
from ifquant.spatial.proximity import touching_pairs
from ifquant.statistics.priming import analyse_slide
from ifquant.statistics.question import Background, question_of
from ifquant.tables.results import read_result

SIDE_PX = 1600
PIXEL_UM = 0.5
SCENARIOS = {"range 20 um": (20.0, 0.0), "range 50 um": (50.0, 0.0), "range 150 um": (150.0, 0.0), "effect 0.5": (50.0, 0.5)}
SMOOTH = 0.6
TESTS = ("naive", "shift", "clifford_dutilleul", "surrogate")


def recipe(method: str) -> Recipe:
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
    channels = [{"name": name, "role": roles.get(name, "marker")} for name in CHANNELS]
    channels[3]["compartment"], channels[4]["compartment"] = "membrane", "cytoplasm"
    priming = {"response": "IL1B", "ligand": "TGFB1", "permutations": 199, "min_exposed": 60}
    return Recipe.model_validate({"channels": channels, "segmentation": {"method": method}, "priming": priming, "seed": 1})


class FixedTissue:
    """One simulated slide, segmented once by `ifquant run`."""

    def __init__(self, seed: int, method: str, folder: Path) -> None:
        self.options = SimulationOptions(size=(SIDE_PX, SIDE_PX), seed=seed, pixel_size_um=PIXEL_UM)
        self.window = Window(0, 0, SIDE_PX, SIDE_PX)
        self.scene = make_scene(self.options, self.window)
        self.levels = levels_of(self.scene.cells, self.options)
        self.recipe = recipe(method)
        slide = folder / f"tissue_{seed}.ome.tif"
        tiff_writer.write_image(slide, self.image(self.levels), names=CHANNELS, pixel_size_um=PIXEL_UM)
        done = ifquant.run(self.recipe, [slide], folder / "results", execution=Execution(quiet=True))
        assert done.exit_code == 0, done.summary_lines()
        self.result = read_result(folder / "results" / done.slides[0].name)
        store = Path(str(self.result.folder)) / "labels.ome.zarr"
        self.nuclei, self.cells = (read_labels(store, kind, self.window).astype(np.int32) for kind in ("nuclei", "cells"))
        ids = self.result.cells["cell_id"].to_numpy(np.int64)
        self.runs = runs_of(self.nuclei, ids), runs_of(self.cells, ids)
        self.pairs = touching_pairs(self.runs[1])
        record = json.loads((Path(str(self.result.folder)) / "slide.json").read_text())
        self.backgrounds = {
            c["name"]: Background(c["background"], c["background_sd"], "calibration") for c in record["calibration"]["channels"]
        }

    def image(self, levels, exposure_seed: int | None = None) -> np.ndarray:  # type: ignore[no-untyped-def]
        """Render the slide with these levels."""
        inner = self.window.slices_in(self.scene.frame)
        return np.ascontiguousarray(render(self.scene, levels, self.options, exposure_seed)[(slice(None), *inner)])

    def redrawn(self, range_um: float, beta: float, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Draw ligand and response of every true cell anew, render, measure with the segmentation there is."""
        rng = np.random.default_rng((self.options.seed, int(range_um), int(1000 * beta), number))
        geometry = self.scene.cells.geometry
        at = geometry[:, [X, Y]] - geometry[:, [X, Y]].min(axis=0)
        size = tuple(at.max(axis=0) + 1)
        ligand, response = (
            math.sqrt(SMOOTH) * gaussian_field(rng, size, range_um, at) + math.sqrt(1 - SMOOTH) * rng.standard_normal(len(at))
            for _ in range(2)
        )
        if beta:
            response = response + beta * self._exposure(ligand)
        cells = self.scene.cells._replace(ligand_z=ligand, response_z=response)
        image = self.image(levels_of(cells, self.options), exposure_seed=int(rng.integers(2**62)))
        table = quantify(
            image,
            nuclei=self.nuclei,
            cells=self.cells,
            channels=CHANNELS,
            pixel_size_um=PIXEL_UM,
            statistics={"nucleus": ["mean"], "cytoplasm": ["mean"], "membrane": ["mean"]},
            solidity=False,
        )
        kept = self.result.cells[["cell_id", "phenotype", "tumor_region_distance_um"]].reset_index(drop=True)
        assert (table["label"].to_numpy() == kept["cell_id"].to_numpy()).all()
        phenotype = kept["phenotype"].astype(str).to_numpy()
        question, options = question_of(self.recipe)
        pairs = measure_contacts(
            self.pairs, phenotype == question.responder, phenotype == question.source, *self.runs,
            lambda window: image[[3, 4], window.y0 : window.y1, window.x0 : window.x1],
            image_shape=(SIDE_PX, SIDE_PX), pixel_size_um=PIXEL_UM, membrane_um=self.recipe.measure.membrane_um, options=options,
        )  # fmt: skip
        return pd.concat([kept, table.drop(columns="label")], axis=1), pairs

    def _exposure(self, ligand: np.ndarray) -> np.ndarray:
        """Mean ligand of the at most 5 nearest tumor cells within reach, as the simulator defines it."""
        geometry = self.scene.cells.geometry
        tumor, myeloid = (np.flatnonzero(geometry[:, KIND] == kind) for kind in (TUMOR, MYELOID))
        distance, near = cKDTree(geometry[tumor][:, [X, Y]]).query(geometry[myeloid][:, [X, Y]], 5, distance_upper_bound=EXPOSURE_UM)
        known = np.isfinite(distance)
        values = np.where(known, ligand[tumor[np.where(known, near, 0)]], 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        out = np.zeros(len(geometry))
        out[myeloid] = values
        return out

    def analysed(self, name: str, number: int) -> dict[str, object]:
        """Draw and analyse data set `number` of a scenario on this tissue."""
        started = time.process_time()
        cells, pairs = self.redrawn(*SCENARIOS[name], number)
        drawn = time.process_time()
        question, options = question_of(self.recipe)
        effect = analyse_slide(
            cells, slide=f"{self.options.seed} {name} {number}", question=question, options=options,
            tissue=self.result.region, pairs=pairs, backgrounds=self.backgrounds,
        )  # fmt: skip
        row: dict[str, object] = {
            "scenario": name,
            "tissue": self.options.seed,
            "number": number,
            "verdict": effect.verdict,
            "reason": effect.reason,
        }
        row |= {"z": effect.z, "se": effect.se_z, "n": effect.n_exposed, "n_effective": effect.n_effective}
        row |= {test: effect.tests[test].p if test in effect.tests else None for test in ("shift", "clifford_dutilleul", "surrogate")}
        row |= {"naive": effect.naive[0].p if effect.naive else None, "guards": {g.name: [g.z, g.se, g.p] for g in effect.guards}}
        return row | {"draw_s": drawn - started, "analysis_s": time.process_time() - drawn}


def table(rows: list[dict]) -> str:  # type: ignore[type-arg]
    head = [
        "scenario",
        "tissues x draws",
        "not testable",
        *TESTS,
        "coverage of 0",
        "mean z",
        "sd of z",
        "mean se",
        "consistent with priming",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in SCENARIOS:
        own = [row for row in rows if row["scenario"] == name]
        tested = [row for row in own if row["shift"] is not None]
        if not tested:
            continue
        tissues = sorted({row["tissue"] for row in own})
        cells = [name, f"{len(tissues)} x {len(own) / len(tissues):.0f}", f"{1 - len(tested) / len(own):.1%}"]
        for test in TESTS:
            by_tissue = [[row[test] <= 0.05 for row in tested if row["tissue"] == tissue] for tissue in tissues]
            rates = np.array([np.mean(rejected) for rejected in by_tissue if rejected])
            half = stats.t.ppf(0.995, len(rates) - 1) * rates.std(ddof=1) / math.sqrt(len(rates)) if len(rates) > 1 else math.nan
            cells.append(f"{rates.mean():.3f} ± {half:.3f}")
        z, se, size = (np.array([row[key] for row in tested]) for key in ("z", "se", "n_effective"))
        covered = np.abs(z) <= stats.t.ppf(0.975, size - 2) * se
        said = np.mean([row["verdict"] == "consistent with priming" for row in own])
        cells += [f"{covered.mean():.3f}", f"{z.mean():+.4f}", f"{z.std():.4f}", f"{math.sqrt((se**2).mean()):.4f}", f"{said:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tissues", type=int, default=26)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--method", default="unet")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(row["scenario"], row["tissue"], row["number"]) for row in rows}
    if not options.table:
        with options.out.open("a") as file:
            for seed in range(100, 100 + options.tissues):
                wanted = [(name, number) for number in range(options.draws) for name in SCENARIOS if (name, seed, number) not in done]
                if not wanted:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    tissue = FixedTissue(seed, options.method, Path(folder))
                for name, number in wanted:
                    rows.append(tissue.analysed(name, number))
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
    print(table(rows))
    draw, analysis = (np.mean([row[key] for row in rows]) for key in ("draw_s", "analysis_s"))
    print(f"\n{draw:.2f} CPU seconds to draw and measure, {analysis:.2f} to analyse (shared machine)")


if __name__ == "__main__":
    main()
