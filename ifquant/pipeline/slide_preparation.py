"""One slide of a run before its pixels are looked at: opened, checked, matched with the recipe, and
compared with earlier results.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ifquant import provenance
from ifquant.calibration.calibrate import Calibration, grid_step_px
from ifquant.columns import cell_columns
from ifquant.errors import SlideError
from ifquant.execution.executors import Execution
from ifquant.files.packed_arrays import unpacked
from ifquant.geometry.windows import Window, cores
from ifquant.pipeline.mask_files import mask_files
from ifquant.pipeline.model_files import models_used
from ifquant.pipeline.slide_jobs import SlideJob
from ifquant.pipeline.slide_measurement import Advance, Measured, Uncalibrated, measure_slide
from ifquant.recipe.model import Recipe
from ifquant.registry import SEGMENTERS
from ifquant.results.reuse import cells_of, finished, interrupted
from ifquant.results.slide_folder import WORK
from ifquant.slides import regions, slide
from ifquant.slides.panel import Panel, find_panel
from ifquant.slides.regions import Regions
from ifquant.slides.slide_info import SlideInfo


@dataclass(frozen=True)
class Prepared:
    """A slide that can be analysed.

    Attributes
    ----------
    folder
        The slide's folder in the results.
    work
        Where its unfinished parts are, named by digest and tile size.
    earlier
        slide.json of finished results whose cells can be reused; None otherwise.
    """

    info: SlideInfo
    panel: Panel
    recipe: Recipe
    regions: Regions | None
    plan: Uncalibrated
    digests: dict[str, str]
    folder: Path
    work: Path
    earlier: dict[str, Any] | None

    @property
    def reusable(self) -> bool:
        """Whether the cells come from finished results."""
        return self.earlier is not None

    def tile_cores(self, execution: Execution) -> list[Window]:
        """Cores of the tiling this run uses."""
        return cores(self.plan.image_shape, execution.tile_size_px)

    @cached_property
    def measured_columns(self) -> tuple[str, ...]:
        """Columns of cells.parquet that measuring gives (no gate, phenotype or neighbour
        needed).
        """
        groups = ("place", "shape", "shape of the nucleus", "intensity")
        wanted = [
            c.name
            for c in cell_columns.cell_columns(self.recipe)
            if c.group in groups or c.name in ("source_label", "growth_class", "flags")
        ]
        return tuple(wanted)


def prepare(job: SlideJob, recipe: Recipe, folder: Path, execution: Execution) -> Prepared:
    """Open and check a slide.

    Raises
    ------
    SlideError
        If the slide cannot be analysed as it is, with the option that resolves it.
    """
    ref = replace(job.ref, crop=execution.crop) if execution.crop else job.ref
    with ref.open() as opened:
        info = opened.info
    by_index = {
        channel.index: channel.name for channel in recipe.channels if channel.index is not None
    }
    if (
        by_index and info.format != "unreadable"
    ):  # the recipe names planes by position: for files with duplicated or missing names
        ref = slide.renamed_by_index(ref, info, by_index)
        with ref.open() as opened:
            info = opened.info
    slide.require_usable(info)
    if info.pixel_size_um is None:
        raise SlideError(
            f"{job.path}: no pixel size found; give it with --pixel-size (um per pixel)."
        )
    panel = find_panel(recipe, info.channels)
    shape = (info.shape[1], info.shape[2])
    drawn = regions.read_regions(str(job.regions)) if job.regions is not None else None
    if drawn is not None and execution.crop is not None:
        drawn = drawn.shifted(-execution.crop.y0, -execution.crop.x0)
    step = grid_step_px(recipe.tissue.step_um, info.pixel_size_um)
    analysed = drawn.analysed(shape, step) if drawn is not None else None
    masks = mask_files(recipe.segmentation, job.name, job.ref.paths[0])
    plan = Uncalibrated(
        ref, panel, recipe, shape, info.pixel_size_um, analysed, info.max_value, masks
    )
    image = slide.fingerprint(job.ref)
    inputs: dict[str, Any] = {
        "image": image,
        "regions": _sha256(job.regions),
        "pixel_size_um": info.pixel_size_um,
        "crop": None
        if execution.crop is None
        else [execution.crop.y0, execution.crop.x0, execution.crop.y1, execution.crop.x1],
        "channels": list(panel.indices),
        "segmenter": segmenter_identity(recipe.segmentation.method),
        "masks": None if masks is None else [_sha256(masks.nuclei), _sha256(masks.cells)],
    }
    models = models_used(recipe.segmentation)
    if models:
        inputs["models"] = models
    digests = {
        "input": image,
        **{option: used["sha256"] for option, used in models.items()},
        **provenance.stage_digests(recipe, inputs),
    }
    work = folder / WORK / f"{digests['cells'][:16]}-{execution.tile_size_px}"
    earlier = None if execution.fresh else finished(folder) or interrupted(folder)
    if earlier is not None and earlier["digests"].get("cells") != digests["cells"]:
        earlier = None
    return Prepared(info, panel, recipe, drawn, plan, digests, folder, work, earlier)


def measured(
    prepared: Prepared, execution: Execution, pool: Executor, advance: Advance
) -> Measured:
    """Cells of a slide: from finished results when their measurements are still valid, else
    measured.
    """
    if prepared.earlier is not None:
        calibration = Calibration.from_arrays(unpacked(prepared.earlier["calibration_arrays"]))
        cells = cells_of(
            prepared.folder,
            prepared.measured_columns,
            prepared.plan.image_shape,
            prepared.earlier["orphan_px"],
        )
        if cells is not None:
            return Measured(calibration, cells, ())
    return measure_slide(
        prepared.plan, work=prepared.work, execution=execution, pool=pool, advance=advance
    )


def segmenter_identity(method: str) -> Any:
    """Say what decides a segmenter's answer beside the recipe and the version of ifquant: the model
    card, a plugin's version.
    """
    if method == "unet":
        from ifquant.nuclei.unet import MODEL, read_card

        return asdict(read_card(MODEL))
    points = (
        [] if method in SEGMENTERS else list(entry_points(group="ifquant.segmenters", name=method))
    )
    return [[point.value, point.dist.version if point.dist else None] for point in points]


def _sha256(path: Path | None) -> str | None:
    """Digest of a side file (regions, masks; an OME-Zarr folder by its files)."""
    if path is None:
        return None
    return slide.fingerprint(slide.SlideRef((str(path),)))
