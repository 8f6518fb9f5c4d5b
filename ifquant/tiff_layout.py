"""Which page of a TIFF holds which plane: OME, ImageJ, QPTIFF and plain files reduced to one table of planes.

Pure: works on `Page` records that tiff.py made from the file's directories, never on pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ifquant.image import length_um
from ifquant.ome_xml import Ome, OmeImage, is_ome, parse_ome, parse_xml

UNKNOWN_DPI = (72.0, 96.0)
"""Resolutions that programs write when they know none."""


@dataclass(frozen=True)
class Page:
    """One TIFF directory. `resolution` is (x, y, unit name) in pixels per unit; `samples` and `separate` describe its sample planes."""

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
    """Where a plane lies: page, sample within the page, and bytes to add to the page's data (ImageJ stacks above 4 GB)."""

    page: int
    sample: int = 0
    shift: int = 0


@dataclass(frozen=True)
class Layout:
    """A file as an image: `planes[c][z]` of time point 0, and what is known about them."""

    format: str
    planes: tuple[tuple[Plane, ...], ...]
    names: tuple[str | None, ...]
    pixel_size_um: tuple[float, float] | None
    pixel_size_origin: str
    timepoints: int = 1
    levels: int = 1
    max_value: int | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def layout_of(pages: Sequence[Page], path: str, *, qpi: bool, imagej_labels: Sequence[str] | None, data_bytes: int) -> Layout:
    """Interpret the pages of one file.

    Parameters
    ----------
    pages : all directories of the main chain.
    path : used to tell the file's own name in OME metadata from others.
    qpi : the Software tag says PerkinElmer-QPI.
    imagej_labels : slice labels of the ImageJ metadata, if any.
    data_bytes : bytes between the first page's pixels and the end of the file (ImageJ stacks may have one directory for all planes).

    Raises
    ------
    ValueError
        If the metadata contradict the pages: too few planes, other sizes, pixels in other files.
    """
    description = pages[0].description
    if is_ome(description):
        layout = _ome_layout(pages, parse_ome(description), os.path.basename(path))
    elif qpi:
        layout = _qptiff_layout(pages)
    elif description.startswith("ImageJ="):
        layout = _imagej_layout(pages, imagej_labels, data_bytes)
    else:
        layout = _plain_layout(pages)
    return _checked(layout, pages)


def resolution_um(page: Page) -> tuple[float, float] | None:
    """Pixel size (x, y) in um from the resolution tags; None where they say nothing (no unit, 1, 72 or 96 dpi)."""
    if page.resolution is None:
        return None
    x, y, unit = page.resolution
    per_unit = length_um(1, {"INCH": "inch", "CENTIMETER": "cm", "MILLIMETER": "mm", "MICROMETER": "um"}.get(unit, unit))
    dpi = {"INCH": 1.0, "CENTIMETER": 2.54}.get(unit)
    if per_unit is None or not (x > 0 and y > 0) or (x, y) == (1, 1) or (dpi and any(abs(x * dpi - known) < 0.5 for known in UNKNOWN_DPI)):
        return None
    return per_unit / x, per_unit / y


def _print_resolution(page: Page) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    size = resolution_um(page)
    if size is not None and max(size) > 5:  # no microscope, a printer: 300 dpi is 85 um
        return None, (f"its resolution tags say {size[0]:.4g} um per pixel, which is for printing; ignored",)
    return size, ()


def _plain_layout(pages: Sequence[Page]) -> Layout:
    """Pages of the first page's size are channels, in order; with samples, samples are channels."""
    first = pages[0]
    used = [page for page in pages if _same_kind(page, first)]
    left_out = [page for page in pages if not _same_kind(page, first)]
    planes = tuple((Plane(page.index, sample),) for page in used for sample in range(page.samples))
    names = tuple(page.name for page in used for _ in range(page.samples))
    size, warnings = _print_resolution(first)
    if left_out and not all(page.height <= first.height and page.width <= first.width for page in left_out):
        raise ValueError(f"its pages differ: the first is {_describe(first)}, another is {_describe(left_out[0])}; save one image per file")
    if left_out:
        warnings += (f"{len(left_out)} pages of another size or type are left out (previews or lower resolutions)",)
    named = len(used) > 1 and all(names) and len(set(names)) > 1
    return Layout(
        format="TIFF",
        planes=planes,
        names=names if named else (None,) * len(planes),
        pixel_size_um=size,
        pixel_size_origin="resolution-tag" if size else "none",
        levels=max(first.levels, 1 + len({(page.height, page.width) for page in left_out if page.reduced})),
        warnings=warnings,
    )


def _imagej_layout(pages: Sequence[Page], labels: Sequence[str] | None, data_bytes: int) -> Layout:
    """ImageJ hyperstacks: planes in the order t, z, c; sizes and unit in the description."""
    first = pages[0]
    facts = dict(line.split("=", 1) for line in first.description.splitlines() if "=" in line)
    n_images, n_c, n_z, n_t = (_count(facts.get(key)) for key in ("images", "channels", "slices", "frames"))
    if n_c * n_z * n_t != n_images:
        if n_c * n_z * n_t != 1:
            raise ValueError(f"its ImageJ metadata promise {n_images} planes but {n_c} channels x {n_z} slices x {n_t} frames")
        n_c = n_images  # a plain stack: ImageJ does not say what its slices are; like pages of a plain TIFF they are channels
    used = [page for page in pages if _same_kind(page, first)]
    plane_bytes = first.height * first.width * first.samples * first.bits // 8
    if len(used) >= n_images:
        where = [Plane(page.index) for page in used]
    elif len(pages) == 1 and first.compression == "NONE" and data_bytes >= n_images * plane_bytes:
        where = [Plane(0, 0, k * plane_bytes) for k in range(n_images)]
    else:
        raise ValueError(f"its ImageJ metadata promise {n_images} planes but it holds {len(used)}: the file was cut off. Copy or export it again.")
    planes = tuple(
        tuple(where[z * n_c + c]._replace(sample=s) for z in range(n_z)) for c in range(n_c) for s in range(first.samples)
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
        warnings = (f"its ImageJ unit {facts['unit']!r} is no known length; the pixel size counts as unknown",)
    if size is None and "unit" not in facts:
        size, warnings = _print_resolution(first)
    return Layout("ImageJ TIFF", planes, names, size, "resolution-tag" if size else "none", timepoints=n_t, levels=first.levels, warnings=warnings)


def _qptiff_layout(pages: Sequence[Page]) -> Layout:
    """Akoya/PerkinElmer QPTIFF: the full-resolution pages carry XML with <Biomarker> or <Name>; previews and pyramid follow."""
    used: list[Page] = []
    names: list[str | None] = []
    for page in pages:
        try:
            root = parse_xml(page.description)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"page {page.index + 1} has broken QPTIFF metadata ({error})") from error
        kind = (root.findtext("ImageType") or "").strip()
        if kind and kind != "FullResolution":
            continue
        if not kind and used and not _same_kind(page, used[0]):
            continue
        used.append(page)
        names.append((root.findtext("Biomarker") or "").strip() or (root.findtext("Name") or "").strip() or None)
    if not used:
        raise ValueError("it calls itself QPTIFF but holds no full-resolution page")
    if any(not _same_kind(page, used[0]) for page in used):
        raise ValueError("its full-resolution pages differ in size or type")
    planes = tuple((Plane(page.index, sample),) for page in used for sample in range(page.samples))
    size = resolution_um(used[0])
    smaller = {(page.height, page.width) for page in pages if page.reduced and page.samples == used[0].samples}
    return Layout(
        format="QPTIFF",
        planes=planes,
        names=tuple(name for name, page in zip(names, used, strict=True) for _ in range(page.samples)),
        pixel_size_um=size,
        pixel_size_origin="qpi" if size else "none",
        levels=1 + len(smaller - {(used[0].height, used[0].width)}),
    )


def _ome_layout(pages: Sequence[Page], ome: Ome, own_name: str) -> Layout:
    if ome.companion is not None:
        raise ValueError(f"its metadata live in another file ({ome.companion!r}); convert the set into one OME-TIFF (bfconvert) first")
    foreign = _foreign_files(ome, own_name)
    if foreign:
        raise ValueError(
            f"its OME metadata spread the image over other files ({', '.join(map(repr, foreign[:3]))}); such sets are refused because pixels of "
            "the wrong file can be returned. Convert them into one OME-TIFF, or list one-channel files in the sample sheet"
        )
    image = max(ome.images, key=lambda one: one.size_x * one.size_y)
    equal = [one for one in ome.images if (one.size_x, one.size_y) == (image.size_x, image.size_y)]
    problems: tuple[str, ...] = ()
    if len(equal) > 1:
        problems += (f"it holds {len(equal)} images of the same size (fields or time points); export each to its own file",)
    where, samples = _ome_planes(pages, image)
    first = pages[where[0][0].page]
    if (first.height, first.width) != (image.size_y, image.size_x):
        raise ValueError(f"its OME metadata say {image.size_y} x {image.size_x} px (Y x X) but the pixels are {first.height} x {first.width}")
    warnings: tuple[str, ...] = ()
    if image.dtype is not None and image.dtype != first.dtype:
        if image.dtype.lstrip("u") != first.dtype.lstrip("u"):
            raise ValueError(f"its OME metadata say {image.dtype} but the pixels are {first.dtype}")
        warnings += (f"its OME metadata say {image.dtype}, the pixels are {first.dtype}; read as {first.dtype}",)
    if len(ome.images) > len(equal):
        warnings += (f"{len(ome.images)} images in the file; the largest is read, the others (previews, labels) are not",)
    names = tuple(channel.name for channel in image.channels for _ in range(channel.samples or 1))
    if len(names) != len(where):
        if image.channels and len(image.channels) != len(where):
            warnings += (f"its OME metadata name {len(image.channels)} channels, the image has {len(where)}; names are ignored",)
        names = tuple(channel.name for channel in image.channels) if len(image.channels) == len(where) else (None,) * len(where)
    size, origin = image.pixel_size_um, "ome"
    if size is None:
        size, more = _print_resolution(first)
        origin, warnings = "resolution-tag" if size else "none", warnings + more
    if samples > 1 and any(channel.samples == samples for channel in image.channels):
        problems += ("its channels are color samples of one picture (SamplesPerPixel "f"{samples}), not stains",)
    bits = image.significant_bits
    return Layout(
        format="OME-TIFF",
        planes=where,
        names=names,
        pixel_size_um=size,
        pixel_size_origin=origin,
        timepoints=image.size_t,
        levels=max(first.levels, len({(one.size_x, one.size_y) for one in ome.images}) if len(ome.images) > len(equal) else 1),
        max_value=2**bits - 1 if bits and bits < first.bits else None,
        problems=problems,
        warnings=warnings,
    )


def _ome_planes(pages: Sequence[Page], image: OmeImage) -> tuple[tuple[tuple[Plane, ...], ...], int]:
    """The planes of time point 0 as [c][z], and the samples per page. Every promised plane must be in the file."""
    start = image.blocks[0].ifd if image.blocks else 0
    if start >= len(pages):
        raise ValueError(f"its OME metadata point to page {start + 1}, the file has {len(pages)}: it was cut off. Copy or export it again.")
    samples = pages[start].samples
    if min(image.size_c, image.size_z, image.size_t) < 1 or image.size_c % samples:
        raise ValueError(f"its OME metadata promise {image.size_c} channels on pages of {samples} samples")
    sizes = {"C": image.size_c // samples, "Z": image.size_z, "T": image.size_t}
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    if total > len(pages):
        raise ValueError(
            f"its OME metadata promise {total} planes (C x Z x T), the file has {len(pages)} pages: it was cut off. Copy or export it again."
        )
    found: dict[tuple[int, int, int], int] = {}
    for block in image.blocks or ():
        c, z, t = block.first
        at = {"C": c // samples if samples > 1 else c, "Z": z, "T": t}
        position, step = 0, 1
        for axis in image.order:
            position += at[axis] * step
            step *= sizes[axis]
        for k in range(total - position if block.count is None else block.count):
            if position + k >= total:
                raise ValueError("its OME metadata list more planes than C x Z x T")
            found[_plane_at(position + k, image.order, sizes)] = block.ifd + k
    if not image.blocks:
        found = {_plane_at(k, image.order, sizes): k for k in range(total)}
    missing = total - len(found)
    beyond = [page for page in found.values() if page >= len(pages)]
    if missing or beyond:
        raise ValueError(
            f"its OME metadata promise {total} planes (C x Z x T) but {missing + len(beyond)} of them are not in the file "
            f"({len(pages)} pages): it was cut off or is one part of a set. Copy or export it again as one file."
        )
    if len(set(found.values())) != len(found):
        raise ValueError("its OME metadata use one page for several planes")
    planes = tuple(
        tuple(Plane(found[c, z, 0], sample) for z in range(sizes["Z"])) for c in range(sizes["C"]) for sample in range(samples)
    )
    return planes, samples


def _plane_at(position: int, order: str, sizes: dict[str, int]) -> tuple[int, int, int]:
    at: dict[str, int] = {}
    for axis in order:
        position, at[axis] = divmod(position, sizes[axis])
    return at["C"], at["Z"], at["T"]


def _foreign_files(ome: Ome, own_name: str) -> list[str]:
    """Names of other files the planes are said to lie in. A renamed file (one name throughout, its own UUID or none) is its own."""
    blocks = [block for image in ome.images for block in image.blocks if block.file_name is not None or block.uuid is not None]
    files = {(block.file_name, block.uuid) for block in blocks}
    if all(name in (None, own_name) and (uuid is None or ome.uuid is None or uuid == ome.uuid) for name, uuid in files):
        return []
    if len(files) == 1 and (next(iter(files))[1] == ome.uuid or ome.uuid is None):
        return []
    return sorted({str(name or uuid) for name, uuid in files if name != own_name or (ome.uuid and uuid != ome.uuid)})


def _same_kind(page: Page, other: Page) -> bool:
    return (page.height, page.width, page.samples, page.dtype) == (other.height, other.width, other.samples, other.dtype)


def _describe(page: Page) -> str:
    return f"{page.height} x {page.width} px x {page.samples} {page.dtype}"


def _count(text: str | None) -> int:
    value = 1 if text is None else int(text)
    if value < 1:
        raise ValueError(f"its ImageJ metadata count {text!r} planes")
    return value


_COLOR = {"RGB": "RGB", "YCBCR": "YCbCr", "CIELAB": "CIE Lab", "ICCLAB": "CIE Lab", "ITULAB": "CIE Lab", "SEPARATED": "CMYK", "LOGL": "LogL", "LOGLUV": "LogLuv"}


def _checked(layout: Layout, pages: Sequence[Page]) -> Layout:
    """Add what is wrong with the pixels themselves: color pictures, inverted or palette images, mixed pages."""
    used = {plane.page for channel in layout.planes for plane in channel}
    first = pages[min(used)]
    for index in used:
        if not _same_kind(pages[index], first):
            raise ValueError(f"its planes differ: {_describe(first)} and {_describe(pages[index])}")
    problems = layout.problems
    kind = next((pages[i].photometric for i in sorted(used) if pages[i].photometric in _COLOR), None)
    if kind:
        problems = (
            f"it is a color picture ({_COLOR[kind]}), not one plane per stain; brightfield is not analysed. If these are fluorescence "
            "channels, export them as separate grayscale planes (OME-TIFF)",
        )
    elif any(pages[i].photometric == "MINISWHITE" for i in used):
        problems += ("its values are inverted (WhiteIsZero: bright pixels have low values); invert them and save again",)
    elif layout.format == "TIFF" and any(pages[i].photometric == "PALETTE" and not pages[i].colormap_is_ramp for i in used):
        problems += ("its values are indices of a color table, not intensities; export grayscale planes",)
    max_value = layout.max_value
    if max_value is None and first.bits not in (8, 16, 32, 64) and first.dtype.startswith("uint"):
        max_value = 2**first.bits - 1
    return replace(layout, problems=problems, max_value=max_value)
