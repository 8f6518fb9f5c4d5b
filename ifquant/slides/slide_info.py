"""What a slide is and whether it can be analysed: the facts of its files put together with what the
user stated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifquant.errors import SlideError
from ifquant.geometry.windows import Window
from ifquant.notes import grave, mild
from ifquant.recipe.pixel_size import implausible
from ifquant.slides.image_reader import ImageFacts

if TYPE_CHECKING:
    from ifquant.slides.slide import SlideRef

DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class SlideInfo:
    """What a slide is, after crop and projection.

    `shape` is (C, Y, X) in px. `pixel_size_origin` is one of ome, qpi, resolution-tag, zarr,
    option, sheet, none. `problems` are reasons not to analyse it, each with its remedy; `warnings`
    are facts worth recording. `max_value` is the largest value the detector can give where the file
    says so (4095 for 12 bits). `named` tells whether the file (or the user) named the channels;
    otherwise they are called channel_0, channel_1, ...
    """

    path: str
    format: str
    shape: tuple[int, int, int]
    dtype: str
    channels: tuple[str, ...]
    pixel_size_um: float | None
    pixel_size_origin: str
    z_planes: int
    levels: int
    warnings: tuple[str, ...]
    max_value: int | None = None
    problems: tuple[str, ...] = ()
    timepoints: int = 1
    named: bool = True
    lossy: str | None = None


def describe(ref: SlideRef, facts: list[ImageFacts]) -> SlideInfo:
    """Put together what the files of a slide say and how the user wants them read; name every
    problem with its remedy.
    """
    first = facts[0]
    path = ref.paths[0]
    for other, other_path in zip(facts[1:], ref.paths[1:], strict=True):
        if other.shape[1:] != first.shape[1:] or other.dtype != first.dtype:
            raise SlideError(
                f"{path}: the files of this slide differ: {_size(first)} here, {_size(other)} in"
                f" {other_path}; all channels need one size and type"
            )
    n_channels = sum(one.shape[0] for one in facts)
    _, n_z, height, width = first.shape
    problems = [problem for one in facts for problem in one.problems]
    warnings = [warning for one in facts for warning in one.warnings]
    names, named = _names(ref, facts, n_channels, problems, warnings)
    size, origin = _pixel_size(ref, facts, problems, warnings)
    if first.timepoints > 1:
        problems.append(
            f"it is a time series of {first.timepoints} time points; export the one to analyse to"
            " its own file"
        )
    if n_z > 1 and ref.z is None:
        problems.append(
            f'it is a z-stack of {n_z} planes; choose slide.z = "max", "mean" or a plane\'s index'
            " in the recipe"
        )
    if isinstance(ref.z, int) and n_z > 1 and ref.z >= n_z:
        problems.append(f"slide.z = {ref.z} but it has {n_z} planes (0 is the first)")
    if first.dtype not in DTYPES:
        problems.append(
            f"its pixels are {first.dtype}; uint8, uint16 and float32 are analysed. Convert it"
            " (values up to 65535 fit uint16)"
        )
    lossy = next((one.lossy for one in facts if one.lossy), None)
    if lossy and ref.allow_lossy:
        warnings.append(
            f"lossy compression ({lossy}) changed its intensities; accepted by slide.allow_lossy"
        )
    elif lossy:
        problems.append(
            f"lossy compression ({lossy}) changed its intensities; export it losslessly, or set"
            " slide.allow_lossy = true in the recipe"
        )
    if first.dtype == "uint8":
        warnings.append(mild("8-bit pixels: intensities have at most 256 steps"))
    if ref.crop is not None:
        crop = ref.crop
        inside = crop.intersection(Window(0, 0, height, width))
        if inside.size_px == 0 or crop.y0 < 0 or crop.x0 < 0:
            raise SlideError(
                f"{path}: --crop lies outside the image of {width} x {height} px (X x Y)"
            )
        if inside != crop:
            warnings.append(
                mild(
                    f"--crop reaches beyond the image and was cut to {inside.shape[1]} x"
                    f" {inside.shape[0]} px"
                )
            )
        height, width = inside.shape
    return SlideInfo(
        path=path,
        format=first.format if len(facts) == 1 else f"{len(facts)} files ({first.format})",
        shape=(n_channels, height, width),
        dtype=first.dtype,
        channels=names,
        pixel_size_um=size,
        pixel_size_origin=origin,
        z_planes=n_z,
        levels=min(one.levels for one in facts),
        warnings=tuple(dict.fromkeys(warnings)),
        max_value=first.max_value,
        problems=tuple(dict.fromkeys(problems)),
        timepoints=first.timepoints,
        named=named,
        lossy=lossy,
    )


def _names(
    ref: SlideRef, facts: list[ImageFacts], n: int, problems: list[str], warnings: list[str]
) -> tuple[tuple[str, ...], bool]:
    if ref.channel_names is not None:
        if len(ref.channel_names) != n:
            raise SlideError(
                f"{ref.paths[0]}: {len(ref.channel_names)} channel names were given, the slide has"
                f" {n} channels"
            )
        names, named = ref.channel_names, True
    else:
        found = [name for one in facts for name in one.channels]
        named = any(found)
        names = tuple(name or f"channel_{index}" for index, name in enumerate(found))
        if not named:
            last = f" to channel_{n - 1}" if n > 1 else ""
            warnings.append(
                f"its file names no channels; they are called channel_0{last}: give each a name and"
                " its index in the recipe"
            )
    counts = Counter(name.casefold() for name in names)
    twice = [name for name in dict.fromkeys(names) if counts[name.casefold()] > 1]
    if twice:
        problems.append(
            f"channel name {twice[0]!r} occurs {counts[twice[0].casefold()]} times; rename the"
            " channels in the recipe by position (name = ..., index ="
            f" {[i for i, name in enumerate(names) if name.casefold() == twice[0].casefold()]})"
        )
    return names, named


def _pixel_size(
    ref: SlideRef, facts: list[ImageFacts], problems: list[str], warnings: list[str]
) -> tuple[float | None, str]:
    stated = next((one for one in facts if one.pixel_size_um is not None), facts[0])
    size = stated.pixel_size_um
    if ref.pixel_size_um is not None:
        if size is not None and max(abs(s / ref.pixel_size_um - 1) for s in size) > 0.02:
            warnings.append(
                grave(
                    f"pixel size {ref.pixel_size_um:g} um was given; the file says {size[0]:.6g} x"
                    f" {size[1]:.6g} um"
                )
            )
        return ref.pixel_size_um, ref.pixel_size_origin
    if size is None:
        problems.append(
            "its pixel size is not recorded; give it with --pixel-size UM (or in the sample sheet,"
            " column pixel_size_um)"
        )
        return None, "none"
    x, y = size
    if abs(x - y) > 0.01 * max(x, y):
        problems.append(
            f"its pixels are not square ({x:.6g} x {y:.6g} um); resample it, or state the true size"
            " with --pixel-size UM"
        )
        return None, stated.pixel_size_origin
    if any(
        one.pixel_size_um is not None
        and max(abs(one.pixel_size_um[0] / x - 1), abs(one.pixel_size_um[1] / y - 1)) > 0.01
        for one in facts
    ):
        problems.append(
            "the files of this slide state different pixel sizes; give the true one with"
            " --pixel-size UM"
        )
        return None, stated.pixel_size_origin
    if reason := implausible(x):
        problems.append(f"its pixel size cannot be right: {reason}; state it with --pixel-size UM")
    return (x + y) / 2, stated.pixel_size_origin


def _size(facts: ImageFacts) -> str:
    return f"{facts.shape[2]} x {facts.shape[3]} px, {facts.shape[1]} planes, {facts.dtype}"
