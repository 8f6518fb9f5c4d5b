"""Smaller levels of a slide: what they hold, and that they are checked as the slide itself is,
which never depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from images import ome_zarr, pixels

from ifquant.errors import RequestError, UnreadableImage
from ifquant.geometry.windows import Window
from ifquant.slides.slide import SlideRef, inspect
from ifquant.slides.tiff_writer import write_image
from ifquant.slides.zarr_reader import CHUNK_MANIFEST

SHAPE = (2, 151, 203)
"""Odd sizes: programs round levels up or down."""
STEPS = (2, 4)
WINDOWS = (Window(0, 0, 5, 7), Window(3, 9, 30, 33), Window(17, 2, 37, 50))
QPI = "<PerkinElmer-QPI-ImageDescription>{}</PerkinElmer-QPI-ImageDescription>"


def with_subifds(
    path: Path, image: np.ndarray, byteorder: Any = None, **options: Any
) -> list[np.ndarray]:
    """OME-TIFF, levels as SubIFDs of each plane; returns all levels."""
    levels = [image, *(np.ascontiguousarray(image[:, ::step, ::step]) for step in STEPS)]
    common = {"tile": (32, 48), "photometric": "minisblack", **options}
    with tifffile.TiffWriter(path, ome=True, byteorder=byteorder) as writer:
        writer.write(image, subifds=len(STEPS), metadata={"axes": "CYX"}, **common)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **common)
    return levels


def with_pages(path: Path, image: np.ndarray, *, qptiff: bool) -> list[np.ndarray]:
    """Levels as pages after those of the image, and a color thumbnail among them."""
    levels = [image, *(np.ascontiguousarray(image[:, ::step, ::step]) for step in STEPS)]
    software = "PerkinElmer-QPI" if qptiff else "scanner"
    with tifffile.TiffWriter(path) as writer:
        for k, level in enumerate(levels):
            for c, plane in enumerate(level):
                kind = "FullResolution" if k == 0 else "ReducedResolution"
                tag = "PerkinElmer-QPI-ImageDescription"
                text = f"<{tag}><ImageType>{kind}</ImageType><Name>m{c}</Name></{tag}>"
                writer.write(
                    plane,
                    tile=(32, 48),
                    description=text if qptiff else None,
                    metadata=None,
                    software=software,
                    contiguous=False,
                    photometric="minisblack",
                    compression="zlib",
                    subfiletype=int(k > 0),
                )
            if k == 0:
                text = QPI.format("<ImageType>Thumbnail</ImageType>")
                thumbnail = np.zeros((20, 27, 3), image.dtype)
                writer.write(
                    thumbnail,
                    photometric="rgb",
                    description=text if qptiff else None,
                    metadata=None,
                    software=software,
                    subfiletype=1,
                )
    return levels


def zarr_pyramid(path: Path, image: np.ndarray, zarr_format: int = 3) -> list[np.ndarray]:
    """OME-Zarr as other programs write it."""
    levels = [image, *(np.ascontiguousarray(image[:, ::step, ::step]) for step in STEPS)]
    ome_zarr(path, image, zarr_format)
    group = zarr.open_group(path, mode="a", zarr_format=zarr_format)
    for k, level in enumerate(levels[1:], 1):
        group.create_array(str(k), shape=level.shape, chunks=(1, 32, 40), dtype=level.dtype)[
            ...
        ] = level
    _set_datasets(group, [str(k) for k in range(len(levels))])
    return levels


def _set_datasets(group: Any, names: Sequence[str]) -> None:
    attributes = dict(group.attrs)
    owner = attributes.get("ome", attributes)
    scales = [[1.0, 0.5 * 2**k, 0.5 * 2**k] for k in range(len(names))]
    owner["multiscales"][0]["datasets"] = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for name, scale in zip(names, scales, strict=True)
    ]
    group.attrs.update(attributes)


def check(paths: Sequence[Path], levels: Sequence[np.ndarray]) -> None:
    with SlideRef(tuple(map(str, paths)), pixel_size_um=0.5).open() as slide:
        before = slide.read([1, 0], WINDOWS[1])
        assert slide.levels == tuple(level.shape[1:] for level in levels)
        for k, level in enumerate(levels):
            for window in (*WINDOWS, Window(0, 0, *level.shape[1:])):
                got = slide.read([1, 0], window, level=k)
                assert got.dtype == level.dtype.newbyteorder("=")
                np.testing.assert_array_equal(
                    got,
                    level[[1, 0]][(slice(None), *window.slices_in(Window(0, 0, *level.shape[1:])))],
                )
        np.testing.assert_array_equal(slide.read([1, 0], WINDOWS[1]), before)
        with pytest.raises(RequestError, match="lies outside"):
            slide.read([0], Window(0, 0, *SHAPE[1:]), level=1)
        with pytest.raises(RequestError, match=f"found level 3; the slide has {len(levels)}"):
            slide.read([0], Window(0, 0, 1, 1), level=3)
        with pytest.raises(RequestError, match="found level -1"):
            slide.read([0], Window(0, 0, 1, 1), level=-1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_subifds(tmp_path: Path, dtype: str, compression: str | None) -> None:
    path = tmp_path / "a.ome.tif"
    image = pixels(SHAPE, dtype.replace(">u2", "uint16"))
    levels = with_subifds(
        path, image, compression=compression, byteorder=">" if dtype == ">u2" else "<"
    )
    check([path], levels)
    with tifffile.TiffFile(path) as tiff:
        for level, theirs in zip(levels, tiff.series[0].levels, strict=True):
            np.testing.assert_array_equal(theirs.asarray(), level)


def test_what_ifquant_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    write_image(path, pixels((2, 1100, 1300)), names=["a", "b"], pixel_size_um=0.5, pyramid=True)
    with SlideRef((str(path),)).open() as slide, tifffile.TiffFile(path) as tiff:
        theirs = [level.asarray() for level in tiff.series[0].levels]
        assert len(slide.levels) == slide.info.levels == len(theirs) > 1
        for k, level in enumerate(theirs):
            np.testing.assert_array_equal(
                slide.read([0, 1], Window(0, 0, *level.shape[1:]), k), level
            )


@pytest.mark.parametrize("qptiff", [True, False])
def test_levels_as_pages(tmp_path: Path, qptiff: bool) -> None:
    path = tmp_path / ("a.qptiff" if qptiff else "a.tif")
    levels = with_pages(path, pixels(SHAPE), qptiff=qptiff)
    assert inspect(SlideRef((str(path),)))[0].format == ("QPTIFF" if qptiff else "TIFF")
    check([path], levels)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr(tmp_path: Path, zarr_format: int) -> None:
    path = tmp_path / "a.zarr"
    check([path], zarr_pyramid(path, pixels(SHAPE), zarr_format))


def test_real_qptiff(data_dir: Path) -> None:
    path = data_dir / "examples" / "small_vectra.qptiff"
    with SlideRef((str(path),)).open() as slide, tifffile.TiffFile(path) as tiff:
        theirs = [level.asarray() for level in tiff.series[0].levels]
        assert slide.levels == tuple(level.shape[1:] for level in theirs)
        for k, level in enumerate(theirs):
            np.testing.assert_array_equal(
                slide.read([0, 1, 2], Window(0, 0, *level.shape[1:]), k), level
            )


def test_one_channel_files_share_their_levels(tmp_path: Path) -> None:
    image, paths, levels = pixels(SHAPE), [tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"], []
    for path, plane in zip(paths, image, strict=True):
        levels.append(with_subifds(path, plane[None]))
    check(paths, [np.concatenate(pair) for pair in zip(*levels, strict=True)])
    write_image(tmp_path / "c.ome.tif", image[1:], names=["c"], pixel_size_um=0.5)
    with SlideRef((str(paths[0]), str(tmp_path / "c.ome.tif")), pixel_size_um=0.5).open() as slide:
        assert slide.levels == (SHAPE[1:],)


def test_crops_and_projections_have_no_levels(tmp_path: Path) -> None:
    with_subifds(tmp_path / "a.ome.tif", pixels(SHAPE))
    with SlideRef((str(tmp_path / "a.ome.tif"),), crop=Window(10, 10, 90, 90)).open() as slide:
        assert slide.levels == ((80, 80),)
        with pytest.raises(RequestError, match="found level 1; the slide has 1"):
            slide.read([0], Window(0, 0, 1, 1), level=1)
    with tifffile.TiffWriter(tmp_path / "z.ome.tif", ome=True) as writer:
        stack = pixels((2, 3, 64, 64))
        writer.write(
            stack, subifds=1, tile=(32, 32), photometric="minisblack", metadata={"axes": "CZYX"}
        )
        writer.write(stack[:, :, ::2, ::2], subfiletype=1, tile=(32, 32), photometric="minisblack")
    with SlideRef((str(tmp_path / "z.ome.tif"),), z="max").open() as slide:
        assert slide.levels == ((64, 64),)


# ---- damage --------------------------------------------------------------------------------------


def refused(path: Path, image: np.ndarray) -> str:
    """What is said of the levels; the slide itself is read as ever."""
    with SlideRef((str(path),)).open() as slide:
        with pytest.raises(UnreadableImage) as caught:
            _ = slide.levels
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, *SHAPE[1:])), image)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("TileOffsets", 10**9, "in its level 1, page 1 points beyond the end of the file"),
        ("TileByteCounts", 0, "in its level 1, page 1 lacks pixel data"),
        ("ImageWidth", 1000, "and 76 x 1000 px x 1 uint16"),
        ("BitsPerSample", 8, "its planes differ"),
    ],
)
def test_levels_with_a_damaged_header_are_refused(
    tmp_path: Path, tag: str, value: int, said: str
) -> None:
    path, image = tmp_path / "a.ome.tif", pixels(SHAPE)
    with_subifds(path, image, compression="zlib")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        found = tiff.pages[1].pages[0].tags[tag]
        found.overwrite([value, *found.value[1:]] if isinstance(found.value, tuple) else value)
    assert said in refused(path, image)


def test_levels_that_are_no_copies_are_refused(tmp_path: Path) -> None:
    image = pixels(SHAPE)
    for name, level in (
        ("wide", image[:, ::4, ::2]),
        ("same", image),
        ("type", image[:, ::2, ::2].astype(np.uint8)),
    ):
        path = tmp_path / f"{name}.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as writer:
            writer.write(
                image, subifds=1, tile=(32, 48), photometric="minisblack", metadata={"axes": "CYX"}
            )
            writer.write(
                np.ascontiguousarray(level), subfiletype=1, tile=(32, 48), photometric="minisblack"
            )
        assert ("its planes differ" if name == "type" else "no copy of the image") in refused(
            path, image
        )
        path = tmp_path / f"{name}.zarr"
        zarr_pyramid(path, image)
        group = zarr.open_group(path, mode="a")
        group.create_array("x", data=np.ascontiguousarray(level), chunks=(1, 32, 40))
        _set_datasets(group, ["0", "x"])
        assert ("its level 'x' is" if name == "type" else "no copy of the image") in refused(
            path, image
        )


def test_damaged_pixels_of_a_level_are_told_when_they_are_read(tmp_path: Path) -> None:
    path, image = tmp_path / "a.ome.tif", pixels(SHAPE)
    levels = with_subifds(path, image, compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 40)
    with SlideRef((str(path),)).open() as slide:
        with pytest.raises(UnreadableImage, match="it cannot be read"):
            slide.read([0], Window(0, 0, 8, 8), level=1)
        np.testing.assert_array_equal(
            slide.read([1], Window(0, 0, 8, 8), level=1)[0], levels[1][1, :8, :8]
        )
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, *SHAPE[1:])), image)

    path = tmp_path / "a.zarr"
    zarr_pyramid(path, image)
    (path / "1" / "c" / "0" / "0" / "0").write_bytes(b"\xff" * 40)
    with SlideRef((str(path),)).open() as slide:
        with pytest.raises(UnreadableImage):
            slide.read([0], Window(0, 0, 8, 8), level=1)
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, *SHAPE[1:])), image)


def test_missing_chunks_of_a_level_are_missed_where_chunks_are_listed(tmp_path: Path) -> None:
    path, image = tmp_path / "a.zarr", pixels(SHAPE)
    levels = zarr_pyramid(path, image)
    chunks = {}
    for k in range(3):
        root = path / str(k) / "c"
        chunks[str(k)] = sorted(
            file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()
        )
    (path / CHUNK_MANIFEST).write_text(json.dumps({"chunks": chunks}))
    check([path], levels)
    (path / "2" / "c" / "1" / "0" / "0").unlink()
    assert "written chunks of '2' are missing" in refused(path, image)
