"""Which paths are slides, and the safe, unique names their results get."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points

from ifquant.errors import RequestError
from ifquant.names import loose_key

READER_GROUP = "ifquant.readers"
"""Entry points of other packages' readers, each called as its files end, without the dot."""
_ZARR = (".ome.zarr", ".zarr")
_TIFF = (".tiff", ".tif", ".btf", ".tf2", ".tf8")
IMAGE_SUFFIXES = (*(f".ome{suffix}" for suffix in _TIFF), ".qptiff", *_TIFF, *_ZARR)
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
"""Formats that are refused with advice; in a folder they are listed, not passed over."""
OTHER_SUFFIXES = (".im3", ".png", ".jpg", ".jpeg", ".jp2", ".bmp")
"""Further images that other programs' tables name."""
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{p}{i}" for p in ("com", "lpt") for i in range(1, 10)}
RESULT_FILES = (
    *("run.json", "slides.csv", "report.html", "crash.txt"),
    *("slides_reviewed.csv", "review.csv", "review.html"),
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
    unique: dict[str, str] = {}
    for path in paths:
        for image in _images(path):
            unique.setdefault(os.path.realpath(image), image.rstrip("/\\") or image)
    return list(unique.values())


def _images(path: str) -> list[str]:
    """Images of one path or pattern."""
    is_image = path.rstrip("/\\").lower().endswith((*_ZARR, *_plugin_suffixes()))
    if os.path.isdir(path) and not is_image and not is_zarr_folder(path):
        images = [os.path.join(path, name) for name in os.listdir(path) if _is_image_name(name)]
        if not images:
            raise RequestError(
                f"{path}: no images in this folder (looked for {', '.join(IMAGE_SUFFIXES)});"
                " subfolders need their own path or a glob"
            )
    elif os.path.lexists(path):
        return [path]
    elif glob.has_magic(path):
        matches = glob.glob(path, recursive=True)
        images = [match for match in matches if _is_image_name(os.path.basename(match))]
        if not images:
            raise RequestError(f"{path}: no image matches this pattern")
    else:
        raise RequestError(f"{path}: no such file or folder")
    return sorted(images, key=natural_order)


def slide_name(path: str) -> str:
    """File name less image suffix; letters, digits, dot, dash and underscore, at most 64 long."""
    name = without_suffix(os.path.basename(os.path.normpath(path)))
    name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_MAX_NAME].rstrip("._-")
    name = name or "slide"
    is_reserved = name.split(".")[0].lower() in _RESERVED or name.lower() in RESULT_FILES
    return f"{name}_" if is_reserved else name


def slide_key(name: str) -> str:
    """Reduce a slide's name to what all its spellings share, in sheets, tables and file names.

    An image suffix and, before one, the folders do not count, nor case, nor whether words are
    joined by blanks or underscores: ``D:/scans/My slide 1.ome.tif``, ``my_slide_1`` and ``My slide
    1.tif`` have one key. Everything else does: ``HER2+`` is not ``HER2-``.
    """
    plain = name.strip().rstrip("/\\")
    short = without_suffix(plain)
    if short != plain:
        short = re.split(r"[/\\]", short)[-1]
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", short).casefold())
    return re.sub(r"[\s_]+", "_", folded) or name


def loose_slide_key(name: str) -> str:
    """`slide_key` less separators and leading zeros: names that people may have meant alike."""
    return loose_key(slide_key(name).replace("_", " "))


def without_suffix(name: str) -> str:
    """Strip the known image suffix of a file name."""
    for suffix in (*IMAGE_SUFFIXES, *VENDOR_FORMATS, *OTHER_SUFFIXES, *_plugin_suffixes()):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def identical_warnings(images: Mapping[str, str]) -> list[str]:
    """Warn of slides that are one image under several names (slide > identity of its pixels)."""
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
    """`slide_name` of each path; of names alike but for case, later ones get _2, _3, ..."""
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
    suffixes = (*IMAGE_SUFFIXES, *VENDOR_FORMATS, *_plugin_suffixes())
    return not name.startswith(".") and name.lower().endswith(suffixes)


@cache
def _plugin_suffixes() -> tuple[str, ...]:
    return tuple(f".{point.name.lower()}" for point in entry_points(group=READER_GROUP))


def is_zarr_folder(path: str) -> bool:
    """Whether a folder is a zarr group (v3 or v2), by its metadata file."""
    return any(os.path.isfile(os.path.join(path, n)) for n in ("zarr.json", ".zgroup", ".zattrs"))


def natural_order(path: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key: numbers by value (s2 before s10)."""
    parts = re.split(r"(\d+)", os.path.basename(path).casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], path
