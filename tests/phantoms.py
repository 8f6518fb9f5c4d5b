"""A small slide as the pipeline would leave it, made without the pipeline: for looking at pictures
and testing outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from calibrated_arrays import calibrate_array
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import regionprops_table
from skimage.segmentation import expand_labels

from ifquant.columns import cell_columns
from ifquant.geometry.runs import CellRuns, runs_of
from ifquant.phenotypes.gates import fit_gate
from ifquant.proximity.tumor_region import tumor_region_of_cells
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.results.slide_result import SlideResult
from ifquant.slides.overview import Read
from ifquant.slides.panel import find_panel
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideRef
from ifquant.slides.slide_info import SlideInfo
from ifquant.slides.slide_input import SlideInput, SlideJob

PIXEL_SIZE_UM = 0.5
NAMES = ("DAPI", "PanCK", "CD11c", "TGFB1", "IL1B")
ROLES = ("nucleus", "tumor", "myeloid", "marker", "marker")


def recipe_of(names: tuple[str, ...] = NAMES, **more: object) -> Recipe:
    """The recipe of the design with the channels called `names`."""
    channels = [{"name": name, "role": role} for name, role in zip(names, ROLES, strict=True)]
    phenotypes = {"tumor": f"{names[1]}+", "myeloid": f"{names[2]}+ & {names[1]}-"}
    return Recipe.model_validate({"channels": channels, "phenotypes": phenotypes, **more})


@dataclass(frozen=True)
class Tissue:
    """Pixels (C, Y, X) uint16, geometry, phenotype codes (index into tumor, myeloid, other) and the
    tumor area.
    """

    image: np.ndarray
    nuclei: np.ndarray
    cells: np.ndarray
    codes: np.ndarray
    nests: np.ndarray


def tissue_of(
    size: int = 640,
    seed: int = 1,
    kinds: tuple[str, ...] = ("tumor", "myeloid", "other"),
    n_cells: int | None = None,
) -> Tissue:
    """Nests and stroma in a square of `size` px, cells of `kinds` only, at most `n_cells`."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.standard_normal((size, size)), size / 14)
    nests = (
        ndimage.gaussian_filter(random.standard_normal((size, size)), 2) * field.std() * 0.3 + field
        > 0.15 * field.std()
    )
    points = _spread(random, size, spacing=18)
    sparse = np.array([nests[int(y), int(x)] for y, x in points]) | (
        random.random(len(points)) < 0.6
    )
    points = points[sparse][:n_cells]
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    nuclei = np.zeros((size, size), np.int32)
    for i, (y, x) in enumerate(points, 1):
        angle, major, minor = random.uniform(0, np.pi), random.uniform(6, 9), random.uniform(4.5, 6)
        box = (slice(max(int(y) - 10, 0), int(y) + 11), slice(max(int(x) - 10, 0), int(x) + 11))
        dy, dx = yy[box] - y, xx[box] - x
        inside = ((dx * np.cos(angle) + dy * np.sin(angle)) / major) ** 2 + (
            (dy * np.cos(angle) - dx * np.sin(angle)) / minor
        ) ** 2 < 1
        nuclei[box][inside & (nuclei[box] == 0)] = i
    in_nest = np.array([nests[int(y), int(x)] for y, x in points], bool)
    codes = np.where(in_nest, 0, np.where(random.random(len(points)) < 0.35, 1, 2))
    wanted = [("tumor", "myeloid", "other").index(kind) for kind in kinds]
    codes = (
        np.where(np.isin(codes, wanted), codes, wanted[0] if wanted else 2)
        if len(points)
        else codes
    )
    grown = expand_labels(nuclei, 7)
    reach = np.concatenate(([0], np.array([7.0, 5.0, 3.0])[codes]))
    cells = np.where(ndimage.distance_transform_edt(nuclei == 0) <= reach[grown], grown, 0).astype(
        np.int32
    )
    for i in np.flatnonzero(codes == 1) + 1:  # processes
        y, x = points[i - 1]
        for angle in random.uniform(0, 2 * np.pi, 3):
            for step in range(8, int(random.uniform(16, 26))):
                py, px = (
                    int(y + step * np.sin(angle + step * 0.02)),
                    int(x + step * np.cos(angle + step * 0.02)),
                )
                if not (0 < py < size - 1 and 0 < px < size - 1):
                    break
                arm = (slice(max(py - 1, 0), py + 2), slice(max(px - 1, 0), px + 2))
                cells[arm][cells[arm] == 0] = i
    return Tissue(_image(random, nuclei, cells, codes), nuclei, cells, codes, nests)


def _spread(random: np.random.Generator, size: int, spacing: int) -> np.ndarray:
    grid = np.stack(
        np.meshgrid(
            np.arange(spacing // 2, size, spacing),
            np.arange(spacing // 2, size, spacing),
            indexing="ij",
        ),
        -1,
    )
    points = grid.reshape(-1, 2) + random.uniform(-5, 5, (grid.shape[0] * grid.shape[1], 2))
    return np.clip(points[np.lexsort((points[:, 1], points[:, 0]))], 2, size - 3)


def _image(
    random: np.random.Generator, nuclei: np.ndarray, cells: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    shape = nuclei.shape
    kind = np.concatenate(([3], codes))
    cytoplasm = (cells > 0) & (nuclei == 0)
    texture = ndimage.gaussian_filter(random.standard_normal(shape), 1.5) * 1.2
    membrane = (ndimage.grey_erosion(cells, 3) != cells) & (cells > 0)
    ligand = np.concatenate(([0], np.where(codes == 0, random.lognormal(0, 0.6, len(codes)), 0.1)))
    response = np.concatenate(
        ([0], np.where(codes == 1, random.lognormal(0, 0.7, len(codes)), 0.08))
    )
    planes = [
        (nuclei > 0) * (900 + 250 * texture),
        (kind[cells] == 0) * cytoplasm * (1100 + 200 * texture) + (kind[cells] == 0) * 150,
        (kind[cells] == 1) * (900 + 150 * texture),
        ligand[cells] * (700 * membrane + 120),
        response[cells] * (800 * cytoplasm + 100),
    ]
    blurred = [
        ndimage.gaussian_filter(np.clip(plane, 0, None).astype(float), 1.0) + 110
        for plane in planes
    ]
    return np.stack(
        [np.clip(random.poisson(plane) + random.normal(0, 6, shape), 0, 65535) for plane in blurred]
    ).astype(np.uint16)


def cell_table(tissue: Tissue, recipe: Recipe) -> tuple[pd.DataFrame, CellRuns, CellRuns]:
    """Typed table and runs; ids in raster order of anchors. Stand-ins, not the pipeline's
    numbers.
    """
    present = np.unique(tissue.nuclei)[1:]
    first = np.array([int(np.argmax(tissue.nuclei.ravel() == i)) for i in present], np.int64)
    order = np.argsort(first)
    labels, first = present[order], first[order]
    n, px = len(labels), PIXEL_SIZE_UM
    columns: dict[str, object] = {"cell_id": np.arange(1, n + 1), "flags": np.zeros(n, np.uint32)}
    columns |= {
        "anchor_y_px": first // tissue.nuclei.shape[1],
        "anchor_x_px": first % tissue.nuclei.shape[1],
    }
    centers = (
        np.array(ndimage.center_of_mass(tissue.cells > 0, tissue.cells, labels)).reshape(n, 2) + 0.5
    )
    columns |= {
        "x_px": centers[:, 1],
        "y_px": centers[:, 0],
        "x_um": centers[:, 1] * px,
        "y_um": centers[:, 0] * px,
    }
    wanted = ("label", "area", "axis_major_length", "axis_minor_length", "eccentricity", "solidity")
    for prefix, image in (("", tissue.cells), ("nucleus_", tissue.nuclei)):
        props = (
            pd.DataFrame(regionprops_table(image, properties=wanted))
            .set_index("label")
            .reindex(labels)
        )
        columns |= {
            f"{prefix}area_um2": props["area"].to_numpy(float) * px**2,
            f"{prefix}solidity": props["solidity"].to_numpy(float),
        }
        columns |= {
            f"{prefix}axis_{k}_um": props[f"axis_{k}_length"].to_numpy(float) * px
            for k in ("major", "minor")
        }
        columns[f"{prefix}eccentricity"] = props["eccentricity"].to_numpy(float)
    means = {
        name: np.asarray(ndimage.mean(plane, tissue.cells, labels))
        for name, plane in zip(recipe_names(recipe), tissue.image, strict=True)
    }
    codes = tissue.codes[labels - 1] if n else np.zeros(0, int)
    for column in cell_columns.cell_columns(recipe):
        for name, mean in means.items():
            if column.group == "intensity" and column.name.startswith(f"{name}_"):
                columns[column.name] = (
                    np.zeros(n) if column.name.endswith("_saturated_fraction") else mean
                )
            elif column.name == f"{name}_positive":
                columns[column.name] = mean > 350
    columns |= {"growth_class": np.array([1, 2, 0])[codes], "phenotype": _phenotypes(codes, recipe)}
    _proximity(columns, centers * px, codes, recipe)
    typed = cell_columns.typed(
        {column.name: columns[column.name] for column in cell_columns.cell_columns(recipe)}, recipe
    )
    return typed, runs_of(tissue.nuclei, labels), runs_of(tissue.cells, labels)


def _phenotypes(codes: np.ndarray, recipe: Recipe) -> np.ndarray:
    kinds, known = (
        np.array(["tumor", "myeloid", "other"], object),
        cell_columns.phenotype_names(recipe),
    )
    return np.array([kind if kind in known else "other" for kind in kinds[codes]], object)


def recipe_names(recipe: Recipe) -> list[str]:
    """Names of the channels in order."""
    return [channel.name for channel in recipe.channels]


def _proximity(
    columns: dict[str, object], centers: np.ndarray, codes: np.ndarray, recipe: Recipe
) -> None:
    names = list(cell_columns.phenotype_names(recipe))
    n = len(codes)
    for name in cell_columns.proximity_phenotypes(recipe):
        chosen = np.flatnonzero(codes == names.index(name))
        distance = np.full(n, np.nan)
        if len(chosen):
            found = cKDTree(centers[chosen]).query(centers, k=2)[0]
            distance = np.where(codes == names.index(name), found[:, 1], found[:, 0])
            distance[~np.isfinite(distance)] = np.nan
        columns[f"nearest_{name}_um"] = distance
        columns[f"nearest_{name}_border_um"] = np.clip(distance - 11, 0, None)
        columns[f"n_touching_{name}"] = (distance < 11).astype(int)
        for radius in recipe.proximity.radii_um:
            near = (
                cKDTree(centers[chosen]).query_ball_point(centers, radius, return_length=True)
                if len(chosen) and n
                else np.zeros(n, int)
            )
            columns[f"n_{name}_within_{radius:g}um"] = near
    for radius in recipe.proximity.radii_um:
        columns[f"tissue_within_{radius:g}um"] = np.ones(n)
    columns["tumor_region_distance_um"] = np.full(n, np.nan)


def result_of(
    tissue: Tissue,
    recipe: Recipe | None = None,
    name: str = "phantom",
    sample: Sample | None = None,
    **more: object,
) -> SlideResult:
    """A finished slide; `more` replaces fields."""
    recipe = resolved(recipe or recipe_of())
    typed, nuclei, cells = cell_table(tissue, recipe)
    names = tuple(recipe_names(recipe))
    height, width = tissue.nuclei.shape
    info = SlideInfo(
        f"slides/{name}.ome.tif",
        "ome-tiff",
        (len(names), height, width),
        "uint16",
        names,
        PIXEL_SIZE_UM,
        "ome",
        1,
        1,
        (),
        max_value=65535,
    )
    job = SlideJob(name, info.path, SlideRef((info.path,)), sample)
    fields = {
        "slide": SlideInput(job, job.ref, info, find_panel(recipe, names), recipe),
        "calibration": calibrate_array(tissue.image, names, pixel_size_um=PIXEL_SIZE_UM),
        "table": typed,
        "nuclei": nuclei,
        "cells": cells,
        "gates": tuple(
            fit_gate(
                typed[f"{marker}_cell_mean"].to_numpy(),
                recipe.gates.markers[marker],
                marker,
                column=f"{marker}_cell_mean",
            )
            for marker in cell_columns.gated_markers(recipe)
        ),
        "tumor_region": tumor_region_of_cells(
            cells.take((typed["phenotype"] == "tumor").to_numpy()),
            image_shape=(height, width),
            pixel_size_um=PIXEL_SIZE_UM,
        ),
        "digests": {"input": "0" * 64, "recipe": "1" * 64},
    }
    return SlideResult(**{**fields, **more})


def written_result(
    folder: Path,
    tissue: Tissue,
    recipe: Recipe | None = None,
    name: str = "phantom",
    sample: Sample | None = None,
    **more: object,
) -> SlideResult:
    """A finished slide whose pixels lie in an OME-TIFF in `folder`."""
    result = result_of(tissue, recipe, name, sample, **more)
    path = folder / f"{name}.ome.tif"
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": list(result.panel.names)},
        "PhysicalSizeX": PIXEL_SIZE_UM,
        "PhysicalSizeY": PIXEL_SIZE_UM,
    }
    tifffile.imwrite(path, tissue.image, ome=True, metadata=metadata, photometric="minisblack")
    info = replace(result.slide.info, path=str(path))
    return replace(result, slide=replace(result.slide.with_paths(str(path)), info=info))


def reader_of(tissue: Tissue) -> Read:
    """Read windows of the phantom's pixels."""
    return lambda window: tissue.image[:, window.y0 : window.y1, window.x0 : window.x1]
