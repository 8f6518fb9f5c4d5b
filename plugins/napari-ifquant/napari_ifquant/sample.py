"""Sample data: simulated tissue whose truth is known."""

from __future__ import annotations

from ifquant.geometry.windows import Window
from ifquant.simulation.simulated_window import CHANNELS, SimulationOptions, simulate_window
from napari_ifquant.layers import SPARE_COLOR, Layer, channel_layer, spatial
from napari_ifquant.readers import guessed_colors

SIDE_PX = 1024
SEED = 7


def simulated_tissue(side_px: int = SIDE_PX) -> list[Layer]:
    """Five channels of simulated tissue and its true cells."""
    options = SimulationOptions(size=(side_px, side_px), seed=SEED)
    field = simulate_window(options, Window(0, 0, side_px, side_px))
    colors = guessed_colors(CHANNELS)
    out = []
    for name, pixels in zip(CHANNELS, field.image, strict=True):
        low, high = (float(value) for value in (pixels.min(), pixels.max()))
        limits = low, low + 0.7 * (high - low)
        color = colors.get(name, SPARE_COLOR)
        layer = channel_layer(name, [pixels], color, limits, options.pixel_size_um)
        layer[1]["visible"] = name in colors
        out.append(layer)
    cells = {"name": "true cells", "opacity": 0.4, **spatial(options.pixel_size_um)}
    return [*out, (field.cells, cells, "labels")]
