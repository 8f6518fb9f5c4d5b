"""Outlines of nuclei on the real tissue images of the shared data, to be looked at.

The sheet holds their pixels, so it stays out of the repository.

Run `python benchmarks/nuclei_contact_sheet.py --data ../shared/data --out sheet.png [--method
unet]`.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from skimage.segmentation import find_boundaries

from ifquant.nuclei import unet
from ifquant.nuclei.segmenter import segment_nuclei

SIDE_PX = 400
PICTURES = (  # file, channel, pixel size (um) or None, corner of the part shown
    ("breast_mif/ABCM22001_B09_MiniCrop.ome.tif", 0, None, (50, 50)),
    ("cellbin/DAPI_image.tif", None, None, (0, 0)),
    ("cellbin/ssDNA_image.tif", None, None, (0, 0)),
    ("examples/small_vectra.qptiff", 0, 0.4965, (500, 700)),
    ("examples/unmicst_105_dapi_tissue.tif", None, None, (200, 200)),
    ("examples/instanseg_Fluorescence_example.tif", 1, None, (0, 0)),
    ("codex_expert/R001_X003_Y004.ome.tif", 0, 0.377, (300, 400)),
    ("examples/mcquant_test.tiff", None, None, (0, 0)),
)


def main() -> None:
    """Make the picture: each image bare and with outlines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", default="unet")
    parser.add_argument("--model", type=Path, help="another ONNX file with its card")
    options = parser.parse_args()
    if options.model:
        unet.make.__kwdefaults__["model"] = options.model
    rows: list[np.ndarray] = [[], [], [], []]
    for k, (name, channel, size, (y, x)) in enumerate(PICTURES):
        image = np.asarray(tifffile.TiffFile(options.data / name).series[0].asarray())
        image = image if channel is None else image[channel]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            labels = segment_nuclei(image, pixel_size_um=size, method=options.method)
        part = (slice(y, y + SIDE_PX), slice(x, x + SIDE_PX))
        low, high = np.percentile(image, [1, 99.7])
        gray = (np.clip((image[part] - low) / max(high - low, 1e-6), 0, 1) ** 0.7 * 255).astype(
            np.uint8
        )
        bare = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        bare[: gray.shape[0], : gray.shape[1]] = gray[..., None]
        drawn = bare.copy()
        drawn[: gray.shape[0], : gray.shape[1]][find_boundaries(labels[part], mode="inner")] = (
            255,
            200,
            0,
        )
        rows[2 * (k // 4)].append(bare)
        rows[2 * (k // 4) + 1].append(drawn)
        print(name, labels.max(), "nuclei", flush=True)
    options.out.write_bytes(
        imagecodecs.png_encode(np.concatenate([np.concatenate(row, 1) for row in rows], 0))
    )


if __name__ == "__main__":
    main()
