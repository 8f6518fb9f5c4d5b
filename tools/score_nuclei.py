"""Score a nucleus network on every source: on the held-out part of its training split (to choose),
or on `val` (once, to report).

    python tools/score_nuclei.py --data ../shared/data --model runs/nuclei.onnx python
    tools/score_nuclei.py --data ../shared/data --model runs/nuclei.onnx --part val --out
    runs/val.json

Each image is segmented as `segment_nuclei` does it: the scale estimated from the image, and with
the pixel size where one is stated. The scale "measured" takes the true median diameter instead:
what is still wrong then, the estimate is not to blame for. A model without a card beside it gets
one, with the thresholds of the network that ships.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from nuclei import score
from nuclei.banks import MORE, read_source
from nuclei.data import median_diameter, read_dsb

from ifquant.nuclei import segmenter, unet
from ifquant.recipe.model import Segmentation

DSB, TISSUE = "nuclei_dsb2018", "simulated_tissue"
SOURCES = (DSB, *MORE, TISSUE)
SCALES = ["estimated", "stated", "measured"]
MEASURED_BOUNDS = {"min_area_um2": 6.0, "max_diameter_um": 48.0}
Labelled = tuple[str, NDArray[Any], NDArray[np.int32], float | None]


def labelled_images(data: Path, source: str, part: str, work: Path) -> list[Labelled]:
    """Read the images of a source: name, raw pixels, labels, pixel size (um) where stated."""
    if source == DSB:
        return [
            (str(i), image, labels, None)
            for i, (image, labels) in enumerate(read_dsb(data / source, part))
        ]
    if source == TISSUE:
        return simulated_tissue(work) if part == "val" else []
    found = read_source(data / "nuclei_more", source, part)
    return [(name, image, labels, size) for name, (image, labels), size in found]


def simulated_tissue(
    work: Path, seeds: tuple[int, ...] = (1, 2), side: int = 2048
) -> list[Labelled]:
    """Make the simulated tissue that the accuracy benchmark uses (seeds that training never
    uses).
    """
    from ifquant.geometry.windows import Window
    from ifquant.simulation.simulated_window import SimulationOptions, simulate_window

    images: list[Labelled] = []
    for seed in seeds:
        stored = work / f"tissue_{seed}.npz"
        if not stored.exists():
            field = simulate_window(SimulationOptions(seed=seed), Window(0, 0, side, side))
            np.savez(stored, image=field.image[0], nuclei=field.nuclei)
        with np.load(stored) as arrays:
            images.append((f"seed {seed}", arrays["image"], arrays["nuclei"], 0.5))
    return images


def ensure_card(model: Path) -> None:
    """Write a card beside a model that has none: its hash, and the thresholds of the network that
    ships.
    """
    card = model.with_suffix(".json")
    if not card.exists():
        shipped = json.loads(unet.MODEL.with_suffix(".json").read_text())
        card.write_text(
            json.dumps(
                {"sha256": sha256_of(model), "decoder": shipped["decoder"]},
                indent=2,
                sort_keys=True,
            )
            + "\n"
        )


def sha256_of(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def use_model(model: Path) -> None:
    """Let `segment_nuclei` of this process run another network."""
    ensure_card(model)
    make = unet.make
    segmenter.segmenter_factory = lambda _: (
        lambda options, **rest: make(options, **rest, model=model)
    )


def summary(counts: list[NDArray[np.int64]]) -> dict[str, Any]:
    """AP at IoU 0.5, 0.6, 0.7, 0.8, 0.9, pooled and per image; precision and recall at 0.5."""
    per_image, pooled = score.average_precision(counts)
    found, wrong, missed = np.sum(counts, 0)[0]
    return {
        "pooled": pooled.round(4).tolist(),
        "per_image": per_image.round(4).tolist(),
        "precision": round(float(found / max(found + wrong, 1)), 3),
        "recall": round(float(found / max(found + missed, 1)), 3),
        "nuclei": int(found + missed),
    }


def pixel_sizes(images: list[Labelled], scale: str) -> list[float | None]:
    """Return the pixel size (um) that each image is segmented with; None: estimated from it."""
    if scale == "measured":
        return [
            Segmentation().nucleus_diameter_um / median_diameter(truth) for _, _, truth, _ in images
        ]
    return [size if scale == "stated" else None for *_, size in images]


def score_source(images: list[Labelled], scales: list[str]) -> dict[str, Any]:
    """Score with each of `scales`; "stated" only where every image states its pixel size."""
    result: dict[str, Any] = {"images": len(images)}
    for scale in scales:
        sizes = pixel_sizes(images, scale)
        if scale == "stated" and None in sizes:
            continue
        chosen = Segmentation(**MEASURED_BOUNDS) if scale == "measured" else None
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", segmenter.ScaleEstimated)
            labels = [
                segmenter.segment_nuclei(image, pixel_size_um=size, options=chosen)
                for (_, image, *_), size in zip(images, sizes, strict=True)
            ]
        seconds = time.process_time() - start
        counts = [
            score.counts(found, truth)
            for found, (_, _, truth, _) in zip(labels, images, strict=True)
        ]
        result[scale] = summary(counts) | {
            "cpu_s_per_mpx": round(seconds / sum(image.size for _, image, *_ in images) * 1e6, 3)
        }
    return result


def line(source: str, kind: str, one: dict[str, Any]) -> str:
    """Write one line of the table: AP at .5, .7 and .9."""
    pooled, per_image = (
        "/".join(f"{one[way][i]:.3f}" for i in (0, 2, 4)) for way in ("pooled", "per_image")
    )
    return (
        f"{source:20} {kind:10} pooled {pooled}  per image {per_image}  P {one['precision']:.2f} R"
        f" {one['recall']:.2f}"
    )


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=unet.MODEL)
    parser.add_argument(
        "--part",
        choices=("tune", "val"),
        default="tune",
        help="tune: the held-out part of the training split",
    )
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--scales", nargs="+", choices=SCALES, default=SCALES[:2])
    parser.add_argument("--out", type=Path, help="also write the scores here (JSON)")
    options = parser.parse_args()
    use_model(options.model)
    segmenter.segment_nuclei(
        np.eye(64, dtype=np.uint16), pixel_size_um=0.5
    )  # the network is read, the decoder compiled
    results = {}
    for source in options.sources:
        images = labelled_images(options.data, source, options.part, options.model.parent)
        if images:
            results[source] = score_source(images, options.scales)
            for scale in options.scales:
                if scale in results[source]:
                    print(line(source, scale, results[source][scale]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
