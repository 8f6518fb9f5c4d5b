"""Reading OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3) from a local folder.

Zarr reads a missing chunk as the fill value. ifquant's own stores list the chunks that were written
(`CHUNK_MANIFEST`): there a missing chunk is an error. In stores of other programs absent chunks are
what the format says they are, background; a warning counts them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ifquant.geometry.windows import Window
from ifquant.notes import grave
from ifquant.slides.image_reader import (
    MAX_SEGMENT_BYTES,
    Array,
    ByteCache,
    Damaged,
    ImageFacts,
    Unfit,
    check_claim,
    check_level,
    length_um,
)

CACHE_BYTES = 96 << 20
CHUNK_MANIFEST = "ifquant-chunks.json"
"""File at the root of a store written by ifquant: {"chunks": {array path: [chunk keys]}}."""

_OLD = (
    "it is OME-Zarr {version}; 0.4 and 0.5 are read. Convert it (e.g. ngff-zarr, or bioformats2raw"
    " from the original)"
)


class OmeZarrReader:
    """One open OME-Zarr image, or one label image of it for a path `.../labels/<name>`."""

    def __init__(self, path: str) -> None:
        import zarr  # takes most of a second to load: only who reads it pays

        self._path = Path(path)
        self._group_path, attributes = _image_group(self._path)
        multiscale, version = _multiscale(attributes)
        self._axes = axes = _axes(multiscale)
        datasets = multiscale["datasets"]
        self._names = [str(dataset["path"]) for dataset in datasets]
        self._group = zarr.open_group(str(self._group_path), mode="r")
        self._cache = ByteCache(CACHE_BYTES)
        array, notes = self._open(self._names[0])
        self._arrays: list[Any] = [array]
        sizes = dict(zip(axes, array.shape, strict=True))
        names, unmatched = _channel_names(attributes, sizes.get("c", 1))
        size = _pixel_size(multiscale, datasets[0], axes)
        self._facts = ImageFacts(
            format=f"OME-Zarr {version}",
            shape=(len(names), sizes.get("z", 1), sizes["y"], sizes["x"]),
            dtype=np.dtype(array.dtype).newbyteorder("=").name,
            channels=names,
            pixel_size_um=size,
            pixel_size_origin="zarr" if size else "none",
            timepoints=sizes.get("t", 1),
            levels=len(datasets),
            warnings=notes + unmatched,
        )

    @property
    def facts(self) -> ImageFacts:
        """What the store says."""
        return self._facts

    def close(self) -> None:
        """Drop decoded chunks; no file stays open."""
        self._cache.clear()

    def _open(self, name: str) -> tuple[Any, tuple[str, ...]]:
        """Array of one dataset and warnings; refused if it is damaged."""
        from zarr import Array as ZarrArray

        array = self._group[_safe_path(name)]
        if not isinstance(array, ZarrArray) or array.ndim != len(self._axes):
            raise Damaged(f"its dataset {name!r} is no array with axes {self._axes}")
        dtype = np.dtype(array.dtype)
        check_claim(tuple(array.shape), dtype, "the image")
        chunk_bytes = int(np.prod(array.chunks)) * dtype.itemsize
        if chunk_bytes > MAX_SEGMENT_BYTES:
            raise Unfit(
                f"one of its chunks claims {chunk_bytes / 2**30:.3g} GiB; at most 1 GiB is decoded"
                " at once. Rechunk it"
            )
        return array, _absent_chunks(array, self._path, self._group_path, name)

    def levels(self) -> tuple[tuple[int, int], ...]:
        """Shapes (Y, X) of the image and its smaller copies; each is opened and checked once."""
        image = self._arrays[0]
        while len(self._arrays) < len(self._names):
            name = self._names[len(self._arrays)]
            array, _ = self._open(name)
            if array.shape[:-2] != image.shape[:-2] or array.dtype != image.dtype:
                raise Damaged(
                    f"its level {name!r} is {array.shape} {array.dtype}, the image {image.shape}"
                    f" {image.dtype}"
                )
            check_level(array.shape[-2:], self._arrays[-1].shape[-2:], image.shape[-2:])
            self._arrays.append(array)
        return tuple((int(array.shape[-2]), int(array.shape[-1])) for array in self._arrays)

    def read_plane(self, channel: int, z: int, window: Window, level: int = 0) -> Array:
        """Pixels (Y, X) of a plane, native byte order; of a smaller level only after `levels`."""
        at = {"t": 0, "c": channel, "z": z}
        out = np.empty(window.shape, np.dtype(self._facts.dtype))
        index = [at[axis] for axis in self._axes[:-2]]
        chunks = self._arrays[level].chunks
        outer = [position // size for position, size in zip(index, chunks, strict=False)]
        inner = [position % size for position, size in zip(index, chunks, strict=False)]
        height, width = chunks[-2:]
        for row in range(window.y0 // height, -(-window.y1 // height)):
            for column in range(window.x0 // width, -(-window.x1 // width)):
                chunk = self._chunk(level, (*outer, row, column))
                y, x = row * height, column * width
                whole = Window(y, x, y + chunk.shape[-2], x + chunk.shape[-1])
                part = whole.intersection(window)
                at_chunk: tuple[Any, ...] = (*inner, *part.slices_in(whole))
                out[part.slices_in(window)] = chunk[at_chunk]
        return out

    def _chunk(self, level: int, position: tuple[int, ...]) -> Array:
        """One decoded chunk, cut at the array's end; neighbouring windows share it."""
        key = (level, *position)
        chunk = self._cache.get(key)
        if chunk is None:
            array = self._arrays[level]
            at = zip(position, array.chunks, strict=True)
            chunk = np.asarray(array[tuple(slice(k * size, (k + 1) * size) for k, size in at)])
            self._cache.put(key, chunk)
        return chunk


def _attributes(group: Path) -> dict[str, Any]:
    """Attributes of a zarr group as written, v3 or v2."""
    for name in ("zarr.json", ".zattrs"):
        file = group / name
        if file.is_file():
            if file.stat().st_size > 64 << 20:
                raise Damaged(f"{name} has more than 64 MiB")
            content = json.loads(file.read_text("utf-8"))
            if not isinstance(content, dict):
                raise Damaged(f"{name} is not a JSON object")
            if name == "zarr.json":
                attributes = content.get("attributes") or {}
                return dict(attributes.get("ome") or {})
            return content
    return {}


def _image_group(path: Path) -> tuple[Path, dict[str, Any]]:
    """Find the group with the image and its attributes; bioformats2raw puts it one level down."""
    attributes = _attributes(path)
    if "plate" in attributes or "well" in attributes:
        raise Unfit("it is a plate; give the path of one of its images (plate.ome.zarr/A/1/0)")
    if "multiscales" not in attributes:
        folders = sorted(child for child in path.iterdir() if child.is_dir())
        images = [folder for folder in folders if "multiscales" in _attributes(folder)]
        if len(images) > 1:
            raise Unfit(
                f"it holds {len(images)} images; give the path of one of them, e.g."
                f" {images[0].name!r} inside it"
            )
        if images:
            return images[0], _attributes(images[0])
        raise Unfit("it is a zarr folder without OME-Zarr image metadata (multiscales)")
    return path, attributes


def _multiscale(attributes: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    multiscales = attributes["multiscales"]
    multiscale = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    if not isinstance(multiscale, dict) or not multiscale.get("datasets"):
        raise Damaged("its multiscales metadata are empty")
    version = str(attributes.get("version") or multiscale.get("version") or "0.4")
    if version not in ("0.4", "0.5"):
        raise Unfit(_OLD.format(version=version))
    if not isinstance(multiscale.get("axes"), list):
        raise Unfit(_OLD.format(version="of an unknown version (no axes)"))
    return multiscale, version


def _axes(multiscale: Mapping[str, Any]) -> list[str]:
    axes = [
        axis.get("name", "") if isinstance(axis, dict) else str(axis) for axis in multiscale["axes"]
    ]
    if axes != [axis for axis in "tczyx" if axis in axes] or axes[-2:] != ["y", "x"]:
        raise Damaged(f"its axes are {axes}; expected some of t, c, z in this order, then y, x")
    return axes


def _channel_names(
    attributes: Mapping[str, Any], n: int
) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """Names of the `n` channels, and a warning if the metadata name another number of them."""
    channels = (attributes.get("omero") or {}).get("channels", [])
    labels = [entry.get("label") if isinstance(entry, dict) else None for entry in channels]
    names = tuple(str(label).strip() or None if label is not None else None for label in labels)
    if len(names) == n:
        return names, ()
    text = f"its metadata name {len(names)} channels, the image has {n}; names are ignored"
    return (None,) * n, (text,) if names else ()


def _safe_path(name: str) -> str:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in name:
        raise Unfit(f"its metadata point outside the folder ({name!r})")
    return name


def _pixel_size(
    multiscale: Mapping[str, Any], dataset: Mapping[str, Any], axes: list[str]
) -> tuple[float, float] | None:
    """(x, y) in um: the dataset's scale times the multiscale's, in the unit of the axes."""
    scale = np.ones(len(axes))
    stated = False
    for owner in (dataset, multiscale):
        for transform in owner.get("coordinateTransformations") or ():
            if transform.get("type") == "scale" and isinstance(transform.get("scale"), list):
                scale = scale * np.asarray(transform["scale"], float)
                stated = True
    if not stated:
        return None
    sizes = []
    for name in "xy":
        index = axes.index(name)
        axis = multiscale["axes"][index]
        sizes.append(length_um(scale[index], axis.get("unit") if isinstance(axis, dict) else None))
    return (sizes[0], sizes[1]) if sizes[0] and sizes[1] else None


def _absent_chunks(array: Any, path: Path, group_path: Path, name: str) -> tuple[str, ...]:
    """Check the list of written chunks; where there is none, warn of chunks that are not there."""
    for root in [path, *list(path.resolve().parents)[:3]]:
        manifest = root / CHUNK_MANIFEST
        if manifest.is_file():
            key = (group_path.resolve() / name).relative_to(root.resolve()).as_posix()
            written = json.loads(manifest.read_text("utf-8")).get("chunks", {}).get(key)
            if written is None:
                raise Unfit(
                    f"its chunk list does not know {key!r}; the folder was changed after it was"
                    " written. Run again"
                )
            lost = sum(not (root / key / "c" / chunk).is_file() for chunk in written)
            if lost:
                raise Unfit(
                    f"{lost} of {len(written)} written chunks of {key!r} are missing; copy the"
                    " folder again or run again"
                )
            return ()
    missing = int(array.nchunks) - int(array.nchunks_initialized)
    if missing <= 0:
        return ()
    text = (
        f"{missing} of {array.nchunks} chunks are absent and read as {array.fill_value} (the"
        " format's rule for empty chunks)"
    )
    return (grave(text),)
