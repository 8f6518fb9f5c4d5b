"""Which slides a run is about: paths, folders and globs, or the rows of a sample sheet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ifquant.errors import RequestError
from ifquant.slides.sample_sheet import Sample, read_samples
from ifquant.slides.slide import SlideRef
from ifquant.slides.slide_input import SlideJob
from ifquant.slides.slide_names import (
    find_slides,
    slide_key,
    slide_name,
    unique_names,
    without_suffix,
)


def find_jobs(
    images: Sequence[str | Path],
    samples: str | Path | None,
    *,
    pixel_size_um: float | None,
    z: Literal["max", "mean"] | int | None,
    allow_lossy: bool,
) -> list[SlideJob]:
    """Find the slides of a run, in the order of the request.

    With a sample sheet its rows are the slides; `images` then only says where to look for rows
    without a path, and every image found must have a row.

    Raises
    ------
    RequestError
        If nothing is found, a row has no image, or an image has no row.
    """
    paths = find_slides([str(image) for image in images]) if images else []
    if samples is None:
        if not paths:
            raise RequestError(
                "no slides to work on: give slides, folders or globs, or a sample sheet by"
                " --samples samples.csv"
            )
        return [
            SlideJob(
                name,
                path,
                SlideRef((path,), pixel_size_um=pixel_size_um, z=z, allow_lossy=allow_lossy),
                regions=_beside(path),
            )
            for name, path in zip(unique_names(paths), paths, strict=True)
        ]
    jobs = []
    for row, own in _images_of_rows(read_samples(samples), paths, str(samples)):
        stated = row.pixel_size_um is not None
        ref = SlideRef(
            own,
            row.channel_names,
            row.pixel_size_um if stated else pixel_size_um,
            z,
            allow_lossy=allow_lossy,
            pixel_size_origin="sheet" if stated else "option",
        )
        regions = Path(row.regions) if row.regions else _beside(own[0])
        jobs.append(SlideJob(row.slide, ", ".join(own), ref, row, regions))
    return jobs


def _images_of_rows(
    rows: Sequence[Sample], images: Sequence[str], sheet: str
) -> list[tuple[Sample, tuple[str, ...]]]:
    """Images of every row: those it gives, else the one of its name among `images`.

    Raises
    ------
    RequestError
        If a row has no image, or an image no row.
    """
    given = {os.path.realpath(path) for row in rows for path in row.paths}
    others = [path for path in images if os.path.realpath(path) not in given]
    at = _places(rows, others)
    if missing := [row.slide for row in rows if not row.paths and row.slide not in at]:
        raise RequestError(
            f"{sheet}: no image found for {', '.join(map(repr, missing))}; give a path column, or"
            " the folder of the slides."
        )
    if stray := [path for path in others if path not in at.values()]:
        raise RequestError(
            f"{sheet} has no row for {', '.join(stray)}; add rows, or leave these images out."
        )
    return [(row, tuple(row.paths) or (at[row.slide],)) for row in rows]


def _places(rows: Sequence[Sample], images: Sequence[str]) -> dict[str, str]:
    """Find the image of each row that gives no path, by name.

    Raises
    ------
    RequestError
        If two images fit one row.
    """
    at: dict[str, str] = {}
    named: dict[str, list[str]] = {}
    for path in images:
        for key in {slide_key(path), slide_key(slide_name(path))}:
            named.setdefault(key, []).append(path)
    for row in rows:
        fitting = [] if row.paths else named.get(slide_key(row.written or row.slide), [])
        exact = [path for path in fitting if os.path.basename(path) == row.written] or fitting
        if len(exact) > 1:
            raise RequestError(
                f"slide {row.slide!r} of the sample sheet (line {row.line}) fits"
                f" {', '.join(exact)}; give its path."
            )
        if exact:
            at[row.slide] = exact[0]
    return at


def _beside(path: str) -> Path | None:
    """Find the regions of an image: a GeoJSON file of its own name, else of its cleaned name unless
    that is another image's own.
    """
    folder, own, cleaned = (
        Path(path).parent,
        without_suffix(os.path.basename(os.path.normpath(path))),
        slide_name(path),
    )
    if (folder / f"{own}.geojson").is_file():
        return folder / f"{own}.geojson"
    if cleaned == own or not (folder / f"{cleaned}.geojson").is_file():
        return None
    others = (
        name for name in os.listdir(folder) if name != os.path.basename(os.path.normpath(path))
    )
    return (
        None
        if any(
            without_suffix(name) == cleaned != name
            for name in others
            if not name.endswith(".geojson")
        )
        else folder / f"{cleaned}.geojson"
    )
