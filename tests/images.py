"""Small images of many kinds for the tests of reading and writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr


def pixels(shape: tuple[int, ...], dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    """Smooth-ish random pixels: neighbours differ, compression works."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 200, shape) + np.arange(shape[-1]) % 50
    return (base / 7 if dtype.startswith("float") else base).astype(dtype)


def ome_tiff(
    path: Path,
    image: np.ndarray,
    axes: str = "CYX",
    names: list[str] | None = None,
    um: float | None = 0.5,
    **options: Any,
) -> Path:
    metadata: dict[str, Any] = {"axes": axes}
    if names:
        metadata["Channel"] = {"Name": names}
    if um is not None:
        metadata |= {
            "PhysicalSizeX": um,
            "PhysicalSizeY": um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeYUnit": "µm",
        }
    tifffile.imwrite(path, image, ome=True, metadata=metadata, photometric="minisblack", **options)
    return path


def ome_zarr(
    path: Path,
    image: np.ndarray,
    zarr_format: int = 3,
    chunks: tuple[int, int, int] = (1, 32, 40),
    **options: Any,
) -> Path:
    """One level (C, Y, X), 0.5 um, as other programs write it."""
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"),
    ]
    datasets = [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]}
    ]
    multiscales = [
        {"axes": axes, "datasets": datasets, **({"version": "0.4"} if zarr_format == 2 else {})}
    ]
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    array = group.create_array("0", shape=image.shape, chunks=chunks, dtype=image.dtype, **options)
    array[...] = image
    group.attrs.update(
        {"multiscales": multiscales}
        if zarr_format == 2
        else {"ome": {"version": "0.5", "multiscales": multiscales}}
    )
    return path


def rewrite_description(path: Path, edit: Any) -> Path:
    """Change the ImageDescription of the first page (same or shorter length is not needed: it is
    moved to the end).
    """
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[270]
        text = tag.value if isinstance(tag.value, str) else tag.value.decode()
        tag.overwrite(edit(text).encode("utf-8"), dtype=2)
    return path
