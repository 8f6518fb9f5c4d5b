"""Images in memory, calibrated as the pipeline calibrates slides block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration.calibrate import Calibration, calibrate, needs_second_pass
from ifquant.calibration.histogram import SlideHistogram, grid_step_px, merge, scan_block
from ifquant.calibration.tissue import find_tissue
from ifquant.geometry.windows import Window, cores
from ifquant.recipe.model import TissueOptions


def calibrate_array(
    pixels: NDArray[np.generic],
    names: Sequence[str],
    *,
    pixel_size_um: float,
    options: TissueOptions | None = None,
    max_value: int | None = None,
    block_px: int = 1024,
) -> Calibration:
    """Calibrate an image (C, Y, X) held in memory; the same result as the pipeline's block by
    block.
    """
    options = options or TissueOptions()
    shape = (pixels.shape[1], pixels.shape[2])
    step = grid_step_px(options.step_um, pixel_size_um)
    blocks = cores(shape, max(64, block_px // step * step) if step <= 64 else step)
    blocks = (
        blocks
        if all(b.y0 % step == 0 and b.x0 % step == 0 for b in blocks)
        else [Window(0, 0, *shape)]
    )

    def scan(mask: NDArray[np.bool_] | None) -> SlideHistogram:
        return merge(
            (scan_block(pixels[:, b.y0 : b.y1, b.x0 : b.x1], b, step, mask) for b in blocks), shape
        )

    histogram = scan(None)
    tissue = find_tissue(histogram, pixel_size_um=pixel_size_um, options=options)
    return calibrate(
        scan(tissue.mask) if needs_second_pass(tissue) else histogram,
        tissue,
        names,
        max_value=max_value,
    )
