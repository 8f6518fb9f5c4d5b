"""Reading TIFF: the same pixels as numpy slicing, whatever the container; damage is an error or
does no harm.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import ome_tiff, ome_zarr, pixels, rewrite_description

from ifquant.errors import SlideError, UnreadableImage
from ifquant.geometry.windows import Window
from ifquant.slides.ome_xml import parse_ome
from ifquant.slides.slide import SlideRef, inspect, require_usable

SHAPE = (3, 75, 117)
KINDS: dict[str, dict[str, Any]] = {
    "strips": {},
    "strips of 7 rows": {"rowsperstrip": 7},
    "big-endian strips": {"byteorder": ">", "rowsperstrip": 16},
    "BigTIFF": {"bigtiff": True},
    "tiles": {"tile": (32, 48)},
    "big-endian tiles": {"tile": (16, 32), "byteorder": ">"},
    "zlib strips": {"compression": "zlib", "rowsperstrip": 10},
    "zlib tiles, predictor": {"compression": "zlib", "predictor": True, "tile": (32, 32)},
    "lzw": {"compression": "lzw", "rowsperstrip": 20},
    "zstd tiles": {"compression": "zstd", "tile": (64, 64)},
    "lzma": {"compression": "lzma"},
    "packbits": {"compression": "packbits", "rowsperstrip": 9},
    "jpeg2000": {"compression": "jpeg2000", "tile": (32, 32)},
    "png": {"compression": "png", "tile": (32, 32)},
}


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], tuple[Path, np.ndarray]]:
    folder = tmp_path_factory.mktemp("kinds")
    made = {}
    for dtype in ("uint8", "uint16", "float32"):
        image = pixels(SHAPE, dtype)
        for number, (name, options) in enumerate(KINDS.items()):
            if dtype == "float32" and name in ("jpeg2000", "png"):
                continue
            path = ome_tiff(
                folder / f"{number}_{dtype}.ome.tif", image, names=["a", "b", "c"], **options
            )
            made[name, dtype] = (path, image)
        contiguous = folder / f"samples_{dtype}.tif"
        tifffile.imwrite(
            contiguous,
            np.moveaxis(image, 0, -1),
            photometric="minisblack",
            planarconfig="contig",
            compression="zlib",
            tile=(32, 32),
        )
        made["interleaved samples", dtype] = (contiguous, image)
        separate = folder / f"planes_{dtype}.tif"
        tifffile.imwrite(
            separate, image, photometric="minisblack", planarconfig="separate", rowsperstrip=11
        )
        made["separate samples", dtype] = (separate, image)
        imagej = folder / f"imagej_{dtype}.tif"
        tifffile.imwrite(imagej, image, imagej=True, metadata={"axes": "CYX"})
        made["ImageJ", dtype] = (imagej, image)
        made["zarr 2", dtype] = (ome_zarr(folder / f"2_{dtype}.ome.zarr", image, 2), image)
        made["zarr 3", dtype] = (
            ome_zarr(folder / f"3_{dtype}.ome.zarr", image, chunks=(2, 50, 50)),
            image,
        )
        made["zarr 3, shards", dtype] = (
            ome_zarr(folder / f"s_{dtype}.ome.zarr", image, chunks=(1, 16, 16), shards=(3, 64, 64)),
            image,
        )
    return made


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_windows_equal_slices(
    files: dict[tuple[str, str], tuple[Path, np.ndarray]], data: st.DataObject
) -> None:
    path, image = files[data.draw(st.sampled_from(sorted(files)))]
    crop = data.draw(st.none() | st.just(Window(5, 9, 70, 100)))
    with SlideRef((str(path),), crop=crop).open() as slide:
        whole = image if crop is None else image[:, 5:70, 9:100]
        assert slide.info.shape == whole.shape
        for _ in range(4):
            y = sorted(data.draw(st.tuples(*[st.integers(0, whole.shape[1])] * 2)))
            x = sorted(data.draw(st.tuples(*[st.integers(0, whole.shape[2])] * 2)))
            channels = data.draw(st.lists(st.integers(0, 2), max_size=4))
            got = slide.read(channels, Window(y[0], x[0], y[1], x[1]))
            assert got.dtype == image.dtype
            assert got.dtype.isnative
            np.testing.assert_array_equal(got, whole[channels, y[0] : y[1], x[0] : x[1]])


def test_every_kind_whole(files: dict[tuple[str, str], tuple[Path, np.ndarray]]) -> None:
    for (name, dtype), (path, image) in files.items():
        with SlideRef((str(path),)).open() as slide:
            np.testing.assert_array_equal(
                slide.read([0, 1, 2], Window(0, 0, 75, 117)), image, err_msg=f"{name} {dtype}"
            )
            assert slide.info.dtype == dtype


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file with holes")
def test_planes_above_two_gigapixels(tmp_path: Path) -> None:
    """Offsets and indices beyond 2**31 in a BigTIFF; the file is a hole but for its last rows."""
    path = tmp_path / "big.tif"
    shape = (46_500, 46_400)
    tifffile.imwrite(
        path, shape=shape, dtype="uint8", bigtiff=True, photometric="minisblack", metadata=None
    )
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start + 46_499 * shape[1] + 46_300)
        file.write(bytes(range(100)))
    with SlideRef((str(path),)).open() as slide:
        assert slide.info.shape == (1, *shape)
        last = slide.read([0], Window(46_498, 46_290, 46_500, 46_400))[0]
    assert not last[0].any()
    np.testing.assert_array_equal(last[1], [0] * 10 + list(range(100)))


def test_a_full_cache_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifquant.slides.tiff_reader.CACHE_TILED_BYTES", 3000)
    image = pixels((2, 200, 200))
    path = ome_tiff(tmp_path / "a.ome.tif", image, tile=(32, 32), compression="zlib")
    with SlideRef((str(path),)).open() as slide:
        for _ in range(2):
            np.testing.assert_array_equal(
                slide.read([1, 0], Window(3, 5, 190, 200)), image[::-1, 3:190, 5:200]
            )


def test_overlapping_windows_decode_each_strip_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ome_tiff(
        tmp_path / "a.ome.tif", pixels((1, 64, 640)), compression="zlib", rowsperstrip=8
    )
    with SlideRef((str(path),)).open() as slide:
        reader: Any = slide._readers[0]
        reads: list[int] = []
        original = reader._bytes
        monkeypatch.setattr(
            reader, "_bytes", lambda offset, count: reads.append(offset) or original(offset, count)
        )
        for x in range(0, 640, 64):
            slide.read([0], Window(0, x, 64, x + 64))
    assert len(reads) == len(set(reads)) == 8


# ---- metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "ZTCYX", "CZTYX", "ZCTYX", "CTZYX"])
def test_dimension_orders(tmp_path: Path, axes: str) -> None:
    sizes = {"T": 1, "Z": 3, "C": 2, "Y": 8, "X": 9}
    image = np.arange(np.prod([sizes[a] for a in axes]), dtype="uint16").reshape(
        [sizes[a] for a in axes]
    )
    path = ome_tiff(tmp_path / "a.ome.tif", image, axes=axes)
    want = np.moveaxis(image, [axes.index(a) for a in "CZT"], [0, 1, 2])[:, :, 0]  # C, Z, Y, X
    for z, expected in [
        (1, want[:, 1]),
        ("max", want.max(axis=1)),
        ("mean", np.rint(want.mean(axis=1))),
    ]:
        with SlideRef((str(path),), z=z).open() as slide:  # type: ignore[arg-type]
            np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, 8, 9)), expected)
    assert 'slide.z = "max"' in " ".join(inspect(SlideRef((str(path),)))[1])


def test_explicit_plane_table(tmp_path: Path) -> None:
    image = pixels((3, 16, 16))
    path = ome_tiff(tmp_path / "a.ome.tif", image)
    blocks = "".join(f'<TiffData IFD="{ifd}" FirstC="{c}"/>' for c, ifd in enumerate([2, 0, 1]))
    rewrite_description(
        path,
        lambda text: text.replace(text[text.index("<TiffData") : text.index("</Pixels>")], blocks),
    )
    with SlideRef((str(path),)).open() as slide:
        np.testing.assert_array_equal(slide.read([0, 1, 2], Window(0, 0, 16, 16)), image[[2, 0, 1]])


@pytest.mark.parametrize(
    ("unit", "value", "want"),
    [
        ("nm", "324.99", 0.32499),
        ("mm", "0.0005", 0.5),
        ("µm", "0.5", 0.5),
        ("pixel", "0.5", None),
        ("reference frame", "1", None),
        ("µm", "-1", None),
    ],
)
def test_units_of_ome(tmp_path: Path, unit: str, value: str, want: float | None) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((1, 16, 16)))
    rewrite_description(
        path, lambda text: text.replace('"µm"', f'"{unit}"').replace('="0.5"', f'="{value}"')
    )
    info, problems = inspect(SlideRef((str(path),)))
    assert info.pixel_size_um == (None if want is None else pytest.approx(want))
    assert info.pixel_size_origin == ("none" if want is None else "ome")
    assert any("--pixel-size" in problem for problem in problems) == (want is None)


def test_unequal_and_implausible_pixels_are_refused_unless_stated(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((1, 16, 16)))
    rewrite_description(
        path, lambda text: text.replace('PhysicalSizeY="0.5"', 'PhysicalSizeY="0.6"')
    )
    assert "not square" in inspect(SlideRef((str(path),)))[1][0]
    info, problems = inspect(SlideRef((str(path),), pixel_size_um=0.5))
    assert (problems, info.pixel_size_um, info.pixel_size_origin) == ([], 0.5, "option")
    assert "the file says" in " ".join(info.warnings)
    far = ome_tiff(tmp_path / "b.ome.tif", pixels((1, 16, 16)), um=500.0)
    assert "is it in nm? Then it is 0.5 um" in inspect(SlideRef((str(far),)))[1][0]


@pytest.mark.parametrize(
    ("resolution", "unit", "want"),
    [
        ((20_000, 20_000), "CENTIMETER", 0.5),
        ((50_800, 50_800), "INCH", 0.5),
        ((72, 72), "INCH", None),
        ((96, 96), "INCH", None),
        ((1, 1), "NONE", None),
        ((20_000, 20_000), "NONE", None),
        ((300, 300), "INCH", None),
    ],
)
def test_resolution_tags(
    tmp_path: Path, resolution: tuple[int, int], unit: str, want: float | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels((40, 40)),
        photometric="minisblack",
        resolution=resolution,
        resolutionunit=unit,
        metadata=None,
    )
    info, _ = inspect(SlideRef((str(path),)))
    assert info.pixel_size_um == (None if want is None else pytest.approx(want))


@pytest.mark.parametrize(
    ("unit", "want"),
    [
        ("um", 0.25),
        ("micron", 0.25),
        ("\\u00B5m", 0.25),
        ("nm", None),
        ("pixel", None),
        ("parsec", None),
    ],
)
def test_imagej_units(tmp_path: Path, unit: str, want: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels((2, 40, 40)),
        imagej=True,
        resolution=(4, 4),
        metadata={"unit": unit, "axes": "CYX", "Labels": ["DAPI", "CK"]},
    )
    info, problems = inspect(SlideRef((str(path),)))
    assert info.format == "ImageJ TIFF"
    assert info.channels == ("DAPI", "CK")
    if want is not None:
        assert info.pixel_size_um == pytest.approx(want)
    else:
        assert problems


def test_imagej_hyperstack(tmp_path: Path) -> None:
    image = pixels((3, 2, 20, 30))  # Z, C, Y, X
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, imagej=True, metadata={"axes": "ZCYX"})
    with SlideRef((str(path),), z="max").open() as slide:
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, 20, 30)), image.max(axis=0))


def test_imagej_stack_with_one_directory(tmp_path: Path) -> None:
    """ImageJ writes stacks above 4 GB with a single directory and all planes behind it."""
    image = pixels((4, 20, 30)).astype(">u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        image[0],
        byteorder=">",
        metadata=None,
        description="ImageJ=1.53\nimages=4\nchannels=4\n",
        photometric="minisblack",
    )
    with path.open("ab") as file, tifffile.TiffFile(path) as tiff:
        end = tiff.pages[0].dataoffsets[0] + image[0].nbytes
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(image[1:].tobytes())
    with SlideRef((str(path),)).open() as slide:
        np.testing.assert_array_equal(
            slide.read([0, 1, 2, 3], Window(2, 3, 20, 29)), image[:, 2:20, 3:29]
        )
    with path.open("r+b") as file:
        file.truncate(end + image[0].nbytes * 2)
    assert "cut off" in inspect(SlideRef((str(path),)))[1][0]


def test_pyramids_read_full_resolution(tmp_path: Path) -> None:
    image = pixels((2, 128, 160))
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(
            image, subifds=2, tile=(32, 32), photometric="minisblack", metadata={"axes": "CYX"}
        )
        for step in (2, 4):
            writer.write(
                image[:, ::step, ::step], subfiletype=1, tile=(32, 32), photometric="minisblack"
            )
    with SlideRef((str(path),)).open() as slide:
        assert slide.info.levels == 3
        np.testing.assert_array_equal(slide.read([1], Window(0, 0, 128, 160))[0], image[1])


def test_qptiff_and_component_data(data_dir: Path) -> None:
    info, problems = inspect(SlideRef((str(data_dir / "examples" / "small_vectra.qptiff"),)))
    assert (info.format, info.shape, info.channels, problems) == (
        "QPTIFF",
        (3, 1440, 1920),
        ("DAPI", "FITC", "Cy3"),
        [],
    )
    assert info.pixel_size_um == pytest.approx(0.4965, abs=1e-4)
    assert info.pixel_size_origin == "qpi"
    component = data_dir / "vectra_fihc4" / "FIHC4__0929309_HP_IM3_2_component_data.tif"
    with SlideRef((str(component),)).open() as slide, tifffile.TiffFile(component) as tiff:
        assert slide.info.shape == (5, 260, 348)
        for channel in range(5):
            np.testing.assert_array_equal(
                slide.read([channel], Window(0, 0, 260, 348))[0], tiff.pages[channel].asarray()
            )


def test_bit_depth_hint(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((1, 16, 16)))
    rewrite_description(
        path, lambda text: text.replace("<Pixels ", '<Pixels SignificantBits="12" ')
    )
    assert inspect(SlideRef((str(path),)))[0].max_value == 4095


def test_ome_xml_agrees_with_ome_types(data_dir: Path) -> None:
    ome_types = pytest.importorskip("ome_types")
    paths = [
        data_dir / "codex_expert" / "R001_X003_Y004.ome.tif",
        data_dir / "breast_mif" / "ABCM22001_B09_MiniCrop.ome.tif",
    ]
    for path in paths:
        with tifffile.TiffFile(path) as tiff:
            text = tiff.pages[0].description
        ours = parse_ome(text).images[0]
        theirs = ome_types.from_xml(text).images[0].pixels
        assert (ours.size_c, ours.size_z, ours.size_t, ours.size_y, ours.size_x) == (
            theirs.size_c,
            theirs.size_z,
            theirs.size_t,
            theirs.size_y,
            theirs.size_x,
        )
        assert [channel.name for channel in ours.channels] == [
            channel.name for channel in theirs.channels
        ]


# ---- refusals ------------------------------------------------------------------------------------


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SlideError) as caught:
        require_usable(inspect(SlideRef((str(path),), **options))[0])
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_multi_file_ome_is_refused(tmp_path: Path) -> None:
    """ecosystem.md, finding 2: tifffile gives A's pixels for the series that lies in B."""
    a, b = tmp_path / "A.ome.tif", tmp_path / "B.ome.tif"
    ids = [
        "urn:uuid:00000000-0000-0000-0000-00000000000a",
        "urn:uuid:00000000-0000-0000-0000-00000000000b",
    ]
    images = "".join(
        f'<Image ID="Image:{i}"><Pixels ID="Pixels:{i}" DimensionOrder="XYZCT" Type="uint16"'
        f' SizeX="16" SizeY="16" SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:{i}:0"'
        ' SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"><UUID'
        f' FileName="{name}">{ids[i]}</UUID></TiffData></Pixels></Image>'
        for i, name in enumerate(["A.ome.tif", "B.ome.tif"])
    )
    for path, uuid, value in ((a, ids[0], 100), (b, ids[1], 200)):
        xml = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
            f' UUID="{uuid}">{images}</OME>'
        )
        tifffile.imwrite(
            path,
            np.full((16, 16), value, "uint16"),
            description=xml,
            metadata=None,
            photometric="minisblack",
        )
    with tifffile.TiffFile(a) as tiff:
        assert len(tiff.series) == 2  # tifffile follows
    for path in (a, b):
        assert "other files" in refusal(path)


@pytest.mark.parametrize("name", ["../secret.tif", "/etc/passwd", "other.tif"])
def test_foreign_file_names_are_refused(tmp_path: Path, name: str) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((2, 16, 16)))
    uuid = f'<UUID FileName="{name}">urn:uuid:1</UUID>'
    foreign = (
        '<TiffData IFD="0" PlaneCount="1"/><TiffData FirstC="1" IFD="0"'
        f' PlaneCount="1">{uuid}</TiffData>'
    )
    rewrite_description(
        path,
        lambda text: text.replace(text[text.index("<TiffData") : text.index("</Pixels>")], foreign),
    )
    assert name in refusal(path)


def test_a_renamed_file_is_its_own(tmp_path: Path) -> None:
    image = pixels((2, 16, 16))
    path = ome_tiff(tmp_path / "a.ome.tif", image)
    own = (
        '<TiffData IFD="0" PlaneCount="2"><UUID'
        ' FileName="before.ome.tif">urn:uuid:1</UUID></TiffData>'
    )
    rewrite_description(
        path,
        lambda text: text.replace(
            text[text.index("<TiffData") : text.index("</Pixels>")], own
        ).replace("UUID=", "Old="),
    )
    with SlideRef((str(path),)).open() as slide:
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, 16, 16)), image)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda t: t[: len(t) // 2], "OME-XML is broken"),
        (lambda t: '<!DOCTYPE lolz [<!ENTITY lol "lol">]>' + t, "document type"),
        (lambda t: t.replace('SizeC="2"', 'SizeC="7"'), "promise 7 planes"),
        (lambda t: t.replace('SizeX="16"', 'SizeX="32"'), "16 x 32"),
        (lambda t: t.replace('SizeX="16"', 'SizeX="-5"'), "negative"),
        (lambda t: t.replace('SizeX="16"', 'SizeX="many"'), "whole number"),
        (lambda t: t.replace('"uint16"', '"float"'), "say float32 but the pixels are uint16"),
        (lambda t: t.replace('IFD="0"', 'IFD="99"'), "cut off"),
        (
            lambda t: (
                '<OME xmlns="x"><BinaryOnly MetadataFile="set.companion.ome" UUID="u"/></OME>'
            ),
            "set.companion.ome",
        ),
    ],
)
def test_lying_metadata_is_refused(tmp_path: Path, edit: Any, text: str) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((2, 16, 16)))
    rewrite_description(path, edit)
    assert text in refusal(path)


def test_pictures_are_refused(tmp_path: Path) -> None:
    rgb = tmp_path / "rgb.tif"
    tifffile.imwrite(rgb, pixels((32, 32, 3), "uint8"), photometric="rgb")
    assert "RGB" in refusal(rgb, pixel_size_um=0.5)
    rgba = tmp_path / "rgba.tif"
    tifffile.imwrite(
        rgba, pixels((32, 32, 4), "uint16"), photometric="rgb", extrasamples=["unassalpha"]
    )
    assert "separate grayscale planes" in refusal(rgba, pixel_size_um=0.5)
    white = tmp_path / "white.tif"
    tifffile.imwrite(white, pixels((32, 32)), photometric="miniswhite")
    assert "invert" in refusal(white, pixel_size_um=0.5)
    jpeg = ome_tiff(
        tmp_path / "jpeg.ome.tif", pixels((1, 64, 64), "uint8"), compression="jpeg", tile=(32, 32)
    )
    assert "slide.allow_lossy = true" in refusal(jpeg)
    assert inspect(SlideRef((str(jpeg),), allow_lossy=True))[1] == []
    lossless = ome_tiff(
        tmp_path / "j2k.ome.tif", pixels((1, 64, 64)), compression="jpeg2000", tile=(32, 32)
    )
    assert inspect(SlideRef((str(lossless),)))[1] == []
    times = ome_tiff(tmp_path / "t.ome.tif", pixels((4, 1, 16, 16)), axes="TCYX")
    assert "time series" in refusal(times)
    fields = tmp_path / "fields.ome.tif"
    with tifffile.TiffWriter(fields, ome=True) as writer:
        for seed in range(2):
            writer.write(
                pixels((16, 16), seed=seed), photometric="minisblack", metadata={"axes": "YX"}
            )
    assert "2 images of the same size" in refusal(fields, pixel_size_um=0.5)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float64", "bool"])
def test_other_types_are_read_but_not_analysed(tmp_path: Path, dtype: str) -> None:
    image = pixels((2, 32, 32), "uint8").astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None)
    assert f"its pixels are {dtype}" in refusal(path, pixel_size_um=0.5)
    with SlideRef((str(path),)).open() as slide:
        np.testing.assert_array_equal(slide.read([0, 1], Window(0, 0, 32, 32)), image)


def test_things_that_are_no_images(tmp_path: Path) -> None:
    empty, html = tmp_path / "empty.tif", tmp_path / "page.tif"
    empty.touch()
    html.write_text("<html>not found</html>")
    assert "empty" in refusal(empty)
    assert "not an image ifquant reads" in refusal(html)
    assert "no such file" in refusal(tmp_path / "missing.tif")
    assert "folder" in refusal(tmp_path)
    czi = tmp_path / "a.czi"
    czi.write_bytes(b"ZISRAWFILE")
    assert "bioformats2raw" in refusal(czi)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.tif")
        assert "pipe" in refusal(tmp_path / "pipe.tif")


def bad_tiff(
    path: Path, entries: list[tuple[int, int, int, int]], tail: bytes = b"", following: int = 0
) -> Path:
    """Write a TIFF of one directory by hand: entries are (tag, type, count, value)."""
    directory = (
        struct.pack("<H", len(entries))
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", following)
    )
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + tail)
    return path


def test_absurd_claims_are_refused_before_allocation(tmp_path: Path) -> None:
    base = [(258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1)]
    huge = bad_tiff(
        tmp_path / "huge.tif",
        [
            (256, 4, 1, 2**32 - 1),
            (257, 4, 1, 2**32 - 1),
            *base,
            (278, 4, 1, 2**32 - 1),
            (279, 4, 1, 100),
        ],
    )
    wide = bad_tiff(
        tmp_path / "wide.tif",
        [(256, 4, 1, 10**6), (257, 4, 1, 10**6), *base, (278, 4, 1, 10**6), (279, 4, 1, 100)],
    )
    none = bad_tiff(
        tmp_path / "none.tif",
        [(256, 4, 1, 0), (257, 4, 1, 10), *base, (278, 4, 1, 10), (279, 4, 1, 0)],
    )
    loop = bad_tiff(
        tmp_path / "loop.tif",
        [(256, 4, 1, 4), (257, 4, 1, 4), *base, (278, 4, 1, 4), (279, 4, 1, 16)],
        b"\0" * 32,
        following=8,
    )
    started = time.monotonic()
    for path in (huge, wide, none, loop):
        assert "Copy or export it again" in refusal(path)
    assert time.monotonic() - started < 2


def test_sparse_tiles_are_background_missing_ones_an_error(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tiles: Iterator[Any] = iter(
        [np.full((32, 32), 7, "uint16"), None, None, np.full((32, 32), 9, "uint16")]
    )
    tifffile.imwrite(
        path, tiles, shape=(64, 64), dtype="uint16", tile=(32, 32), photometric="minisblack"
    )
    with SlideRef((str(path),)).open() as slide:
        assert "2 of 4 tiles" in slide.info.warnings[0]
        got = slide.read([0], Window(0, 0, 64, 64))[0]
    assert [got[0, 0], got[0, 40], got[40, 0], got[40, 40]] == [7, 0, 0, 9]
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[324]
        tag.overwrite(
            [tag.value[0], 8, 0, tag.value[3]]
        )  # an offset without bytes was not declared empty
    assert "does not declare as empty" in refusal(path)


def outcomes(content: bytes, variants: Iterator[bytes], path: Path) -> dict[str, int]:
    """What becomes of damaged copies: refused, the same pixels, or silently different pixels."""
    path.write_bytes(content)
    with SlideRef((str(path),), z=0).open() as slide:
        window = Window(0, 0, *slide.info.shape[1:])
        right = slide.read(range(slide.info.shape[0]), window)
    count = {"refused": 0, "same": 0, "wrong": 0}
    for variant in variants:
        path.write_bytes(variant)
        try:
            with SlideRef((str(path),), z=0).open() as slide:
                require_usable(slide.info)
                got = slide.read(range(slide.info.shape[0]), Window(0, 0, *slide.info.shape[1:]))
        except SlideError:
            count["refused"] += 1
        else:
            count["same" if np.array_equal(got, right) else "wrong"] += 1
    return count


@pytest.mark.parametrize(
    "name", ["strips", "tiles", "zlib tiles, predictor", "zstd tiles", "ImageJ"]
)
def test_truncated_files_never_give_other_pixels(
    files: dict[tuple[str, str], tuple[Path, np.ndarray]], tmp_path: Path, name: str
) -> None:
    content = files[name, "uint16"][0].read_bytes()
    cuts = [round(len(content) * k / 40) for k in range(40)] + [
        len(content) - k for k in range(1, 10)
    ]
    result = outcomes(content, (content[:cut] for cut in cuts), tmp_path / "cut.tif")
    assert result["wrong"] == 0
    assert result["refused"] >= 38, result


def test_flipped_bits_in_headers(
    files: dict[tuple[str, str], tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    """With a checksum in the codec no flip of the directories may change pixels silently."""
    content = files["zlib strips", "uint16"][0].read_bytes()
    with tifffile.TiffFile(files["zlib strips", "uint16"][0]) as tiff:
        spans = [(page.offset, page.offset + 2 + 12 * len(page.tags)) for page in tiff.pages]
    rng = np.random.default_rng(1)

    def flipped() -> Iterator[bytes]:
        for _ in range(250):
            start, end = spans[rng.integers(len(spans))]
            at = int(rng.integers(start, end)) if rng.random() < 0.8 else int(rng.integers(0, 16))
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(rng.integers(8))
            yield bytes(damaged)

    result = outcomes(content, flipped(), tmp_path / "flip.tif")
    assert result["wrong"] == 0, result
    assert result["refused"] > 50, result


def test_flipped_bits_in_zlib_data_are_errors(
    files: dict[tuple[str, str], tuple[Path, np.ndarray]], tmp_path: Path
) -> None:
    path = files["zlib tiles, predictor", "uint16"][0]
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[1].dataoffsets[2], tiff.pages[1].databytecounts[2]
    rng = np.random.default_rng(2)

    def flipped() -> Iterator[bytes]:
        for _ in range(60):
            damaged = bytearray(content)
            damaged[offset + int(rng.integers(2, count))] ^= 1 << int(rng.integers(8))
            yield bytes(damaged)

    result = outcomes(content, flipped(), tmp_path / "flip.tif")
    assert result["refused"] >= 57, result


def test_a_file_that_shrinks_while_open_is_an_error(tmp_path: Path) -> None:
    path = ome_tiff(tmp_path / "a.ome.tif", pixels((2, 200, 200)))
    with SlideRef((str(path),)).open() as slide:
        os.truncate(path, 5000)
        with pytest.raises(UnreadableImage, match=r"ends before|cut off"):
            slide.read([1], Window(0, 0, 200, 200))
