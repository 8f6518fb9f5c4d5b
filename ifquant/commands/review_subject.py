"""A slide's results read for review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ifquant.calibration.calibrate import Calibration
from ifquant.errors import IfquantError, RequestError, SlideError
from ifquant.files import storage
from ifquant.files.packed_arrays import unpacked
from ifquant.geometry.windows import Window
from ifquant.phenotypes.gates import FittedGate
from ifquant.proximity.tumor_region import TumorRegion, tumor_region_of_mask
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import from_canonical
from ifquant.results.finished_slides import finished_slides as slides_of_run
from ifquant.results.reuse import finished
from ifquant.results.stored_geometry import StoredGeometry
from ifquant.review.decisions import Source
from ifquant.review.subject import Subject
from ifquant.slides import regions
from ifquant.slides.slide_names import natural_order


def finished_slides(results: Path) -> list[Path]:
    """Folders of the finished slides of a results folder, in natural order.

    Raises
    ------
    RequestError
        If there is none.
    """
    return [results / slide for slide in sorted(slides_of_run(results).samples, key=natural_order)]


def run_recipe(results: Path) -> Recipe:
    """Recipe of a run, resolved.

    Raises
    ------
    RequestError
        If run.json is not there or damaged.
    """
    record = storage.read_json(results / "run.json")
    if not isinstance(record, dict) or "recipe" not in record:
        raise RequestError(
            f"{results / 'run.json'}: not there or damaged; run ifquant run again (finished slides"
            " are kept)."
        )
    return resolved(from_canonical(record["recipe"]))


def load_subject(folder: Path, recipe: Recipe, *, outlines: bool = True) -> Subject:
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
    record = finished(folder)
    if record is None:
        raise SlideError(
            f"{folder}: no finished slide (slide.json is not there or damaged); run ifquant run"
            " again."
        )
    try:
        calibration = Calibration.from_arrays(unpacked(record["calibration_arrays"]))
        table = pq.read_table(folder / "cells.parquet").to_pandas(
            split_blocks=True, self_destruct=True
        )
        image = record["input"]
        shape = int(image["shape"][1]), int(image["shape"][2])
        crop = image["crop"]
        source = Source(
            slide=str(record["slide"]),
            image_sha256=record["digests"]["input"],
            cells_digest=record["digests"]["cells"],
            crop=None if crop is None else tuple(crop),
            versions={name: record["versions"][name] for name in ("ifquant", "algorithm")},
        )
        size = float(image["pixel_size_um"])
        return Subject(
            source=source,
            recipe=recipe,
            table=table,
            gates=tuple(_gate(gate) for gate in record["gates"]),
            pixel_size_um=size,
            image_shape=shape,
            tissue=calibration.tissue,
            geometry=(
                StoredGeometry(folder / "labels.ome.zarr", table, size, shape) if outlines else None
            ),
            drawn_region=_drawn_region(record, shape),
        )
    except IfquantError:
        raise
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise SlideError(
            f"{folder}: damaged results, or of another version of ifquant ({error!r}); run the"
            " slide again."
        ) from error


def _gate(values: dict[str, Any]) -> FittedGate:
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    plain["components"] = tuple(tuple(component) for component in plain.get("components", ()))
    return FittedGate(**plain)


def _drawn_region(record: dict[str, Any], image_shape: tuple[int, int]) -> TumorRegion | None:
    """Tumor region drawn by the user, from the file the run took it from."""
    if record["tumor_region"] is None or record["tumor_region"]["origin"] != "regions":
        return None
    image = record["input"]
    drawn = regions.read_regions(image["regions"])
    if image["crop"] is not None:
        crop = Window(*image["crop"])
        drawn = drawn.shifted(-crop.y0, -crop.x0)
    step = max(1, round(2.0 / image["pixel_size_um"]))
    return tumor_region_of_mask(
        drawn.mask("tumor", image_shape, step),
        step_px=step,
        image_shape=image_shape,
        pixel_size_um=image["pixel_size_um"],
    )
