"""How close a whole run comes to the truth on simulated tissue.

    python benchmarks/truth.py [--seeds 101 102 103] [--size 2048] [--method classical]

Per slide: nuclei AP at IoU 0.5 and 0.7; per class F1 of the cells at IoU 0.5; accuracy of the
phenotypes of matched cells (nuclei that overlap by at least half); median error of the distance to
the nearest tumor cell; correlation (Spearman) of measured with true TGFB1 of tumor cells and IL1B
of myeloid cells, raw and after subtracting on both sides the mean of the 8 nearest cells of the
same class, which is what a blurred image cannot know otherwise. `baseline`: a plain scikit-image
threshold and watershed on the same slides (Otsu's threshold on DAPI smoothed by 1 px, objects below
40 px removed, watershed on the smoothed distance transform, peaks 5 px apart).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from common import recipe_for
from scipy.ndimage import distance_transform_edt, label
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.segmentation import watershed

import ifquant
from ifquant.execution.executors import Execution
from ifquant.execution.threads import one_thread_per_library
from ifquant.geometry.windows import Window
from ifquant.nuclei.evaluation import evaluate
from ifquant.simulation.simulated_slides import write_slide
from ifquant.simulation.simulated_window import SimulationOptions, simulate_window
from ifquant.slides.slide import read_labels

SMALLEST_PX = 40
PHENOTYPE_OF = {"tumor": "tumor", "myeloid": "myeloid", "lymphocyte": "other", "stroma": "other"}


def threshold_and_watershed(dapi: np.ndarray) -> np.ndarray:
    """Labels (Y, X) of nuclei in a DAPI image, the plain way."""
    smooth = gaussian(dapi.astype(float), 1)
    clumps, _ = label(smooth > threshold_otsu(smooth))
    mask = (np.bincount(clumps.ravel()) >= SMALLEST_PX)[clumps] & (clumps > 0)
    distance = gaussian(distance_transform_edt(mask), 1)
    peaks = peak_local_max(distance, min_distance=5, labels=label(mask)[0], exclude_border=False)
    markers = np.zeros(mask.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-distance, markers, mask=mask), np.int32)


def average_precision(found: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """AP of nuclei at IoU 0.5 and 0.7."""
    half, strict = evaluate(found, true, thresholds=(0.5, 0.7))["ap"]
    return float(half), float(strict)


def matched(found: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """Pairs of labels (found, true) with IoU at least 0.5."""
    both = (found > 0) & (true > 0)
    pairs = (
        pd.DataFrame({"found": found[both].astype(int), "true": true[both].astype(int)})
        .value_counts()
        .rename("shared")
        .reset_index()
    )
    size_found, size_true = np.bincount(found.ravel()), np.bincount(true.ravel())
    union = size_found[pairs["found"]] + size_true[pairs["true"]] - pairs["shared"]
    return pairs[pairs["shared"] / union >= 0.5]


def local_residual(values: np.ndarray, xy: np.ndarray, k: int = 8) -> np.ndarray:
    """Values minus the mean of the k nearest other cells."""
    near = cKDTree(xy).query(xy, k + 1)[1][:, 1:]
    return values - values[near].mean(axis=1)


def correlations(measured: pd.Series, true: pd.Series, xy: np.ndarray) -> tuple[float, float]:
    """Raw and local rank correlation."""
    raw = spearmanr(measured, true).statistic
    local = spearmanr(
        local_residual(measured.to_numpy(), xy), local_residual(true.to_numpy(), xy)
    ).statistic
    return float(raw), float(local)


def slide_figures(folder: Path, seed: int, size: int, method: str) -> dict[str, float]:
    """All figures of one simulated slide."""
    options = SimulationOptions(size=(size, size), seed=seed)
    slide = write_slide(folder, f"seed_{seed}", options)
    truth = simulate_window(options, Window(0, 0, size, size))
    result = ifquant.run(
        recipe_for(method), [slide], folder / "out", execution=Execution(quiet=True)
    )
    assert result.exit_code == 0, result.summary_lines()
    out = folder / "out" / f"seed_{seed}"
    whole = Window(0, 0, size, size)
    nuclei, cells = (
        read_labels(out / "labels.ome.zarr", kind, whole) for kind in ("nuclei", "cells")
    )
    table = pd.read_parquet(out / "cells.parquet").set_index("cell_id")
    true = truth.table.set_index("id")
    figures: dict[str, float] = {"n_true": len(true), "n_found": len(table)}
    for who, labels in (
        ("nuclei", nuclei),
        ("baseline", threshold_and_watershed(truth.image[0])),
    ):
        half, strict = average_precision(labels, truth.nuclei)
        figures |= {f"{who}_ap_0.5": half, f"{who}_ap_0.7": strict}
    cell_pairs = matched(cells, truth.cells)
    for kind in ("tumor", "myeloid", "lymphocyte", "stroma"):
        of_kind = set(true.index[true["class"] == kind])
        hits = int(cell_pairs["true"].isin(of_kind).sum())
        figures[f"cell_recall_{kind}"] = hits / max(len(of_kind), 1)
    for phenotype in ("tumor", "myeloid", "other"):
        of_true = set(true.index[true["class"].map(PHENOTYPE_OF) == phenotype])
        of_found = set(table.index[table["phenotype"] == phenotype])
        hits = int((cell_pairs["true"].isin(of_true) & cell_pairs["found"].isin(of_found)).sum())
        figures[f"cell_f1_{phenotype}"] = 2 * hits / max(len(of_true) + len(of_found), 1)
    pairs = matched(nuclei, truth.nuclei)
    a, b = table.loc[pairs["found"]], true.loc[pairs["true"]]
    expected = b["class"].map(PHENOTYPE_OF).to_numpy()
    figures["phenotype_accuracy"] = float(
        (a["phenotype"].astype(str).to_numpy() == expected).mean()
    )
    for phenotype in ("tumor", "myeloid", "other"):
        figures[f"phenotype_recall_{phenotype}"] = float(
            (a["phenotype"].astype(str).to_numpy() == expected)[expected == phenotype].mean()
        )
    true_xy = true[["nucleus_x_um", "nucleus_y_um"]].to_numpy()
    tumor_tree = cKDTree(true_xy[(true["class"] == "tumor").to_numpy()])
    myeloid = (b["class"] == "myeloid").to_numpy() & (a["phenotype"] == "myeloid").to_numpy()
    true_distance = tumor_tree.query(b[["nucleus_x_um", "nucleus_y_um"]].to_numpy()[myeloid])[0]
    figures["nearest_tumor_median_error_um"] = float(
        np.median(np.abs(a["nearest_tumor_um"].to_numpy()[myeloid] - true_distance))
    )
    for marker, column, kind, level in (
        ("tgfb1", "TGFB1_membrane_mean", "tumor", "tgfb1_level"),
        ("il1b", "IL1B_cytoplasm_mean", "myeloid", "il1b_level"),
    ):
        use = (b["class"] == kind).to_numpy() & np.isfinite(a[column].to_numpy())
        xy = a[["x_um", "y_um"]].to_numpy()[use]
        figures[f"{marker}_raw"], figures[f"{marker}_local"] = correlations(
            a[column][use], b[level][use], xy
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--method", default="classical")
    options = parser.parse_args()
    one_thread_per_library()
    with tempfile.TemporaryDirectory() as folder:
        table = pd.DataFrame(
            {
                seed: slide_figures(Path(folder), seed, options.size, options.method)
                for seed in options.seeds
            }
        )
    table["mean"] = table.mean(axis=1)
    print(f"method {options.method}, {options.size} x {options.size} px, seeds {options.seeds}")
    print(table.to_string(float_format=lambda v: f"{v:.3f}"))


if __name__ == "__main__":
    main()
