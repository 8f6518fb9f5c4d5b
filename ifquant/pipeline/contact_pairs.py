"""Contacts of responders with sources, measured on the pixels of ligand and response, where the
recipe asks the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.cells.contacts import measure_contacts
from ifquant.columns.cell_columns import phenotype_names
from ifquant.geometry.runs import CellRuns
from ifquant.geometry.windows import Window
from ifquant.proximity.distances import touching_pairs
from ifquant.slides.slide_input import SlideInput

ReadChannels = Callable[[Sequence[int], Window], NDArray[Any]]


def contact_pairs(
    slide: SlideInput,
    read: ReadChannels,
    codes: NDArray[np.int64],
    nuclei: CellRuns,
    cells: CellRuns,
) -> pd.DataFrame | None:
    """Measure every contact of a responder with a source: the columns of `pair_columns`, ids are
    rows + 1. None without [priming].

    Parameters
    ----------
    read
        Gives pixels (C, Y, X) of some channels of the file in a window.
    codes
        Phenotype of every cell by its place in `phenotype_names`.
    nuclei, cells
        Geometry; object `i` is row `i`.
    """
    recipe, panel, options = slide.recipe, slide.panel, slide.recipe.priming
    if options is None or options.responder is None or options.source is None:
        return None
    channels = [panel.indices[panel.position(name)] for name in (options.ligand, options.response)]
    names = phenotype_names(recipe)
    return measure_contacts(
        touching_pairs(cells),
        codes == names.index(options.responder),
        codes == names.index(options.source),
        nuclei,
        cells,
        lambda window: read(channels, window),
        image_shape=slide.image_shape,
        pixel_size_um=slide.pixel_size_um,
        membrane_um=recipe.measure.membrane_um,
        options=options,
    )
