"""`ifquant segment`: nuclei or cells of one slide without a recipe."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifquant.cells.growth import segment_cells
from ifquant.errors import RequestError
from ifquant.execution.progress import Reporter
from ifquant.files.ownership import refuse_foreign, refuse_inputs
from ifquant.geometry.windows import Window
from ifquant.notes import gravest_first
from ifquant.nuclei.segmenter import ScaleEstimated, segment_nuclei
from ifquant.pipeline.model_files import fetch_models
from ifquant.recipe import model as recipe
from ifquant.recipe.role_guess import guess_roles
from ifquant.slides import tiff_writer
from ifquant.slides.slide import Slide, SlideRef


def segment_file(
    image: str,
    out: Path,
    *,
    channel: str | None = None,
    cells: bool = False,
    method: str | None = None,
    pixel_size_um: float | None = None,
    model: str | None = None,
    allow_download: bool = False,
) -> tuple[int, tuple[str, ...]]:
    """Segment one slide and write its labels as OME-TIFF (uint32).

    Parameters
    ----------
    channel
        Nucleus channel by name or 0-based index; None: guessed from the names.
    cells
        Write cells, grown along all other channels, instead of nuclei.
    model, allow_download
        As in the recipe's section ``[segmentation]``.

    Returns
    -------
    Number of objects, and what the user must know.

    Raises
    ------
    RequestError
        If the channel is not in the file, cells are asked for without a pixel size, or `out` is an
        input or a file that ifquant did not make.
    """
    options = recipe.Segmentation(
        method=method or recipe.Segmentation().method, model=model, allow_download=allow_download
    )
    if model is not None and options.method != "cellpose":
        raise RequestError(
            f"--model is only read with --method cellpose, found method {options.method!r}; change"
            " one of them"
        )
    refuse_inputs(out, [image, *([model] if model is not None else [])])
    refuse_foreign(out, labels=True)
    fetch_models(options, Reporter(quiet=False).say)
    with SlideRef(paths=(image,), pixel_size_um=pixel_size_um).open() as slide:
        labels, notes = _labels(slide, image, channel, options, cells)
    names = ["cells" if cells else "nuclei"]
    size = slide.info.pixel_size_um
    tiff_writer.write_image(
        out, labels.astype(np.uint32), pixel_size_um=size, names=names, labels=True
    )
    return int(labels.max(initial=0)), tuple(notes)


def _labels(
    slide: Slide, image: str, channel: str | None, options: recipe.Segmentation, cells: bool
) -> tuple[NDArray[np.integer], list[str]]:
    """Labels (Y, X) of the nuclei or cells of a slide, and what the user must know."""
    info = slide.info
    blocking = [
        problem
        for problem in info.problems
        if info.pixel_size_um is not None or "pixel size" not in problem
    ]
    if blocking:
        raise RequestError(f"{image}: {'; '.join(blocking)}")
    nucleus, whole = _channel(slide, channel), Window(0, 0, *info.shape[1:])
    notes = gravest_first(info.warnings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ScaleEstimated)
        labels = segment_nuclei(
            slide.read([nucleus], whole)[0],
            pixel_size_um=info.pixel_size_um,
            method=options.method,
            options=options,
        )
    notes += [str(w.message) for w in caught if issubclass(w.category, ScaleEstimated)]
    if cells:
        if info.pixel_size_um is None:
            raise RequestError(
                f"{image} has no pixel size, and cells grow by micrometers: give --pixel-size."
            )
        others = slide.read([i for i in range(info.shape[0]) if i != nucleus], whole)
        labels = segment_cells(labels, others, pixel_size_um=info.pixel_size_um)
    return labels, notes


def _channel(slide: Slide, wanted: str | None) -> int:
    names = slide.info.channels
    if wanted is None:
        guessed = [i for i, guess in enumerate(guess_roles(names)) if guess.role == "nucleus"]
        if len(names) > 1 and not guessed:
            raise RequestError(
                f"no channel of {', '.join(map(repr, names))} looks like a nuclear stain; give"
                " --channel NAME_OR_INDEX"
            )
        return guessed[0] if guessed else 0
    lookup = {name.casefold(): i for i, name in enumerate(names)}
    if wanted.casefold() in lookup:
        return lookup[wanted.casefold()]
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise RequestError(
        f"--channel {wanted!r} is not one of {', '.join(map(repr, names))}, nor an index below"
        f" {len(names)}"
    )
