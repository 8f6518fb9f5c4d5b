"""Layers as napari's readers give them: data, attributes, kind."""

from __future__ import annotations

from typing import Any

import numpy as np

Layer = tuple[Any, dict[str, Any], str]
TAG, NAME = "ifquant_folder", "ifquant_name"
"""Keys in the metadata of every layer of a result: the slide's folder, and the layer's name (napari
changes names that are taken)."""
SPARE_COLOR = "#b4b4b4"
"""Of channels that reports leave out, such as the stain of the myeloid cells: there, but not on
view until they are switched on."""


def spatial(pixel_size_um: float | None) -> dict[str, Any]:
    """Scale and units of a layer; pixels where no size is known."""
    if pixel_size_um is None:
        return {}
    return {"scale": (pixel_size_um, pixel_size_um), "units": ("um", "um")}


def channel_layer(
    name: str,
    levels: list[Any],
    color: str,
    limits: tuple[float, float],
    pixel_size_um: float | None,
    *,
    gamma: float = 1.0,
) -> Layer:
    """Image layer of one channel, black to its color over `limits`, added to what is below."""
    low, high = limits
    if np.dtype(levels[0].dtype).kind in "ui":
        low, high = float(low), float(max(high, low + 1))
    attributes = {
        "name": name,
        "multiscale": len(levels) > 1,
        "contrast_limits": (low, high),
        "colormap": color,
        "gamma": gamma,
        "blending": "additive",
        **spatial(pixel_size_um),
    }
    return levels if len(levels) > 1 else levels[0], attributes, "image"
