"""A picture of the agreement of two label images, each object in the color of its fate."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.nuclei.evaluation import match, overlaps, splits_and_merges

COLORS = {
    "hit": (0.20, 0.70, 0.30),
    "miss": (0.85, 0.15, 0.15),
    "false find": (0.95, 0.55, 0.10),
    "split": (0.95, 0.85, 0.10),
    "merge": (0.25, 0.45, 0.95),
}
_MAX_SIDE_PX = 4000


def paint(
    predicted: NDArray[Any], truth: NDArray[Any], threshold: float = 0.5
) -> NDArray[np.uint8]:
    """Color every object by its fate.

    Returns
    -------
    uint8 (Y, X, 3)
        Predicted objects: hit, false find, or merge (holds several true ones). True objects where
        nothing was predicted: miss, or split (several predicted pieces; painted over the pieces).
        Borders between predicted objects are dark, background is black.
    """
    pairs = overlaps(predicted, truth)
    hits = match(pairs, threshold)
    split, merged = splits_and_merges(pairs)
    names = ["background", *COLORS]
    of_truth = np.full(len(pairs.truth_ids) + 1, names.index("miss"), np.uint8)
    of_truth[1:][hits.truth] = 0
    of_truth[1:][split] = names.index("split")
    of_predicted = np.full(len(pairs.predicted_ids) + 1, names.index("false find"), np.uint8)
    of_predicted[1:][merged] = names.index("merge")
    of_predicted[1:][hits.predicted] = names.index("hit")
    of_truth[0] = of_predicted[0] = 0
    true = of_truth[np.searchsorted(pairs.truth_ids, truth, side="right") * (truth > 0)]
    index = np.searchsorted(pairs.predicted_ids, predicted, side="right") * (predicted > 0)
    code = of_predicted[index]
    code = np.where((code == 0) | (true == names.index("split")), true, code)
    rgb = np.array([(0, 0, 0), *COLORS.values()])[code]
    edge = np.zeros(predicted.shape, bool)
    edge[:, 1:] |= predicted[:, 1:] != predicted[:, :-1]
    edge[1:] |= predicted[1:] != predicted[:-1]
    rgb[edge & (predicted > 0)] *= 0.45
    return (rgb * 255).round().astype(np.uint8)


def draw(predicted: NDArray[Any], truth: NDArray[Any], threshold: float = 0.5) -> bytes:
    """Draw `paint` with a legend as PNG; above 4000 px a side every n-th pixel is shown."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rgb = paint(predicted, truth, threshold)
    step = -(-max(1, *rgb.shape[:2]) // _MAX_SIDE_PX)
    rgb = rgb[::step, ::step]
    height, width = rgb.shape[:2]
    side = max(width / 100, 6.5)  # the legend needs this width
    inches = (side, side * max(height, 1) / max(width, 1) + 0.5)
    figure = Figure(figsize=inches, dpi=100, layout="constrained")
    axes = figure.add_subplot()
    if rgb.size:
        axes.imshow(rgb, interpolation="nearest")
    axes.set_axis_off()
    names = {name: name for name in COLORS} | {"hit": f"hit (IoU {threshold:g})"}
    patches = [Patch(color=color, label=names[name]) for name, color in COLORS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(COLORS), frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": "ifquant"})
    return out.getvalue()
