"""Which reader opens which file: ifquant's own, and those of installed packages.

A package adds a format by an entry point in the group ``ifquant.readers`` that is called as the
files end (``czi = "package.module:CziReader"``) and makes an `ImageReader` of a path; nothing in
ifquant changes. It goes before ifquant's refusal of a vendor's format, never before its readers.
"""

from __future__ import annotations

import os
import stat
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from ifquant.errors import MissingDependency, UnreadableImage
from ifquant.slides.image_reader import ImageReader
from ifquant.slides.slide_names import IMAGE_SUFFIXES, READER_GROUP, VENDOR_FORMATS, is_zarr_folder


def is_tiff(path: str) -> bool:
    """Whether a path is a file that starts like a TIFF."""
    if os.path.isdir(path):
        return False
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


READERS = (
    (is_zarr_folder, "ifquant.slides.zarr_reader", "OmeZarrReader"),
    (is_tiff, "ifquant.slides.tiff_reader", "TiffReader"),
)
"""ifquant's readers: what is theirs by its content, module (loaded when needed) and class."""


def open_reader(path: str) -> ImageReader:
    """Open an image with the reader of its format.

    Raises
    ------
    UnreadableImage
        If it is missing, empty, or of no format that has a reader.
    MissingDependency
        If the reader of an installed package cannot be loaded.
    """
    is_folder = os.path.isdir(path)
    if not is_folder:
        require_file(path)
    suffix = Path(path).suffix.lower()
    if suffix and not path.lower().endswith(IMAGE_SUFFIXES):
        for point in entry_points(group=READER_GROUP, name=suffix[1:]):
            return _load(point, path)
    if suffix in VENDOR_FORMATS and not is_folder:
        raise UnreadableImage(
            f"{path}: {VENDOR_FORMATS[suffix]} is not read; convert it with bioformats2raw to"
            " OME-Zarr, or export OME-TIFF"
        )
    for is_own, module, name in READERS:
        if is_own(path):
            reader: ImageReader = getattr(import_module(module), name)(path)
            return reader
    if is_folder:
        raise UnreadableImage(
            f"{path}: it is a folder but no OME-Zarr image; list a folder of one-channel TIFFs in"
            " the sample sheet"
        )
    raise UnreadableImage(
        f"{path}: it is not an image ifquant reads (TIFF, OME-TIFF, QPTIFF, OME-Zarr); export it as"
        " OME-TIFF"
    )


def _load(point: EntryPoint, path: str) -> ImageReader:
    try:
        factory = point.load()
    except ImportError as error:
        raise MissingDependency(
            f"{path}: the plugin that reads .{point.name} cannot be loaded: {error}. Reinstall it."
        ) from error
    reader: ImageReader = factory(path)
    return reader


def require_file(path: str) -> None:
    """Refuse what is no file, or an empty one."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise UnreadableImage(
            f"{path}: {(error.strerror or 'cannot be opened').lower()}; check the path"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        raise UnreadableImage(f"{path}: it is a {kind}, not an image file")
    if os.path.getsize(path) == 0:
        raise UnreadableImage(f"{path}: the file is empty; copy or export it again")
