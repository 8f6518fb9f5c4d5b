"""Writer: a labels layer as OME-TIFF that ifquant (method "labels") and other tools read."""

from __future__ import annotations

from typing import Any

import numpy as np

from ifquant.errors import RequestError
from ifquant.files.ownership import refuse_foreign
from ifquant.slides.tiff_writer import write_image


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one labels layer with its pixel size.

    Raises
    ------
    RequestError
        If it is no two-dimensional label image, or another program's file lies at `path`: napari
        asks before it replaces one, but a slide is easily chosen by mistake.
    """
    refuse_foreign(path, labels=True)
    levels = data if meta.get("multiscale") or isinstance(data, list | tuple) else [data]
    labels = np.asarray(levels[0])
    if labels.ndim != 2:
        raise RequestError(f"found labels of shape {labels.shape}; expected one image (Y, X)")
    if labels.size and labels.min() < 0:
        raise RequestError(
            f"found the label {labels.min()}; expected 0 for background and positive numbers for"
            " objects"
        )
    top = int(labels.max(initial=0))
    kind = np.uint16 if top < 1 << 16 else np.uint32
    write_image(
        path,
        labels.astype(kind),
        pixel_size_um=_pixel_size_um(meta),
        names=[str(meta.get("name") or "labels")],
        labels=True,
    )
    return [path]


def _pixel_size_um(meta: dict[str, Any]) -> float | None:
    units = [str(unit) for unit in meta.get("units") or ()]
    scale = meta.get("scale")
    if (
        scale is None
        or not units
        or any(unit not in ("micrometer", "um", "µm") for unit in units[-2:])
    ):
        return None
    return float(scale[-1])
