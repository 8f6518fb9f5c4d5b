"""One job of `benchmarks/peers.py`, run in the environment of the tool it times: ``python
peer_jobs.py JOB FOLDER ANSWERS``.

Needs numpy and the tool only. Libraries are imported and compiled on a corner of the arrays before
the clock starts; arrays are in memory (mcquant, a command line program, reads and writes files and
is timed with that). Every tool gets its leanest settings that still answer. Prints CPU seconds
(user + system, with child processes) and wall seconds as JSON; answers go to an .npz for
comparison.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
CHANNELS = ["DAPI", "PanCK", "CD11c", "TGFB1", "IL1B"]
MASKS = ("nuclei", "cells")
RADII_UM = (10.0, 20.0, 50.0, 100.0)
SHAPES = ("area", "centroid", "axis_major_length", "axis_minor_length", "eccentricity")


# ---- quantification: 5 channels x (nuclei, cells); mean, median, sum, shape ----


def ifquant_lean(data: Arrays) -> Arrays:
    return _ifquant(data, solidity=False)


def ifquant_solidity(data: Arrays) -> Arrays:
    return _ifquant(data, solidity=True)


def _ifquant(data: Arrays, solidity: bool) -> Arrays:
    from ifquant import quantify

    statistics = dict.fromkeys(("nucleus", "cell"), ("mean", "median", "sum"))
    options: dict[str, Any] = {"statistics": statistics, "solidity": solidity}
    table = quantify(
        data["image"],
        nuclei=data["nuclei"],
        cells=data["cells"],
        channels=CHANNELS,
        pixel_size_um=1.0,
        **options,
    )
    answers = {}
    for mask, name, prefix in (("nuclei", "nucleus", "nucleus_"), ("cells", "cell", "")):
        for statistic in ("mean", "median", "sum"):
            answers[f"{mask}/{statistic}"] = table[
                [f"{channel}_{name}_{statistic}" for channel in CHANNELS]
            ].to_numpy(np.float64)
        for shape in (
            "area_um2",
            "axis_major_um",
            "eccentricity",
            *(("solidity",) if solidity else ()),
        ):
            answers[f"{mask}/{shape.removesuffix('_um2').removesuffix('_um')}"] = table[
                prefix + shape
            ].to_numpy(np.float64)
    return answers


def skimage_lean(data: Arrays) -> Arrays:
    return _skimage(data, SHAPES)


def skimage_solidity(data: Arrays) -> Arrays:
    return _skimage(data, (*SHAPES, "solidity"))


def _skimage(data: Arrays, shapes: tuple[str, ...]) -> Arrays:
    from skimage.measure import regionprops_table

    def median(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.median(values[mask], axis=0)

    def total(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
        return values[mask].sum(axis=0)

    pixels, answers = np.moveaxis(data["image"], 0, -1), {}
    for mask in MASKS:
        table = regionprops_table(
            data[mask],
            pixels,
            properties=("label", *shapes, "intensity_mean"),
            extra_properties=(median, total),
        )
        for statistic, name in (("mean", "intensity_mean"), ("median", "median"), ("sum", "total")):
            answers[f"{mask}/{statistic}"] = np.stack(
                [table[f"{name}-{c}"] for c in range(5)], axis=1
            )
        answers |= {f"{mask}/area": table["area"], f"{mask}/axis_major": table["axis_major_length"]}
        answers |= {
            f"{mask}/{name}": table[name] for name in ("eccentricity", "solidity") if name in table
        }
    return answers


def mcquant(data: Arrays, extra: tuple[str, ...] = ()) -> Arrays:
    """Quantify by the command line, as MCMICRO calls it: reads TIFF, writes one CSV per mask."""
    import pandas as pd

    folder = Path(data["folder"].item())
    (folder / "markers.csv").write_text("marker_name\n" + "".join(f"{name}\n" for name in CHANNELS))
    program = Path(sys.executable).with_name("mcquant")
    words = [
        "--masks",
        folder / "nuclei.tif",
        folder / "cells.tif",
        "--image",
        folder / "image.tif",
        "--output",
        folder,
    ]
    words += [
        "--channel_names",
        folder / "markers.csv",
        *(("--intensity_props", *extra) if extra else ()),
    ]
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)
    answers = {}
    for mask in MASKS:
        table = pd.read_csv(folder / f"image_{mask}.csv")
        answers[f"{mask}/mean"] = table[CHANNELS].to_numpy(np.float64)
        for statistic in ("median", "sum") if extra else ():
            answers[f"{mask}/{statistic}"] = table[
                [f"{name}_intensity_{statistic}" for name in CHANNELS]
            ].to_numpy(np.float64)
        for ours, name in (
            ("area", "Area"),
            ("axis_major", "MajorAxisLength"),
            ("eccentricity", "Eccentricity"),
            ("solidity", "Solidity"),
        ):
            answers[f"{mask}/{ours}"] = table[name].to_numpy(np.float64)
    return answers


def mcquant_full(data: Arrays) -> Arrays:
    return mcquant(data, ("intensity_median", "intensity_sum"))


def nyxus(data: Arrays) -> Arrays:
    """Quantify by nyxus; its solidity is left out: 0.11.0 computes it wrongly (a square has
    0.73).
    """
    from nyxus import Nyxus

    features = [
        "MEAN",
        "MEDIAN",
        "INTEGRATED_INTENSITY",
        "AREA_PIXELS_COUNT",
        "MAJOR_AXIS_LENGTH",
        "MINOR_AXIS_LENGTH",
        "ECCENTRICITY",
    ]
    features += ["CENTROID_X", "CENTROID_Y"]
    engine, answers = Nyxus(features, n_feature_calc_threads=1), {}
    for mask in MASKS:
        labels = np.broadcast_to(data[mask].astype(np.uint32), data["image"].shape)
        table = engine.featurize(
            data["image"].astype(np.uint32),
            np.ascontiguousarray(labels),
            intensity_names=CHANNELS,
            label_names=CHANNELS,
        )
        for statistic, name in (
            ("mean", "MEAN"),
            ("median", "MEDIAN"),
            ("sum", "INTEGRATED_INTENSITY"),
        ):
            wide = table.pivot(
                index="ROI_label" if "ROI_label" in table else "label",
                columns="intensity_image",
                values=name,
            )
            answers[f"{mask}/{statistic}"] = wide[CHANNELS].to_numpy(np.float64)
        own = table[table["intensity_image"] == CHANNELS[0]].sort_values(
            "ROI_label" if "ROI_label" in table else "label"
        )
        for ours, name in (
            ("area", "AREA_PIXELS_COUNT"),
            ("axis_major", "MAJOR_AXIS_LENGTH"),
            ("eccentricity", "ECCENTRICITY"),
        ):
            answers[f"{mask}/{ours}"] = own[name].to_numpy(np.float64)
    return answers


def cp_measure(data: Arrays) -> Arrays:
    """Quantify by the groups that hold these features; it cannot be asked for less than a group."""
    from cp_measure.core.measureobjectintensity import get_intensity
    from cp_measure.core.measureobjectsizeshape import get_sizeshape

    answers = {}
    for mask in MASKS:
        measured = [
            get_intensity(data[mask], plane.astype(np.float64), edge_measurements=False)
            for plane in data["image"]
        ]
        for statistic, name in (
            ("mean", "MeanIntensity"),
            ("median", "MedianIntensity"),
            ("sum", "IntegratedIntensity"),
        ):
            answers[f"{mask}/{statistic}"] = np.stack(
                [found[f"Intensity_{name}"] for found in measured], axis=1
            )
        shape = get_sizeshape(data[mask], None, calculate_advanced=False, new_features=False)
        for ours, name in (
            ("area", "Area"),
            ("axis_major", "MajorAxisLength"),
            ("eccentricity", "Eccentricity"),
            ("solidity", "Solidity"),
        ):
            key = next((key for key in (name, f"AreaShape_{name}") if key in shape), None)
            if key is not None:
                answers[f"{mask}/{ours}"] = np.asarray(shape[key])
    return answers


def squidpy(data: Arrays) -> Arrays:
    """Quantify by squidpy.experimental: mean and shape; it offers neither median nor sum, and its
    table is float32.
    """
    import spatialdata as sd
    from squidpy.experimental.im import calculate_image_features

    answers = {}
    for mask in MASKS:
        image = sd.models.Image2DModel.parse(data["image"], dims=("c", "y", "x"), c_coords=CHANNELS)
        labels = sd.models.Labels2DModel.parse(data[mask], dims=("y", "x"))
        store = sd.SpatialData(images={"image": image}, labels={"labels": labels})
        features = [f"skimage:morphology:{name}" for name in SHAPES] + [
            "skimage:intensity:intensity_mean"
        ]
        found = calculate_image_features(
            store, image_key="image", labels_key="labels", features=features, inplace=False
        )
        table = found.to_df()
        means = [
            column
            for channel in CHANNELS
            for column in table.columns
            if "mean" in column and column.endswith(channel)
        ]
        order = np.argsort(
            found.obs[
                "label_id"
                if "label_id" in found.obs
                else found.uns["spatialdata_attrs"]["instance_key"]
            ].to_numpy(int)
        )
        answers[f"{mask}/mean"] = table[means].to_numpy(np.float64)[order]
        answers[f"{mask}/area"] = table["area"].to_numpy(np.float64)[order]
        answers[f"{mask}/eccentricity"] = table["eccentricity"].to_numpy(np.float64)[order]
    return answers


# ---- cells in space ----


def ifquant_nearest(data: Arrays) -> Arrays:
    from ifquant.proximity.distances import nearest_of

    return {"nearest": nearest_of(data["points"], np.flatnonzero(data["codes"] == 0))[0]}


def scipy_nearest(data: Arrays) -> Arrays:
    """Answer by a k-d tree: the nearest tumor cell, itself excluded."""
    from scipy.spatial import cKDTree

    targets = np.flatnonzero(data["codes"] == 0)
    distance, index = cKDTree(data["points"][targets]).query(data["points"], k=2)
    own = targets[np.minimum(index[:, 0], len(targets) - 1)] == np.arange(len(data["points"]))
    return {"nearest": np.where(own, distance[:, 1], distance[:, 0])}


def squidpy_neighbours(data: Arrays) -> Arrays:
    """Build the graph of the nearest neighbour of every cell; squidpy has no distance to the
    nearest cell of a kind.
    """
    import squidpy as sq

    sq.gr.spatial_neighbors(_annotated(data), coord_type="generic", n_neighs=1)
    return {}


def ifquant_counts(data: Arrays) -> Arrays:
    from ifquant.proximity.distances import count_within

    return {
        "counts": count_within(
            data["points"], np.flatnonzero(data["codes"] == 0), np.array(RADII_UM)
        )
    }


def scipy_counts(data: Arrays) -> Arrays:
    from scipy.spatial import cKDTree

    tree, own = cKDTree(data["points"][data["codes"] == 0]), data["codes"] == 0
    counts = [
        tree.query_ball_point(data["points"], radius, return_length=True) - own
        for radius in RADII_UM
    ]
    return {"counts": np.stack(counts, axis=1)}


def ifquant_permutations(data: Arrays) -> Arrays:
    from ifquant.statistics.patterns.enrichment import enrichment, neighbors_within

    found = enrichment(
        data["codes"],
        ["tumor", "myeloid", "other"],
        neighbors_within(data["points"], 20.0),
        n_permutations=1000,
    )
    return {"z": found.z}


def squidpy_permutations(data: Arrays) -> Arrays:
    import squidpy as sq

    adata = _annotated(data)
    sq.gr.spatial_neighbors(adata, coord_type="generic", radius=20.0)
    sq.gr.nhood_enrichment(adata, "kind", n_perms=1000, seed=0, n_jobs=1, show_progress_bar=False)
    return {"z": np.asarray(adata.uns["kind_nhood_enrichment"]["zscore"])}


def _annotated(data: Arrays) -> Any:
    import anndata
    import pandas as pd

    kinds = pd.Categorical.from_codes(data["codes"], ["tumor", "myeloid", "other"])
    obs = pd.DataFrame({"kind": kinds}, index=pd.Index(np.arange(len(kinds)).astype(str)))
    return anndata.AnnData(obs=obs, obsm={"spatial": data["points"]})


JOBS: dict[str, Callable[[Arrays], Arrays]] = {
    function.__name__: function
    for function in (
        *(
            ifquant_lean,
            ifquant_solidity,
            skimage_lean,
            skimage_solidity,
            mcquant,
            mcquant_full,
            nyxus,
            cp_measure,
            squidpy,
        ),
        *(
            ifquant_nearest,
            scipy_nearest,
            squidpy_neighbours,
            ifquant_counts,
            scipy_counts,
            ifquant_permutations,
            squidpy_permutations,
        ),
    )
}
FROM_FILES = ("mcquant", "mcquant_full")


def _corner(data: Arrays) -> Arrays:
    """Return a small part of the case, for compiling: whole objects, numbered anew."""
    if "points" in data:
        return {name: array[:3000] for name, array in data.items()}
    nuclei = data["nuclei"][:400, :400]
    number = np.zeros(int(data["cells"].max()) + 1, np.int32)
    kept = np.unique(nuclei)[1:]
    number[kept] = np.arange(1, len(kept) + 1)
    masks = {name: number[data[name][:400, :400]] for name in MASKS}
    return {"image": np.ascontiguousarray(data["image"][:, :400, :400]), **masks}


def _cpu_seconds() -> float:
    import resource

    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    warnings.filterwarnings("ignore")
    name, folder, answers = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    job = JOBS[name]
    if name in FROM_FILES:
        data: Arrays = {"folder": np.array(str(folder))}
    else:
        data = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
        job(_corner(data))
    cpu, wall = _cpu_seconds(), time.perf_counter()
    found = job(data)
    print(json.dumps({"cpu_s": _cpu_seconds() - cpu, "wall_s": time.perf_counter() - wall}))
    np.savez(answers, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
