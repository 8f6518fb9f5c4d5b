"""Distances, contacts and neighbour counts between phenotypes, in um, on the whole table of a
slide.

Distances are between centroids and between borders. A border distance is exact: the smallest
distance between the pixel squares of two cells, 0 when they touch, corners included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.calibration.tissue import TissueMask
from ifquant.columns.column_info import um_text
from ifquant.errors import RequestError
from ifquant.geometry.point_grid import count_within, nearest_of
from ifquant.geometry.runs import CellRuns
from ifquant.proximity import distance_kernels as kernels

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def proximity(
    x_um: ArrayLike,
    y_um: ArrayLike,
    codes: ArrayLike,
    names: Sequence[str],
    runs: CellRuns | None,
    *,
    radii_um: Sequence[float],
    pixel_size_um: float,
    tissue: TissueMask | None,
    of: Sequence[str] | None = None,
) -> dict[str, NDArray[np.generic]]:
    """Compute the proximity columns of every cell.

    Parameters
    ----------
    x_um, y_um : float (n,)
        Centroids in um from the image's top-left corner.
    codes : integer (n,)
        Phenotype of each cell, an index into `names`; -1 for none.
    names
        Phenotype names (for a pandas category: its ``cat.codes`` and ``cat.categories``).
    runs
        Geometry of the n cells in px; None leaves out the border columns (tables without masks).
    radii_um
        Radii of the neighbour counts and discs.
    pixel_size_um
        um per px.
    tissue
        Tissue mask; None leaves out ``tissue_within_<r>um``.
    of
        Phenotypes that get columns; default all of `names`. A phenotype no cell has gives nan and
        0.

    Returns
    -------
    dict of arrays (n,): for each phenotype P ``nearest_P_um``, ``nearest_P_border_um`` (float64,
    nan without a partner), ``n_touching_P``, ``n_P_within_<r>um`` (int32); then
    ``tissue_within_<r>um`` (float64).

    Raises
    ------
    RequestError
        If the lengths differ or a phenotype in `of` is not in `names`.
    """
    points = _points(x_um, y_um)
    code = np.asarray(codes, dtype=np.int64)
    wanted = list(names) if of is None else list(of)
    if len(code) != len(points) or (runs is not None and len(runs) != len(points)):
        raise RequestError(
            f"{len(points)} centroids, {len(code)} phenotypes,"
            f" {'no' if runs is None else len(runs)} outlines; give one of each per cell."
        )
    if unknown := [name for name in wanted if name not in names]:
        raise RequestError(f"phenotype {unknown[0]!r} is not one of {', '.join(names)}.")
    members = {name: np.flatnonzero(code == list(names).index(name)) for name in wanted}
    radii = np.asarray(radii_um, dtype=np.float64)
    pairs = touching_pairs(runs) if runs is not None else None
    columns: dict[str, NDArray[np.generic]] = {}
    for name, targets in members.items():
        distance, nearest = nearest_of(points, targets)
        columns[f"nearest_{name}_um"] = distance
        if runs is not None and pairs is not None:
            touching = count_touching(pairs, targets, len(points))
            columns[f"nearest_{name}_border_um"] = (
                nearest_border_px(runs, targets, touching, nearest) * pixel_size_um
            )
            columns[f"n_touching_{name}"] = touching
        counts = count_within(points, targets, radii)
        columns.update(
            {f"n_{name}_within_{um_text(r)}um": counts[:, k].copy() for k, r in enumerate(radii)}
        )
    if tissue is not None:
        fractions = tissue_within(points, radii, tissue, pixel_size_um)
        columns.update(
            {f"tissue_within_{um_text(r)}um": fractions[:, k].copy() for k, r in enumerate(radii)}
        )
    return columns


def touching_pairs(runs: CellRuns) -> tuple[Ids, Ids]:
    """Find the pairs of objects that touch (share a pixel edge or corner, or overlap).

    Returns
    -------
    i, j : int64 (pairs,) with i < j, sorted by (i, j)
    """
    if len(runs) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    boxes = runs.bounding_boxes
    filled = np.flatnonzero(np.diff(runs.offsets) > 0)
    if len(filled) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tree = kernels.build_tree(boxes[filled])
    tree = tree._replace(order=filled[tree.order])
    i, j = kernels.touching_pairs_kernel(_outlines(runs, boxes), tree)
    by_pair = np.lexsort((j, i))
    return i[by_pair], j[by_pair]


def count_touching(pairs: tuple[Ids, Ids], targets: Ids, n: int) -> NDArray[np.int32]:
    """Count for each of `n` cells the `targets` (indices) that touch it, from `touching_pairs`."""
    is_target = np.zeros(n, np.bool_)
    is_target[targets] = True
    i, j = pairs
    return (
        np.bincount(i[is_target[j]], minlength=n) + np.bincount(j[is_target[i]], minlength=n)
    ).astype(np.int32)


def nearest_border_px(
    runs: CellRuns, targets: Ids, touching: NDArray[np.int32], nearest: Ids
) -> Floats:
    """Gap in px from each object to the nearest of `targets` other than itself; nan where there is
    none.

    Parameters
    ----------
    runs
        Geometry of n objects.
    targets
        Indices of objects.
    touching, nearest : integer (n,)
        Number of touching targets (gap 0 without search) and a target to begin with, or -1; they
        speed the search up and do not change it.
    """
    result = np.full(len(runs), np.nan)
    filled = np.diff(runs.offsets) > 0
    partners = targets[filled[targets]]
    if len(partners) == 0:
        return result
    result[touching > 0] = 0.0
    queries = np.flatnonzero(filled & (touching == 0))
    boxes = runs.bounding_boxes
    tree = kernels.build_tree(boxes[partners])
    seeds = nearest[queries]
    seeds = np.where((seeds >= 0) & filled[seeds], seeds, -1)
    outlines = _outlines(runs, boxes)
    gap2 = kernels.nearest_border_kernel(queries, seeds, outlines, partners, tree)
    result[queries] = np.where(gap2 < kernels.FAR, np.sqrt(gap2.astype(np.float64)), np.nan)
    return result


def _outlines(runs: CellRuns, boxes: NDArray[np.int32]) -> kernels.Outlines:
    return kernels.Outlines(runs.offsets, runs.y, runs.x0, runs.x1, boxes)


def tissue_within(
    points: Floats, radii_um: Floats, tissue: TissueMask, pixel_size_um: float
) -> Floats:
    """Fraction of the disc of each radius around points (n, 2; um) that is tissue inside the image.

    Exact areas, (n, radii).
    """
    total = np.zeros((tissue.mask.shape[0] + 1, tissue.mask.shape[1] + 1), np.int64)
    total[1:, 1:] = np.cumsum(np.cumsum(tissue.mask, axis=0, dtype=np.int64), axis=1)
    x_px, y_px = points[:, 0] / pixel_size_um, points[:, 1] / pixel_size_um
    height, width = tissue.image_shape
    return np.asarray(
        kernels.tissue_within_kernel(
            x_px, y_px, radii_um / pixel_size_um, tissue.mask, total, tissue.step_px, height, width
        )
    )


def _points(x_um: ArrayLike, y_um: ArrayLike) -> Floats:
    x, y = np.asarray(x_um, dtype=np.float64), np.asarray(y_um, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise RequestError(
            f"x has shape {x.shape} and y {y.shape}; both must be one number per cell."
        )
    return np.stack((x, y), axis=1)
