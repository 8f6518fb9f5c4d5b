"""Draw the learning curve of a training run: its loss, and AP of its snapshots on the small images
of the held-out tenth.

python tools/learning_curve.py --run runs/nuclei --data ../shared/data/nuclei_dsb2018 --out
docs/figures/learning_curve.png
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from nuclei import score
from nuclei.data import read_dsb
from nuclei.network import export_onnx, net_of
from tune_nuclei import START, Held

from ifquant.nuclei import unet

LARGEST_PX = 150_000


def snapshot_scores(run: Path, data: Path, known: dict[str, Any]) -> dict[str, Any]:
    """AP per snapshot at the five thresholds, per-image mean, with the thresholds of the shipped
    card; `known` ones are not made again.
    """
    pictures = [one for one in read_dsb(data, "tune") if one[0].size < LARGEST_PX]
    thresholds = (
        json.loads(unet.MODEL.with_suffix(".json").read_text())["decoder"]
        if unet.MODEL.exists()
        else START
    )
    scores = dict(known)
    for path in sorted(run.glob("snapshot_*.pt")):
        if path.stem in scores:
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)
        net = net_of(state["average"])
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "snapshot.onnx"
            export_onnx(net, str(model))
            sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
            card = unet.Card(sha256, **thresholds)
            ap, _ = score.average_precision(
                [Held(*one, model, sha256, "nearest").counts(card) for one in pictures]
            )
        scores[path.stem] = {
            "step": state["step"],
            "minutes": state["seconds"] / 60,
            "ap": ap.round(4).tolist(),
        }
        print(path.stem, scores[path.stem], flush=True)
    return scores


def draw(log: list[dict[str, float]], scores: dict[str, Any], path: Path) -> None:
    """One picture, two panels over minutes of training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(
        [entry["seconds"] / 60 for entry in log], [entry["loss"] for entry in log], color="0.3"
    )
    left.set(xlabel="minutes of training", ylabel="training loss (mean of 50 steps)", yscale="log")
    points = sorted(scores.values(), key=lambda one: one["step"])
    for k, threshold in enumerate(score.THRESHOLDS):
        right.plot(
            [one["minutes"] for one in points],
            [one["ap"][k] for one in points],
            "o-",
            ms=3,
            label=f"IoU {threshold}",
            color=str(0.1 + 0.15 * k),
        )
    right.set(xlabel="minutes of training", ylabel="AP on held-out training images", ylim=(0, 1))
    right.legend(frameon=False, fontsize=8)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        twin = axis.secondary_xaxis("top", functions=_steps(log))
        twin.xaxis.set_major_locator(plt.MaxNLocator(5))
        twin.set_xlabel("steps")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _steps(log: list[dict[str, float]]) -> tuple[Any, Any]:
    minutes, steps = np.array([[entry["seconds"] / 60, entry["step"]] for entry in log]).T
    return (lambda m: np.interp(m, minutes, steps), lambda s: np.interp(s, steps, minutes))


def main() -> None:
    """Score the snapshots and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    stored = options.run / "scores.json"
    scores = snapshot_scores(
        options.run, options.data, json.loads(stored.read_text()) if stored.exists() else {}
    )
    stored.write_text(json.dumps(scores, indent=1))
    log = [json.loads(line) for line in (options.run / "log.jsonl").read_text().splitlines()]
    unique = {entry["step"]: entry for entry in log}
    draw([unique[step] for step in sorted(unique)], scores, options.out)


if __name__ == "__main__":
    main()
