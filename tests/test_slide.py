"""Slides: names, finding, channel names, several files as one slide, projections, crops,
fingerprints.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from images import ome_tiff, pixels

from ifquant.errors import MissingDependency, RequestError, SlideError, UnreadableImage
from ifquant.geometry.windows import Window
from ifquant.slides import slide_names
from ifquant.slides.image_reader import ImageFacts
from ifquant.slides.slide import (
    SlideRef,
    fingerprint,
    inspect,
    named_channels,
    renamed_by_index,
    require_usable,
)
from ifquant.slides.slide_names import find_slides, slide_name, unique_names
from ifquant.slides.tiff_writer import write_image


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/s1.ome.tif", "s1"),
        ("s1.OME.TIFF", "s1"),
        ("a b.qptiff", "a_b"),
        ("x/slide.ome.zarr", "slide"),
        ("x/slide.zarr/", "slide"),
        ("plate.1.tif", "plate.1"),
        ("CON.tif", "CON_"),
        ("..tif", "slide"),
        ("-rf.tif", "rf"),
        ("=cmd().tif", "cmd"),
        ("Gewebe_ä.tif", "Gewebe_a"),
        ("a\nb.tif", "a_b"),
        ("日本.tif", "slide"),
        ("scan.czi", "scan"),
        (".tif", "tif"),
        ("x" * 300 + ".tif", "x" * 64),
    ],
)
def test_slide_name(path: str, name: str) -> None:
    assert slide_name(path) == name


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=12))
def test_names_are_safe_and_unique(names: list[str]) -> None:
    made = unique_names([name.replace("/", "_") + ".ome.tif" for name in names])
    assert len({name.casefold() for name in made}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) for name in made)


def test_unique_names_number_repeats() -> None:
    assert unique_names(["a/s.tif", "b/S.tif", "c/s.ome.tif", "c/t.tif"]) == [
        "s",
        "S_2",
        "s_3",
        "t",
    ]


def test_find_slides(tmp_path: Path) -> None:
    for name in ("s10.tif", "s2.ome.tif", "notes.txt", ".hidden.tif", "old.czi", "s1.qptiff"):
        (tmp_path / name).touch()
    (tmp_path / "store.ome.zarr").mkdir()
    (tmp_path / "store.ome.zarr" / "inner.tif").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "deep.tif").touch()
    names = ["old.czi", "s1.qptiff", "s2.ome.tif", "s10.tif", "store.ome.zarr"]
    assert find_slides([str(tmp_path)]) == [str(tmp_path / name) for name in names]
    assert find_slides([str(tmp_path / "s*.tif")]) == [str(tmp_path / name) for name in names[2:4]]
    assert find_slides([str(tmp_path / "**" / "deep*")]) == [str(tmp_path / "sub" / "deep.tif")]
    assert find_slides([str(tmp_path / "s10.tif"), str(tmp_path), f"{tmp_path}/store.ome.zarr/"])[
        0
    ].endswith("s10.tif")
    assert len(find_slides([str(tmp_path / "s10.tif"), str(tmp_path)])) == len(names)
    (tmp_path / "empty").mkdir()
    for bad in ("missing.tif", "empty", "x*.tif"):
        with pytest.raises(RequestError, match="no "):
            find_slides([str(tmp_path / bad)])


def test_one_channel_files_make_a_slide(tmp_path: Path) -> None:
    image = pixels((3, 40, 50))
    paths = []
    for channel, name in enumerate(["DAPI", "CK", "CD11c"]):
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, image[channel], photometric="minisblack")
        paths.append(str(path))
    ref = SlideRef(
        tuple(paths),
        channel_names=("DAPI", "CK", "CD11c"),
        pixel_size_um=0.4,
        pixel_size_origin="sheet",
    )
    assert pickle.loads(pickle.dumps(ref)) == ref
    with ref.open() as slide:
        assert slide.info.channels == ("DAPI", "CK", "CD11c")
        assert slide.info.format == "3 files (TIFF)"
        assert (slide.info.pixel_size_um, slide.info.pixel_size_origin, slide.info.problems) == (
            0.4,
            "sheet",
            (),
        )
        np.testing.assert_array_equal(
            slide.read([2, 0], Window(1, 2, 30, 40)), image[[2, 0], 1:30, 2:40]
        )
    tifffile.imwrite(tmp_path / "CK.tif", image[1, :20], photometric="minisblack")
    with pytest.raises(SlideError, match="the files of this slide differ"):
        ref.open()
    assert "differ" in inspect(ref)[1][0]


def test_channel_names(tmp_path: Path) -> None:
    twice = str(ome_tiff(tmp_path / "a.ome.tif", pixels((3, 16, 16)), names=["CK", "ck", "DAPI"]))
    info, problems = inspect(SlideRef((twice,)))
    assert "channel name 'CK' occurs 2 times" in problems[0]
    assert "index = [0, 1]" in problems[0]
    names = named_channels(info, {1: "CD11c"})
    assert names == ("CK", "CD11c", "DAPI")
    assert inspect(SlideRef((twice,), channel_names=names))[1] == []
    ref = renamed_by_index(SlideRef((twice,)), info, {1: "CD11c"})
    assert inspect(ref)[1] == []
    assert renamed_by_index(ref, inspect(ref)[0], {0: "other"}) == ref, (
        "names that do address the channels are kept"
    )
    with pytest.raises(SlideError, match="index 3, the slide has 3"):
        named_channels(info, {3: "x"})
    with pytest.raises(SlideError, match="2 channel names were given, the slide has 3"):
        SlideRef((twice,), channel_names=("a", "b")).open()
    nameless = tmp_path / "b.tif"
    tifffile.imwrite(nameless, pixels((2, 16, 16)), photometric="minisblack")
    info, _ = inspect(SlideRef((str(nameless),), pixel_size_um=1))
    assert (info.channels, info.named, info.problems) == (("channel_0", "channel_1"), False, ())
    assert "index in the recipe" in info.warnings[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_projections(tmp_path: Path, dtype: str) -> None:
    stack = pixels((2, 5, 30, 40), dtype)
    path = str(ome_tiff(tmp_path / "a.ome.tif", stack, axes="CZYX", names=["a", "b"]))
    whole = Window(0, 0, 30, 40)
    wants: dict[object, np.ndarray] = {"max": stack.max(axis=1), 0: stack[:, 0], 4: stack[:, 4]}
    wants["mean"] = (
        stack.astype(float).mean(axis=1) if dtype == "float32" else np.rint(stack.mean(axis=1))
    )
    for z, want in wants.items():
        with SlideRef((path,), z=z).open() as slide:  # type: ignore[arg-type]
            got = slide.read([0, 1], whole)
            assert (slide.info.shape, slide.info.z_planes, got.dtype) == (
                (2, 30, 40),
                5,
                np.dtype(dtype),
            )
            np.testing.assert_array_equal(got, want.astype(dtype))
    with SlideRef((path,)).open() as slide, pytest.raises(SlideError, match=r'slide\.z = "max"'):
        slide.read([0], whole)
    assert "it has 5 planes" in inspect(SlideRef((path,), z=5))[1][0]
    flat = str(ome_tiff(tmp_path / "b.ome.tif", pixels((1, 16, 16)), names=["a"]))
    for z in ("max", 3):
        with SlideRef((flat,), z=z).open() as slide:  # type: ignore[arg-type]
            assert slide.read([0], Window(0, 0, 16, 16)).shape == (1, 16, 16)


def test_crop(tmp_path: Path) -> None:
    image = pixels((1, 60, 80))
    path = str(
        ome_tiff(tmp_path / "a.ome.tif", image, names=["a"], tile=(16, 16), compression="zlib")
    )
    ref = SlideRef((path,), crop=Window(10, 20, 50, 70))
    with ref.open() as slide:
        assert (slide.info.shape, slide.origin) == ((1, 40, 50), (10, 20))
        np.testing.assert_array_equal(
            slide.read([0], Window(0, 0, 40, 50))[0], image[0, 10:50, 20:70]
        )
        with pytest.raises(RequestError, match="outside the image of 40 x 50"):
            slide.read([0], Window(0, 0, 41, 50))
    info, _ = inspect(replace(ref, crop=Window(30, 30, 100, 100)))
    assert info.shape == (1, 30, 50)
    assert "cut to 50 x 30" in " ".join(info.warnings)
    with pytest.raises(SlideError, match="lies outside the image of 80 x 60"):
        replace(ref, crop=Window(60, 0, 70, 10)).open()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_tiny_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    image = pixels((1, *shape))
    write_image(tmp_path / "a.ome.tif", image, pixel_size_um=0.5, names=["a"])
    with SlideRef((str(tmp_path / "a.ome.tif"),)).open() as slide:
        np.testing.assert_array_equal(slide.read([0], Window(0, 0, *shape)), image)
        assert slide.read([], Window(0, 0, *shape)).shape == (0, *shape)
        assert slide.read([0], Window(0, 0, 0, 0)).shape == (1, 0, 0)


def test_require_usable_names_every_problem(tmp_path: Path) -> None:
    path = str(
        ome_tiff(
            tmp_path / "a.ome.tif",
            pixels((2, 3, 16, 16), "uint8").astype("int16"),
            axes="CZYX",
            names=["a", "A"],
            um=None,
        )
    )
    with pytest.raises(SlideError) as caught:
        require_usable(inspect(SlideRef((path,)))[0])
    for text in ("--pixel-size", 'slide.z = "max"', "index = [0, 1]", "int16"):
        assert text in str(caught.value)
    with pytest.raises(UnreadableImage, match="no such file"):
        require_usable(inspect(SlideRef((str(tmp_path / "none.tif"),)))[0])
    with pytest.raises(RequestError, match=r"pixel size .* is nan"):
        SlideRef((path,), pixel_size_um=float("nan"))


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((1, 16, 16)), names=["a"])
    copy = tmp_path / "b.ome.tif"
    copy.write_bytes(path.read_bytes())
    first = fingerprint(SlideRef((str(path),)))
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert fingerprint(SlideRef((str(copy),), pixel_size_um=3, z="max")) == first
    with copy.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xee")
    assert fingerprint(SlideRef((str(copy),))) != first
    folder = tmp_path / "z.zarr"
    (folder / "0" / "c").mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "0" / "c" / "0").write_text("12")
    one = fingerprint(SlideRef((str(folder),)))
    (folder / "0" / "c" / "0").rename(folder / "0" / "c" / "1")
    assert fingerprint(SlideRef((str(folder),))) != one
    with pytest.raises(UnreadableImage, match="no such file"):
        fingerprint(SlideRef((str(tmp_path / "none.tif"),)))


def test_examples(data_dir: Path) -> None:
    info, problems = inspect(
        SlideRef(
            (str(data_dir / "examples" / "instanseg_Fluorescence_example.tif"),), pixel_size_um=0.5
        )
    )
    assert (info.format, info.shape, info.dtype, problems) == (
        "ImageJ TIFF",
        (2, 450, 450),
        "uint8",
        [],
    )
    info, problems = inspect(
        SlideRef((str(data_dir / "examples" / "unmicst_105_dapi_tissue.tif"),))
    )
    assert (info.pixel_size_um, info.pixel_size_origin, problems) == (
        pytest.approx(0.65, abs=1e-4),
        "resolution-tag",
        [],
    )
    info, problems = inspect(
        SlideRef((str(data_dir / "breast_mif" / "ABCM22001_B09_MiniCrop.ome.tif"),))
    )
    assert info.channels == ("DAPI", "PDL1", "GZMB", "PD1", "CK-EPCAM", "CD8a", "FOXP3")
    assert len(problems) == 1
    assert "--pixel-size" in problems[0]


class RampReader:
    """A reader as another package registers it: one channel, pixels count along rows."""

    def __init__(self, path: str) -> None:
        self.facts = ImageFacts("Ramp", (1, 1, 5, 8), "uint16", ("DAPI",), (0.5, 0.5), "ome")

    def levels(self) -> tuple[tuple[int, int], ...]:
        return ((5, 8),)

    def read_plane(self, channel: int, z: int, window: Window, level: int = 0) -> np.ndarray:
        return np.arange(40, dtype=np.uint16).reshape(5, 8)[window.slices_in(Window(0, 0, 5, 8))]

    def close(self) -> None:
        pass


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Metadata of an installed package with readers for .ramp, .czi and .gone."""
    info = tmp_path / "site" / "ramp-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ramp\nVersion: 1.0\n")
    lines = [f"{suffix} = {__name__}:RampReader" for suffix in ("ramp", "czi", "tif")]
    lines.append("gone = no_such_module:Reader")
    (info / "entry_points.txt").write_text("\n".join(["[ifquant.readers]", *lines]))
    monkeypatch.syspath_prepend(info.parent)
    slide_names._plugin_suffixes.cache_clear()
    yield tmp_path
    slide_names._plugin_suffixes.cache_clear()


@pytest.mark.parametrize("name", ["a.ramp", "b.CZI"])
def test_a_package_adds_a_format(package: Path, name: str) -> None:
    path = package / name
    path.write_bytes(b"ramp")
    assert find_slides([str(package)]) == [str(path)]
    assert slide_name(str(path)) == name[0]
    with SlideRef((str(path),)).open() as slide:
        assert (slide.info.format, slide.info.channels) == ("Ramp", ("DAPI",))
        np.testing.assert_array_equal(slide.read([0], Window(1, 2, 2, 4)), [[[10, 11]]])


def test_a_package_replaces_no_reader_of_ours(package: Path) -> None:
    path = ome_tiff(package / "a.tif", pixels((1, 20, 30)))
    assert inspect(SlideRef((str(path),)))[0].format == "OME-TIFF"


def test_a_package_that_cannot_be_loaded_is_named(package: Path) -> None:
    (package / "a.gone").write_bytes(b"x")
    with pytest.raises(MissingDependency, match=r"plugin that reads \.gone cannot be loaded"):
        SlideRef((str(package / "a.gone"),)).open()
