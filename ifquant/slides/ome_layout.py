"""Which page of an OME-TIFF holds which plane. Every promised plane must lie in this very file."""

from __future__ import annotations

from collections.abc import Sequence

from ifquant.notes import mild
from ifquant.slides.image_reader import Damaged, Unfit
from ifquant.slides.ome_xml import Ome, OmeImage
from ifquant.slides.tiff_page import (
    Layout,
    Page,
    Plane,
    Planes,
    contradiction,
    image_facts,
    print_resolution,
)


def ome_layout(pages: Sequence[Page], ome: Ome, own_name: str) -> Layout:
    """Interpret OME metadata; `own_name` is the file's name."""
    _refuse_other_files(ome, own_name)
    image = max(ome.images, key=lambda one: one.size_x * one.size_y)
    sizes = [(one.size_x, one.size_y) for one in ome.images]
    n_equal = sizes.count((image.size_x, image.size_y))
    planes, samples = _planes(pages, image)
    first = pages[planes[0][0].page]
    warnings = _check_pixels(image, first)
    if len(sizes) > n_equal:
        text = (
            f"{len(sizes)} images in the file; the largest is read, the others (previews, labels)"
            " are not"
        )
        warnings += (mild(text),)
    names, unmatched = _names(image, len(planes))
    size, origin = image.pixel_size_um, "ome"
    if size is None:
        size, more = print_resolution(first)
        origin = "resolution-tag"
    else:
        more = contradiction(size, first)
    problems = []
    if n_equal > 1:
        problems.append(
            f"it holds {n_equal} images of the same size (fields or time points); export each to"
            " its own file"
        )
    if samples > 1 and any(channel.samples == samples for channel in image.channels):
        problems.append(
            f"its channels are color samples of one picture (SamplesPerPixel {samples}), not stains"
        )
    bits = image.significant_bits
    facts = image_facts(
        "OME-TIFF",
        pages,
        planes,
        size,
        origin,
        channels=names,
        timepoints=image.size_t,
        levels=max(first.levels, len(set(sizes))),
        max_value=2**bits - 1 if bits and bits < first.bits else None,
        problems=tuple(problems),
        warnings=warnings + unmatched + more,
    )
    return Layout(planes, facts)


def _check_pixels(image: OmeImage, first: Page) -> tuple[str, ...]:
    """Refuse pixels of another size or kind than OME says; warn of another sign."""
    if (first.height, first.width) != (image.size_y, image.size_x):
        raise Damaged(
            f"its OME metadata say {image.size_y} x {image.size_x} px (Y x X), the pixels are"
            f" {first.height} x {first.width}"
        )
    if image.dtype is None or image.dtype == first.dtype:
        return ()
    if image.dtype.lstrip("u") != first.dtype.lstrip("u"):
        raise Damaged(f"its OME metadata say {image.dtype} but the pixels are {first.dtype}")
    return (
        f"its OME metadata say {image.dtype}, the pixels are {first.dtype}; read as {first.dtype}",
    )


def _names(image: OmeImage, n: int) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Names of the `n` planes of samples or channels, and a warning if OME names another number."""
    listed = tuple(channel.name for channel in image.channels)
    per_sample = [channel.name for channel in image.channels for _ in range(channel.samples or 1)]
    if len(per_sample) == n:
        return tuple(per_sample), ()
    if len(listed) == n:
        return listed, ()
    text = f"its OME metadata name {len(listed)} channels, the image has {n}; names are ignored"
    return (None,) * n, (text,) if listed else ()


def _planes(pages: Sequence[Page], image: OmeImage) -> tuple[Planes, int]:
    """Planes of time point 0 as [c][z], and samples per page; every plane must be in the file."""
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
    at = _pages_by_plane(image, sizes, samples)
    lost = total - len(at) + sum(page >= len(pages) for page in at.values())
    if lost:
        raise Damaged(
            f"its OME metadata promise {total} planes (C x Z x T) but {lost} of them are not in the"
            f" file ({len(pages)} pages): it was cut off or is one part of a set"
        )
    if len(set(at.values())) != len(at):
        raise Damaged("its OME metadata use one page for several planes")
    planes = tuple(
        tuple(Plane(at[c, z, 0], sample) for z in range(sizes["Z"]))
        for c in range(sizes["C"])
        for sample in range(samples)
    )
    return planes, samples


def _pages_by_plane(
    image: OmeImage, sizes: dict[str, int], samples: int
) -> dict[tuple[int, int, int], int]:
    """Page of each plane (c, z, t); without TiffData, pages follow the order of dimensions."""
    total = sizes["C"] * sizes["Z"] * sizes["T"]
    if not image.blocks:
        return {_plane_at(k, image.order, sizes): k for k in range(total)}
    pages = {}
    for block in image.blocks:
        c, z, t = block.first
        first = {"C": c // samples, "Z": z, "T": t}
        position, step = 0, 1
        for axis in image.order:
            position += first[axis] * step
            step *= sizes[axis]
        for k in range(total - position if block.count is None else block.count):
            if position + k >= total:
                raise Damaged("its OME metadata list more planes than C x Z x T")
            pages[_plane_at(position + k, image.order, sizes)] = block.ifd + k
    return pages


def _plane_at(position: int, order: str, sizes: dict[str, int]) -> tuple[int, int, int]:
    at: dict[str, int] = {}
    for axis in order:
        position, at[axis] = divmod(position, sizes[axis])
    return at["C"], at["Z"], at["T"]


def _refuse_other_files(ome: Ome, own_name: str) -> None:
    """Refuse metadata or planes that lie in other files.

    A renamed file (one name throughout, its own UUID or none) is its own.
    """
    if ome.companion is not None:
        raise Unfit(
            f"its metadata live in another file ({ome.companion!r}); convert the set into one"
            " OME-TIFF (bfconvert) first"
        )
    files = {(block.file_name, block.uuid) for image in ome.images for block in image.blocks}
    files.discard((None, None))
    if all(
        name in (None, own_name) and (uuid is None or ome.uuid is None or uuid == ome.uuid)
        for name, uuid in files
    ):
        return
    if len(files) == 1 and (next(iter(files))[1] == ome.uuid or ome.uuid is None):
        return
    foreign = sorted(
        {
            str(name or uuid)
            for name, uuid in files
            if name != own_name or (ome.uuid and uuid != ome.uuid)
        }
    )
    if foreign:
        raise Unfit(
            "its OME metadata spread the image over other files"
            f" ({', '.join(map(repr, foreign[:3]))}); such sets are refused because pixels of the"
            " wrong file can be returned. Convert them into one OME-TIFF, or list one-channel"
            " files in the sample sheet"
        )
