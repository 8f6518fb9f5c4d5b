"""The smallest slides that a run can measure: a grid of discs with masks, in a second, for tests of
files and folders.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ifquant.slides import tiff_writer

SIDE_PX = 192
NAMES = ("DAPI", "PanCK", "CD11c")
RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[segmentation]
method = "labels"
nuclei = "{slide}_mask.tif"
[tissue]
enabled = false
[gates.default]
method = "value"
value = 1000
"""


def write_small_slide(folder: Path, name: str, seed: int = 0, pixel_size_um: float = 0.5) -> Path:
    """Write `<name>.ome.tif` and `<name>_mask.tif`: 49 discs, a third of them PanCK+, a third
    CD11c+.
    """
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    labels, cells = np.zeros((2, SIDE_PX, SIDE_PX), np.uint32)
    for n, (cy, cx) in enumerate(
        ((cy, cx) for cy in range(20, 180, 24) for cx in range(20, 180, 24)), 1
    ):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= 49] = n
        cells[(y - cy) ** 2 + (x - cx) ** 2 <= 121] = n
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, int(labels.max()) + 1)
    kind[0] = 0
    planes = [
        np.where(labels > 0, 2000, 100),
        np.where(kind[cells] == 1, 3000, 100),
        np.where(kind[cells] == 2, 3000, 100),
    ]
    image = np.stack(planes) + rng.normal(0, 10, (3, *labels.shape))
    path = folder / f"{name}.ome.tif"
    tiff_writer.write_image(
        path, image.astype(np.uint16), names=list(NAMES), pixel_size_um=pixel_size_um
    )
    tiff_writer.write_image(folder / f"{name}_mask.tif", labels, pixel_size_um=None, labels=True)
    (folder / "recipe.toml").write_text(RECIPE)
    return path
