"""One TIFF directory as a plain record, and the table of planes that a file's directories amount
to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ifquant.notes import grave, mild
from ifquant.recipe.pixel_size import PIXEL_SIZE_UM, implausible
from ifquant.slides.image_reader import length_um

UNKNOWN_DPI = (72.0, 96.0)
"""Resolutions that programs write when they know none."""


@dataclass(frozen=True)
class Page:
    """One TIFF directory. `resolution` is (x, y, unit name) in pixels per unit; `samples` and
    `separate` describe its sample planes, `dtype` is empty for pixels of an unknown kind.
    """

    index: int
    height: int
    width: int
    samples: int
    separate: bool
    dtype: str
    bits: int
    photometric: str
    compression: str
    description: str
    reduced: bool
    levels: int
    resolution: tuple[float, float, str] | None
    name: str | None
    colormap_is_ramp: bool
    lossy: str | None


class Plane(NamedTuple):
    """Where a plane lies: page, sample within the page, and bytes to add to the page's data (ImageJ
    stacks above 4 GB).
    """

    page: int
    sample: int = 0
    shift: int = 0


Planes = tuple[tuple[Plane, ...], ...]
"""Planes as [c][z]."""


@dataclass(frozen=True)
class Layout:
    """A file as an image: `planes[c][z]` of time point 0, and what is known about them."""

    format: str
    planes: Planes
    names: tuple[str | None, ...]
    pixel_size_um: tuple[float, float] | None
    pixel_size_origin: str
    timepoints: int = 1
    levels: int = 1
    max_value: int | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def resolution_um(page: Page) -> tuple[float, float] | None:
    """Pixel size (x, y) in um from the resolution tags; None where they say nothing (no unit, 1, 72
    or 96 dpi).
    """
    if page.resolution is None:
        return None
    x, y, unit = page.resolution
    per_unit = length_um(
        1,
        {"INCH": "inch", "CENTIMETER": "cm", "MILLIMETER": "mm", "MICROMETER": "um"}.get(
            unit, unit
        ),
    )
    dpi = {"INCH": 1.0, "CENTIMETER": 2.54}.get(unit)
    if (
        per_unit is None
        or not (x > 0 and y > 0)
        or (x, y) == (1, 1)
        or (dpi and any(abs(x * dpi - known) < 0.5 for known in UNKNOWN_DPI))
    ):
        return None
    return per_unit / x, per_unit / y


def print_resolution(page: Page) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Like `resolution_um`, with a warning instead of a size that can only be meant for
    printing.
    """
    size = resolution_um(page)
    if (
        size is not None and max(size) > PIXEL_SIZE_UM[1]
    ):  # no microscope, a printer: 300 dpi is 85 um
        return None, (
            mild(
                f"its resolution tags say {size[0]:.4g} um per pixel, which is for printing;"
                " ignored"
            ),
        )
    return size, ()


def contradiction(size_um: tuple[float, float], page: Page) -> tuple[str, ...]:
    """Say so where a pixel size (x, y) from the metadata is not that of the resolution tags, if
    those can be a microscope's.
    """
    tags = resolution_um(page)
    if (
        tags is None
        or any(implausible(size) for size in tags)
        or max(abs(a / b - 1) for a, b in zip(size_um, tags, strict=True)) <= 0.02
    ):
        return ()
    ours, theirs = (
        f"{x:.4g}" if f"{x:.4g}" == f"{y:.4g}" else f"{x:.4g} x {y:.4g}" for x, y in (size_um, tags)
    )
    said = (
        f"its OME metadata say {ours} um per pixel, its TIFF resolution tags {theirs} um; unless"
        " another is stated (--pixel-size, sample sheet), OME's is used"
    )
    return (grave(said),)


def same_kind(page: Page, other: Page) -> bool:
    """Whether two pages can be planes of one image."""
    return (page.height, page.width, page.samples, page.dtype) == (
        other.height,
        other.width,
        other.samples,
        other.dtype,
    )


def describe(page: Page) -> str:
    """Size and type, for messages."""
    return f"{page.height} x {page.width} px x {page.samples} {page.dtype}"
