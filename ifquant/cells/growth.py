"""From nuclei to cells: each nucleus owns one cell around it, grown in um and stopped by stain.

Only channels with role tumor or myeloid shape a cell; what is studied (ligand, response) never
does. The rules, all on integers:

1. *Medium.* Guide channels are smoothed and divided by their threshold. A pixel is tumor or myeloid
   stain where that ratio is above 1. Where stains overlap (a process over a tumor cell, blur at a
   contact) the larger ratio wins, ties go to tumor: a process that outshines the cytokeratin around
   it lies on top, a faint one is spill-over.
2. *Class.* Each nucleus is tumor, myeloid or other by the medium of its ring: pixels within
   ``ring_um`` that no other nucleus is nearer to (a nucleus that is walled in has no ring and is
   judged on itself).
3. *Growth*, all cells at once, each pixel to the smallest (cost, label); cost = path length, plus
   an edge term inside tumor stain so that fronts meet at membranes. Limits by class:

   ========  ==================  =========================  =================================
   class     unstained           tumor stain                myeloid stain
   ========  ==================  =========================  =================================
   other     other_um            at most intrusion_um deep  closed
   tumor     other_um            tumor_um                   closed
   myeloid   myeloid_soma_um     at most intrusion_um deep  myeloid_soma_um + myeloid_process_um
   ========  ==================  =========================  =================================

   Processes are thereby connected to their soma through myeloid stain, and no neighbour can cut
   them. A cell that enters foreign tumor stain pays so much per step that its whole growth is spent
   ``intrusion_um`` deep.
4. *Leftovers.* Myeloid stain that no myeloid cell reached is then open to other and tumor cells
   like unstained tissue (up to ``other_um``); what is still nobody's is the orphan mask: signal of
   a cell whose nucleus is not in the section, reported as area, never as a cell.

Cells are 8-connected to their nucleus. A pixel's label depends on pixels within `reach_um` only,
for nuclei of bounded size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.cells import growth_kernel as kernel
from ifquant.cells import stain_kernels
from ifquant.columns.cell_columns import GROWTH_CLASSES
from ifquant.errors import RequestError
from ifquant.geometry import filters
from ifquant.recipe import model
from ifquant.recipe.pixel_size import check_pixel_size

OTHER, TUMOR, MYELOID = range(3)
"""Codes of growth classes (positions in `GROWTH_CLASSES`) and of media (0 = unstained)."""

SMOOTHING_UM = 0.3
"""Standard deviation of the Gaussian before stain is thresholded: below the width of a process
(about 1 um), above pixel noise."""
SMOOTHING_SIGMAS = 3.0
"""The Gaussian is cut at this many standard deviations: its reach is ``ceil(3 sigma)`` px, at every
pixel."""
EDGE_COST_UM = 2.0
"""Inside tumor stain a step across a relative change of 100 % per um costs (1 + this) times the
step. On simulated tissue with true nuclei the mean overlap (IoU) of tumor cells is best at 2:
0.761, 0.771, 0.751, 0.707 at 0, 2, 4, 8."""
EDGE_COST_MOST = 20
"""Largest edge cost per step, in units of a tenth of a pixel."""
DEFAULT_NUCLEUS_UM = float(model.Segmentation().max_diameter_um)
"""Largest nucleus assumed by `reach_um` (the decoder's bound)."""


@dataclass(frozen=True)
class GrownCells:
    """Cells of a window.

    Attributes
    ----------
    labels : int32 (Y, X)
        0 = background; the label of a cell is that of its nucleus.
    growth_class : uint8 (n + 1,)
        Code per label, a position in `GROWTH_CLASSES`; entry 0 is not used.
    orphan_mask : bool (Y, X)
        Myeloid stain that belongs to no cell.
    """

    labels: NDArray[np.int32]
    growth_class: NDArray[np.uint8]
    orphan_mask: NDArray[np.bool_]


def growth_um(options: model.Cells) -> float:
    """Return how far a cell may reach beyond its nucleus, in um."""
    return max(
        options.other_um, options.tumor_um, options.myeloid_soma_um + options.myeloid_process_um
    )


def reach_um(options: model.Cells, max_nucleus_um: float = DEFAULT_NUCLEUS_UM) -> float:
    """Bound how far from a nucleus anything may lie that its cell depends on, in um.

    The sum of: growth of the cell itself, growth of its competitors (with myeloid stain, twice:
    they compete, then take leftovers), the largest extent of a competitor's nucleus
    (`max_nucleus_um`), its ring and what shares that ring, and the smoothing of the stain.
    """
    leftovers = max(options.other_um, options.tumor_um)
    smoothing = SMOOTHING_SIGMAS * SMOOTHING_UM
    return 2 * growth_um(options) + leftovers + max_nucleus_um + 2 * options.ring_um + smoothing


def reach_px(
    options: model.Cells, pixel_size_um: float, max_nucleus_um: float = DEFAULT_NUCLEUS_UM
) -> int:
    """Halo in px beyond a nucleus within which everything lies that its cell depends on."""
    # 3 px: the smoothing radius rounds up, edges look 1 px on, border pixels
    return math.ceil(reach_um(options, max_nucleus_um) / pixel_size_um) + 3


def grow_cells(
    nuclei: NDArray[np.int32],
    markers: NDArray[Any],
    *,
    roles: Sequence[str],
    thresholds: Sequence[float | None],
    pixel_size_um: float,
    options: model.Cells,
) -> GrownCells:
    """Grow nuclei into cells.

    Parameters
    ----------
    nuclei
        int32 (Y, X): labels 1..n numbered by their first pixel in raster order (ties between fronts
        go to the smaller label), 0 background.
    markers
        (C, Y, X) raw file values of any numeric dtype; pixels that are not finite are unstained.
    roles, thresholds
        C each: only ``tumor`` and ``myeloid`` channels guide, stained above the raw value (from the
        calibration); None: no stain in this channel.

    Raises
    ------
    RequestError
        If shapes or lengths do not fit together.
    """
    nuclei = np.ascontiguousarray(nuclei, np.int32)
    _require_fitting(nuclei, markers, pixel_size_um, roles=roles, thresholds=thresholds)
    tumor = _stain_ratio(markers, roles, thresholds, "tumor", pixel_size_um)
    myeloid = _stain_ratio(markers, roles, thresholds, "myeloid", pixel_size_um)
    medium = stain_kernels.strongest_stain(tumor, myeloid)
    gain = kernel.STRAIGHT * EDGE_COST_UM / (2 * pixel_size_um)
    edge = stain_kernels.relative_edges(tumor, gain, EDGE_COST_MOST)
    del tumor, myeloid
    kind = _growth_classes(nuclei, medium, pixel_size_um, options)
    labels, costs = nuclei.copy(), np.zeros_like(nuclei)
    rules = _rules(options, pixel_size_um, leftovers=False)
    kernel.grow(labels, costs, medium, edge, kind, rules)
    orphans = (medium == MYELOID) & (labels == 0)
    if orphans.any():
        rules = _rules(options, pixel_size_um, leftovers=True)
        kernel.grow(labels, costs, medium, edge, kind, rules, opened=MYELOID)
        orphans &= labels == 0
    return GrownCells(labels, kind, orphans)


def segment_cells(
    nuclei: NDArray[Any],
    markers: NDArray[Any],
    *,
    pixel_size_um: float,
    roles: Sequence[str] | None = None,
) -> NDArray[Any]:
    """Grow nuclei into cells; stain thresholds are Otsu's on the log intensities of these arrays.

    Parameters
    ----------
    nuclei
        (Y, X) integer labels of nuclei, 0 = background.
    markers
        (C, Y, X) guide channels of any numeric dtype; C may be 0.
    pixel_size_um
        Size of a pixel in um.
    roles
        C roles; only ``tumor`` and ``myeloid`` guide. None: all channels are generic cytoplasm or
        membrane stains, and a cell fills stain of any of them as a tumor cell fills cytokeratin.

    Returns
    -------
    (Y, X) labels of the dtype of `nuclei`; the label of a cell is that of its nucleus.

    Raises
    ------
    RequestError
        If shapes or lengths do not fit together.
    """
    nuclei, markers = np.asarray(nuclei), np.asarray(markers)
    if roles is None:
        roles = ["tumor"] * len(markers)
    thresholds = [_otsu_log(channel) for channel in markers]
    _require_fitting(nuclei, markers, pixel_size_um, roles=roles, thresholds=thresholds)
    numbered, names = numbered_by_anchor(nuclei)
    grown = grow_cells(
        numbered,
        markers,
        roles=roles,
        thresholds=thresholds,
        pixel_size_um=pixel_size_um,
        options=model.Cells(),
    )
    return names.astype(nuclei.dtype)[grown.labels]


def numbered_by_anchor(labels: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Renumber labels 1..n by the raster order of their first pixel.

    Returns
    -------
    int32 (Y, X) labels, and the old label of each new one, int64 (n + 1,).
    """
    largest = int(labels.max(initial=0))
    if largest <= 4 * labels.size + 1_000_000:
        return stain_kernels.number_by_anchor(np.ascontiguousarray(labels), largest)  # type: ignore[no-any-return]
    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + (0 if values[0] == 0 else 1)
    numbered, old = stain_kernels.number_by_anchor(compact, int(compact.max()))
    original = values if values[0] == 0 else np.concatenate([np.zeros(1, values.dtype), values])
    return numbered, original.astype(np.int64)[old]


def check_labels(kind: str, labels: NDArray[Any]) -> None:
    """Refuse what is no label image."""
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise RequestError(
            f"{kind} are {labels.dtype} {labels.shape}; expected (Y, X) integer labels from 0"
            " (background) upwards."
        )


def _require_fitting(
    nuclei: NDArray[Any],
    markers: NDArray[Any],
    pixel_size_um: float,
    *,
    roles: Sequence[str],
    thresholds: Sequence[float | None],
) -> None:
    check_labels("nuclei", nuclei)
    if np.ndim(markers) != 3 or markers.shape[1:] != nuclei.shape:
        raise RequestError(
            f"markers have shape {np.shape(markers)}, nuclei {nuclei.shape}; expected (C, Y, X) of"
            " the same Y, X."
        )
    if not len(roles) == len(thresholds) == len(markers):
        raise RequestError(
            f"{len(markers)} marker channels, {len(roles)} roles, {len(thresholds)} thresholds;"
            " give one of each per channel."
        )
    check_pixel_size(pixel_size_um, "pixel_size_um")


def _stain_ratio(
    markers: NDArray[Any],
    roles: Sequence[str],
    thresholds: Sequence[float | None],
    role: str,
    pixel_size_um: float,
) -> NDArray[np.float32]:
    """Largest smoothed value / threshold over the channels of a role, float32 (Y, X); 0 if none."""
    ratio = np.zeros(markers.shape[1:], np.float32)
    sigma = SMOOTHING_UM / pixel_size_um
    for channel, of, threshold in zip(markers, roles, thresholds, strict=True):
        if of != role or threshold is None or not math.isfinite(threshold):
            continue
        if channel.dtype.kind == "f":
            channel = np.where(np.isfinite(channel), channel, min(threshold, 0.0))
            channel = channel.astype(np.float32)
        smooth = filters.gaussian(channel, sigma, math.ceil(SMOOTHING_SIGMAS * sigma))
        if threshold > 0:
            smooth /= np.float32(threshold)
        else:  # a background-subtracted image has no ratio: the difference must do
            smooth += np.float32(1 - threshold)
        np.maximum(ratio, smooth, out=ratio)
    return ratio


def _growth_classes(
    nuclei: NDArray[np.int32], medium: NDArray[np.uint8], pixel_size_um: float, options: model.Cells
) -> NDArray[np.uint8]:
    """Class of each nucleus (n + 1,) from the stain in its ring."""
    n = int(nuclei.max(initial=0))
    kind = np.zeros(n + 1, np.uint8)
    if not medium.any():
        return kind
    counts = kernel.ring_media(nuclei, medium, _units(options.ring_um, pixel_size_um), n)
    ring, nucleus = counts[:, :3], counts[:, 3:]
    ring = np.where(ring.sum(1, keepdims=True) > 0, ring, nucleus)
    enough = ring >= options.min_stained_fraction * np.maximum(ring.sum(1, keepdims=True), 1)
    kind[enough[:, MYELOID]] = MYELOID
    kind[enough[:, TUMOR] & (ring[:, TUMOR] >= ring[:, MYELOID])] = TUMOR
    return kind


def _units(um: float, pixel_size_um: float) -> int:
    """Convert a length to a cost, rounded down; 2.5 um / 0.5 um is 5 px whatever the rounding."""
    return math.floor(kernel.STRAIGHT * um / pixel_size_um + 1e-6)


def _rules(options: model.Cells, pixel_size_um: float, *, leftovers: bool) -> kernel.Rules:
    """Rules of growth (see the module's table); `leftovers` opens myeloid stain to all classes."""
    process_um = options.myeloid_soma_um + options.myeloid_process_um
    other, tumor, soma, process = (
        _units(um, pixel_size_um)
        for um in (options.other_um, options.tumor_um, options.myeloid_soma_um, process_um)
    )
    intrusion, never = options.intrusion_um, -1
    closed = other if leftovers else never
    limit = np.array(
        [
            [other, other if intrusion > 0 else never, closed, never],
            [other, tumor, closed, never],
            [soma, soma if intrusion > 0 else never, process, never],
        ],
        np.int32,
    )
    steps = []
    for base in (kernel.STRAIGHT, kernel.DIAGONAL):
        step = np.full((3, 4), base, np.int32)
        for group, most in ((OTHER, options.other_um), (MYELOID, options.myeloid_soma_um)):
            if 0 < intrusion < most:
                step[group, TUMOR] = math.ceil(min(base * most / intrusion, 2**20) - 1e-6)
        steps.append(step)
    edged = np.zeros((3, 4), np.uint8)
    edged[TUMOR, TUMOR] = 1
    return kernel.Rules(steps[0], steps[1], limit, edged)


def _otsu_log(channel: NDArray[Any]) -> float | None:
    """Otsu threshold on the log of the positive, finite values; None where there is no contrast."""
    values = np.asarray(channel, np.float64)
    values = np.log(values[np.isfinite(values) & (values > 0)])
    if values.size == 0 or values.min() == values.max():
        return None
    from skimage.filters import threshold_otsu  # slow to import, only this public function needs it

    return float(np.exp(threshold_otsu(values)))


assert GROWTH_CLASSES == ("other", "tumor", "myeloid")
