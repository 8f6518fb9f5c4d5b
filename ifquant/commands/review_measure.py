"""Corrected cells measured on the pixels: edited ones by the function that every tile of a run
uses, and all contacts anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.calibration.calibrate import Calibration
from ifquant.cells.measurement import reach_um
from ifquant.geometry.windows import Window
from ifquant.pipeline.contact_pairs import contact_pairs
from ifquant.pipeline.tile import measure_rows
from ifquant.review.corrected_results import Corrected, Measure
from ifquant.review.outlines import Outlines
from ifquant.slides.slide import Slide
from ifquant.slides.slide_input import SlideInput

BLOCK_PX = 1024
"""Edited cells are measured together when their boxes begin in the same block of this size."""


def measurer(slide: Slide, opened: SlideInput, calibration: Calibration) -> Measure:
    """Make the function that `apply_review` measures edited cells with."""
    shape = opened.image_shape
    halo_px = int(np.ceil(reach_um(opened.recipe.measure) / opened.pixel_size_um)) + 1

    def measure(ids: NDArray[np.int64], outlines: Outlines) -> Mapping[str, NDArray[Any]]:
        blocks: dict[tuple[int, int], list[int]] = defaultdict(list)
        for k, cell_id in enumerate(ids):
            box = outlines.box(int(cell_id))
            blocks[box.y0 // BLOCK_PX, box.x0 // BLOCK_PX].append(k)
        columns: dict[str, NDArray[Any]] = {}
        for members in blocks.values():
            boxes = [outlines.box(int(ids[k])) for k in members]
            around = Window(
                min(b.y0 for b in boxes),
                min(b.x0 for b in boxes),
                max(b.y1 for b in boxes),
                max(b.x1 for b in boxes),
            )
            window = around.grown(halo_px, shape)
            nuclei, cells = outlines.painted(window)
            names = np.unique(cells)
            local = [np.searchsorted(names, labels).astype(np.int32) for labels in (nuclei, cells)]
            wanted = np.searchsorted(names, ids[members]).astype(np.int32)
            if names[0] != 0:  # no background in the window
                local, wanted = [labels + np.int32(1) for labels in local], wanted + np.int32(1)
                local[0][nuclei == 0] = 0
            pixels = slide.read(opened.panel.indices, window)
            rows = measure_rows(opened, calibration, pixels, local[0], local[1], wanted, window)
            for name, values in rows.items():
                columns.setdefault(name, np.zeros(len(ids), values.dtype))[members] = values
        return columns

    return measure


def corrected_pairs(corrected: Corrected, slide: Slide, opened: SlideInput) -> pd.DataFrame | None:
    """Measure the contacts of corrected cells as a run does; None without [priming].

    Contacts that reviewers deny are left out. Both cells still lie close: the light of one may
    reach the other, so the denied responder still counts where pixels are kept clear of every
    responder.
    """
    codes = np.asarray(corrected.table["phenotype"].cat.codes, np.int64)
    pairs = contact_pairs(opened, slide.read, codes, corrected.nuclei, corrected.cells)
    if pairs is None:
        return None
    ids = corrected.table["cell_id"].to_numpy(np.uint32)
    for name in ("responder_id", "source_id"):
        pairs[name] = ids[pairs[name].to_numpy(np.int64) - 1]
    denied = {frozenset(pair) for pair in corrected.apart}
    together = [
        frozenset(pair) not in denied
        for pair in zip(pairs["responder_id"].tolist(), pairs["source_id"].tolist(), strict=True)
    ]
    return pairs[np.array(together, np.bool_)].reset_index(drop=True)
