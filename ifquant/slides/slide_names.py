"""Which paths are slides, and the safe, unique names their results get."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence

from ifquant.errors import RequestError
from ifquant.names import loose_key

_ZARR = (".ome.zarr", ".zarr")
IMAGE_SUFFIXES = (
    ".ome.tiff",
    ".ome.tif",
    ".ome.btf",
    ".ome.tf2",
    ".ome.tf8",
    ".qptiff",
    ".tiff",
    ".tif",
    ".btf",
    ".tf2",
    ".tf8",
    *_ZARR,
)
VENDOR_FORMATS = {
    ".czi": "Zeiss CZI",
    ".lif": "Leica LIF",
    ".lof": "Leica LOF",
    ".nd2": "Nikon ND2",
    ".vsi": "Olympus VSI",
    ".oir": "Olympus OIR",
    ".oib": "Olympus OIB",
    ".ims": "Imaris",
    ".mrxs": "3DHISTECH MRXS",
    ".ndpi": "Hamamatsu NDPI",
    ".svs": "Aperio SVS",
    ".scn": "Leica SCN",
    ".bif": "Ventana BIF",
    ".lsm": "Zeiss LSM",
    ".mcd": "Fluidigm MCD",
    ".stk": "MetaMorph STK",
}
"""Formats that are recognised and refused with advice; in a folder they are listed, not passed
over."""
OTHER_SUFFIXES = (".im3", ".png", ".jpg", ".jpeg", ".jp2", ".bmp")
"""Further images that other programs' tables name."""
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)),
}
RESULT_FILES = (
    "run.json",
    "slides.csv",
    "report.html",
    "crash.txt",
    "slides_reviewed.csv",
    "review.csv",
    "review.html",
)
"""What ifquant itself writes beside the slides' folders; no slide is called so."""
_MAX_NAME = 64


def find_slides(paths: Sequence[str]) -> list[str]:
    """Expand files, folders and glob patterns into slide paths, in order, each once.

    A folder gives the images directly inside it (natural order; hidden files are passed over; an
    OME-Zarr folder is one slide). Files of vendor formats are listed too, so that they are refused
    by name instead of being passed over.

    Raises
    ------
    RequestError
        If a path does not exist or gives no image.
    """
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path) and not _is_zarr_name(path) and not is_zarr_folder(path):
            inside = sorted(
                (os.path.join(path, name) for name in os.listdir(path) if _is_image_name(name)),
                key=natural_order,
            )
            if not inside:
                known = ", ".join(IMAGE_SUFFIXES)
                raise RequestError(
                    f"{path}: no images in this folder (looked for {known}); subfolders need their"
                    " own path or a glob"
                )
            found += inside
        elif os.path.lexists(path):
            found.append(path)
        elif glob.has_magic(path):
            matched = (
                match
                for match in glob.glob(path, recursive=True)
                if _is_image_name(os.path.basename(match))
            )
            matches = sorted(matched, key=natural_order)
            if not matches:
                raise RequestError(f"{path}: no image matches this pattern")
            found += matches
        else:
            raise RequestError(f"{path}: no such file or folder")
    unique: dict[str, str] = {}
    for path in found:
        unique.setdefault(os.path.realpath(path), path.rstrip("/\\") or path)
    return list(unique.values())


def slide_name(path: str) -> str:
    """Take the file name less its known image suffixes, made of letters, digits, dot, dash and
    underscore, at most 64 long.
    """
    name = os.path.basename(os.path.normpath(path))
    name = without_suffix(name)
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_MAX_NAME].rstrip("._-")
    if not name:
        name = "slide"
    return (
        f"{name}_"
        if name.split(".")[0].lower() in _RESERVED or name.lower() in RESULT_FILES
        else name
    )


def slide_key(name: str) -> str:
    """Return what all spellings of a slide's name share, in sheets, tables of other programs, file
    names and our folders.

    An image suffix and, before one, the folders do not count, nor case, nor whether words are
    joined by blanks or underscores: ``D:/scans/My slide 1.ome.tif``, ``my_slide_1`` and ``My slide
    1.tif`` have one key. Everything else does: ``HER2+`` is not ``HER2-``.
    """
    plain = name.strip().rstrip("/\\")
    short = without_suffix(plain)
    if short != plain:
        short = re.split(r"[/\\]", short)[-1]
    return (
        re.sub(
            r"[\s_]+",
            "_",
            unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", short).casefold()),
        )
        or name
    )


def loose_slide_key(name: str) -> str:
    """Return what slides' names share that people may have meant alike: `slide_key` less separators
    and leading zeros.
    """
    return loose_key(slide_key(name).replace("_", " "))


def without_suffix(name: str) -> str:
    """Return a file name less its known image suffix."""
    for suffix in IMAGE_SUFFIXES + tuple(VENDOR_FORMATS) + OTHER_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def identical_warnings(images: Mapping[str, str]) -> list[str]:
    """Say which slides are one and the same image under several names (slide > what identifies its
    pixels).
    """
    same: dict[str, list[str]] = {}
    for slide, image in images.items():
        same.setdefault(image, []).append(slide)
    return [
        f"slides {', '.join(slides)} are byte-identical: one image under {len(slides)} names, which"
        f" counts {len(slides)} times; leave out all but one"
        for slides in same.values()
        if len(slides) > 1
    ]


def unique_names(paths: Sequence[str]) -> list[str]:
    """`slide_name` of each path; names that differ at most in case get _2, _3, ... in the order
    given.
    """
    taken: set[str] = set()
    names = []
    for path in paths:
        name = base = slide_name(path)
        number = 1
        while name.casefold() in taken:
            number += 1
            name = f"{base[: _MAX_NAME - 1 - len(str(number))]}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _is_image_name(name: str) -> bool:
    lower = name.lower()
    return not name.startswith(".") and lower.endswith(IMAGE_SUFFIXES + tuple(VENDOR_FORMATS))


def _is_zarr_name(path: str) -> bool:
    return path.rstrip("/\\").lower().endswith(_ZARR)


def is_zarr_folder(path: str) -> bool:
    """Whether a folder is a zarr group (v3 or v2), by its metadata file."""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zgroup"))


def natural_order(path: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key: numbers by value (s2 before s10)."""
    parts = re.split(r"(\d+)", os.path.basename(path).casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], path
