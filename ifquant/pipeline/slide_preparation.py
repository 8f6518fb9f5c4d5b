"""One slide of a run before its pixels are looked at: opened, checked, matched with the recipe, and
compared with earlier results.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant import provenance
from ifquant.calibration.calibrate import grid_step_px
from ifquant.errors import SlideError
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window
from ifquant.pipeline.mask_files import MaskFiles, mask_files
from ifquant.pipeline.model_files import models_used
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.registry import segmenter_identity
from ifquant.results.file_names import WORK
from ifquant.results.slide_record import SlideRecord
from ifquant.slides import slide
from ifquant.slides.panel import find_panel
from ifquant.slides.regions import Regions, read_regions
from ifquant.slides.slide_input import SlideInput, SlideJob


@dataclass(frozen=True)
class PreparedSlide:
    """A slide that can be analyzed.

    Attributes
    ----------
    regions
        Regions the user drew, in px of the analyzed part.
    masks
        Masks made elsewhere, instead of a segmenter.
    digests
        Digests by what they cover: ``input``, ``cells``, ``table``, ``pictures``, model files.
    folder
        The slide's folder in the results.
    work
        Where its unfinished parts are, named by digest and tile size.
    earlier
        Record of finished results whose cells can be used again; None otherwise.
    """

    slide: SlideInput
    regions: Regions | None
    masks: MaskFiles | None
    digests: dict[str, str]
    folder: Path
    work: Path
    earlier: SlideRecord | None

    @property
    def included(self) -> NDArray[np.bool_] | None:
        """Coarse mask (My, Mx) of the regions the user included; None: everything."""
        if self.regions is None:
            return None
        step = grid_step_px(self.slide.recipe.tissue.step_um, self.slide.pixel_size_um)
        return self.regions.analysed(self.slide.image_shape, step)


def prepare(
    job: SlideJob, recipe: ResolvedRecipe, folder: Path, execution: Execution
) -> PreparedSlide:
    """Open and check a slide.

    Raises
    ------
    SlideError
        If the slide cannot be analyzed as it is, with the option that resolves it.
    """
    opened = _opened(job, recipe, execution.crop)
    regions = read_regions(str(job.regions)) if job.regions is not None else None
    if regions is not None and execution.crop is not None:
        regions = regions.shifted(-execution.crop.y0, -execution.crop.x0)
    masks = mask_files(recipe.segmentation, job.name, job.ref.paths[0])
    digests = _digests(opened, masks, execution.crop)
    work = folder / WORK / f"{digests['cells'][:16]}-{execution.tile_size_px}"
    earlier = None
    if not execution.fresh:
        earlier = SlideRecord.finished(folder) or SlideRecord.interrupted(folder)
    if earlier is not None and earlier.digests.get("cells") != digests["cells"]:
        earlier = None
    return PreparedSlide(opened, regions, masks, digests, folder, work, earlier)


def _opened(job: SlideJob, recipe: ResolvedRecipe, crop: Window | None) -> SlideInput:
    ref = replace(job.ref, crop=crop) if crop else job.ref
    with ref.open() as opened:
        info = opened.info
    by_index = {c.index: c.name for c in recipe.channels if c.index is not None}
    # the recipe names planes by position: for files with duplicated or missing names
    if by_index and info.format != "unreadable":
        ref = slide.renamed_by_index(ref, info, by_index)
        with ref.open() as opened:
            info = opened.info
    slide.require_usable(info)
    if info.pixel_size_um is None:
        raise SlideError(
            f"{job.path}: no pixel size found; give it with --pixel-size (um per pixel)."
        )
    return SlideInput(job, ref, info, find_panel(recipe, info.channels), recipe)


def _digests(opened: SlideInput, masks: MaskFiles | None, crop: Window | None) -> dict[str, str]:
    recipe, image = opened.recipe, slide.fingerprint(opened.job.ref)
    inputs: dict[str, Any] = {
        "image": image,
        "regions": _sha256(opened.job.regions),
        "pixel_size_um": opened.pixel_size_um,
        "crop": None if crop is None else [crop.y0, crop.x0, crop.y1, crop.x1],
        "channels": list(opened.panel.indices),
        "segmenter": segmenter_identity(recipe.segmentation.method),
        "masks": None if masks is None else [_sha256(masks.nuclei), _sha256(masks.cells)],
    }
    models = models_used(recipe.segmentation)
    if models:
        inputs["models"] = models
    files = {option: used["sha256"] for option, used in models.items()}
    return {"input": image, **files, **provenance.stage_digests(recipe, inputs)}


def _sha256(path: Path | None) -> str | None:
    """Digest of a side file (regions, masks; an OME-Zarr folder by its files)."""
    if path is None:
        return None
    return slide.fingerprint(slide.SlideRef((str(path),)))
