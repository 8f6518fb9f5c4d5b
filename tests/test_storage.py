"""Writing: whole or not at all, errors named, nothing left behind; stores that other programs read
and that detect their own damage.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from images import pixels

from ifquant.errors import RequestError, ResourceError, UnreadableImage
from ifquant.files import storage
from ifquant.files.run_lock import LOCK_NAME, RunLock
from ifquant.files.table_files import column_metadata, write_csv, write_parquet
from ifquant.geometry.windows import Window
from ifquant.slides.slide import SlideRef, inspect, read_labels
from ifquant.slides.tiff_writer import OmePixels, write_image, write_ome_tiff
from ifquant.slides.zarr_reader import CHUNK_MANIFEST
from ifquant.slides.zarr_writer import Display, LabelPyramidWriter

ROOT = Path(__file__).resolve().parents[1]
TABLE = pd.DataFrame(
    {
        "cell_id": np.arange(5, dtype="int32"),
        "x_um": np.linspace(0, 1, 5),
        "phenotype": pd.Categorical(list("abbac")),
    }
)
LABELS = np.zeros((150, 230), np.uint32)
LABELS[10:20, 10:30] = 1
LABELS[100:140, 200:230] = 70_000


def write_store(path: Path) -> None:
    with LabelPyramidWriter(path, shape=LABELS.shape, pixel_size_um=0.5, creator="test") as writer:
        for name in ("nuclei", "cells"):
            writer.write(name, lambda w: LABELS[w.y0 : w.y1, w.x0 : w.x1])
        ranges = ((0.0, 100.0), (5.0, 300.0))
        writer.write_display(
            Display(pixels((2, 75, 115)), 2.0, ("DAPI", "CK"), ("0000ff", "#00FF00"), ranges)
        )


def write_tiff(path: Path) -> None:
    write_image(path, pixels((2, 100, 90)), pixel_size_um=0.5, names=["a", "b"], tile_px=32)


def write_png(path: Path) -> None:
    with storage.atomic_path(path) as part:
        part.write_bytes(b"picture")


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.json": lambda path: storage.write_json(path, {"b": 1}),
    "a.txt": lambda path: storage.write_text(path, "hello"),
    "a.npz": lambda path: storage.write_npz(path, {"x": np.arange(5)}),
    "a.parquet": lambda path: write_parquet(TABLE, path),
    "a.csv": lambda path: write_csv(TABLE, path),
    "a.ome.tif": write_tiff,
    "a.ome.zarr": write_store,
    "a.png": write_png,
}


def content(path: Path) -> object:
    """Everything a path holds, comparable."""
    if path.is_dir():
        return {
            file.relative_to(path).as_posix(): file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_writers_write_and_replace(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / "folder" / name
    WRITERS[name](path)
    first = content(path)
    assert first
    WRITERS[name](path)
    assert content(path) == first, "equal input, equal bytes"
    assert os.listdir(path.parent) == [name]


def test_json_is_stable_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    storage.write_json(
        path,
        {
            "b": np.float32(0.5),
            "a": np.nan,
            "c": (np.int64(3), Path("x")),
            "d": np.arange(2),
            "e": np.bool_(True),
        },
    )
    assert path.read_bytes().endswith(b"}\n")
    assert json.loads(path.read_text()) == {
        "a": None,
        "b": 0.5,
        "c": [3, "x"],
        "d": [0, 1],
        "e": True,
    }
    assert list(json.loads(path.read_text())) == ["a", "b", "c", "d", "e"]
    assert storage.read_json(path)["b"] == 0.5
    assert storage.read_json(tmp_path / "none.json") is None


class Nth:
    """Lets the n-th change to the disk fail."""

    def __init__(self, n: int, code: int) -> None:
        self.n, self.code, self.count = n, code, 0

    def __call__(self, operation: str, path: str) -> None:
        self.count += 1
        if self.count == self.n:
            raise OSError(self.code, os.strerror(self.code), path)


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["disk full", "input/output error"])
def test_any_failing_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = content(path)
    counter = Nth(-1, code)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "before_mutation", counter)
        WRITERS[name](path)
    total = counter.count
    assert total >= 3
    steps = (
        range(1, total + 1)
        if total < 40
        else sorted({*range(1, 12), *range(12, total, 7), *range(total - 6, total + 1)})
    )
    for n in steps:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "before_mutation", Nth(n, code))
            with pytest.raises(
                ResourceError, match="disk is full" if code == errno.ENOSPC else "writing failed"
            ):
                WRITERS[name](path)
        assert content(path) in (before, None), f"change {n} of {total}"
        if (
            content(path) is None
        ):  # between the two renames of a replaced folder the old one is set aside
            assert name.endswith(".zarr")
            WRITERS[name](path)
        storage.remove_parts(tmp_path)
        assert os.listdir(tmp_path) == [name], f"change {n} of {total}"
    WRITERS[name](path)
    assert content(path) == before


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
import os, pathlib
import test_storage
from ifquant.files import storage
count = 0
def crash(operation, path):
    global count
    count += 1
    if count == {n}:
        os._exit(9)
storage.before_mutation = crash
test_storage.WRITERS[{name!r}](pathlib.Path({path!r}))
"""


@pytest.mark.parametrize(("name", "n"), [("a.ome.tif", 12), ("a.ome.zarr", 30), ("a.parquet", 3)])
def test_a_killed_writer_leaves_no_final_file(tmp_path: Path, name: str, n: int) -> None:
    code = CHILD.format(
        tests=str(Path(__file__).parent), root=str(ROOT), n=n, name=name, path=str(tmp_path / name)
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 9, child.stderr
    left = os.listdir(tmp_path)
    assert left
    assert all(storage.is_part(entry) for entry in left)
    assert sorted(storage.remove_parts(tmp_path)) == sorted(left)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_full_disk_inside_tifffile_and_pyarrow_is_a_resource_error(tmp_path: Path) -> None:
    """The libraries write by themselves and raise OSError without errno; the limit stands for a
    full disk.
    """
    code = textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT)!r}]
        import pathlib, resource, signal
        import numpy as np, pandas as pd
        from ifquant.errors import ResourceError
        from ifquant.files.table_files import write_parquet
        from ifquant.slides.tiff_writer import write_image
        noise = np.random.default_rng(0).integers(0, 65535, (2, 200, 200)).astype("uint16")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        folder = pathlib.Path({str(tmp_path)!r})
        for write in (
            lambda: write_parquet(
                pd.DataFrame({{"x": np.random.default_rng(0).random(50_000)}}), folder / "a.parquet"
            ),
            lambda: write_image(folder / "a.ome.tif", noise, pixel_size_um=1, pyramid=False),
        ):
            try:
                write()
            except ResourceError as error:
                print("refused", str(error)[:0])
        """)
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert child.stdout.split() == ["refused", "refused"], child.stderr
    assert os.listdir(tmp_path) == []


def test_impossible_places_are_requests(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="cannot be written"):
        storage.write_text(tmp_path / "file" / "a.txt", "x")
    with (
        pytest.raises(ResourceError, match="nothing was written"),
        storage.atomic_path(tmp_path / "a.png"),
    ):
        pass
    with contextlib.suppress(KeyError), storage.atomic_path(tmp_path / "a.png") as part:
        part.write_text("half")
        raise KeyError("ours")
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(TypeError, match="objects"):
        storage.write_npz(tmp_path / "a.npz", {"x": np.array([None])})


def test_nothing_else_in_the_package_changes_the_disk() -> None:
    pattern = re.compile(
        r"""\.write_(text|bytes)\(|os\.(replace|rename|unlink|remove|makedirs|mkdir|rmdir)\(|shutil\.|\.(mkdir|unlink|touch|rmdir)\(|\.rename\((?!\w+=)|"""
        r"""open\([^)]*["'](w|a|x|r\+)|imwrite\(|\.to_(csv|parquet|json|html)\((?!\w+=|\)|$)|np\.savez?(_compressed)?\("""
    )
    found = []
    for file in sorted((ROOT / "ifquant").rglob("*.py")):
        if file.name != "storage.py":
            lines = file.read_text("utf-8").splitlines()
            found += [
                f"{file.name}:{n}: {line.strip()}"
                for n, line in enumerate(lines, 1)
                if pattern.search(re.sub(r"storage\.(write_|rename)", "", line))
            ]
    assert found == []


def test_is_part() -> None:
    assert storage.is_part(storage.part_name("a.ome.tif"))
    assert storage.is_part(storage.part_name("é" * 200))
    assert len(storage.part_name("é" * 200).encode()) < 200
    assert not any(
        map(
            storage.is_part,
            ["a.ome.tif", ".ifquant.lock", "x.part.tif", ".a.part", ".hidden.12.part.tif"],
        )
    )


# ---- lock ----------------------------------------------------------------------------------------


def test_lock_refuses_a_second_run_and_survives_a_dead_one(tmp_path: Path) -> None:
    out = tmp_path / "results"
    with RunLock(out):
        assert json.loads((out / LOCK_NAME).read_text())["pid"] == os.getpid()
        with (
            pytest.raises(
                RequestError, match=rf"another run is writing here \(process {os.getpid()} on"
            ),
            RunLock(out),
        ):
            pass
    assert os.listdir(out) == []
    (out / LOCK_NAME).write_text('{"pid": 1, "host": "elsewhere"}')  # left by a killed run
    with RunLock(out):
        pass
    assert os.listdir(out) == []


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})\nfrom ifquant.files.run_lock import"
        " RunLock\n"
    )
    code += f"RunLock({str(tmp_path)!r}).__enter__()\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('locked', flush=True)\nsys.stdin.read()"],
        stdin=-1,
        stdout=-1,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(RequestError, match=f"process {holder.pid} on"), RunLock(tmp_path):
            pass
        holder.kill()
    with RunLock(tmp_path):
        pass


# ---- tables --------------------------------------------------------------------------------------


def test_parquet_keeps_types_and_meanings(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = TABLE.assign(positive=pd.array([True, None, False, True, None], dtype="boolean"))
    write_parquet(table, path, {"x_um": {"unit": "um", "meaning": "centroid"}}, {"ifquant": "0.1"})
    pd.testing.assert_frame_equal(pd.read_parquet(path), table)
    assert column_metadata(path)["x_um"] == {"unit": "um", "meaning": "centroid"}
    write_parquet(table.iloc[:0], tmp_path / "empty.parquet")
    empty = pd.read_parquet(tmp_path / "empty.parquet")  # Parquet keeps no categories without rows
    pd.testing.assert_frame_equal(empty, table.iloc[:0].assign(phenotype=empty["phenotype"]))
    assert isinstance(empty["phenotype"].dtype, pd.CategoricalDtype)


# ---- OME-TIFF ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zlib", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_ome_tiff_is_read_by_us_and_by_tifffile(
    tmp_path: Path, compression: str, dtype: str
) -> None:
    path = tmp_path / "a.ome.tif"
    image = pixels((3, 75, 117), dtype)
    write_image(
        path,
        image,
        pixel_size_um=0.325,
        names=["DAPI", "µ-Opioid & <x>", "CK"],
        compression=compression,
        tile_px=32,
        significant_bits=6,
    )
    np.testing.assert_array_equal(tifffile.imread(path), image)
    with tifffile.TiffFile(path) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [
            (3, 75, 117),
            (3, 38, 59),
            (3, 19, 30),
        ]
        half = tiff.series[0].levels[1].asarray()
        assert tiff.pages[0].software == "ifquant"
    want = image[:, :74, :116].astype(float).reshape(3, 37, 2, 58, 2).mean((2, 4))
    assert np.abs(half[:, :37, :58] - want).max() <= (0.5 if dtype != "float32" else 1e-5)
    with SlideRef((str(path),)).open() as slide:
        np.testing.assert_array_equal(slide.read([0, 1, 2], Window(0, 0, 75, 117)), image)
        info = slide.info
    assert info.channels == ("DAPI", "µ-Opioid & <x>", "CK")
    assert (info.pixel_size_um, info.pixel_size_origin, info.levels, info.max_value) == (
        0.325,
        "ome",
        3,
        63,
    )


def test_ome_xml_is_valid(tmp_path: Path) -> None:
    ome_types = pytest.importorskip("ome_types")
    path = tmp_path / "a.ome.tif"
    write_image(path, pixels((2, 40, 40)), pixel_size_um=0.5, names=["a", "b"], significant_bits=12)
    with tifffile.TiffFile(path) as tiff:
        image = ome_types.from_xml(tiff.pages[0].description).images[0].pixels
    assert (
        image.size_c,
        image.physical_size_x,
        image.significant_bits,
        [c.name for c in image.channels],
    ) == (2, 0.5, 12, ["a", "b"])


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 100),
    width=st.integers(1, 100),
    step=st.sampled_from([16, 32, 64]),
    seed=st.integers(0, 99),
)
def test_blocks_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, step: int, seed: int
) -> None:
    image = pixels((2, height, width), seed=seed)
    windows = [
        Window(y, x, min(y + step, height), min(x + step, width))
        for y in range(0, height, step)
        for x in range(0, width, step)
    ]
    order = np.random.default_rng(seed).permutation(len(windows))

    def blocks() -> Iterator[tuple[Window, np.ndarray]]:
        for k in order:
            w = windows[k]
            yield w, image[:, w.y0 : w.y1, w.x0 : w.x1]

    path = tmp_path_factory.mktemp("blocks") / "a.ome.tif"
    write_ome_tiff(
        path,
        blocks(),
        OmePixels(image.shape, "uint16", ["a", "b"], labels=True),
        tile_px=16,
    )
    with tifffile.TiffFile(path) as tiff:
        for level, series in enumerate(tiff.series[0].levels):
            np.testing.assert_array_equal(
                series.asarray().reshape(-1), image[:, :: 2**level, :: 2**level].reshape(-1)
            )


def test_misplaced_blocks_are_refused(tmp_path: Path) -> None:
    image = pixels((1, 64, 64))
    one = OmePixels(image.shape, "uint16", ["a"])
    cases = [
        ([(Window(0, 0, 64, 32), image[:, :, :32])], "leave 2 of 4 tiles"),
        (
            [(Window(0, 0, 64, 64), image), (Window(0, 0, 32, 32), image[:, :32, :32])],
            "given twice",
        ),
        ([(Window(0, 0, 40, 64), image[:, :40])], "not aligned"),
        ([(Window(0, 0, 64, 64), image[:, :40])], "expected uint16"),
    ]
    for blocks, text in cases:
        with pytest.raises(RequestError, match=text):
            write_ome_tiff(tmp_path / "a.ome.tif", blocks, one, tile_px=32)
    assert os.listdir(tmp_path) == []


# ---- OME-Zarr ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ifquant.slides.zarr_writer.CHUNK_PX", 64)
        patch.setattr("ifquant.slides.zarr_writer._TOP_PX", 64)
        yield


@pytest.fixture
def store(tmp_path: Path, small_chunks: None) -> Path:
    path = tmp_path / "labels.ome.zarr"
    write_store(path)
    return path


def test_store_is_valid_ome_zarr(store: Path) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    image = models.Image.from_zarr(zarr.open_group(store, mode="r"))
    assert len(image.attributes.ome.multiscales[0].datasets) == 3
    group = models.Labels.from_zarr(zarr.open_group(store / "labels", mode="r"))
    assert group.attributes.ome.labels == ["nuclei", "cells"]
    for name in ("nuclei", "cells"):
        label = models.ImageLabel.from_zarr(zarr.open_group(store / "labels" / name, mode="r"))
        assert len(label.attributes.ome.multiscales[0].datasets) == 3
    array = zarr.open_array(store / "labels" / "cells" / "0", mode="r")
    assert (array.dtype, array.shape, array.chunks) == (np.dtype("uint32"), (150, 230), (64, 64))


def test_store_is_read_back(store: Path) -> None:
    np.testing.assert_array_equal(
        read_labels(store, "cells", Window(5, 7, 150, 230)), LABELS[5:, 7:]
    )
    for level in range(3):
        array = zarr.open_array(store / "labels" / "nuclei" / str(level), mode="r")
        np.testing.assert_array_equal(array[...], LABELS[:: 2**level, :: 2**level])
    info, problems = inspect(SlideRef((str(store),)))
    assert (info.format, info.shape, info.channels, info.pixel_size_um, problems) == (
        "OME-Zarr 0.5",
        (2, 75, 115),
        ("DAPI", "CK"),
        1.0,
        [],
    )
    assert info.levels == 3
    with SlideRef((str(store),)).open() as slide:
        np.testing.assert_array_equal(
            slide.read([1], Window(3, 4, 70, 110))[0], pixels((2, 75, 115))[1, 3:70, 4:110]
        )
    manifest = json.loads((store / CHUNK_MANIFEST).read_text())
    assert manifest["chunks"]["labels/nuclei/0"] == [
        "0/0",
        "1/3",
        "2/3",
    ]  # background chunks are not written


def test_empty_labels(tmp_path: Path, small_chunks: None) -> None:
    with LabelPyramidWriter(tmp_path / "a.ome.zarr", shape=(3, 200), pixel_size_um=1.0) as writer:
        writer.write("nuclei", lambda w: np.zeros(w.shape, np.uint32))
    assert not read_labels(tmp_path / "a.ome.zarr", "nuclei", Window(0, 0, 3, 200)).any()


def test_missing_chunks_are_errors(store: Path) -> None:
    (store / "labels" / "cells" / "0" / "c" / "2" / "3").unlink()
    with pytest.raises(
        UnreadableImage, match="1 of 3 written chunks of 'labels/cells/0' are missing"
    ):
        read_labels(store, "cells", Window(0, 0, 10, 10))
    read_labels(store, "nuclei", Window(0, 0, 10, 10))


def test_flipped_bits_are_errors(store: Path) -> None:
    chunk = store / "labels" / "cells" / "0" / "c" / "2" / "3"
    original = chunk.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(original)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        chunk.write_bytes(damaged)
        try:
            got = read_labels(store, "cells", Window(0, 0, 150, 230))
        except UnreadableImage:
            continue
        np.testing.assert_array_equal(got, LABELS)


def test_missing_chunks_of_other_programs_are_background_with_a_warning(
    tmp_path: Path, small_chunks: None
) -> None:
    path = tmp_path / "a.ome.zarr"
    write_store(path)
    (path / CHUNK_MANIFEST).unlink()
    (path / "0" / "c" / "1" / "0" / "0").unlink()
    info, problems = inspect(SlideRef((str(path),)))
    assert problems == []
    assert "1 of 8 chunks are absent and read as 0" in info.warnings[0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_reading_both_versions(tmp_path: Path, version: str) -> None:
    image = pixels((1, 2, 3, 40, 50))
    path = tmp_path / "slide.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for level in range(2):
        part = image[..., :: 2**level, :: 2**level]
        array = group.create_array(
            str(level), shape=part.shape, chunks=(1, 1, 1, 16, 16), dtype=part.dtype
        )
        array[...] = part
    metadata = {
        "multiscales": [
            {
                "axes": [
                    {"name": "t", "type": "time"},
                    {"name": "c", "type": "channel"},
                    *({"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"),
                ],
                "datasets": [
                    {
                        "path": str(k),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1, 1, 900, 250.0 * 2**k, 250.0 * 2**k]}
                        ],
                    }
                    for k in range(2)
                ],
                "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1, 2.0, 2.0]}],
                **({"version": "0.4"} if version == "0.4" else {}),
            }
        ],
        "omero": {"channels": [{"label": "DAPI"}, {"label": "CK"}]},
    }
    group.attrs.update(metadata if version == "0.4" else {"ome": {"version": "0.5", **metadata}})
    ref = SlideRef((str(path),), z="max")
    info, problems = inspect(ref)
    assert (info.format, info.shape, info.channels, info.z_planes, problems) == (
        f"OME-Zarr {version}",
        (2, 40, 50),
        ("DAPI", "CK"),
        3,
        [],
    )
    assert info.pixel_size_um == pytest.approx(0.5)
    with ref.open() as slide:
        np.testing.assert_array_equal(
            slide.read([1, 0], Window(3, 4, 40, 49)), image[0, ::-1].max(axis=1)[:, 3:40, 4:49]
        )


def test_foreign_and_old_stores_are_refused(tmp_path: Path) -> None:
    plain, old, plate, outside = (
        tmp_path / name for name in ("plain.zarr", "old.zarr", "plate.zarr", "outside.zarr")
    )
    zarr.open_group(plain, mode="w")
    zarr.open_group(old, mode="w", zarr_format=2).attrs["multiscales"] = [
        {"version": "0.2", "datasets": [{"path": "0"}]}
    ]
    zarr.open_group(plate, mode="w").attrs["ome"] = {"version": "0.5", "plate": {}}
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    zarr.open_group(outside, mode="w").attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "../x"}]}],
    }
    for path, text in [
        (plain, "without OME-Zarr image metadata"),
        (old, "0.2"),
        (plate, "plate"),
        (outside, "outside the folder"),
    ]:
        info, problems = inspect(SlideRef((str(path),)))
        assert info.format == "unreadable"
        assert text in problems[0]
        assert "\n" not in problems[0]
    (plain / "zarr.json").write_text("{broken")
    assert inspect(SlideRef((str(plain),)))[0].format == "unreadable"
