"""Which page of a TIFF holds which plane: OME, ImageJ, QPTIFF and plain files.

Pure: works on `Page` records that tiff_reader.py made from the file's directories, never on pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from ifquant.notes import mild
from ifquant.slides.image_reader import Damaged, Unfit, is_level, length_um
from ifquant.slides.ome_layout import ome_layout
from ifquant.slides.ome_xml import is_ome, parse_ome, parse_xml
from ifquant.slides.tiff_page import (
    Layout,
    Page,
    Plane,
    Planes,
    describe,
    image_facts,
    page_numbers,
    print_resolution,
    resolution_um,
    same_kind,
)

_COLOR = {
    "RGB": "RGB",
    "YCBCR": "YCbCr",
    **dict.fromkeys(("CIELAB", "ICCLAB", "ITULAB"), "CIE Lab"),
    "SEPARATED": "CMYK",
    "LOGL": "LogL",
    "LOGLUV": "LogLuv",
}


def layout_of(
    pages: Sequence[Page],
    path: str,
    *,
    qpi: bool,
    imagej_labels: Sequence[str] | None,
    data_bytes: int,
) -> Layout:
    """Interpret the pages of one file.

    Parameters
    ----------
    pages : all directories of the main chain. path : used to tell the file's own name in OME
    metadata from others. qpi : the Software tag says PerkinElmer-QPI. imagej_labels : slice labels
    of the ImageJ metadata, if any. data_bytes : bytes between the first page's pixels and the end
    of the file (ImageJ stacks may have one directory for all planes).

    Raises
    ------
    ValueError
        If the metadata contradict the pages: too few planes, other sizes, pixels in other files.
    """
    description = pages[0].description
    if is_ome(description):
        layout = ome_layout(pages, parse_ome(description), os.path.basename(path))
    elif qpi:
        layout = _qptiff_layout(pages)
    elif description.startswith("ImageJ="):
        layout = _imagej_layout(pages, imagej_labels, data_bytes)
    else:
        layout = _plain_layout(pages)
    return _checked(layout, pages)


def smaller_pages(pages: Sequence[Page], planes: Planes) -> list[list[int]]:
    """Pages of each smaller level in the order of the image's own (QPTIFF, plain pyramids).

    A level has as many reduced pages as the image has pages, of its type and proportions; others
    are previews.
    """
    used = page_numbers(planes)
    first = pages[used[0]]
    sizes: dict[tuple[int, int], list[int]] = {}
    for page in pages:
        kind = (page.samples, page.dtype)
        if page.reduced and page.index not in used and kind == (first.samples, first.dtype):
            sizes.setdefault((page.height, page.width), []).append(page.index)
    full = (first.height, first.width)
    levels = [
        (size, group)
        for size, group in sizes.items()
        if len(group) == len(used) and is_level(size, full) and max(size) < max(full)
    ]
    return [group for _, group in sorted(levels, reverse=True)]


def _by_sample(pages: Sequence[Page]) -> Planes:
    """Every page a channel of one plane; with samples, every sample."""
    return tuple((Plane(page.index, sample),) for page in pages for sample in range(page.samples))


def _qptiff_layout(pages: Sequence[Page]) -> Layout:
    """Akoya/PerkinElmer QPTIFF: XML with <Biomarker> or <Name> on every full-resolution page."""
    used: list[Page] = []
    names: list[str | None] = []
    for page in pages:
        try:
            root = parse_xml(page.description)
        except ValueError:
            raise
        except Exception as error:
            raise Damaged(f"page {page.index + 1} has broken QPTIFF metadata ({error})") from error
        kind, marker, name = (
            (root.findtext(tag) or "").strip() for tag in ("ImageType", "Biomarker", "Name")
        )
        if kind and kind != "FullResolution":
            continue
        if not kind and used and not same_kind(page, used[0]):
            continue
        used.append(page)
        names += [marker or name or None] * page.samples
    if not used:
        raise Damaged("it calls itself QPTIFF but holds no full-resolution page")
    first = used[0]
    if any(not same_kind(page, first) for page in used):
        raise Damaged("its full-resolution pages differ in size or type")
    smaller = {
        (page.height, page.width)
        for page in pages
        if page.reduced and page.samples == first.samples
    }
    planes = _by_sample(used)
    facts = image_facts(
        "QPTIFF",
        pages,
        planes,
        resolution_um(first),
        "qpi",
        channels=tuple(names),
        levels=1 + len(smaller - {(first.height, first.width)}),
    )
    return Layout(planes, facts)


def _plain_layout(pages: Sequence[Page]) -> Layout:
    """Pages of the first page's size are channels, in order; with samples, samples are channels."""
    first = pages[0]
    used = [page for page in pages if same_kind(page, first)]
    others = [page for page in pages if not same_kind(page, first)]
    planes = _by_sample(used)
    names = tuple(page.name for page in used for _ in range(page.samples))
    size, warnings = print_resolution(first)
    if any(page.height > first.height or page.width > first.width for page in others):
        raise Unfit(
            f"its pages differ: the first is {describe(first)}, another is {describe(others[0])};"
            " save one image per file"
        )
    if others:
        text = (
            f"{len(others)} pages of another size or type are left out (previews or lower"
            " resolutions)"
        )
        warnings += (mild(text),)
    smaller = {(page.height, page.width) for page in others if page.reduced}
    named = len(used) > 1 and all(names) and len(set(names)) > 1
    facts = image_facts(
        "TIFF",
        pages,
        planes,
        size,
        channels=names if named else (None,) * len(planes),
        levels=max(first.levels, 1 + len(smaller)),
        warnings=warnings,
    )
    return Layout(planes, facts)


def _imagej_layout(pages: Sequence[Page], labels: Sequence[str] | None, data_bytes: int) -> Layout:
    """ImageJ hyperstacks: planes in the order t, z, c; sizes and unit in the description."""
    first = pages[0]
    stated = dict(line.split("=", 1) for line in first.description.splitlines() if "=" in line)
    n_images, n_c, n_z, n_t = (
        _count(stated.get(key)) for key in ("images", "channels", "slices", "frames")
    )
    if n_c * n_z * n_t != n_images:
        if n_c * n_z * n_t != 1:
            raise Damaged(
                f"its ImageJ metadata promise {n_images} planes but {n_c} channels x {n_z} slices x"
                f" {n_t} frames"
            )
        # a plain stack: ImageJ does not say what its slices are; like pages of a plain TIFF they
        # are channels
        n_c = n_images
    where = _imagej_planes(pages, n_images, data_bytes)
    planes = tuple(
        tuple(where[z * n_c + c]._replace(sample=s) for z in range(n_z))
        for c in range(n_c)
        for s in range(first.samples)
    )
    names: tuple[str | None, ...] = (None,) * len(planes)
    if labels and len(labels) >= n_images and first.samples == 1:
        given = tuple(str(labels[c]).split("\n")[0].strip() or None for c in range(n_c))
        names = given if n_c == 1 or len(set(given)) > 1 else names
    size, warnings = _imagej_pixel_size(first, stated.get("unit"))
    facts = image_facts(
        "ImageJ TIFF",
        pages,
        planes,
        size,
        channels=names,
        timepoints=n_t,
        levels=first.levels,
        warnings=warnings,
    )
    return Layout(planes, facts)


def _imagej_planes(pages: Sequence[Page], n_images: int, data_bytes: int) -> list[Plane]:
    """Planes in the order of the file: pages of one kind, or one page with all of the data."""
    first = pages[0]
    used = [page for page in pages if same_kind(page, first)]
    plane_bytes = first.height * first.width * first.samples * first.bits // 8
    if len(used) >= n_images:
        return [Plane(page.index) for page in used]
    if len(pages) == 1 and first.compression == "NONE" and data_bytes >= n_images * plane_bytes:
        return [Plane(0, 0, k * plane_bytes) for k in range(n_images)]
    raise Damaged(
        f"its ImageJ metadata promise {n_images} planes but it holds {len(used)}: the file was"
        " cut off"
    )


def _imagej_pixel_size(
    first: Page, unit: str | None
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Pixel size (x, y) in um by the resolution tags in ImageJ's unit, and warnings."""
    if unit is None:
        return print_resolution(first)
    x, y, _ = first.resolution or (0.0, 0.0, "")
    unit_um = length_um(1, unit)
    if unit_um is not None and x > 0 and y > 0:
        return (unit_um / x, unit_um / y), ()
    if unit in ("pixel", "pixels"):
        return None, ()
    return None, (f"its ImageJ unit {unit!r} is no known length; the pixel size counts as unknown",)


def _count(text: str | None) -> int:
    value = 1 if text is None else int(text)
    if value < 1:
        raise Unfit(f"its ImageJ metadata count {text!r} planes")
    return value


def _checked(layout: Layout, pages: Sequence[Page]) -> Layout:
    """Add what is wrong with the pixels: color, inverted or palette images, mixed pages."""
    planes, facts = layout
    used = [pages[index] for index in page_numbers(planes)]
    first = used[0]
    if not first.dtype:
        raise Unfit(
            f"its pixels have {first.bits} bits of an unknown kind; export them as uint8, uint16 or"
            " float32"
        )
    for page in used:
        if not same_kind(page, first):
            raise Damaged(f"its planes differ: {describe(first)} and {describe(page)}")
    problems = facts.problems
    color = next((_COLOR[page.photometric] for page in used if page.photometric in _COLOR), None)
    if color:
        problems = (
            f"it is a color picture ({color}), not one plane per stain; brightfield is not"
            " analysed. If these are fluorescence channels, export them as separate grayscale"
            " planes (OME-TIFF)",
        )
    elif any(page.photometric == "MINISWHITE" for page in used):
        problems += (
            "its values are inverted (WhiteIsZero: bright pixels have low values); invert them and"
            " save again",
        )
    elif facts.format == "TIFF" and any(
        page.photometric == "PALETTE" and not page.colormap_is_ramp for page in used
    ):
        problems += (
            "its values are indices of a color table, not intensities; export grayscale planes",
        )
    max_value = facts.max_value
    if max_value is None and first.bits not in (8, 16, 32, 64) and first.dtype.startswith("uint"):
        max_value = 2**first.bits - 1
    lossy = next((page.lossy for page in used if page.lossy), None)
    return Layout(planes, replace(facts, problems=problems, max_value=max_value, lossy=lossy))
