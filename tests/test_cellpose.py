"""`method = "cellpose"` with the real package and networks trained here; runs with cellpose 4, and
with 3.1 in `test_cellpose3`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cellpose_nets import nuclei, sam_network, train_network
from numpy.typing import NDArray

import ifquant
from ifquant.columns.flags import has_flag
from ifquant.errors import MissingDependency, RequestError
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei import cellpose, cellpose_models, cellpose_package
from ifquant.nuclei.channel_levels import levels_of
from ifquant.nuclei.evaluation import evaluate
from ifquant.nuclei.lattice import LatticeMaps
from ifquant.nuclei.segmenter import segment_nuclei
from ifquant.recipe.checks import problems
from ifquant.recipe.model import Recipe, Segmentation
from ifquant.slides import tiff_writer

MAJOR = cellpose_models.installed_major()


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def options(network: Path) -> Segmentation:
    return Segmentation(method="cellpose", model=str(network))


def test_recovers_simulated_nuclei_through_cellposes_own_dynamics(options: Segmentation) -> None:
    image, truth = nuclei(1000, 320)
    labels = segment_nuclei(image, pixel_size_um=0.5, method="cellpose", options=options)
    score = evaluate(labels, truth, [0.5])
    assert score.recall[0] >= 0.8
    assert score.precision[0] >= 0.8
    anchors = np.unique(labels, return_index=True)[1][1:]
    assert (np.diff(anchors) > 0).all()


def test_stricter_thresholds_give_fewer_nuclei(options: Segmentation) -> None:
    image, _ = nuclei(1001, 200)

    def count(**changes: Any) -> tuple[int, int]:
        labels = segment_nuclei(
            image, pixel_size_um=0.5, method="cellpose", options=options.model_copy(update=changes)
        )
        return int(labels.max()), int((labels > 0).sum())

    normal = count()
    assert count(cellprob_threshold=2.0)[1] < normal[1] < count(cellprob_threshold=-2.0)[1]
    assert count(flow_threshold=0.05)[0] < normal[0]
    assert count(min_area_um2=60.0)[0] < normal[0]
    assert count(max_diameter_um=8.0)[0] < normal[0]


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (70, 3)])
def test_tiny_images(options: Segmentation, shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint16)
    image[-1, -1:] = 100 if image.size > 1 else 0
    assert (
        segment_nuclei(image, pixel_size_um=0.5, method="cellpose", options=options).shape == shape
    )


@pytest.fixture
def small_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 160 px and less around them, so that a small image has many seams."""
    monkeypatch.setattr(cellpose, "CORE_PX", 160)
    monkeypatch.setattr(cellpose, "LEAST_OVERLAP_PX", 48)
    monkeypatch.setattr(cellpose, "CONTEXT_PX", 16)


@pytest.mark.usefixtures("small_lattice")
def test_windows_are_functions_of_image_and_lattice(options: Segmentation) -> None:
    """Any wanted window of the same lattice gives the same objects; another lattice gives others
    (the control).
    """
    image, _ = nuclei(1002, 340)
    options = options.model_copy(update={"max_diameter_um": 20.0})
    segmenter = cellpose.make(options, pixel_size_um=0.5, calibration=levels_of(image))

    def read(window: Window) -> NDArray[Any]:
        return image[window.y0 : window.y1, window.x0 : window.x1]

    def whole(
        segmenter: cellpose.CellposeSegmenter, order: int = 1
    ) -> tuple[LatticeMaps, NDArray[np.int32], NDArray[np.bool_]]:
        found = {
            cell: segmenter.core_maps(read, cell, image.shape)
            for cell in cores(image.shape, segmenter.lattice_px)[::order]
        }
        maps = LatticeMaps(
            segmenter.lattice_px, segmenter.overlap_px, image.shape, found.__getitem__
        )
        return maps, *segmenter.nuclei_and_seams(maps, Window(0, 0, *image.shape))

    maps, labels, seams = whole(segmenter)
    assert MAJOR == 3 or seams.any()  # a convolutional network sees more alike
    assert seams.sum() < 0.5 * labels.max()
    np.testing.assert_array_equal(whole(segmenter, -1)[1], labels)
    for wanted in (Window(30, 50, 300, 330), Window(100, 0, 290, 200)):
        part, _ = segmenter.nuclei_and_seams(maps, wanted)
        expected = labels[wanted.y0 : wanted.y1, wanted.x0 : wanted.x1]
        edge = np.unique(
            np.concatenate([expected[0], expected[-1], expected[:, 0], expected[:, -1]])
        )
        inner = ~np.isin(expected, edge) & (expected > 0)
        assert ((part > 0) >= inner).all()
        pairs = np.unique(np.stack([part[inner], expected[inner]]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    other = whole(dataclasses.replace(segmenter, lattice_px=200))[1]
    assert not np.array_equal(other > 0, labels > 0)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nuclei and a stain around each: its cell."""
    from scipy import ndimage as ndi

    nuclear, truth = nuclei(1003, 420)
    distance = ndi.distance_transform_edt(truth == 0)
    stain = (400 * (distance < 5) + np.random.default_rng(0).poisson(50, truth.shape)).astype(
        np.uint16
    )
    path = tmp_path_factory.mktemp("slides") / "a.ome.tif"
    tiff_writer.write_image(
        path, np.stack([nuclear, stain]), names=["DAPI", "PanCK"], pixel_size_um=0.5
    )
    return path


def recipe(network: Path, **segmentation: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "channels": [{"name": "DAPI", "role": "nucleus"}, {"name": "PanCK", "role": "tumor"}],
            "segmentation": {
                "method": "cellpose",
                "model": str(network),
                "max_diameter_um": 20.0,
                **segmentation,
            },
            "tissue": {"enabled": False},
        }
    )


def analysed(wanted: Recipe, slide: Path, out: Path, **execution: Any) -> pd.DataFrame:
    result = ifquant.run(wanted, [slide], out, execution=Execution(quiet=True, **execution))
    assert result.exit_code == 0, result.summary_lines()
    return pd.read_parquet(out / "a" / "cells.parquet")


@pytest.mark.usefixtures("small_lattice")
def test_tile_size_and_workers_change_nothing_and_seams_are_flagged(
    network: Path, slide: Path, tmp_path: Path
) -> None:
    wanted = recipe(network)
    whole = analysed(wanted, slide, tmp_path / "whole", tile_size_px=4096)
    tiled = analysed(wanted, slide, tmp_path / "tiled", tile_size_px=130, workers=2)
    pd.testing.assert_frame_equal(whole, tiled, check_exact=True)
    flagged = has_flag(whole["flags"], "lattice_seam")
    assert 0 < flagged.sum() < 0.5 * len(whole)
    near = np.min(
        [np.abs(whole[axis] - edge) for axis in ("x_px", "y_px") for edge in (160, 320)], axis=0
    )
    assert (near[flagged] < 40).all()
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    assert record["models"]["model"]["sha256"] == sha256
    assert record["models"]["model"]["cellpose"].startswith(str(MAJOR))
    assert (
        json.loads((tmp_path / "whole" / "a" / "slide.json").read_text())["digests"]["model"]
        == sha256
    )


def test_cells_of_a_cell_model_are_paired_with_nuclei(
    network: Path, slide: Path, tmp_path: Path
) -> None:
    table = analysed(recipe(network, cell_model=str(network)), slide, tmp_path)
    from ifquant.slides.slide import read_labels

    window = Window(0, 0, 420, 420)
    found, cells = (
        read_labels(tmp_path / "a" / "labels.ome.zarr", kind, window)
        for kind in ("nuclei", "cells")
    )
    assert len(table) > 100
    np.testing.assert_array_equal(np.unique(found), np.arange(len(table) + 1))
    assert (cells[found > 0] == found[found > 0]).all(), "each nucleus lies in its cell"
    grown = analysed(recipe(network), slide, tmp_path / "grown")
    assert len(grown) == len(table), "the cell model decides no nucleus"
    assert not np.array_equal(
        read_labels(tmp_path / "grown" / "a" / "labels.ome.zarr", "cells", window), cells
    )
    assert set(json.loads((tmp_path / "run.json").read_text())["models"]) == {"model", "cell_model"}


def test_another_model_is_another_result(network: Path, slide: Path, tmp_path: Path) -> None:
    """Same path, other weights: the cells are made again; touched but unchanged: they are not."""
    import os

    import torch

    copy = tmp_path / "copy"
    copy.write_bytes(network.read_bytes())
    out = tmp_path / "out"
    before = analysed(recipe(copy), slide, out)
    os.utime(copy)
    ifquant.run(recipe(copy), [slide], out, execution=Execution(quiet=True))
    assert (
        json.loads((out / "run.json").read_text())["execution"]["slides"][0]["reused"]
        == "everything"
    )
    state = torch.load(copy, weights_only=True)
    name = "out.bias" if MAJOR == 4 else "output.2.bias"
    state[name] = state[name] - 1.0
    torch.save(state, copy)
    after = analysed(recipe(copy), slide, out)
    assert (
        json.loads((out / "run.json").read_text())["execution"]["slides"][0]["reused"] == "nothing"
    )
    assert (
        len(before) != len(after) or (before["nucleus_area_um2"] != after["nucleus_area_um2"]).any()
    )


def refused(match: str, kind: type[Exception] = RequestError, **changes: Any) -> None:
    with pytest.raises(kind, match=match):
        segment_nuclei(
            np.eye(40) * 9, pixel_size_um=0.5, method="cellpose", options=Segmentation(**changes)
        )


def test_errors_name_the_remedy(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    name, other = ("cpsam", "cyto3") if MAJOR == 4 else ("cyto3", "cpsam")
    refused("segmentation.model: missing")
    refused(
        "found no file .*nothing.*absolute path", MissingDependency, model=str(tmp_path / "nothing")
    )
    refused("expected the absolute path", model="models/mine")
    refused(f"did you mean '{name}'", model=name + "x", allow_download=True)
    refused("names need allow_download = true", model=name)
    refused(f"{other!r} is a network of cellpose {7 - MAJOR}", model=other, allow_download=True)
    refused(
        "found no file .*download it; without a network, copy it there",
        MissingDependency,
        model=name,
        allow_download=True,
    )
    (tmp_path / name).write_bytes(b"")
    refused(f"or give the path of the file you have: model = '{tmp_path / name}'", model=name)
    refused("loads safely", model=str(tmp_path / name))
    evil = tmp_path / "evil"
    torch.save({"W2": print, "weights": subprocess.Popen}, evil)
    refused("loads safely", model=str(evil))
    torch.save({"a": torch.zeros(3)}, evil)
    refused("neither CP3 nor CP4", model=str(evil))
    torch.save([torch.zeros(3)], evil)
    refused("no table of weights", model=str(evil))
    torch.save({"output.2.weight" if MAJOR == 4 else "W2": torch.zeros(3)}, evil)
    refused(f"is a CP{7 - MAJOR} network, installed is cellpose {MAJOR}", model=str(evil))
    state = torch.load(network, weights_only=True)
    state.pop("out.weight" if MAJOR == 4 else "downsample.down.res_down_3.conv.conv_3.2.weight")
    torch.save(state, evil)
    image, _ = nuclei(0, 64)
    with pytest.raises(RequestError, match="lacks weights"):
        segment_nuclei(
            image, pixel_size_um=0.5, method="cellpose", options=Segmentation(model=str(evil))
        )


def test_a_run_without_its_model_stops_before_any_slide(slide: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="found no file"):
        ifquant.run(
            recipe(tmp_path / "nothing"), [slide], tmp_path / "out", execution=Execution(quiet=True)
        )
    assert not (tmp_path / "out" / "a").exists()


@pytest.mark.parametrize("found", ["nothing", "network"])
def test_a_named_network_is_fetched_once(
    network: Path, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    """Offline the error says so; else the file lands in cellpose's folder, and cellpose itself
    downloads nothing.
    """
    from ifquant.pipeline import model_files

    name = "cpsam" if MAJOR == 4 else "cyto3"
    asked: list[str] = []

    def fetched(url: str, final: Path) -> None:
        asked.append(url)
        final.write_bytes(network.read_bytes())

    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    wanted = recipe(Path(name), allow_download=True)
    if found == "nothing":
        monkeypatch.setitem(cellpose_models.NAMED[MAJOR], name, f"https://localhost:9/{name}")
        with pytest.raises(
            MissingDependency, match=f"localhost:9.*cannot be downloaded.*put it at {tmp_path}"
        ):
            ifquant.run(wanted, [slide], tmp_path / "out", execution=Execution(quiet=True))
        return
    monkeypatch.setattr(model_files, "fetch", fetched)
    for _ in range(2):
        model_files.fetch_models(wanted.segmentation, lambda text: None)
    assert asked == [cellpose_models.NAMED[MAJOR][name]]
    assert model_files.models_used(wanted.segmentation)["model"]["file"] == name


def test_the_command_line_takes_a_model(network: Path, slide: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ifquant.cli import app

    def segment(*more: str) -> Any:
        return CliRunner().invoke(
            app, ["segment", str(slide), "-o", str(tmp_path / "labels.tif"), *more]
        )

    done = segment("--method", "cellpose", "--model", str(network))
    assert done.exit_code == 0, done.output
    import tifffile

    assert tifffile.imread(tmp_path / "labels.tif").max() > 100
    assert isinstance(segment("--model", str(network)).exception, RequestError)
    assert isinstance(
        segment("--method", "cellpose", "--model", "cpsam" if MAJOR == 4 else "cyto3").exception,
        RequestError,
    )


def test_a_file_that_changes_during_the_run_is_refused(network: Path) -> None:
    with pytest.raises(RequestError, match="has changed during the run"):
        cellpose_package.load(str(network), "0" * 64)


def test_recipe_checks() -> None:
    base = {"channels": [{"name": "DAPI", "role": "nucleus"}]}

    def said(**segmentation: Any) -> str:
        return "\n".join(problems(Recipe.model_validate({**base, "segmentation": segmentation})))

    assert "segmentation.model: missing" in said(method="cellpose")
    assert "sensitivity: not read" in said(method="cellpose", model="/m", sensitivity=2.0)
    assert "no channel has role tumor or myeloid" in said(
        method="cellpose", model="/m", cell_model="/m"
    )
    assert 'segmentation.model: only read with method = "cellpose"' in said(model="/m")
    assert "segmentation.flow_threshold: only read" in said(flow_threshold=1.0)
    assert said(method="cellpose", model="/m") == ""


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_missing_or_broken_package_is_one_clear_error() -> None:
    """Each in a Python of its own, where the package named is hidden or fails as it does in the
    field.
    """
    setup = """
import sys, importlib.metadata as m
from ifquant.errors import IfquantError
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == HIDDEN:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
def tried():
    sys.meta_path.insert(0, Hide())
    from ifquant.nuclei import cellpose_package
    try: cellpose_package.import_cellpose()
    except IfquantError as error: print(type(error).__name__, error)
"""
    said = python(
        f"HIDDEN = 'nothing'{setup}\nreal = m.version\ndef version(n):\n    if n == 'cellpose':"
        " raise m.PackageNotFoundError(n)\n    return real(n)\nm.version = version\ntried()"
    )
    assert said.startswith("MissingDependency")
    assert 'pip install "ifquant[cellpose]"' in said
    assert "torch cannot be imported" in python(f"HIDDEN = 'torch'{setup}\ntried()")
    assert "No module named 'fastremap'" in python(f"HIDDEN = 'fastremap'{setup}\ntried()")
    if MAJOR == 4:
        assert "torchvision does not fit torch" in python(
            f"HIDDEN = 'nothing'{setup}\nfrom ifquant.nuclei import"
            " cellpose_package\ncellpose_package.OPERATORS = ()\ntried()"
        ), "the error users meet: operator torchvision::nms does not exist"


def test_ifquant_stays_light_and_cellpose_works_on_a_cpu_torch() -> None:
    assert (
        python("import ifquant, sys; ifquant.segment_nuclei; print('torch' in sys.modules)")
        == "False"
    )
    loaded = (
        "from ifquant.nuclei import cellpose_package;"
        " print(cellpose_package.import_cellpose().__name__)"
    )
    assert python(loaded) == "cellpose.models"


def encoders_of_other_sizes_are_built_from_the_file(tmp_path: Path) -> None:
    import torch

    net = sam_network(
        depth=4, width=96, heads=3, out=32, whole=(1, 3)
    )  # as in ViT-L, some blocks attend to the whole image
    net.save_model(str(tmp_path / "net"))
    loaded = cellpose_package.load(
        str(tmp_path / "net"), hashlib.sha256((tmp_path / "net").read_bytes()).hexdigest()
    )
    for name, value in net.state_dict().items():
        assert (loaded.model.net.state_dict()[name] == value).all()
    assert loaded.model.net.encoder.blocks[0].attn.num_heads == 3
    x = torch.rand(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(net.eval()(x)[0], loaded.model.net(x)[0])
    state = net.state_dict()
    state["encoder.blocks.1.mlp.lin2.weight"] = state["encoder.blocks.1.mlp.lin2.weight"][:, :7]
    torch.save(state, tmp_path / "odd")
    with pytest.raises(RequestError, match="in other sizes"):
        cellpose_package.load(
            str(tmp_path / "odd"), hashlib.sha256((tmp_path / "odd").read_bytes()).hexdigest()
        )


if MAJOR == 4:  # a CP3 network has one size
    test_encoders_of_other_sizes = encoders_of_other_sizes_are_built_from_the_file
