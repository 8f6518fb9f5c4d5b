"""Writing OME-Zarr 0.5: label pyramids and a small display pyramid, streamed band by band.

Chunks carry a checksum (a flipped bit is an error, not another value); all-background chunks are
not written, and the list of written chunks (`CHUNK_MANIFEST`) tells background from loss. The
folder appears under its name only when it is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.geometry.windows import Window
from ifquant.slides.image_reader import Array
from ifquant.slides.pyramid import halved, level_shapes
from ifquant.slides.zarr_reader import CHUNK_MANIFEST

CHUNK_PX = 1024
_TOP_PX = 1024  # pyramids end when the longest side is at most this


@dataclass(frozen=True)
class Display:
    """A small picture of the channels for viewers.

    `pixels` (C, Y, X) is the slide reduced by `step_px`; `colors` are RRGGBB, `ranges` the (low,
    high) shown black and full. `note` says what its values are and is kept in the root's
    attributes.
    """

    pixels: Array
    step_px: float
    names: tuple[str, ...]
    colors: tuple[str, ...]
    ranges: tuple[tuple[float, float], ...]
    note: str = ""


class LabelPyramidWriter:
    """Writes one label store of a slide.

    Use as a context manager: each label image is written with `write`, the display picture with
    `write_display`; the store appears at `final` when the block ends well, replacing an older one.

    Parameters
    ----------
    final : path of the store, `.../labels.ome.zarr`.
    shape : (Y, X) of the slide in px.
    pixel_size_um : size of a pixel in um.
    creator : recorded in the root's attributes, e.g. "ifquant 0.1".
    """

    def __init__(
        self,
        final: storage.PathLike,
        *,
        shape: tuple[int, int],
        pixel_size_um: float,
        creator: str = "ifquant",
    ) -> None:
        self._final = Path(final)
        self._shapes = level_shapes(shape, _TOP_PX)
        self._pixel_size_um = pixel_size_um
        self._creator = creator
        self._names: list[str] = []
        self._display_note = ""
        self._folder = storage.atomic_folder(self._final)

    def __enter__(self) -> LabelPyramidWriter:
        self._store = _RecordingStore(self._folder.__enter__())
        self._arrays: dict[str, int] = {}
        self._root_attributes: dict[str, Any] = {"version": "0.5"}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as failure:
                self._folder.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._folder.__exit__(kind, error, trace)

    def write(self, name: str, paint: Callable[[Window], Array]) -> None:
        """Write one label image.

        Parameters
        ----------
        name : `nuclei` or `cells`. paint : window > labels (Y, X) of any unsigned integer type;
        called once per chunk, in raster order.
        """
        arrays = [
            self._array(f"labels/{name}/{k}", shape, "uint32")
            for k, shape in enumerate(self._shapes)
        ]
        height, width = self._shapes[0]
        bands = [_Band(array) for array in arrays[1:]]
        for y in range(0, height, CHUNK_PX):
            for x in range(0, width, CHUNK_PX):
                window = Window(y, x, min(y + CHUNK_PX, height), min(x + CHUNK_PX, width))
                labels = paint(window)
                if labels.any():
                    arrays[0][window.y0 : window.y1, window.x0 : window.x1] = labels
                for k, band in enumerate(bands, 1):  # chunks start at multiples of 2**k
                    band.put(labels[:: 2**k, :: 2**k], y >> k, x >> k)
            for k, band in enumerate(bands, 1):
                band.write_full(-(-min(y + CHUNK_PX, height) // 2**k))
        self._names.append(name)
        scales = [[self._pixel_size_um * 2**k] * 2 for k in range(len(self._shapes))]
        attributes = {
            "version": "0.5",
            "multiscales": [_multiscale(name, "yx", scales)],
            "image-label": {"source": {"image": "../../"}},
        }
        self._group(f"labels/{name}", attributes)

    def write_display(self, display: Display) -> None:
        """Write the picture of the channels with as many levels as the labels (format's rule)."""
        if display.pixels.ndim != 3 or len(display.names) != len(display.pixels):
            raise RequestError(
                f"display has shape {display.pixels.shape} for {len(display.names)} names; expected"
                " (C, Y, X)"
            )
        self._display_note = display.note
        pixels = display.pixels
        scales = []
        for k in range(len(self._shapes)):
            array = self._array(str(k), pixels.shape, str(pixels.dtype))
            array[...] = pixels
            scales.append([1.0, *[self._pixel_size_um * display.step_px * 2**k] * 2])
            pixels = halved(pixels)
        name = self._final.name.removesuffix(".ome.zarr")
        self._root_attributes["multiscales"] = [_multiscale(name, "cyx", scales)]
        self._root_attributes["omero"] = {"channels": _omero_channels(display)}

    def _array(self, name: str, shape: Sequence[int], dtype: str) -> Any:
        axes = ("c", "y", "x")[-len(shape) :]
        self._arrays[name] = 0
        return zarr.create_array(
            self._store,
            name=name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=(*(1,) * (len(shape) - 2), *(min(CHUNK_PX, size) for size in shape[-2:])),
            compressors=[ZstdCodec(level=1, checksum=True)],
            fill_value=0,
            dimension_names=axes,
            zarr_format=3,
            config={"write_empty_chunks": False},
        )

    def _group(self, name: str, ome: Mapping[str, Any], **more: Any) -> None:
        # writing an array already made its parents
        group = zarr.open_group(self._store, path=name, mode="a", zarr_format=3)
        group.update_attributes({"ome": dict(ome), **more})

    def _finish(self) -> None:
        if self._names:
            self._group("labels", {"version": "0.5", "labels": list(self._names)})
        facts = {"creator": self._creator, "chunk_manifest": CHUNK_MANIFEST}
        if self._display_note:
            facts["display"] = self._display_note
        self._group("", self._root_attributes, ifquant=facts)
        chunks: dict[str, list[str]] = {name: [] for name in self._arrays}
        for key in sorted(set(self._store.written)):
            name, found, chunk = key.rpartition("/c/")
            if found:
                chunks[name].append(chunk)
        storage.write_json(
            self._store.root / CHUNK_MANIFEST,
            {"format": "ifquant chunk manifest 1", "chunks": chunks},
        )


class _Band:
    """A row of chunks of one reduced level, written when it is full."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._rows = np.zeros((min(CHUNK_PX, array.shape[0]), array.shape[1]), array.dtype)
        self._top = 0

    def put(self, pixels: Array, y: int, x: int) -> None:
        """Place pixels of the level at its row `y` and column `x`."""
        self._rows[y - self._top : y - self._top + pixels.shape[0], x : x + pixels.shape[1]] = (
            pixels
        )

    def write_full(self, y: int) -> None:
        """Write the band if it is full, all rows above `y` being placed."""
        if y - self._top >= CHUNK_PX or y == self._array.shape[0]:
            self._array[self._top : y] = self._rows[: y - self._top]
            self._top = y


def _omero_channels(display: Display) -> list[dict[str, Any]]:
    dtype = display.pixels.dtype
    top = float(np.iinfo(dtype).max) if dtype.kind in "ui" else None
    listed = zip(display.names, display.colors, display.ranges, strict=True)
    return [
        {
            "label": name,
            "color": color.lstrip("#").upper(),
            "active": True,
            "window": {
                "min": 0.0,
                "max": float(high) if top is None else top,
                "start": float(low),
                "end": float(high),
            },
        }
        for name, color, (low, high) in listed
    ]


def _multiscale(name: str, axes: str, scales: Sequence[Sequence[float]]) -> dict[str, Any]:
    space = {"type": "space", "unit": "micrometer"}
    return {
        "name": name,
        "axes": [{"name": a, **({"type": "channel"} if a == "c" else space)} for a in axes],
        "datasets": [
            {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": list(scale)}]}
            for k, scale in enumerate(scales)
        ],
    }


class _RecordingStore(LocalStore):  # type: ignore[misc]  # zarr is untyped for us
    """A local store that writes through `storage` and lists the keys it wrote."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.written: list[str] = []
        self._guard = threading.Lock()

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        self.set_sync(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one key, replacing it if it exists (zarr writes a group's metadata twice)."""
        path = self.root / key
        storage.make_folder(path.parent)
        if path.exists():
            storage.remove(path)
        storage.write_new_file(path, value.to_bytes())
        with self._guard:
            self.written.append(key)
