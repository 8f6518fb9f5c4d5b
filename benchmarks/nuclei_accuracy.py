"""Score the segmentation methods on images that nothing was tuned on, and write
docs/nuclei_accuracy.md.

    python benchmarks/nuclei_accuracy.py --data ../shared/data --work work --part dsb unet

Parts: dsb, tissue, codex; then methods.
    python benchmarks/nuclei_accuracy.py --work /tmp/accuracy --table docs/nuclei_accuracy.md

Each part leaves a JSON file in --work; the table is made of those that are there.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray
from skimage.segmentation import expand_labels

from ifquant.nuclei.evaluation import evaluate
from ifquant.nuclei.segmenter import segment_nuclei

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
TISSUE_SEEDS = (1, 2)
GROWTH_PX = 2
"""Growth of nuclei into cells on the CODEX field: about 0.75 um (facts/segmentation.md; not tuned
here)."""
CODEX_UM = 0.377


def dsb(data: Path) -> Iterator[tuple[str, NDArray[Any], NDArray[Any], float | None]]:
    """Read the validation images of nuclei_dsb2018 and their truth; no pixel size is known."""
    folder = data / "nuclei_dsb2018"
    with open(folder / "manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "val":
                yield (
                    row["id"],
                    *(
                        tifffile.imread(folder / kind / f"{row['id']}.tif")
                        for kind in ("images", "masks")
                    ),
                    None,
                )


def tissue(work: Path) -> Iterator[tuple[str, NDArray[Any], NDArray[Any], float | None]]:
    """Make simulated tissue, 2048 x 2048, from seeds that training never uses (it takes those from
    10,000 on).
    """
    from ifquant.geometry.windows import Window
    from ifquant.simulation.simulated_window import SimulationOptions, simulate_window

    for seed in TISSUE_SEEDS:
        stored = work / f"tissue_{seed}.npz"
        if not stored.exists():
            field = simulate_window(SimulationOptions(seed=seed), Window(0, 0, 2048, 2048))
            np.savez(stored, image=field.image[0], nuclei=field.nuclei)
        with np.load(stored) as arrays:
            yield f"seed {seed}", arrays["image"], arrays["nuclei"], 0.5


def score(
    images: Iterable[tuple[str, NDArray[Any], NDArray[Any], float | None]], method: str
) -> dict[str, Any]:
    """Measure scores and cost of a method on images; the first image also runs once before the
    clock starts (model, compiled kernels).
    """
    seconds, pixels, pairs = 0.0, 0, []
    for name, image, truth, size in images:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the estimated scale
            if not pairs:
                segment_nuclei(image[:256, :256], pixel_size_um=size or 0.5, method=method)
            before = time.process_time()
            labels = segment_nuclei(image, pixel_size_um=size, method=method)
            seconds, pixels = seconds + time.process_time() - before, pixels + image.size
        pairs.append((name, labels, truth))
    table = pd.concat(
        [evaluate(labels, truth, THRESHOLDS).assign(image=name) for name, labels, truth in pairs]
    )
    per_image = table.pivot(index="image", columns="threshold", values="ap")
    pooled = table.groupby("threshold")[["tp", "fp", "fn", "splits", "merges"]].sum()
    wrong = pooled["fp"] + pooled["fn"]
    return {
        "images": len(pairs),
        "nuclei": int(pooled["tp"].iloc[0] + pooled["fn"].iloc[0]),
        "mean": per_image.mean().round(4).tolist(),
        "pooled": (pooled["tp"] / (pooled["tp"] + wrong)).round(4).tolist(),
        "f1": (2 * pooled["tp"] / (2 * pooled["tp"] + wrong)).round(4).tolist(),
        "splits": int(pooled["splits"].iloc[0]),
        "merges": int(pooled["merges"].iloc[0]),
        "worst": {
            str(k): round(float(v), 3) for k, v in per_image[0.5].sort_values().head(8).items()
        },
        "cpu_s_per_mpx": round(seconds / pixels * 1e6, 3),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def codex(data: Path, methods: list[str]) -> dict[str, Any]:
    """Measure F1 at IoU 0.5 and 0.3 of cells against both experts: the published masks, and nuclei
    of `methods` grown by `GROWTH_PX`.
    """
    folder = data / "codex_expert"
    stem = "R001_X003_Y004"
    experts = [tifffile.imread(folder / "experts" / f"{stem}_expert{k}.tif") for k in (1, 2)]
    image = tifffile.imread(folder / f"{stem}.ome.tif")[0]
    found = {
        path.stem.removeprefix(f"{stem}_"): tifffile.imread(path)
        for path in sorted((folder / "methods").glob("*.tif"))
    }
    found |= {
        f"ifquant {m}": expand_labels(
            segment_nuclei(image, pixel_size_um=CODEX_UM, method=m), GROWTH_PX
        )
        for m in methods
    }
    found["the other expert"] = experts[1]
    rows = {}
    for name, labels in found.items():
        tables = [evaluate(labels, expert, (0.3, 0.5)) for expert in experts]
        rows[name] = {
            "n": int(np.unique(labels).size - 1),
            "f1": [[round(float(v), 3) for v in table["f1"]] for table in tables],
        }
    rows["the other expert"]["f1"][1] = rows["the other expert"]["f1"][0]
    return rows


def table(work: Path) -> str:
    """Write the Markdown page."""
    lines = [
        "# How well nuclei are found",
        "",
        "Made by `benchmarks/nuclei_accuracy.py`. AP = TP / (TP + FP + FN).",
        "",
    ]
    titles = {
        "dsb": (
            "nuclei_dsb2018, split `val` (never trained or tuned on), scale estimated from each"
            " image"
        ),
        "tissue": "Simulated tissue, 2048 x 2048 px, seeds never trained on, 0.5 um/px",
    }
    for part, title in titles.items():
        results = [
            (path.stem.removeprefix(f"{part}_"), json.loads(path.read_text()))
            for path in sorted(work.glob(f"{part}_*.json"))
        ]
        if not results:
            continue
        lines += [
            f"## {title}",
            "",
            f"{results[0][1]['images']} images, {results[0][1]['nuclei']:,} nuclei.",
            "",
        ]
        lines += [
            (
                f"| method | average | {' | '.join(map(str, THRESHOLDS))} | F1 at 0.5 | splits |"
                " merges | CPU s/Mpx |"
            ),
            "|" + "---|" * 11,
        ]
        for name, result in results:
            for kind, rest in (
                ("mean", f"| | | {result['cpu_s_per_mpx']:.2f} |"),
                ("pooled", f"{result['f1'][0]:.3f} | {result['splits']} | {result['merges']} | |"),
            ):
                words = {"mean": "mean of images", "pooled": "pooled"}[kind]
                lines.append(
                    f"| {name} | {words} | {' | '.join(f'{v:.3f}' for v in result[kind])} | {rest}"
                )
        lines.append("")
    if (work / "codex.json").exists():
        rows = json.loads((work / "codex.json").read_text())
        lines += ["## codex_expert: whole cells against two experts", ""]
        lines += [
            (
                f"One tissue field, {CODEX_UM} um/px. ifquant: nuclei grown by {GROWTH_PX} px. The"
                " experts agree as the last row says."
            ),
            "",
        ]
        lines += [
            (
                "| method | cells | F1 expert 1, IoU 0.5 | F1 expert 2, IoU 0.5 | F1 expert 1, IoU"
                " 0.3 | F1 expert 2, IoU 0.3 |"
            ),
            "|" + "---|" * 6,
        ]
        order = sorted(
            rows.items(),
            key=lambda item: (item[0] == "the other expert", -sum(f[1] for f in item[1]["f1"])),
        )
        lines += [
            f"| {n} | {r['n']:,} | {r['f1'][0][1]:.3f} | {r['f1'][1][1]:.3f} | {r['f1'][0][0]:.3f}"
            f" | {r['f1'][1][0]:.3f} |"
            for n, r in order
        ]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Score a part, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--part", nargs="+", metavar=("PART", "METHOD"), help="dsb, tissue or codex, then methods"
    )
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.part:
        part, *methods = options.part
        if part == "codex":
            (options.work / "codex.json").write_text(
                json.dumps(codex(options.data, methods), indent=1)
            )
        else:
            for method in methods:
                images = dsb(options.data) if part == "dsb" else tissue(options.work)
                (options.work / f"{part}_{method}.json").write_text(
                    json.dumps(score(images, method), indent=1)
                )
    if options.table:
        options.table.write_text(table(options.work))


if __name__ == "__main__":
    main()
