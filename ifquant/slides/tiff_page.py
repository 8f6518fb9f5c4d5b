"""One TIFF directory as a plain record, and the planes that a file's directories amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ifquant.notes import grave, mild
from ifquant.recipe.pixel_size import PIXEL_SIZE_UM, implausible
from ifquant.slides.image_reader import ImageFacts, length_um

UNKNOWN_DPI = (72.0, 96.0)
"""Resolutions that programs write when they know none."""
_UNITS = {"INCH": "inch", "CENTIMETER": "cm", "MILLIMETER": "mm", "MICROMETER": "um"}
_LOSSY = {
    **dict.fromkeys(("OJPEG", "JPEG_LOSSY", "ALT_JPEG"), "JPEG"),
    **dict.fromkeys(("JPEGXR", "JPEGXR_NDPI"), "JPEG XR"),
    **dict.fromkeys(("JPEGXL", "JPEGXL_DNG"), "JPEG XL"),
    **dict.fromkeys(("JPEG", "JPEG2000", "JPEG_2000_LOSSY"), "?"),
    **dict.fromkeys(("APERIO_JP2000_YCBC", "APERIO_JP2000_RGB"), "?"),
    "WEBP": "WebP",
    "LERC": "LERC",
}
"""Compressions that change values; "?": depends on the stream."""


@dataclass(frozen=True)
class Page:
    """One TIFF directory.

    `resolution` is (x, y, unit name) in pixels per unit; `dtype` is empty for pixels of an unknown
    kind; `reduced` marks smaller copies; `lossy` names a compression that changes values.
    """

    index: int
    height: int
    width: int
    samples: int
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
    """Where a plane lies: page, sample, bytes to add to the page's data (ImageJ above 4 GB)."""

    page: int
    sample: int = 0
    shift: int = 0


Planes = tuple[tuple[Plane, ...], ...]
"""Planes as [c][z]."""


class Layout(NamedTuple):
    """A file as an image: `planes[c][z]` of time point 0, and what is known about them."""

    planes: Planes
    facts: ImageFacts


def page_record(page: Any) -> Page:
    """Make the plain record of a tifffile page."""
    compression = getattr(page.compression, "name", str(page.compression))
    ramp = page.colormap
    name = page.tags.valueof(285)
    bits = page.bitspersample
    return Page(
        index=int(page.index),
        height=int(page.imagelength),
        width=int(page.imagewidth),
        samples=int(page.samplesperpixel),
        dtype="" if page.dtype is None else np.dtype(page.dtype).name,
        bits=int(bits if isinstance(bits, int) else max(bits)),
        photometric=getattr(page.photometric, "name", str(page.photometric)),
        compression="NONE" if compression in ("1", "NONE") else compression,
        description=str(page.description or ""),
        reduced=bool(page.subfiletype & 1),
        levels=1 + len(page.subifds or ()),
        resolution=_resolution(page),
        name=name.strip() or None if isinstance(name, str) else None,
        colormap_is_ramp=ramp is not None
        and bool(np.all(np.diff(ramp.astype(np.int64).sum(axis=0)) >= 0)),
        lossy=_LOSSY.get(compression),
    )


def _resolution(page: Any) -> tuple[float, float, str] | None:
    values = []
    for code in (282, 283):
        value = page.tags.valueof(code)
        if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
            return None
        values.append(value[0] / value[1])
    unit = page.tags.valueof(296, 2)
    return values[0], values[1], getattr(unit, "name", str(unit))


def image_facts(
    kind: str,
    pages: Sequence[Page],
    planes: Planes,
    size_um: tuple[float, float] | None,
    origin: str = "resolution-tag",
    **more: Any,
) -> ImageFacts:
    """Facts of the image that planes of pages make; `more` are further fields of `ImageFacts`."""
    first = pages[planes[0][0].page]
    return ImageFacts(
        format=kind,
        shape=(len(planes), len(planes[0]), first.height, first.width),
        dtype=first.dtype,
        pixel_size_um=size_um,
        pixel_size_origin=origin if size_um else "none",
        **more,
    )


def page_numbers(planes: Planes) -> list[int]:
    """Pages with a plane of the image, in their order in the file."""
    return sorted({plane.page for channel in planes for plane in channel})


def resolution_um(page: Page) -> tuple[float, float] | None:
    """Pixel size (x, y) in um by the resolution tags; None for no unit, 1, 72 or 96 dpi."""
    if page.resolution is None:
        return None
    x, y, unit = page.resolution
    per_unit = length_um(1, _UNITS.get(unit, unit))
    if per_unit is None or not (x > 0 and y > 0) or (x, y) == (1, 1):
        return None
    dpi = {"INCH": 1.0, "CENTIMETER": 2.54}.get(unit)
    if dpi and any(abs(x * dpi - unknown) < 0.5 for unknown in UNKNOWN_DPI):
        return None
    return per_unit / x, per_unit / y


def print_resolution(page: Page) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """`resolution_um`, or a warning where it can only be meant for printing (300 dpi is 85 um)."""
    size = resolution_um(page)
    if size is None or max(size) <= PIXEL_SIZE_UM[1]:
        return size, ()
    text = f"its resolution tags say {size[0]:.4g} um per pixel, which is for printing; ignored"
    return None, (mild(text),)


def contradiction(size_um: tuple[float, float], page: Page) -> tuple[str, ...]:
    """Warn where OME's pixel size (x, y) is not the resolution tags', if those can be right."""
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
    text = (
        f"its OME metadata say {ours} um per pixel, its TIFF resolution tags {theirs} um; unless"
        " another is stated (--pixel-size, sample sheet), OME's is used"
    )
    return (grave(text),)


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
