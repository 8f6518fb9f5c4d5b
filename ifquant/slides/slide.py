"""A slide: one image in channels, whatever file it lies in, read window by window.

`SlideRef` says what to open and how (picklable; each worker opens its own files), `inspect` looks
without raising, `Slide` reads. Every exception a damaged file can cause becomes `UnreadableImage`
here and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np

from ifquant.errors import IfquantError, RequestError, SlideError, UnreadableImage
from ifquant.geometry.windows import Window
from ifquant.slides.image_reader import Array, Damaged, ImageReader, Unfit
from ifquant.slides.reader_registry import open_reader, require_file
from ifquant.slides.slide_info import SlideInfo, SlideSource, describe


class SlideRef(SlideSource):
    """What to open and how; picklable."""

    def open(self) -> Slide:
        """Open the files.

        Raises
        ------
        UnreadableImage
            If a file is missing, damaged or of no known format.
        SlideError
            If the files do not belong together.
        """
        return Slide(self)


class Slide:
    """An open slide. Use as a context manager; not thread-safe."""

    def __init__(self, ref: SlideRef) -> None:
        self.ref = ref
        self._readers: list[ImageReader] = []
        self._level_shapes: tuple[tuple[int, int], ...] | None = None
        try:
            for path in ref.paths:
                with _boundary(path):
                    self._readers.append(open_reader(path))
            self._channels = [
                (path, reader, channel)
                for path, reader in zip(ref.paths, self._readers, strict=True)
                for channel in range(reader.facts.shape[0])
            ]
            self.info = describe(ref, [reader.facts for reader in self._readers])
        except BaseException:
            self.close()
            raise
        crop = ref.crop
        self.origin = (0, 0) if crop is None else (crop.y0, crop.x0)
        """Position (y, x) of the crop in the whole image."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers:
            reader.close()

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """Shapes (Y, X) of the slide and the smaller copies in its files, largest first.

        Through crop or projection there are no copies.

        Raises
        ------
        UnreadableImage
            If a level is damaged.
        """
        if self._level_shapes is None:
            shapes: list[tuple[int, int]] = [self.info.shape[1:]]
            if self.ref.crop is None and self.info.z_planes == self.info.timepoints == 1:
                of_files = []
                for reader, path in zip(self._readers, self.ref.paths, strict=True):
                    with _boundary(path):
                        of_files.append(reader.levels()[1:])
                for level in zip(*of_files, strict=False):
                    if len(set(level)) > 1:
                        break
                    shapes.append(level[0])
            self._level_shapes = tuple(shapes)
        return self._level_shapes

    def read(self, channels: Sequence[int], window: Window, level: int = 0) -> Array:
        """Pixels of a window.

        Parameters
        ----------
        channels : positions of channels, any order. window : in px of this slide (of the crop, if
        there is one), inside it; of a level, if one is given. level : 0, or one of the smaller
        copies (see `levels`).

        Returns
        -------
        array (C, Y, X) of the file's type in native byte order.

        Raises
        ------
        UnreadableImage
            If the data are damaged.
        SlideError
            If the slide has several planes or time points and no projection was chosen.
        """
        if level and not 0 < level < len(self.levels):
            raise RequestError(
                f"found level {level}; the slide has {len(self.levels)} (0 is the slide itself)"
            )
        height, width = self.levels[level] if level else self.info.shape[1:]
        if not (0 <= window.y0 <= window.y1 <= height and 0 <= window.x0 <= window.x1 <= width):
            raise RequestError(f"window {window} lies outside the image of {height} x {width} px")
        planes = self._z_planes()
        y, x = self.origin
        here = Window(window.y0 + y, window.x0 + x, window.y1 + y, window.x1 + x)
        out = np.empty((len(channels), *window.shape), np.dtype(self.info.dtype))
        if not out.size:
            return out
        for k, channel in enumerate(channels):
            path, reader, own = self._channels[channel]
            with _boundary(path):
                stack = (reader.read_plane(own, plane, here, level) for plane in planes)
                out[k] = _project(stack, len(planes), self.ref.z)
        return self._correct(out)

    def _correct(self, pixels: Array) -> Array:
        """Place for a flat-field or background correction of what was read; none is made."""
        return pixels

    def _z_planes(self) -> Sequence[int]:
        n = self.info.z_planes
        if self.info.timepoints > 1 or (n > 1 and self.ref.z is None):
            require_usable(self.info)
        if isinstance(self.ref.z, int):
            return [min(self.ref.z, n - 1)] if n == 1 else [self.ref.z]
        return range(n)


def _project(planes: Iterator[Array], n: int, z: str | int | None) -> Array:
    """One plane of `n`: their maximum, or their mean rounded to the pixels' type."""
    first = next(planes)
    if n == 1:
        return first
    if z == "max":
        out = first.copy()
        for plane in planes:
            np.maximum(out, plane, out=out)
        return out
    total = first.astype(np.float64)
    for plane in planes:
        total += plane
    total /= n
    return (total if first.dtype.kind == "f" else np.rint(total)).astype(first.dtype)


def inspect(ref: SlideRef) -> tuple[SlideInfo, list[str]]:
    """Look at a slide without reading its pixels.

    Returns
    -------
    What the slide is, and its problems (also in `SlideInfo.problems`; empty: it can be used). Never
    raises for a slide's content: an unreadable file has format "unreadable" and shape (0, 0, 0).
    """
    try:
        with ref.open() as slide:
            info = slide.info
    except SlideError as error:
        text = str(error).removeprefix(f"{ref.paths[0]}: ")
        info = SlideInfo(
            ref.paths[0], "unreadable", (0, 0, 0), "", (), None, "none", 0, 0, (), problems=(text,)
        )
    return info, list(info.problems)


def require_usable(info: SlideInfo) -> None:
    """Refuse a slide that cannot be analysed as it is.

    Raises
    ------
    UnreadableImage
        If it could not be read at all.
    SlideError
        With all problems, each with the option that resolves it.
    """
    if info.problems:
        kind = UnreadableImage if info.format == "unreadable" else SlideError
        raise kind(f"{info.path}: " + "; ".join(info.problems))


def named_channels(info: SlideInfo, names: dict[int, str]) -> tuple[str, ...]:
    """Put the names of the recipe (position > name) into the slide's channel names.

    Raises
    ------
    SlideError
        If a position is beyond the slide's channels.
    """
    beyond = [index for index in names if index >= len(info.channels)]
    if beyond:
        raise SlideError(
            f"{info.path}: the recipe addresses channel index {beyond[0]}, the slide has"
            f" {len(info.channels)} channels (0 is the first)"
        )
    return tuple(names.get(index, name) for index, name in enumerate(info.channels))


def renamed_by_index(ref: SlideRef, info: SlideInfo, names: dict[int, str]) -> SlideRef:
    """Name channels by the recipe's positions where the file's own names repeat or are absent.

    Raises
    ------
    SlideError
        If a position is beyond the slide's channels.
    """
    unique = len({name.casefold() for name in info.channels}) == len(info.channels)
    if not info.channels or not names or (info.named and unique):
        return ref
    return replace(ref, channel_names=named_channels(info, names))


def fingerprint(ref: SlideRef) -> str:
    """SHA-256 (hex) of the content of the slide's files.

    Of folders (OME-Zarr): sorted relative path, size and content of each file.

    Raises
    ------
    UnreadableImage
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in ref.paths:
        with _boundary(path):
            root = Path(path)
            if not root.is_dir():
                require_file(path)
                _hash_file(root, digest)
                continue
            files = {f.relative_to(root).as_posix(): f for f in root.rglob("*") if f.is_file()}
            for name in sorted(files):
                digest.update(f"{name}\0{files[name].stat().st_size}\0".encode())
                _hash_file(files[name], digest)
    return digest.hexdigest()


def _hash_file(path: Path, digest: hashlib._Hash) -> None:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def open_labels(store: str | os.PathLike[str], name: str) -> Slide:
    """Open `labels/<name>` of a store ifquant wrote, as an image of one channel, uint32.

    Raises
    ------
    UnreadableImage
        If the label image does not exist; when it is read, if chunks are missing or damaged.
    """
    return SlideRef((os.path.join(store, "labels", name),)).open()


def read_labels(store: str | os.PathLike[str], name: str, window: Window) -> Array:
    """Labels (Y, X) uint32 of one window; see `open_labels`."""
    with open_labels(store, name) as slide:
        pixels: Array = slide.read([0], window)[0]
        return pixels


@contextlib.contextmanager
def _boundary(path: str) -> Iterator[None]:
    """Turn whatever a file's content raises into UnreadableImage with one clear line."""
    try:
        yield
    except IfquantError:
        raise
    except MemoryError as error:
        raise UnreadableImage(
            f"{path}: not enough memory to read it; use fewer workers, or save the image with tiles"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Damaged):
            reason = f"{reason}. Copy or export it again"
        elif not isinstance(error, Unfit):
            reason = (
                f"it cannot be read ({type(error).__name__}: {reason[:300]}); it is damaged or of"
                " an unknown kind. Export it as OME-TIFF"
            )
        raise UnreadableImage(f"{path}: {reason}") from error
