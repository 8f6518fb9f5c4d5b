"""Which page of a TIFF holds which plane: OME, ImageJ, QPTIFF and plain files reduced to one table
of planes.

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
    print_resolution,
    resolution_um,
    same_kind,
)


def qptiff_layout(pages: Sequence[Page]) -> Layout:
    """Akoya/PerkinElmer QPTIFF: the full-resolution pages carry XML with <Biomarker> or <Name>;
    previews and pyramid follow.
    """
    used: list[Page] = []
    names: list[str | None] = []
    for page in pages:
        try:
            root = parse_xml(page.description)
        except ValueError:
            raise
        except Exception as error:
            raise Damaged(f"page {page.index + 1} has broken QPTIFF metadata ({error})") from error
        kind = (root.findtext("ImageType") or "").strip()
        if kind and kind != "FullResolution":
            continue
        if not kind and used and not same_kind(page, used[0]):
            continue
        used.append(page)
        names.append(
            (root.findtext("Biomarker") or "").strip()
            or (root.findtext("Name") or "").strip()
            or None
        )
    if not used:
        raise Damaged("it calls itself QPTIFF but holds no full-resolution page")
    if any(not same_kind(page, used[0]) for page in used):
        raise Damaged("its full-resolution pages differ in size or type")
    planes = tuple((Plane(page.index, sample),) for page in used for sample in range(page.samples))
    size = resolution_um(used[0])
    smaller = {
        (page.height, page.width)
        for page in pages
        if page.reduced and page.samples == used[0].samples
    }
    return Layout(
        format="QPTIFF",
        planes=planes,
        names=tuple(
            name for name, page in zip(names, used, strict=True) for _ in range(page.samples)
        ),
        pixel_size_um=size,
        pixel_size_origin="qpi" if size else "none",
        levels=1 + len(smaller - {(used[0].height, used[0].width)}),
    )


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
        layout = qptiff_layout(pages)
    elif description.startswith("ImageJ="):
        layout = _imagej_layout(pages, imagej_labels, data_bytes)
    else:
        layout = _plain_layout(pages)
    return _checked(layout, pages)


def smaller_pages(pages: Sequence[Page], planes: Planes) -> list[list[int]]:
    """Smaller levels among the pages themselves (QPTIFF, plain pyramids): for each level the pages
    in the order of the image's own.

    A level has as many reduced pages as the image has pages, of its type and proportions; others
    are previews.
    """
    used = sorted({plane.page for channel in planes for plane in channel})
    first = pages[used[0]]
    sizes: dict[tuple[int, int], list[int]] = {}
    for page in pages:
        if (
            page.reduced
            and page.index not in used
            and (page.samples, page.dtype) == (first.samples, first.dtype)
        ):
            sizes.setdefault((page.height, page.width), []).append(page.index)
    full = (first.height, first.width)
    found = [
        (size, group)
        for size, group in sizes.items()
        if len(group) == len(used) and is_level(size, full) and max(size) < max(full)
    ]
    return [group for _, group in sorted(found, reverse=True)]


def _plain_layout(pages: Sequence[Page]) -> Layout:
    """Pages of the first page's size are channels, in order; with samples, samples are channels."""
    first = pages[0]
    used = [page for page in pages if same_kind(page, first)]
    left_out = [page for page in pages if not same_kind(page, first)]
    planes = tuple((Plane(page.index, sample),) for page in used for sample in range(page.samples))
    names = tuple(page.name for page in used for _ in range(page.samples))
    size, warnings = print_resolution(first)
    if left_out and not all(
        page.height <= first.height and page.width <= first.width for page in left_out
    ):
        raise Unfit(
            f"its pages differ: the first is {describe(first)}, another is {describe(left_out[0])};"
            " save one image per file"
        )
    if left_out:
        warnings += (
            mild(
                f"{len(left_out)} pages of another size or type are left out (previews or lower"
                " resolutions)"
            ),
        )
    named = len(used) > 1 and all(names) and len(set(names)) > 1
    return Layout(
        format="TIFF",
        planes=planes,
        names=names if named else (None,) * len(planes),
        pixel_size_um=size,
        pixel_size_origin="resolution-tag" if size else "none",
        levels=max(
            first.levels, 1 + len({(page.height, page.width) for page in left_out if page.reduced})
        ),
        warnings=warnings,
    )


def _imagej_layout(pages: Sequence[Page], labels: Sequence[str] | None, data_bytes: int) -> Layout:
    """ImageJ hyperstacks: planes in the order t, z, c; sizes and unit in the description."""
    first = pages[0]
    facts = dict(line.split("=", 1) for line in first.description.splitlines() if "=" in line)
    n_images, n_c, n_z, n_t = (
        _count(facts.get(key)) for key in ("images", "channels", "slices", "frames")
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
    used = [page for page in pages if same_kind(page, first)]
    plane_bytes = first.height * first.width * first.samples * first.bits // 8
    if len(used) >= n_images:
        where = [Plane(page.index) for page in used]
    elif len(pages) == 1 and first.compression == "NONE" and data_bytes >= n_images * plane_bytes:
        where = [Plane(0, 0, k * plane_bytes) for k in range(n_images)]
    else:
        raise Damaged(
            f"its ImageJ metadata promise {n_images} planes but it holds {len(used)}: the file was"
            " cut off"
        )
    planes = tuple(
        tuple(where[z * n_c + c]._replace(sample=s) for z in range(n_z))
        for c in range(n_c)
        for s in range(first.samples)
    )
    names: tuple[str | None, ...] = (None,) * len(planes)
    if labels and len(labels) >= n_images and first.samples == 1:
        given = tuple(str(labels[c]).split("\n")[0].strip() or None for c in range(n_c))
        names = given if n_c == 1 or len(set(given)) > 1 else names
    x, y, _ = first.resolution or (0.0, 0.0, "")
    unit_um = length_um(1, facts.get("unit"))
    known = unit_um is not None and x > 0 and y > 0
    size = (unit_um / x, unit_um / y) if known and unit_um is not None else None
    warnings: tuple[str, ...] = ()
    if size is None and facts.get("unit", "pixel") not in ("pixel", "pixels"):
        warnings = (
            (
                f"its ImageJ unit {facts['unit']!r} is no known length; the pixel size counts as"
                " unknown"
            ),
        )
    if size is None and "unit" not in facts:
        size, warnings = print_resolution(first)
    origin = "resolution-tag" if size else "none"
    return Layout(
        "ImageJ TIFF",
        planes,
        names,
        size,
        origin,
        timepoints=n_t,
        levels=first.levels,
        warnings=warnings,
    )


def _count(text: str | None) -> int:
    value = 1 if text is None else int(text)
    if value < 1:
        raise Unfit(f"its ImageJ metadata count {text!r} planes")
    return value


_COLOR = {
    "RGB": "RGB",
    "YCBCR": "YCbCr",
    "CIELAB": "CIE Lab",
    "ICCLAB": "CIE Lab",
    "ITULAB": "CIE Lab",
    "SEPARATED": "CMYK",
    "LOGL": "LogL",
    "LOGLUV": "LogLuv",
}


def _checked(layout: Layout, pages: Sequence[Page]) -> Layout:
    """Add what is wrong with the pixels themselves: color pictures, inverted or palette images,
    mixed pages.
    """
    used = {plane.page for channel in layout.planes for plane in channel}
    first = pages[min(used)]
    if not first.dtype:
        raise Unfit(
            f"its pixels have {first.bits} bits of an unknown kind; export them as uint8, uint16 or"
            " float32"
        )
    for index in used:
        if not same_kind(pages[index], first):
            raise Damaged(f"its planes differ: {describe(first)} and {describe(pages[index])}")
    problems = layout.problems
    kind = next(
        (pages[i].photometric for i in sorted(used) if pages[i].photometric in _COLOR), None
    )
    if kind:
        problems = (
            (
                f"it is a color picture ({_COLOR[kind]}), not one plane per stain; brightfield is"
                " not analysed. If these are fluorescence channels, export them as separate"
                " grayscale planes (OME-TIFF)"
            ),
        )
    elif any(pages[i].photometric == "MINISWHITE" for i in used):
        problems += (
            (
                "its values are inverted (WhiteIsZero: bright pixels have low values); invert them"
                " and save again"
            ),
        )
    elif layout.format == "TIFF" and any(
        pages[i].photometric == "PALETTE" and not pages[i].colormap_is_ramp for i in used
    ):
        problems += (
            "its values are indices of a color table, not intensities; export grayscale planes",
        )
    max_value = layout.max_value
    if max_value is None and first.bits not in (8, 16, 32, 64) and first.dtype.startswith("uint"):
        max_value = 2**first.bits - 1
    return replace(layout, problems=problems, max_value=max_value)
