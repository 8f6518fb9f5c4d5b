"""Tune the decoder's thresholds on the held-out training images of every source, by coordinate
search; write them into the model card.

python tools/tune_nuclei.py --data ../shared/data --model ifquant/nuclei/models/nuclei.onnx
[--write]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from nuclei import score
from nuclei.banks import MORE, read_source
from nuclei.data import Picture, median_diameter, read_dsb

from ifquant.nuclei import unet
from ifquant.nuclei.channel_levels import levels_of
from ifquant.nuclei.decoder import decode
from ifquant.nuclei.nucleus_size import estimate_nucleus_diameter_px
from ifquant.nuclei.segmenter import _SMALLEST as SMALLEST
from ifquant.nuclei.working_scale import nearest_ratio, to_image, to_working, working_shape
from ifquant.recipe.model import Segmentation

GRID: dict[str, tuple[float, ...]] = {
    "cap": (70, 85, 100, 110, 120, 135, 150, 180),
    "foreground": (112, 120, 128, 136, 144, 152, 160, 176),
    "contact": (0.0, 0.3, 0.5, 0.7, 0.9),
    "smooth_px": (0.7, 1.0, 1.4, 1.8),
    "merge_ratio": (0.7, 0.78, 0.85, 0.9, 0.95),
    "min_peak": (20, 50, 70, 85, 100, 110),
}
SOURCES = ["nuclei_dsb2018", *MORE]
START = {
    "foreground": 128,
    "contact": 0.5,
    "cap": 120,
    "smooth_px": 1.0,
    "min_peak": 110,
    "merge_ratio": 0.85,
}


class Held:
    """One held-out image with the network's maps at the working scale."""

    def __init__(
        self,
        image: NDArray[np.float32],
        truth: NDArray[np.int32],
        model: Path,
        sha256: str,
        policy: str,
    ) -> None:
        self.truth = truth
        diameter = estimate_nucleus_diameter_px(image)
        measured = median_diameter(truth)
        if (
            not 0.5 < diameter / measured < 2
        ):  # what a wrong scale does is not for the thresholds to heal
            diameter = measured
        options = Segmentation(method="unet")
        self.pixel_size_um = options.nucleus_diameter_um / diameter
        scale = self.pixel_size_um / unet.WORKING_UM
        self.ratio = {"one": Fraction(1), "nearest": nearest_ratio(scale)}.get(
            policy
        ) or nearest_ratio(scale * float(policy))
        levels = levels_of(image.astype(np.uint16))
        self.segmenter = unet.UNetSegmenter(
            str(model),
            unet.Card(sha256, **START),
            levels.low,
            max(levels.high, levels.low + 1),
            self.ratio,
            unet.DecodeOptions(),
        )
        height, width = working_shape(image.shape, self.ratio)
        pixels = to_working(
            to_working(image, 0, 0, height, self.ratio, image.shape[0], 0),
            0,
            0,
            width,
            self.ratio,
            image.shape[1],
            1,
        )
        normalised = np.clip(
            (pixels - self.segmenter.low) / (self.segmenter.high - self.segmenter.low), *unet.CLIP
        ).astype(np.float32)
        self.maps = unet.probabilities(str(model), sha256, normalised).astype(np.float16)
        smallest = min(
            options.min_area_um2, SMALLEST * math.pi * options.nucleus_diameter_um**2 / 4
        )
        largest = options.max_diameter_um / self.pixel_size_um
        self.bounds = {
            "chain_px": int(np.ceil(largest / 2)) + 2,
            "merge_px": int(np.ceil(0.35 * largest)),
            "min_area_px": max(1, int(np.ceil(smallest / self.pixel_size_um**2))),
        }

    def counts(self, card: unet.Card) -> NDArray[np.int64]:
        """TP, FP, FN with these thresholds."""
        foreground, distance, contact = self.maps.astype(np.float32)
        maps = np.stack(
            [(foreground * 255 + 0.5).astype(np.uint8), unet.relief(distance, contact, card)]
        )
        maps = to_image(
            to_image(maps, 0, 0, self.truth.shape[0], self.ratio, 1),
            0,
            0,
            self.truth.shape[1],
            self.ratio,
            2,
        )
        options = replace(
            self.segmenter.options,
            foreground=card.foreground,
            min_peak=card.min_peak,
            merge_ratio=card.merge_ratio,
            **self.bounds,
        )
        return score.counts(decode(maps[0], maps[1], options), self.truth)


def held_out(data: Path, sources: list[str]) -> dict[str, list[Picture]]:
    """Read the held-out training images of each source."""
    found = {}
    for source in sources:
        if source == "nuclei_dsb2018":
            found[source] = read_dsb(data / source, "tune")
        else:
            found[source] = [
                picture for _, picture, _ in read_source(data / "nuclei_more", source, "tune")
            ]
    return found


def scores(
    held: dict[str, list[Held]], card: unet.Card
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """AP per image and pooled, at each IoU, by source."""
    return {
        source: score.average_precision([one.counts(card) for one in images])
        for source, images in held.items()
    }


def tune(
    held: dict[str, list[Held]], sha256: str, rounds: int = 2, begin: dict[str, Any] | None = None
) -> tuple[dict[str, Any], float]:
    """Coordinate search over `GRID` for the best mean of AP over sources, thresholds and the two
    ways to average; prints as it goes.
    """

    def value(thresholds: dict[str, Any]) -> float:
        reached = scores(held, unet.Card(sha256, **thresholds))
        return float(
            np.mean(
                [(per_image.mean() + pooled.mean()) / 2 for per_image, pooled in reached.values()]
            )
        )

    best = dict(begin or START)
    top = value(best)
    print("start", round(top, 4), best, flush=True)
    for _ in range(rounds):
        before = dict(best)
        for name, choices in GRID.items():
            for choice in choices:
                trial = {**best, name: type(START[name])(choice)}
                if trial == best:
                    continue
                reached = value(trial)
                if reached > top + 1e-4:
                    best, top = trial, reached
            print(name, best[name], round(top, 4), flush=True)
        if best == before:
            break
    return best, top


def main() -> None:
    """Tune and, with --write, store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=unet.MODEL)
    parser.add_argument(
        "--scale", default="nearest", help="one | nearest | a factor on the working scale"
    )
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--again",
        action="store_true",
        help="begin the search with the thresholds in the card beside the model",
    )
    parser.add_argument(
        "--write", action="store_true", help="store the thresholds in the card beside the model"
    )
    options = parser.parse_args()
    sha256 = hashlib.sha256(options.model.read_bytes()).hexdigest()
    held = {
        source: [
            Held(image, truth, options.model, sha256, options.scale) for image, truth in pictures
        ]
        for source, pictures in held_out(options.data, options.sources).items()
    }
    card = options.model.with_suffix(".json")
    begin = json.loads(card.read_text())["decoder"] if options.again else None
    best, _ = tune(held, sha256, options.rounds, begin)
    reached = scores(held, unet.Card(sha256, **best))
    for source, (per_image, pooled) in reached.items():
        print(source, "per image", per_image.round(3), "pooled", pooled.round(3))
    if options.write:
        content = json.loads(card.read_text()) if card.exists() else {}
        decoder = asdict(unet.Card(sha256, **best))
        content |= {"sha256": decoder.pop("sha256"), "decoder": decoder}
        content["held_out"] = {
            source: {"per_image": per_image.round(4).tolist(), "pooled": pooled.round(4).tolist()}
            for source, (per_image, pooled) in reached.items()
        }
        card.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
