"""Nuclei from one channel: what a segmenter is, how it is made, and `segment_nuclei` for arrays.

A segmenter is a frozen, picklable value. It never sees the whole slide: it reads what it needs
through `read`, and everything data-dependent (background, thresholds) was measured once for the
whole slide and given to its factory.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei.channel_levels import ChannelLevels, levels_of, refuse_dark_on_bright
from ifquant.nuclei.lattice import LatticeMaps
from ifquant.nuclei.nucleus_size import estimate_nucleus_diameter_px
from ifquant.recipe.model import Segmentation
from ifquant.recipe.pixel_size import check_pixel_size
from ifquant.registry import cell_segmenter_factory, segmenter_factory

Read: TypeAlias = Callable[[Window], NDArray[Any]]
"""Pixels (Y, X) of the nucleus channel in any window inside the slide, native type."""
ReadMaps: TypeAlias = Callable[[Window], NDArray[Any]]
"""Maps (K, Y, X) of the lattice stage in any window inside the slide (`lattice.LatticeMaps`)."""

_SMALLEST = 0.12
"""Smallest nucleus kept where the scale is only estimated, as a fraction of the typical area."""
_LARGEST = 6.0
"""Largest diameter kept whole there, in typical diameters."""


class Segmenter(Protocol):
    """A way to find nuclei, with a stated reach.

    Attributes
    ----------
    name
        As in the recipe.
    reach_px
        Nuclei further than this (per axis) from a window's inner border are exact.
    lattice_px
        None: local filters, any window. Else `core_maps` is called once per core of the fixed
        lattice of this step anchored at (0, 0), and `nuclei` reads its maps through `read_maps`.

    What identifies a method in digests is known before its segmenter can be made, and is therefore
    asked of the registry (`registry.segmenter_identity`).
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def reach_px(self) -> int: ...  # noqa: D102
    @property
    def lattice_px(self) -> int | None: ...  # noqa: D102

    def core_maps(self, read: Read, core: Window, image_shape: tuple[int, int]) -> NDArray[Any]:
        """Compute the maps (K, Y, X) of one lattice core; never called without a lattice."""
        ...

    def nuclei(
        self, read: Read, read_maps: ReadMaps, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) 1..n of a window, in raster order of each nucleus' first pixel."""
        ...

    def release(self) -> None:
        """Free the memory of a network once all maps are made, before cells are grown."""
        ...


@runtime_checkable
class OverlappingSegmenter(Protocol):
    """A segmenter whose lattice windows overlap; one fixed rule settles what two windows see.

    Attributes
    ----------
    overlap_px
        The maps of a lattice core cover the core grown by this.
    maps_reach_px
        `nuclei` looks at the maps of every lattice core that meets the window grown by this.
    """

    @property
    def overlap_px(self) -> int: ...  # noqa: D102
    @property
    def maps_reach_px(self) -> int: ...  # noqa: D102

    def nuclei_and_seams(
        self, maps: LatticeMaps, window: Window
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Labels as of `Segmenter.nuclei`, and on which of them (n + 1,) two windows disagreed."""
        ...


def overlap_px(segmenter: Segmenter) -> int:
    """Return how far the maps of a lattice core reach beyond it."""
    return segmenter.overlap_px if isinstance(segmenter, OverlappingSegmenter) else 0


def maps_reach_px(segmenter: Segmenter) -> int:
    """Return how far beyond a window the lattice cores lie whose maps it needs."""
    return segmenter.maps_reach_px if isinstance(segmenter, OverlappingSegmenter) else 0


def find_objects(
    segmenter: Segmenter,
    read: Read,
    maps: LatticeMaps,
    window: Window,
    image_shape: tuple[int, int],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Labels (Y, X) of a window, and on which of them (n + 1,) two lattice windows disagreed."""
    if isinstance(segmenter, OverlappingSegmenter):
        return segmenter.nuclei_and_seams(maps, window)
    labels = segmenter.nuclei(read, maps, window, image_shape)
    return labels, np.zeros(int(labels.max(initial=0)) + 1, np.bool_)


class ScaleEstimated(UserWarning):
    """No pixel size was given: the working scale was estimated from the image."""


def make_segmenter(
    options: Segmentation, *, pixel_size_um: float, calibration: ChannelLevels | None
) -> Segmenter:
    """Make the segmenter a recipe asks for.

    `calibration` holds the levels of the nucleus channel over the whole slide, None when there is
    no such channel (method "labels").
    """
    factory = segmenter_factory(options.method)
    if calibration is not None and options.method != "labels":
        refuse_dark_on_bright(calibration)
    segmenter: Segmenter = factory(options, pixel_size_um=pixel_size_um, calibration=calibration)
    return segmenter


def make_cell_segmenter(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    guides: Sequence[ChannelLevels],
) -> Segmenter | None:
    """Make what finds whole cells if the recipe asks for it; None: cells are grown from nuclei.

    `guides` are the levels of the channels that may shape cells (tumor, myeloid). What it reads is
    (C, Y, X): these channels, then the nuclei.
    """
    factory = cell_segmenter_factory(options.method)
    if factory is None:
        return None
    segmenter: Segmenter | None = factory(
        options, pixel_size_um=pixel_size_um, calibration=calibration, guides=tuple(guides)
    )
    return segmenter


def segment_image(segmenter: Segmenter, image: NDArray[Any]) -> NDArray[np.int32]:
    """Nuclei of an image (Y, X) in memory, as the pipeline finds them tile by tile."""
    shape = image.shape

    def read(window: Window) -> NDArray[Any]:
        return image[window.y0 : window.y1, window.x0 : window.x1]

    step = segmenter.lattice_px
    stored = (
        {core: segmenter.core_maps(read, core, shape) for core in cores(shape, step)}
        if step is not None
        else {}
    )
    maps = LatticeMaps(step or max(*shape, 1), overlap_px(segmenter), shape, stored.__getitem__)
    return find_objects(segmenter, read, maps, Window(0, 0, *shape), shape)[0]


def segment_nuclei(
    image: NDArray[Any],
    *,
    pixel_size_um: float | None = None,
    method: str = "unet",
    options: Segmentation | None = None,
) -> NDArray[np.int32]:
    """Segment the nuclei of one image.

    Parameters
    ----------
    image : ndarray (Y, X), any numeric type
        Nuclear stain, bright on dark.
    pixel_size_um : float, optional
        Edge of a pixel in um. None: the scale is estimated from the image and a `ScaleEstimated`
        warning states it; nuclei down to an eighth of the typical area are then kept.
    method : str
        Name of the segmentation method.
    options : Segmentation, optional
        Other choices of the recipe's section ``[segmentation]``; its method gives way to `method`.

    Returns
    -------
    ndarray (Y, X) int32
        Labels 1..n in raster order of each nucleus' first pixel, 0 background. All 0 for a constant
        image.

    Raises
    ------
    RequestError
        If the image is not 2-D, not numeric or not finite, or the pixel size is not positive.
    SlideError
        If nuclei are darker than the background.
    """
    pixels = _check_image(image)
    if pixel_size_um is not None:
        check_pixel_size(pixel_size_um, "pixel_size_um (None: estimated)")
    chosen = (options or Segmentation()).model_copy(update={"method": method})
    segmenter_factory(method)  # unknown methods are refused before any work
    if pixels.size == 0 or pixels.min() == pixels.max():
        return np.zeros(pixels.shape, np.int32)
    if pixel_size_um is None:
        chosen, pixel_size_um = _estimate_scale(pixels, chosen)
    levels = levels_of(pixels)
    segmenter = make_segmenter(chosen, pixel_size_um=pixel_size_um, calibration=levels)
    return segment_image(segmenter, pixels)


def _estimate_scale(pixels: NDArray[Any], options: Segmentation) -> tuple[Segmentation, float]:
    """Options with wider bounds of size, and the pixel size (um) estimated from the image."""
    diameter_um = options.nucleus_diameter_um
    diameter_px = estimate_nucleus_diameter_px(pixels)
    pixel_size_um = diameter_um / diameter_px
    typical_um2 = math.pi * diameter_um**2 / 4
    bounds = {
        "min_area_um2": min(options.min_area_um2, _SMALLEST * typical_um2),
        "max_diameter_um": max(options.max_diameter_um, _LARGEST * diameter_um),
    }
    warnings.warn(
        f"no pixel size given: nuclei look {diameter_px:.1f} px across; taking them as"
        f" {diameter_um:g} um, one pixel is {pixel_size_um:.3g} um. Pass pixel_size_um if you know"
        " it.",
        ScaleEstimated,
        stacklevel=3,
    )
    return options.model_copy(update=bounds), pixel_size_um


def _check_image(image: NDArray[Any]) -> NDArray[Any]:
    """Return the image as an array, refused unless it is 2-D, real and finite."""
    pixels = np.asarray(image)
    if pixels.ndim != 2:
        raise RequestError(
            f"found an image of shape {pixels.shape}; expected (Y, X): pass one channel, e.g."
            " image[0]"
        )
    if pixels.dtype.kind not in "iuf":
        raise RequestError(
            f"found an image of type {pixels.dtype}; expected integers or floats of a nuclear stain"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise RequestError(
            "found NaN or infinite pixels; expected finite values: replace them, e.g. by"
            " numpy.nan_to_num"
        )
    return pixels
