"""A slide's results read for review."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ifquant.errors import IfquantError, SlideError
from ifquant.proximity.tumor_region import TumorRegion, tumor_region_of_mask
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.cell_tables import read_table
from ifquant.results.slide_record import SlideRecord
from ifquant.results.stored_geometry import StoredGeometry
from ifquant.review.decisions import Source
from ifquant.review.subject import Subject
from ifquant.slides.regions import read_regions


def load_subject(folder: Path, recipe: ResolvedRecipe, *, outlines: bool = True) -> Subject:
    """Read a finished slide.

    Parameters
    ----------
    folder
        The slide's folder in the results.
    recipe
        The run's (`run_recipe`).
    outlines
        False: leave the outlines out (nothing about contacts or geometry can be decided then, and
        nothing applied).

    Raises
    ------
    SlideError
        If the results are damaged or of another version of ifquant.
    """
    record = SlideRecord.finished(folder)
    if record is None:
        raise SlideError(
            f"{folder}: no finished slide (slide.json is not there or damaged); run ifquant run"
            " again."
        )
    try:
        return _subject(record, recipe, outlines)
    except IfquantError:
        raise
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise SlideError(
            f"{folder}: damaged results, or of another version of ifquant ({error!r}); run the"
            " slide again."
        ) from error


def _subject(record: SlideRecord, recipe: ResolvedRecipe, outlines: bool) -> Subject:
    crop, size, shape = record.crop, record.pixel_size_um, record.image_shape
    table = read_table(record.folder)
    return Subject(
        source=Source(
            slide=record.slide,
            image_sha256=record.digests["input"],
            cells_digest=record.digests["cells"],
            crop=None if crop is None else (crop.y0, crop.x0, crop.y1, crop.x1),
            versions={name: record.versions[name] for name in ("ifquant", "algorithm")},
        ),
        recipe=recipe,
        table=table,
        gates=tuple(record.gates.values()),
        pixel_size_um=size,
        image_shape=shape,
        tissue=record.calibration.tissue,
        geometry=StoredGeometry(record.folder, table, size, shape) if outlines else None,
        drawn_region=_drawn_region(record),
    )


def _drawn_region(record: SlideRecord) -> TumorRegion | None:
    """Tumor region drawn by the user, from the file the run took it from."""
    if record.tumor_region_origin != "regions" or record.regions is None:
        return None
    drawn = read_regions(record.regions)
    if record.crop is not None:
        drawn = drawn.shifted(-record.crop.y0, -record.crop.x0)
    step = max(1, round(2.0 / record.pixel_size_um))
    return tumor_region_of_mask(
        drawn.mask("tumor", record.image_shape, step),
        step_px=step,
        image_shape=record.image_shape,
        pixel_size_um=record.pixel_size_um,
    )
