"""Simulated slides on disk for tests of the whole pipeline: one per panel, made once per
session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ifquant.geometry.windows import Window
from ifquant.recipe.model import Recipe
from ifquant.simulation.simulated_window import (
    CHANNELS,
    SimulatedWindow,
    SimulationOptions,
    simulate_window,
)
from ifquant.slides import tiff_writer


@dataclass(frozen=True)
class Panel:
    """Names of the five simulated channels in another panel, their order in the file, and channels
    added to it.
    """

    names: dict[str, str] = field(default_factory=lambda: {name: name for name in CHANNELS})
    order: tuple[int, ...] = (0, 1, 2, 3, 4)
    added: str | None = None


PANELS = {
    "tgfb_il1b": Panel(),
    "permuted": Panel(order=(3, 0, 4, 2, 1)),
    "renamed": Panel(
        {
            "DAPI": "Hoechst 33342",
            "PanCK": "EpCAM",
            "CD11c": "HLA-DR",
            "TGFB1": "PD-L1",
            "IL1B": "TNFα",
        }
    ),
    "one_added": Panel(order=(0, 1, 2, 3, 4), added="CD8"),
    "all_at_once": Panel(
        {"DAPI": "DNA", "PanCK": "CK8", "CD11c": "CD68", "TGFB1": "VEGF", "IL1B": "IL-6"},
        order=(4, 2, 0, 1, 3),
        added="CD8",
    ),
}


def simulated(height: int, width: int, seed: int = 11, effect: float = 0.0) -> SimulatedWindow:
    options = SimulationOptions(size=(height, width), seed=seed, effect=effect)
    return simulate_window(options, Window(0, 0, height, width))


def write_slide(path: Path, image: np.ndarray, panel: Panel, pixel_size_um: float = 0.5) -> Path:
    names = [panel.names[CHANNELS[i]] for i in panel.order]
    planes = image[list(panel.order)]
    if panel.added:
        names = [*names[:2], panel.added, *names[2:]]
        planes = np.insert(planes, 2, image[1] // 3 + image[4] // 5, axis=0)
    tiff_writer.write_image(path, planes, names=names, pixel_size_um=pixel_size_um)
    return path


def recipe_for(panel: Panel, **more: object) -> Recipe:
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
    compartments = {"TGFB1": "membrane", "IL1B": "cytoplasm"}
    channels: list[dict[str, object]] = []
    for name in CHANNELS:
        channel: dict[str, object] = {"name": panel.names[name], "role": roles.get(name, "marker")}
        if name in compartments:
            channel["compartment"] = compartments[name]
        channels.append(channel)
    if panel.added:
        channels.append({"name": panel.added})
    return Recipe.model_validate(
        {"channels": channels, "segmentation": {"method": "classical"}, **more}
    )
