"""Readers, the writer and the sample, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Layer

from ifquant.errors import RequestError
from ifquant.slides import tiff_writer
from ifquant.slides.slide import SlideRef
from napari_ifquant.readers import result_reader, slide_reader
from napari_ifquant.sample import simulated_tissue
from napari_ifquant.write_labels import write_labels

NAMES = ["DAPI", "PanCK", "CD11c", "TGFB1", "IL1B"]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(100, 4000, (5, 1500, 1300)).astype(np.uint16)


def test_a_folder_of_results_is_known_and_nothing_else(results: Path, tmp_path: Path) -> None:
    assert result_reader(str(tmp_path)) is None
    assert result_reader(str(results / "a" / "overlay.png")) is None
    assert result_reader([str(results)]) is None
    for folder in (results, results / "a"):
        read = result_reader(str(folder))
        assert read is not None
        names = [attributes["name"] for _, attributes, _ in read(str(folder))]
        assert "cells" in names


@pytest.mark.parametrize("kind", ["pyramid", "flat", "zarr"])
def test_slides_are_read_with_names_scale_and_pixels(
    kind: str, tmp_path: Path, image: np.ndarray
) -> None:
    path = tmp_path / ("slide.zarr" if kind == "zarr" else "slide.ome.tif")
    if kind == "zarr":
        _write_zarr(path, image)
    else:
        tiff_writer.write_image(
            path, image, names=NAMES, pixel_size_um=0.325, pyramid=kind == "pyramid"
        )
    read = slide_reader(str(path))
    assert read is not None
    layers = read(str(path))
    assert [attributes["name"] for _, attributes, _ in layers] == NAMES
    for (levels, attributes, kind_of_layer), plane in zip(layers, image, strict=True):
        assert kind_of_layer == "image"
        assert attributes["scale"] == (0.325, 0.325)
        assert attributes["units"] == ("um", "um")
        assert np.array_equal(np.asarray(levels[0]), plane)
        assert max(levels[-1].shape) <= 1024
        low, high = attributes["contrast_limits"]
        assert plane.min() <= low < high <= plane.max()
        half = plane.reshape(750, 2, 650, 2).mean(axis=(1, 3))
        assert np.abs(np.asarray(levels[1]).astype(float) - half).max() <= 1
    layer = Layer.create(*layers[1])
    assert layer.multiscale


@pytest.mark.parametrize("damaged", [False, True])
def test_levels_are_those_of_the_file_unless_they_are_damaged(
    tmp_path: Path, damaged: bool
) -> None:
    """Levels a mean would not give, so that one sees where they come from; the third is too far
    from the second to follow it.
    """
    image = np.random.default_rng(1).integers(100, 200, (2, 1500, 1300)).astype(np.uint16)
    smaller = [np.full((2, 750, 650), 7, np.uint16), np.full((2, 150, 130), 8, np.uint16)]
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            image,
            subifds=2,
            tile=(256, 256),
            photometric="minisblack",
            metadata={"axes": "CYX", "Channel": {"Name": NAMES[:2]}},
        )
        for level in smaller:
            writer.write(level, subfiletype=1, tile=(128, 128), photometric="minisblack")
    if damaged:
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            offsets = tiff.pages[1].pages[1].tags["TileOffsets"]
            offsets.overwrite([10**9, *offsets.value[1:]])
    read = slide_reader(str(path))
    assert read is not None
    for (levels, _, _), plane in zip(read(str(path)), image, strict=True):
        shapes = [level.shape for level in levels]
        assert np.array_equal(np.asarray(levels[0]), plane)
        if damaged:
            assert shapes == [(1500, 1300), (750, 650)]
            assert np.asarray(levels[1]).min() > 100
        else:
            assert shapes == [(1500, 1300), (750, 650), (375, 325), (150, 130)]
            assert [np.unique(np.asarray(level)).tolist() for level in levels[1:]] == [
                [7],
                [7],
                [8],
            ]


def _write_zarr(path: Path, image: np.ndarray) -> None:
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.create_array("0", data=image, chunks=(1, 512, 512))
    scale = [{"type": "scale", "scale": [1.0, 0.325, 0.325]}]
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": a, "type": "space", "unit": "micrometer"} for a in "yx"),
    ]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    omero = {"channels": [{"label": name} for name in NAMES]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales, "omero": omero}


def test_what_ifquant_cannot_read_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"no image")
    assert slide_reader(str(tmp_path / "a.tif")) is None
    assert slide_reader(str(tmp_path / "a.png")) is None


def test_labels_are_written_with_their_size_and_read_back(tmp_path: Path) -> None:
    labels = np.zeros((300, 400), np.int64)
    labels[10:50, 20:90], labels[100:200, 5:15] = 3, 70_000
    path = str(tmp_path / "labels.ome.tif")
    assert write_labels(
        path, labels, {"name": "cells", "scale": (0.5, 0.5), "units": ("micrometer", "micrometer")}
    ) == [path]
    with SlideRef((path,)).open() as slide:
        assert slide.info.pixel_size_um == 0.5
    assert np.array_equal(tifffile.imread(path), labels)
    write_labels(
        path,
        [labels, labels[::2, ::2]],
        {"multiscale": True, "scale": (1.0, 1.0), "units": ("pixel", "pixel")},
    )
    with SlideRef((path,)).open() as slide:
        assert slide.info.pixel_size_um is None
    with pytest.raises(RequestError, match="0 for background"):
        write_labels(path, labels - 1, {})
    with pytest.raises(RequestError, match="one image"):
        write_labels(path, labels[None], {})


def test_the_sample_has_channels_and_true_cells() -> None:
    layers = simulated_tissue(256)
    assert [attributes["name"] for _, attributes, _ in layers] == [*NAMES, "true cells"]
    assert layers[-1][0].max() > 20
    assert all(attributes["scale"] == (0.5, 0.5) for _, attributes, _ in layers)
