"""Cell tables without pixels: tissue as points with known truth, drawn in milliseconds, to measure
how often a test rejects.

A jittered lattice of cells; tumor nests are the high parts of a smooth random field, so that
responders stand at nest borders and between sources as they do in tissue. Ligand and response are
log-normal, each an autocorrelated field plus a part of its own per cell; artefacts (shared
gradient, autofluorescence, section thickness, bleed-through, light of touching cells) are added to
the intensities that a camera would see. The truth is `beta` and nothing else: with ``beta = 0`` no
ligand reaches any response, whatever the tables show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]

CHANNELS = ("DAPI", "PanCK", "TGFB1", "IL1B", "AF")
AMPLITUDE = {"DAPI": 900.0, "PanCK": 700.0, "TGFB1": 400.0, "IL1B": 350.0, "AF": 0.0}
BACKGROUND = 100.0
BACKGROUND_SD = 8.0
GATE = BACKGROUND + 1.3 * AMPLITUDE["IL1B"]


@dataclass(frozen=True)
class PointOptions:
    """One scenario.

    Attributes
    ----------
    size_um
        Width and height of the field.
    spacing_um
        Distance of neighbouring cells.
    ligand_range_um, response_range_um
        Standard deviation of the Gaussian autocorrelation of the two fields; 0: no autocorrelation.
    field_share
        Share of the log variance that is the field's; the rest is each cell's own.
    beta
        Rise of the log response, in its standard deviations, per standard deviation of the mean log
        ligand of the touched sources.
    gradient
        Shared trend across the tissue in ligand, response and cell density, in standard deviations
        from edge to edge.
    autofluorescence
        Standard deviation, in units of the response's amplitude, of an additive field in all
        channels.
    multiplicative
        Log standard deviation of a field that multiplies all channels (section thickness,
        illumination).
    artefact_range_um
        Range of these two fields.
    bleed
        Share of each of the two channels' light that arrives in the other.
    spill
        Share of a touching cell's light that arrives in a cell, in every channel.
    activation
        Correlation of the responders' own ligand with the part of their response that is each
        cell's own.
    niche
        Share of the variance of the responders' own ligand that is the field of the sources'
        ligand: one niche raises it in both.
    source_response
        Share of the response's amplitude that sources show, too, from the same field: nothing of it
        is the ligand's doing.
    background_channel
        Whether the panel has an empty channel (AF).
    """

    size_um: tuple[float, float] = (900.0, 900.0)
    spacing_um: float = 12.0
    tumor_share: float = 0.45
    responder_share: float = 0.15
    ligand_range_um: float = 50.0
    response_range_um: float = 50.0
    field_share: float = 0.6
    beta: float = 0.0
    gradient: float = 0.0
    autofluorescence: float = 0.0
    multiplicative: float = 0.0
    artefact_range_um: float = 80.0
    bleed: float = 0.0
    spill: float = 0.0
    activation: float = 0.0
    niche: float = 0.0
    source_response: float = 0.0
    background_channel: bool = False


@dataclass(frozen=True)
class PointTissue:
    """Cells, contacts and the tissue grid of one drawn data set; columns true_... hold the
    standardised logs before any camera.
    """

    cells: pd.DataFrame
    pairs: pd.DataFrame
    tissue: NDArray[np.bool_]
    step_um: float


def gaussian_field(
    rng: np.random.Generator, size_um: tuple[float, float], range_um: float, at: Floats
) -> Floats:
    """Stationary Gaussian field of mean 0 and variance 1 at points (n, 2) as x, y; covariance
    exp(-d^2 / (2 range^2)).
    """
    if range_um <= 0:
        return rng.standard_normal(len(at))
    step = max(range_um / 6, 2.0)
    sigma = range_um / step / np.sqrt(2)
    pad = int(4 * sigma) + 2
    shape = [int(np.ceil(side / step)) + 2 + 2 * pad for side in reversed(size_um)]
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma, truncate=4)
    values = ndimage.map_coordinates(
        field, [at[:, 1] / step + pad, at[:, 0] / step + pad], order=1, mode="nearest"
    )
    return np.asarray(values * (2 * sigma * np.sqrt(np.pi)))


def point_tissue(options: PointOptions, seed: int | tuple[int, ...]) -> PointTissue:
    """Draw one data set."""
    rng = np.random.default_rng(seed)
    xy, source, responder = _places(rng, options)
    n = len(xy)
    share = options.field_share
    smooth = gaussian_field(rng, options.size_um, options.ligand_range_um, xy)
    ligand = np.sqrt(share) * smooth + np.sqrt(1 - share) * rng.standard_normal(n)
    own = np.sqrt(options.niche) * smooth + np.sqrt(1 - options.niche) * rng.standard_normal(n)
    field = gaussian_field(rng, options.size_um, options.response_range_um, xy)
    alone = options.activation * own + np.sqrt(1 - options.activation**2) * rng.standard_normal(n)
    response = np.sqrt(share) * field + np.sqrt(1 - share) * alone
    trend = options.gradient * (xy[:, 0] / options.size_um[0] - 0.5)
    ligand, response, own = ligand + trend, response + trend, own + trend
    i, j = _contacts(xy, 1.35 * options.spacing_um)
    touched = np.bincount(i[source[j]], ligand[j[source[j]]], n) / np.maximum(
        np.bincount(i[source[j]], minlength=n), 1
    )
    response = response + options.beta * touched
    light = {
        "DAPI": AMPLITUDE["DAPI"] * np.exp(0.25 * rng.standard_normal(n)),
        "PanCK": AMPLITUDE["PanCK"] * np.exp(0.35 * rng.standard_normal(n)) * source,
        "TGFB1": AMPLITUDE["TGFB1"]
        * np.where(source, np.exp(0.5 * ligand), responder * 0.4 * np.exp(0.5 * own)),
        "IL1B": AMPLITUDE["IL1B"]
        * np.exp(0.6 * response)
        * (responder + options.source_response * source),
        "AF": np.zeros(n),
    }
    seen = _seen(rng, options, xy, source, responder, light, (i, j))
    seen.cells["true_ligand"], seen.cells["true_response"] = ligand, response
    return seen


def _places(
    rng: np.random.Generator, options: PointOptions
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    width, height = options.size_um
    step = options.spacing_um
    rows = np.arange(step / 2, height, step * np.sqrt(0.75))
    columns = np.arange(step / 2, width, step)
    xy = np.stack(np.meshgrid(columns, rows), axis=-1)
    xy[1::2, :, 0] += step / 2
    xy = xy.reshape(-1, 2) + rng.normal(0, 0.12 * step, (xy.size // 2, 2))
    kept = rng.random(len(xy)) < 0.9 - 0.15 * abs(options.gradient) * (xy[:, 0] / width)
    xy = xy[kept & (xy > 0).all(axis=1) & (xy < [width, height]).all(axis=1)]
    nests = gaussian_field(rng, options.size_um, 55.0, xy)
    inside = nests > np.quantile(nests, 1 - options.tumor_share)
    responder = rng.random(len(xy)) < np.where(inside, 0.6, 1.3) * options.responder_share
    return xy, inside & ~responder, responder


def _contacts(xy: Floats, reach: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Touching cells, each pair in both directions."""
    found = cKDTree(xy).query_pairs(reach, output_type="ndarray").astype(np.int64)
    return np.concatenate([found[:, 0], found[:, 1]]), np.concatenate([found[:, 1], found[:, 0]])


def _seen(
    rng: np.random.Generator,
    options: PointOptions,
    xy: Floats,
    source: NDArray[np.bool_],
    responder: NDArray[np.bool_],
    light: dict[str, Floats],
    contacts: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> PointTissue:
    """Make what a camera sees of it: artefacts, background, noise; tables as a run writes them."""
    n = len(xy)
    i, j = contacts
    count = np.maximum(np.bincount(i, minlength=n), 1)
    if options.autofluorescence:
        drawn = gaussian_field(rng, options.size_um, options.artefact_range_um, xy)
        extra = options.autofluorescence * AMPLITUDE["IL1B"] * np.exp(drawn - 0.5)
        light = {name: values + extra for name, values in light.items()}
    if options.multiplicative:
        factor = np.exp(
            options.multiplicative
            * gaussian_field(rng, options.size_um, options.artefact_range_um, xy)
        )
        light = {name: values * factor for name, values in light.items()}

    def mixed(name: str, spill: float) -> Floats:
        around = np.bincount(i, light[name][j], n) / count
        return (1 - spill) * light[name] + spill * around

    def camera(name: str, spill: float) -> Floats:
        values = mixed(name, spill)
        other = {"TGFB1": "IL1B", "IL1B": "TGFB1"}.get(name)
        if other is not None and options.bleed:
            values = values + options.bleed * mixed(other, spill)
        return BACKGROUND + values + BACKGROUND_SD / 4 * rng.standard_normal(n)

    spill = max(options.spill, 0.1 if options.bleed else 0.0)
    kept = [name for name in CHANNELS if name != "AF" or options.background_channel]
    place = {
        "DAPI": "nucleus",
        "PanCK": "cytoplasm",
        "TGFB1": "membrane",
        "IL1B": "cytoplasm",
        "AF": "cell",
    }
    table: dict[str, object] = {"cell_id": np.arange(1, n + 1), "x_um": xy[:, 0], "y_um": xy[:, 1]}
    for name in kept:
        table[f"{name}_{place[name]}_mean"] = camera(name, 0.0 if name == "DAPI" else spill)
    table["TGFB1_cytoplasm_mean"] = camera("TGFB1", spill)
    phenotype = np.where(responder, "myeloid", np.where(source, "tumor", "other"))
    table["phenotype"] = pd.Categorical(phenotype, ["tumor", "myeloid", "other"])
    table["IL1B_positive"] = pd.Series(
        np.asarray(table["IL1B_cytoplasm_mean"]) > GATE, dtype="boolean"
    )
    table["tumor_region_distance_um"] = _border_distance(xy, source, options)
    is_pair = responder[i] & source[j]
    i, j = i[is_pair], j[is_pair]
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    away, shared = camera("TGFB1", 0.2 * spill), camera("TGFB1", 2 * spill)
    eroded, own = camera("IL1B", 0.2 * spill), camera("TGFB1", 0.2 * spill)
    pairs = pd.DataFrame(
        {
            "responder_id": i + 1,
            "source_id": j + 1,
            "ligand_away_sum": away[j] * 40,
            "ligand_away_px": 40,
            "ligand_clear_sum": away[j] * 40,
            "ligand_clear_px": 40,
            "ligand_shared_sum": shared[j] * 15,
            "ligand_shared_px": 15,
            "response_eroded_sum": eroded[i] * 60,
            "response_eroded_px": 60,
            "own_ligand_eroded_sum": own[i] * 60,
        }
    )
    grid = np.ones(
        (int(np.ceil(options.size_um[1] / 10)), int(np.ceil(options.size_um[0] / 10))), np.bool_
    )
    return PointTissue(pd.DataFrame(table), pairs, grid, 10.0)


def _border_distance(xy: Floats, source: NDArray[np.bool_], options: PointOptions) -> Floats:
    """Distance to the nests' border on a grid of 10 um, negative inside."""
    nearest = cKDTree(xy[source])
    width, height = options.size_um
    grid = np.stack(np.meshgrid(np.arange(5, width, 10.0), np.arange(5, height, 10.0)), axis=-1)
    inside = (
        nearest.query(grid.reshape(-1, 2), distance_upper_bound=0.9 * options.spacing_um)[
            0
        ].reshape(grid.shape[:2])
        < np.inf
    )
    inside = ndimage.binary_closing(inside, iterations=1)
    signed = 10 * (ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside))
    return np.asarray(
        ndimage.map_coordinates(
            signed, [xy[:, 1] / 10 - 0.5, xy[:, 0] / 10 - 0.5], order=1, mode="nearest"
        )
    )
