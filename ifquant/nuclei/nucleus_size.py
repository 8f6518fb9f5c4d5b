"""How large nuclei are in an image whose pixel size nobody recorded.

Two estimates that fail on different images: the scale at which blobs answer best to a difference of
gaussians (holds under uneven light, haze and touching nuclei) and the widths of Otsu's foreground
(finer, but a lit background or a whole embryo is one object to it). The second refines the first
only where they agree within a factor of two. On the 481 training images of DSB2018 (median
diameters 7 to 94 px) the estimate lies within a factor 1.41 of the true median diameter in 98 of
100 images, within 1.25 in 91; the worst is off by 2.9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from ifquant.errors import RequestError
from ifquant.geometry.filters import bounded_depth

_FIRST_SIGMA_PX, _RATIO, _SCALES = 1.6, 1.2546, 16
_DEEPEST_PX = 80
_NOTHING = (
    "found nothing bright in the image to estimate a nucleus size from; pass the pixel size instead"
)
_MAX_BLOCKS, _BLOCK_PX = 4, 1024
# medians of true / estimated diameter over the training images
_BLOB_BIAS, _WIDTH_BIAS = 1.157, 1.09


def estimate_nucleus_diameter_px(image: NDArray[Any]) -> float:
    """Typical nucleus diameter of an image of a nuclear stain, bright on dark.

    The diameter, in px, lies between 4 and 140. Images above 4 megapixels are judged by their four
    most contrasted blocks of 1024 x 1024 px. Without any blob (a constant image) it is refused.
    """
    raw = _high_contrast_blocks(image)
    low = min(float(block.min()) for block in raw)
    high = max(float(block.max()) for block in raw)
    if not high > low:
        raise RequestError(_NOTHING)
    blocks = [((block.astype(np.float64) - low) / (high - low)).astype(np.float32) for block in raw]
    by_blobs = _blob_diameter(blocks)
    if by_blobs is None:
        raise RequestError(_NOTHING)
    by_width = _foreground_width(blocks)
    if by_width is not None and 0.5 < by_width / by_blobs < 2:
        by_blobs = math.sqrt(by_width * by_blobs)
    return float(min(max(by_blobs, 4.0), 140.0))


def _high_contrast_blocks(image: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the blocks of largest contrast, in raster order; a small image is one block."""
    if image.size <= _MAX_BLOCKS * _BLOCK_PX**2:
        return [image]
    blocks = [
        image[y : y + _BLOCK_PX, x : x + _BLOCK_PX]
        for y in range(0, image.shape[0], _BLOCK_PX)
        for x in range(0, image.shape[1], _BLOCK_PX)
    ]
    scale = max(float(np.abs(image).max()), 1e-300)
    contrast = np.array(
        [float(np.std(block / scale, dtype=np.float64)) * math.sqrt(block.size) for block in blocks]
    )
    return [blocks[i] for i in np.sort(np.argsort(-contrast, kind="stable")[:_MAX_BLOCKS])]


def _blob_diameter(blocks: list[NDArray[np.float32]]) -> float | None:
    """Diameter at the largest response of differences of gaussians, None where there is none.

    The response is the sum of squares of the positive part, over sigma**0.8.
    """
    energy = np.zeros(_SCALES)
    for block in blocks:
        shrink = 1  # a step of the pyramid, in px
        here = ndi.gaussian_filter(block, _FIRST_SIGMA_PX, truncate=3.0, mode="nearest")
        for i in range(_SCALES):
            sigma = _FIRST_SIGMA_PX * _RATIO**i
            wider = ndi.gaussian_filter(
                here, sigma * math.sqrt(_RATIO**2 - 1) / shrink, truncate=3.0, mode="nearest"
            )
            response = np.maximum(here - wider, 0)
            energy[i] += float(np.square(response, dtype=np.float64).sum()) * shrink**2 / sigma**0.8
            here = wider
            if sigma * _RATIO / shrink >= 3.2:
                height, width = here.shape[0] // 2, here.shape[1] // 2
                if min(height, width) < 5:
                    break
                here = here[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
                here = here.mean(axis=(1, 3))
                shrink *= 2
    if energy.max() <= 0:
        return None
    best = int(energy.argmax())
    step = 0.5  # the response lies between a scale and the next
    if 0 < best < len(energy) - 1 and energy[best - 1] > 0 and energy[best + 1] > 0:
        left, middle, right = np.log(energy[best - 1 : best + 2])
        if left + right < 2 * middle:  # vertex of the parabola through three scales
            step += 0.5 * (left - right) / (left - 2 * middle + right)
    return float(_BLOB_BIAS * 2 * math.sqrt(2) * _FIRST_SIGMA_PX * _RATIO ** (best + step))


def _foreground_width(blocks: list[NDArray[np.float32]]) -> float | None:
    """Twice the area-weighted median depth of Otsu's foreground at its ridges."""
    from skimage.filters import threshold_otsu

    smooth = [ndi.gaussian_filter(block, 1.0, truncate=3.0) for block in blocks]
    values = np.concatenate([s.ravel() for s in smooth])
    if values.min() == values.max():
        return None
    threshold = threshold_otsu(values)
    depths = []
    for s in smooth:
        depth = bounded_depth(s > threshold, _DEEPEST_PX)
        rounded = ndi.gaussian_filter(depth, 0.7)
        depths.append(depth[(rounded == ndi.maximum_filter(rounded, 5)) & (depth > 1.5)])
    ridges = np.sort(np.concatenate(depths))
    if ridges.size == 0:
        return None
    weight = np.cumsum(ridges**2)
    return _WIDTH_BIAS * 2 * float(ridges[np.searchsorted(weight, 0.5 * weight[-1])])
