"""A simulated slide, segmented once by `ifquant run`, whose ligand and response are then redrawn,
photographed and measured many times.

Before the camera's noise, light is linear in each cell's level. So what stays is rendered once, and
a draw renders only the light of ligand and response: through the same lens, haze, lamp and
bleed-through, with new noise, and is measured by the functions that a run uses. Both short cuts are
compared with the long way when a tissue is made.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import common  # noqa: F401  (finds tests/)
import numpy as np
import pandas as pd
from point_tissue import gaussian_field
from scipy.spatial import cKDTree

import ifquant
from ifquant.cells import measurement
from ifquant.cells.contacts import measure_contacts
from ifquant.execution.executors import Execution
from ifquant.geometry.runs import runs_of
from ifquant.geometry.windows import Window
from ifquant.proximity.distances import touching_pairs
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Measure, Recipe
from ifquant.results.result_tables import read_result
from ifquant.simulation.cell_levels import EXPOSURE_UM
from ifquant.simulation.cell_placement import KIND, X, Y
from ifquant.simulation.optics import OFFSET, camera, crosstalk, illumination, through_lens
from ifquant.simulation.options import CHANNELS, MYELOID, TUMOR, SimulationOptions
from ifquant.simulation.scene import make_scene, render
from ifquant.simulation.stains import levels_of, stain
from ifquant.slides import tiff_writer
from ifquant.slides.slide import read_labels
from ifquant.statistics.priming.question import Background, question_of

SIDE_PX = 1600
PIXEL_UM = 0.5
SMOOTH = 0.6
"""Share of the variance of ligand and response that is smooth in space."""
LIGAND, RESPONSE = CHANNELS.index("TGFB1"), CHANNELS.index("IL1B")
WANTED = {"cytoplasm": ("mean",), "membrane": ("mean",)}
FULL = 1000.0


def recipe(method: str) -> Recipe:
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
    channels = [{"name": name, "role": roles.get(name, "marker")} for name in CHANNELS]
    channels[LIGAND]["compartment"], channels[RESPONSE]["compartment"] = "membrane", "cytoplasm"
    priming = {"response": "IL1B", "ligand": "TGFB1", "permutations": 199, "min_exposed": 60}
    return Recipe.model_validate(
        {"channels": channels, "segmentation": {"method": method}, "priming": priming, "seed": 1}
    )


class Redrawn(NamedTuple):
    """One draw: what was measured, and the rise of the response that was put in
    (`FixedTissue._put_in`).
    """

    cells: pd.DataFrame
    pairs: pd.DataFrame
    true_slope: float


def _most_overlapped(labels: np.ndarray, truth: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Row of the true cell that holds most pixels of each label in `ids`; -1: none."""
    pairs, counts = np.unique(np.stack([labels.ravel(), truth.ravel()]), axis=1, return_counts=True)
    found = pd.DataFrame({"label": pairs[0], "truth": pairs[1], "pixels": counts}).query(
        "label > 0"
    )
    most = found.sort_values(["label", "pixels"]).groupby("label")["truth"].last()
    return most.reindex(ids).to_numpy(np.int64) - 1


class FixedTissue:
    """One simulated slide and its segmentation."""

    def __init__(self, seed: int, method: str, folder: Path) -> None:
        self.options = SimulationOptions(size=(SIDE_PX, SIDE_PX), seed=seed, pixel_size_um=PIXEL_UM)
        self.window = Window(0, 0, SIDE_PX, SIDE_PX)
        self.scene = make_scene(self.options, self.window)
        self.inner = self.window.slices_in(self.scene.frame)
        self.recipe = recipe(method)
        self.question, self.asked = question_of(resolved(self.recipe))
        image = render(self.scene, levels_of(self.scene.cells, self.options), self.options)[
            (slice(None), *self.inner)
        ]
        self._segment(np.ascontiguousarray(image), folder)
        self._prepare_light()
        self._compare(np.ascontiguousarray(image))

    def _segment(self, image: np.ndarray, folder: Path) -> None:
        slide = folder / f"tissue_{self.options.seed}.ome.tif"
        tiff_writer.write_image(slide, image, names=CHANNELS, pixel_size_um=PIXEL_UM)
        done = ifquant.run(
            self.recipe, [slide], folder / "results", execution=Execution(quiet=True)
        )
        assert done.exit_code == 0, done.summary_lines()
        result = read_result(folder / "results" / done.slides[0].name)
        at = Path(str(result.folder))
        self.table, self.region = result.cells.reset_index(drop=True), result.region
        nuclei, cells = (
            read_labels(at / "labels.ome.zarr", kind, self.window).astype(np.int32)
            for kind in ("nuclei", "cells")
        )
        ids = self.table["cell_id"].to_numpy(np.int64)
        self.ids, self.true_of = (
            ids,
            _most_overlapped(cells, self.scene.shapes.cells[self.inner], ids),
        )
        self.runs = runs_of(nuclei, ids), runs_of(cells, ids)
        self.touching = touching_pairs(self.runs[1])
        self.pixels = measurement._sorted_pixels(nuclei, cells, ids, PIXEL_UM, Measure(), WANTED)[
            :3
        ]
        phenotype = self.table["phenotype"].astype(str).to_numpy()
        self.kinds = phenotype == self.question.responder, phenotype == self.question.source
        channels = json.loads((at / "slide.json").read_text())["calibration"]["channels"]
        self.backgrounds = {
            c["name"]: Background(c["background"], c["background_sd"], "calibration")
            for c in channels
        }

    def _prepare_light(self) -> None:
        """Render what stays, and the light of ligand and response of every pixel at full level."""
        scene, levels = self.scene, levels_of(self.scene.cells, self.options)
        nothing, full = np.zeros(len(levels.ligand)), np.full(len(levels.ligand), FULL)

        def light(level: np.ndarray) -> np.ndarray:
            given = levels._replace(ligand=level, response=level)
            return stain(scene.shapes, given, scene.ground, scene.grain, scene.grid, self.options)

        fixed = light(nothing)
        both = [LIGAND, RESPONSE]
        self.share = (light(full)[both] - fixed[both]) / np.float32(FULL)
        channels, grid = range(len(CHANNELS)), scene.grid
        lamps = [illumination(c, grid, self.options) for c in channels]
        seen = np.stack([through_lens(fixed[c], c, lamps[c], grid, self.options) for c in channels])
        matrix = crosstalk(self.options)
        self.fixed = np.tensordot(matrix[both], seen, 1).astype(np.float32)
        self.lamps, self.mixed = [lamps[c] for c in both], matrix[np.ix_(both, both)]

    def photographed(
        self, ligand: np.ndarray, response: np.ndarray, seed: int, *, noise: bool = True
    ) -> np.ndarray:
        """Take the picture of ligand and response (2, Y, X) at these levels of all true cells."""
        seen = np.empty_like(self.fixed)
        for k, (channel, level) in enumerate(((LIGAND, ligand), (RESPONSE, response))):
            of_pixel = np.concatenate([[0.0], level]).astype(np.float32)[self.scene.shapes.cells]
            light = self.share[k] * of_pixel
            seen[k] = through_lens(light, channel, self.lamps[k], self.scene.grid, self.options)
        total = (self.fixed + np.tensordot(self.mixed, seen, 1)).astype(np.float32)
        options = self.options if noise else replace(self.options, shot_noise=0.0, read_noise=0.0)
        return np.ascontiguousarray(
            camera(total, np.eye(2), seed, self.scene.grid, options)[(slice(None), *self.inner)]
        )

    def measured(self, image: np.ndarray) -> pd.DataFrame:
        """Measure ligand and response (2, Y, X) in the cells there are."""
        columns = {}
        for name, channel in zip(("TGFB1", "IL1B"), image, strict=True):
            columns |= measurement._channel_columns(
                name, channel, *self.pixels, WANTED, None, None
            )[0]
        return self.table.assign(
            **{name: values for name, values in columns.items() if name.endswith("_mean")}
        )

    def _compare(self, image: np.ndarray) -> None:
        """Demand that the short cuts give what the long way gives: the run's measurements exactly,
        the light to a count.
        """
        again = self.measured(image[[LIGAND, RESPONSE]])
        for name in ("TGFB1_membrane_mean", "TGFB1_cytoplasm_mean", "IL1B_cytoplasm_mean"):
            np.testing.assert_array_equal(again[name], self.table[name])
        silent = replace(self.options, shot_noise=0.0, read_noise=0.0)
        levels = levels_of(self.scene.cells, self.options)
        long = render(self.scene, levels, silent)[[LIGAND, RESPONSE]][
            (slice(None), *self.inner)
        ].astype(int)
        short = self.photographed(levels.ligand, levels.response, 0, noise=False).astype(int)
        assert long.max() > OFFSET + 200
        assert np.abs(long - short).max() <= 1

    def redrawn(self, range_um: float, beta: float, number: int) -> Redrawn:
        """Draw ligand and response of every true cell anew, take the picture, measure cells and
        contacts.
        """
        rng = np.random.default_rng((self.options.seed, int(range_um), int(1000 * beta), number))
        geometry = self.scene.cells.geometry
        at = geometry[:, [X, Y]] - geometry[:, [X, Y]].min(axis=0)
        size = tuple(at.max(axis=0) + 1)
        ligand, response = (
            math.sqrt(SMOOTH) * gaussian_field(rng, size, range_um, at)
            + math.sqrt(1 - SMOOTH) * rng.standard_normal(len(at))
            for _ in range(2)
        )
        effect = beta * self._exposure(ligand)
        response = response + effect
        levels = levels_of(
            self.scene.cells._replace(ligand_z=ligand, response_z=response), self.options
        )
        image = self.photographed(levels.ligand, levels.response, int(rng.integers(2**62)))
        pairs = measure_contacts(
            self.touching,
            *self.kinds,
            *self.runs,
            lambda window: image[:, window.y0 : window.y1, window.x0 : window.x1],
            image_shape=(SIDE_PX, SIDE_PX),
            pixel_size_um=PIXEL_UM,
            membrane_um=self.recipe.measure.membrane_um,
            options=self.asked,
        )
        return Redrawn(
            self.measured(image),
            pairs,
            self._put_in(pairs, ligand, response, effect) if beta else 0.0,
        )

    def _put_in(
        self, pairs: pd.DataFrame, ligand: np.ndarray, response: np.ndarray, effect: np.ndarray
    ) -> float:
        """Rise of the true response per mean true ligand of the touched cells, in standard
        deviations.

        Over the contacts that were found between cells whose kind was recognized: what an analysis
        would find that saw these cells' true levels. The simulator lets the five nearest tumor
        cells act, whether they touch or not, so that this is less than what it put in.
        """
        kind = self.scene.cells.geometry[:, KIND]
        rows = (
            np.searchsorted(self.ids, pairs[name].to_numpy(np.int64))
            for name in ("responder_id", "source_id")
        )
        responder, source = (self.true_of[row] for row in rows)
        known = (
            (responder >= 0)
            & (source >= 0)
            & (kind[responder] == MYELOID)
            & (kind[source] == TUMOR)
        )
        which, row = np.unique(responder[known], return_inverse=True)
        touched = np.bincount(row, ligand[source[known]]) / np.bincount(row)
        return float(
            np.corrcoef(touched, effect[which])[0, 1] * effect[which].std() / response[which].std()
        )

    def _exposure(self, ligand: np.ndarray) -> np.ndarray:
        """Mean ligand of the at most 5 nearest tumor cells within reach, as the simulator defines
        it.
        """
        geometry = self.scene.cells.geometry
        tumor, myeloid = (np.flatnonzero(geometry[:, KIND] == kind) for kind in (TUMOR, MYELOID))
        distance, near = cKDTree(geometry[tumor][:, [X, Y]]).query(
            geometry[myeloid][:, [X, Y]], 5, distance_upper_bound=EXPOSURE_UM
        )
        known = np.isfinite(distance)
        values = np.where(known, ligand[tumor[np.where(known, near, 0)]], 0.0).sum(
            axis=1
        ) / np.maximum(known.sum(axis=1), 1)
        out = np.zeros(len(geometry))
        out[myeloid] = values
        return out
