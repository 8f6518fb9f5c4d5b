"""What the user must know is said on the terminal, the gravest first; `--strict` makes it an exit
code. One check of the pixel size.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from point_cohorts import write_cohort
from small_slides import write_small_slide

import ifquant
from ifquant import notes
from ifquant.errors import RequestError
from ifquant.notes import Note, grave, gravest_first, mild
from ifquant.recipe.pixel_size import check_pixel_size, implausible
from ifquant.recipe.table_mapping import TableMapping
from ifquant.slides.sample_sheet import read_samples
from ifquant.slides.slide import SlideRef, inspect


def command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "error", "-m", "ifquant.cli", *map(str, words)]
    done = subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, env={**os.environ}
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


# --- sentences that know how grave they are -------------------------------------------------------


def test_the_gravest_come_first_and_each_once() -> None:
    said = [mild("8-bit"), "plain", grave("no cells"), "plain", mild("8-bit")]
    assert gravest_first(said) == ["no cells", "plain", "8-bit"]
    note = pickle.loads(pickle.dumps(grave("a")))
    assert (str(note), note.level, type(note)) == ("a", notes.GRAVE, Note)


def test_the_summary_counts_all_and_joins_slides_with_one_warning() -> None:
    told = {"a": ("x", "y"), "b": ("x",), "c": (), "d": ("z",)}
    assert notes.summary(told) == [
        "4 warnings; the gravest of each slide:",
        "  a, b: x (and 1 more)",
        "  d: z",
    ]
    assert notes.summary({"a": ()}) == []
    assert notes.summary({"a": ("x",)}) == ["1 warning; the gravest of each slide:", "  a: x"]
    assert notes.summary({}, ["names alike"]) == ["1 warning:", "  names alike"]
    assert notes.summary({"a": ("x",)}, ["names alike"])[:2] == [
        "2 warnings; the gravest of each slide:",
        "  names alike",
    ]
    many = notes.summary({str(i): (f"w{i}",) for i in range(50)}, most=20)
    assert len(many) == 22
    assert many[-1] == "  ... and 30 more kinds"


def contradicting(path: Path) -> Path:
    """A slide whose OME metadata say 1 um per pixel and whose tags say 0.325."""
    names = "".join(
        f'<Channel ID="Channel:0:{i}" Name="{n}" SamplesPerPixel="1"/>'
        for i, n in enumerate(("DAPI", "PanCK", "CD11c"))
    )
    pixels = tifffile.imread(path)
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME'
        ' xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels'
        f' ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{pixels.shape[2]}"'
        f' SizeY="{pixels.shape[1]}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="1.0"'
        f' PhysicalSizeY="1.0">{names}<TiffData/></Pixels></Image></OME>'
    )
    resolution: Any = {"resolution": (1e4 / 0.325, 1e4 / 0.325), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as writer:
        for i, plane in enumerate(pixels):
            writer.write(
                plane,
                description=xml if i == 0 else None,
                metadata=None,
                photometric="minisblack",
                contiguous=False,
                **resolution,
            )
    return path


def test_a_run_ends_with_its_warnings_and_strict_exits_with_3(tmp_path: Path) -> None:
    write_small_slide(tmp_path, "clean")
    contradicting(write_small_slide(tmp_path, "odd", seed=1))
    words = ["run", "-r", "recipe.toml", "clean.ome.tif", "odd.ome.tif", "-o", "out", "-q"]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-2:][0] == "1 warning; the gravest of each slide:"
    assert lines[-1].startswith(
        "  odd: its OME metadata say 1 um per pixel, its TIFF resolution tags 0.325 um"
    )
    strict = command(
        *words, "--strict", cwd=tmp_path
    )  # everything is taken over, the warnings are said again
    assert strict.returncode == 3
    assert strict.stderr.strip().splitlines()[-2:] == lines[-2:]
    assert (tmp_path / "out" / "report.html").is_file()
    clean = command(
        "run", "-r", "recipe.toml", "clean.ome.tif", "-o", "other", "-q", "--strict", cwd=tmp_path
    )
    assert clean.returncode == 0, clean.stderr
    assert "warning" not in clean.stderr


def test_a_sheets_confusing_names_are_said_by_run_and_strict_counts_them(tmp_path: Path) -> None:
    for n, name in enumerate(("a", "b")):
        write_small_slide(tmp_path, name, seed=n)
    (tmp_path / "s.csv").write_text("slide,path,patient\na,a.ome.tif,P01\nb,b.ome.tif,p01\n")
    done = command(
        "run",
        "-r",
        "recipe.toml",
        "--samples",
        "s.csv",
        "-o",
        "out",
        "-q",
        "--strict",
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert "1 warning:\n  patient names 'P01', 'p01' differ only in case" in done.stderr


def test_segment_and_init_say_what_is_odd_about_a_file(tmp_path: Path) -> None:
    contradicting(write_small_slide(tmp_path, "odd"))
    for words in (
        ["segment", "odd.ome.tif", "-o", "labels.tif", "--method", "classical"],
        ["init", "odd.ome.tif"],
    ):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "warning: its OME metadata say 1 um" in done.stderr
        assert "warning" not in done.stdout


def test_analyze_warns_before_it_tests(tmp_path: Path) -> None:
    write_cohort(tmp_path, beta=0.0, n=3)
    sheet = pd.read_csv(tmp_path / "samples.csv")
    cells = pd.read_csv(tmp_path / "cells.csv")
    first = sheet["slide"].iloc[0]
    pd.concat([cells, cells[cells["slide"] == first].assign(slide="twin")]).to_csv(
        tmp_path / "cells.csv", index=False
    )
    pd.concat([sheet, sheet.iloc[:1].assign(slide="elsewhere")]).to_csv(
        tmp_path / "samples.csv", index=False
    )
    words = [
        "analyze",
        "cells.csv",
        "-r",
        "recipe.toml",
        "--samples",
        "samples.csv",
        "-o",
        "out",
        "--set",
        "cohort.multiverse=false",
    ]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stderr
    assert f"slides {first}, twin are byte-identical" in said
    assert "the sample sheet has no row for 'twin'" in said
    assert "rows of the sample sheet without a slide here: 'elsewhere'" in said
    assert any(line.endswith(" warnings:") for line in said.splitlines())
    assert "byte-identical" in (tmp_path / "out" / "report.html").read_text()
    assert command(*words, "--strict", cwd=tmp_path).returncode == 3


# --- one check of the pixel size ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.05, 0.325, 0.5, 5.0])
def test_plausible_pixel_sizes(size: float) -> None:
    assert implausible(size) is None
    check_pixel_size(size, "test")


@pytest.mark.parametrize(
    ("size", "said"),
    [(20.0, "outside 0.05 to 5 um"), (325.0, "in nm. Then it is 0.325 um"), (0.0005, "outside")],
)
def test_every_source_of_a_pixel_size_is_checked(tmp_path: Path, size: float, said: str) -> None:
    path = write_small_slide(tmp_path, "a")
    image, labels = tifffile.imread(path), tifffile.imread(tmp_path / "a_mask.tif")
    run: Any = {"images": [path], "out": tmp_path / "out"}
    refused: list[Any] = [
        lambda: SlideRef((str(path),), pixel_size_um=size),
        lambda: ifquant.run(tmp_path / "recipe.toml", **run, pixel_size_um=size),
        lambda: ifquant.segment_nuclei(image[0], pixel_size_um=size),
        lambda: ifquant.segment_cells(labels, image, pixel_size_um=size),
        lambda: ifquant.quantify(
            image, nuclei=labels, cells=labels, channels=["a", "b", "c"], pixel_size_um=size
        ),
    ]
    for call in refused:
        with pytest.raises(RequestError, match=said.replace("in nm.", r"in nm\?")):
            call()
    (tmp_path / "s.csv").write_text(f"slide,path,pixel_size_um\na,a.ome.tif,{size}\n")
    with pytest.raises(RequestError, match=r"line 2: pixel_size_um .* outside"):
        read_samples(tmp_path / "s.csv")
    with pytest.raises(ValueError, match="pixel_size_um"):
        TableMapping(format="columns", x="x", y="y", unit="px", pixel_size_um=size)
    stated = write_small_slide(tmp_path / "stated", "a", pixel_size_um=size)
    _, problems = inspect(SlideRef((str(stated),)))
    assert any("its pixel size cannot be right" in problem for problem in problems)
    assert not (tmp_path / "out").exists()


def test_an_option_beyond_reason_exits_with_2_before_anything_is_written(tmp_path: Path) -> None:
    write_small_slide(tmp_path, "a")
    for words in (
        ["run", "-r", "recipe.toml", "a.ome.tif", "-o", "out"],
        ["segment", "a.ome.tif", "-o", "x.tif"],
        ["inspect", "a.ome.tif"],
    ):
        done = command(*words, "--pixel-size", "325", cwd=tmp_path)
        assert done.returncode == 2
        assert "is it in nm? Then it is 0.325 um" in done.stderr
    assert not {"out", "x.tif"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("tags_um", "told"), [(0.325, True), (1.0, False), (1.01, False), (84.7, False), (352.8, False)]
)
def test_tags_that_contradict_the_metadata_are_said_where_they_can_be_a_microscopes(
    tmp_path: Path, tags_um: float, told: bool
) -> None:
    path = contradicting(write_small_slide(tmp_path, "a"))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            for tag in ("XResolution", "YResolution"):
                page.tags[tag].overwrite((round(1e7 / tags_um), 1000))  # type: ignore[union-attr]
    info, problems = inspect(SlideRef((str(path),)))
    assert not problems
    assert info.pixel_size_um == 1.0
    assert any("resolution tags" in warning for warning in info.warnings) == told
    assert np.isfinite(info.pixel_size_um)
