"""Which page of an OME-TIFF holds which plane. Every promised plane must lie in this very file."""

from __future__ import annotations

from collections.abc import Sequence

from ifquant.notes import mild
from ifquant.slides.image_reader import Damaged, Unfit
from ifquant.slides.ome_xml import Ome, OmeImage
from ifquant.slides.tiff_page import Layout, Page, Plane, contradiction, print_resolution


def ome_layout(pages: Sequence[Page], ome: Ome, own_name: str) -> Layout:
    """Interpret OME metadata; `own_name` is the file's name."""
    if ome.companion is not None:
        raise Unfit(
            f"its metadata live in another file ({ome.companion!r}); convert the set into one"
            " OME-TIFF (bfconvert) first"
        )
    foreign = _foreign_files(ome, own_name)
    if foreign:
        raise Unfit(
            "its OME metadata spread the image over other files"
            f" ({', '.join(map(repr, foreign[:3]))}); such sets are refused because pixels of the"
            " wrong file can be returned. Convert them into one OME-TIFF, or list one-channel"
            " files in the sample sheet"
        )
    image = max(ome.images, key=lambda one: one.size_x * one.size_y)
    equal = [one for one in ome.images if (one.size_x, one.size_y) == (image.size_x, image.size_y)]
    problems: tuple[str, ...] = ()
    if len(equal) > 1:
        problems += (
            (
                f"it holds {len(equal)} images of the same size (fields or time points); export"
                " each to its own file"
            ),
        )
    where, samples = _ome_planes(pages, image)
    first = pages[where[0][0].page]
    if (first.height, first.width) != (image.size_y, image.size_x):
        raise Damaged(
            f"its OME metadata say {image.size_y} x {image.size_x} px (Y x X), the pixels are"
            f" {first.height} x {first.width}"
        )
    warnings: tuple[str, ...] = ()
    if image.dtype is not None and image.dtype != first.dtype:
        if image.dtype.lstrip("u") != first.dtype.lstrip("u"):
            raise Damaged(f"its OME metadata say {image.dtype} but the pixels are {first.dtype}")
        warnings += (
            (
                f"its OME metadata say {image.dtype}, the pixels are {first.dtype}; read as"
                f" {first.dtype}"
            ),
        )
    if len(ome.images) > len(equal):
        warnings += (
            mild(
                f"{len(ome.images)} images in the file; the largest is read, the others (previews,"
                " labels) are not"
            ),
        )
    names = tuple(channel.name for channel in image.channels for _ in range(channel.samples or 1))
    if len(names) != len(where):
        if image.channels and len(image.channels) != len(where):
            warnings += (
                (
                    f"its OME metadata name {len(image.channels)} channels, the image has"
                    f" {len(where)}; names are ignored"
                ),
            )
        names = (
            tuple(channel.name for channel in image.channels)
            if len(image.channels) == len(where)
            else (None,) * len(where)
        )
    size, origin = image.pixel_size_um, "ome"
    if size is None:
        size, more = print_resolution(first)
        origin, warnings = "resolution-tag" if size else "none", warnings + more
    else:
        warnings += contradiction(size, first)
    if samples > 1 and any(channel.samples == samples for channel in image.channels):
        problems += (
            (
                f"its channels are color samples of one picture (SamplesPerPixel {samples}), not"
                " stains"
            ),
        )
    bits = image.significant_bits
    return Layout(
        format="OME-TIFF",
        planes=where,
        names=names,
        pixel_size_um=size,
        pixel_size_origin=origin,
        timepoints=image.size_t,
        levels=max(
            first.levels,
            (
                len({(one.size_x, one.size_y) for one in ome.images})
                if len(ome.images) > len(equal)
                else 1
            ),
        ),
        max_value=2**bits - 1 if bits and bits < first.bits else None,
        problems=problems,
        warnings=warnings,
    )


def _ome_planes(
    pages: Sequence[Page], image: OmeImage
) -> tuple[tuple[tuple[Plane, ...], ...], int]:
    """Find the planes of time point 0 as [c][z], and the samples per page. Every promised plane
    must be in the file.
    """
    start = image.blocks[0].ifd if image.blocks else 0
    if start >= len(pages):
        raise Damaged(
            f"its OME metadata point to page {start + 1}, the file has {len(pages)}: it was cut off"
        )
    samples = pages[start].samples
    if min(image.size_c, image.size_z, image.size_t) < 1 or image.size_c % samples:
        raise Damaged(
            f"its OME metadata promise {image.size_c} channels on pages of {samples} samples"
        )
    sizes = {"C": image.size_c // samples, "Z": image.size_z, "T": image.size_t}
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    if total > len(pages):
        raise Damaged(
            f"its OME metadata promise {total} planes (C x Z x T), it has {len(pages)} pages: it"
            " was cut off"
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
                raise Damaged("its OME metadata list more planes than C x Z x T")
            found[_plane_at(position + k, image.order, sizes)] = block.ifd + k
    if not image.blocks:
        found = {_plane_at(k, image.order, sizes): k for k in range(total)}
    missing = total - len(found)
    beyond = [page for page in found.values() if page >= len(pages)]
    if missing or beyond:
        raise Damaged(
            f"its OME metadata promise {total} planes (C x Z x T) but {missing + len(beyond)} of"
            f" them are not in the file ({len(pages)} pages): it was cut off or is one part of"
            " a set"
        )
    if len(set(found.values())) != len(found):
        raise Damaged("its OME metadata use one page for several planes")
    planes = tuple(
        tuple(Plane(found[c, z, 0], sample) for z in range(sizes["Z"]))
        for c in range(sizes["C"])
        for sample in range(samples)
    )
    return planes, samples


def _plane_at(position: int, order: str, sizes: dict[str, int]) -> tuple[int, int, int]:
    at: dict[str, int] = {}
    for axis in order:
        position, at[axis] = divmod(position, sizes[axis])
    return at["C"], at["Z"], at["T"]


def _foreign_files(ome: Ome, own_name: str) -> list[str]:
    """Names of other files the planes are said to lie in. A renamed file (one name throughout, its
    own UUID or none) is its own.
    """
    blocks = [
        block
        for image in ome.images
        for block in image.blocks
        if block.file_name is not None or block.uuid is not None
    ]
    files = {(block.file_name, block.uuid) for block in blocks}
    if all(
        name in (None, own_name) and (uuid is None or ome.uuid is None or uuid == ome.uuid)
        for name, uuid in files
    ):
        return []
    if len(files) == 1 and (next(iter(files))[1] == ome.uuid or ome.uuid is None):
        return []
    return sorted(
        {
            str(name or uuid)
            for name, uuid in files
            if name != own_name or (ome.uuid and uuid != ome.uuid)
        }
    )
