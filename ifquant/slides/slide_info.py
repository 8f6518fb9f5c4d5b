"""What a slide is and whether it can be analysed: its files' facts and what the user stated."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ifquant.errors import RequestError, SlideError
from ifquant.geometry.windows import Window
from ifquant.notes import grave, mild
from ifquant.recipe.pixel_size import check_pixel_size, implausible
from ifquant.slides.image_reader import ImageFacts

DTYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True)
class SlideSource:
    """The files of a slide and how they are to be read.

    `paths`: one image, or several one-channel images in channel order. `channel_names` replaces the
    file's names (one per channel). `pixel_size_um` overrides the file's, `pixel_size_origin` says
    who stated it (option or sheet). `crop` is in px of the whole image; windows of an opened slide
    are relative to the crop.
    """

    paths: tuple[str, ...]
    channel_names: tuple[str, ...] | None = None
    pixel_size_um: float | None = None
    z: Literal["max", "mean"] | int | None = None
    crop: Window | None = None
    allow_lossy: bool = False
    pixel_size_origin: str = "option"

    def __post_init__(self) -> None:
        if not self.paths:
            raise RequestError("a slide needs at least one file")
        if self.pixel_size_um is not None:
            check_pixel_size(self.pixel_size_um, f"pixel size ({self.pixel_size_origin})")


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


def describe(ref: SlideSource, facts: list[ImageFacts]) -> SlideInfo:
    """Put together facts of files and what the user stated; every problem names its remedy."""
    first = facts[0]
    for other, other_path in zip(facts[1:], ref.paths[1:], strict=True):
        if other.shape[1:] != first.shape[1:] or other.dtype != first.dtype:
            raise SlideError(
                f"{ref.paths[0]}: the files of this slide differ: {_size(first)} here,"
                f" {_size(other)} in {other_path}; all channels need one size and type"
            )
    n_channels = sum(one.shape[0] for one in facts)
    problems = [problem for one in facts for problem in one.problems]
    warnings = [warning for one in facts for warning in one.warnings]
    names, named = _names(ref, facts, n_channels, problems, warnings)
    size, origin = _pixel_size(ref, facts, problems, warnings)
    problems += _plane_problems(ref, first)
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
    height, width = _extent(ref, first, warnings)
    return SlideInfo(
        path=ref.paths[0],
        format=first.format if len(facts) == 1 else f"{len(facts)} files ({first.format})",
        shape=(n_channels, height, width),
        dtype=first.dtype,
        channels=names,
        pixel_size_um=size,
        pixel_size_origin=origin,
        z_planes=first.shape[1],
        levels=min(one.levels for one in facts),
        warnings=tuple(dict.fromkeys(warnings)),
        max_value=first.max_value,
        problems=tuple(dict.fromkeys(problems)),
        timepoints=first.timepoints,
        named=named,
        lossy=lossy,
    )


def _plane_problems(ref: SlideSource, first: ImageFacts) -> list[str]:
    """Why time points, planes or type of the pixels cannot be analysed as they are."""
    problems = []
    n_z = first.shape[1]
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
    return problems


def _extent(ref: SlideSource, first: ImageFacts, warnings: list[str]) -> tuple[int, int]:
    """Height and width in px of the image, or of the part of the crop inside it."""
    _, _, height, width = first.shape
    crop = ref.crop
    if crop is None:
        return height, width
    inside = crop.intersection(Window(0, 0, height, width))
    if inside.size_px == 0 or crop.y0 < 0 or crop.x0 < 0:
        raise SlideError(
            f"{ref.paths[0]}: --crop lies outside the image of {width} x {height} px (X x Y)"
        )
    height, width = inside.shape
    if inside != crop:
        text = f"--crop reaches beyond the image and was cut to {width} x {height} px"
        warnings.append(mild(text))
    return height, width


def _names(
    ref: SlideSource, facts: list[ImageFacts], n: int, problems: list[str], warnings: list[str]
) -> tuple[tuple[str, ...], bool]:
    if ref.channel_names is not None:
        if len(ref.channel_names) != n:
            raise SlideError(
                f"{ref.paths[0]}: {len(ref.channel_names)} channel names were given, the slide has"
                f" {n} channels"
            )
        names, named = ref.channel_names, True
    else:
        listed = [name for one in facts for name in one.channels]
        named = any(listed)
        names = tuple(name or f"channel_{index}" for index, name in enumerate(listed))
        if not named:
            last = f" to channel_{n - 1}" if n > 1 else ""
            warnings.append(
                f"its file names no channels; they are called channel_0{last}: give each a name and"
                " its index in the recipe"
            )
    counts = Counter(name.casefold() for name in names)
    twice = next((name for name in names if counts[name.casefold()] > 1), None)
    if twice is not None:
        at = [i for i, name in enumerate(names) if name.casefold() == twice.casefold()]
        problems.append(
            f"channel name {twice!r} occurs {len(at)} times; rename the channels in the recipe by"
            f" position (name = ..., index = {at})"
        )
    return names, named


def _pixel_size(
    ref: SlideSource, facts: list[ImageFacts], problems: list[str], warnings: list[str]
) -> tuple[float | None, str]:
    stated = next((one for one in facts if one.pixel_size_um is not None), facts[0])
    size = stated.pixel_size_um
    if ref.pixel_size_um is not None:
        if size is not None and max(abs(s / ref.pixel_size_um - 1) for s in size) > 0.02:
            text = (
                f"pixel size {ref.pixel_size_um:g} um was given; the file says {size[0]:.6g} x"
                f" {size[1]:.6g} um"
            )
            warnings.append(grave(text))
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
