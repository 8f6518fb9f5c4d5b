"""Sample sheets as people and spreadsheet programs write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from images import pixels

from ifquant.errors import RequestError
from ifquant.slides.sample_sheet import channel_names_of, read_samples


def sheet(folder: Path, text: str | bytes) -> Path:
    path = folder / "samples.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"slide,patient,group,pixel_size_um,age\ns1,P1,A,0.5,61\ns2,P2,B,,-4\n",
        b"\xef\xbb\xbfslide;patient;group;pixel_size_um;age\r\ns1;P1;A;0,5;61\r\n\r\ns2;P2;B;;-4\r\n;;;;\r\n",
        (
            b"# our cohort\n Slide ,Patient ID, Condition ,Pixel Size,age\n s1 , P1 , A , 0.5 , 61"
            b" \ns2,P2,B,,-4"
        ),
        "slide\tpatient\tgroup\tpixel_size_um\tage\ns1\tP1\tA\t0.5\t61\ns2\tP2\tB\t\t-4\n".encode(
            "utf-16"
        ),
        b'"slide","patient","group","pixel_size_um","age","",\n"s1","P1","A","0.5","61",,\n"s2.ome.tif","P2","B",,"-4",,\n',
    ],
)
def test_all_these_mean_the_same(tmp_path: Path, content: bytes) -> None:
    first, second = read_samples(sheet(tmp_path, content))
    assert (first.slide, first.patient, first.group, first.pixel_size_um, dict(first.columns)) == (
        "s1",
        "P1",
        "A",
        0.5,
        {"age": "61"},
    )
    assert (
        second.slide,
        second.patient,
        second.group,
        second.pixel_size_um,
        dict(second.columns),
    ) == (
        "s2",
        "P2",
        "B",
        None,
        {"age": "-4"},
    )
    assert first.paths == ()


def test_paths_are_relative_to_the_sheet(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    tifffile.imwrite(tmp_path / "img" / "a.ome.tif", pixels((8, 8)))
    (tmp_path / "a.geojson").write_text("[]")
    (sample,) = read_samples(sheet(tmp_path, "path,regions\nimg/a.ome.tif,a.geojson\n"))
    assert sample.slide == "a"
    assert os.path.samefile(sample.paths[0], tmp_path / "img" / "a.ome.tif")
    assert sample.channel_names is None
    assert sample.regions is not None
    assert os.path.samefile(sample.regions, tmp_path / "a.geojson")


def test_folder_of_one_channel_files(tmp_path: Path) -> None:
    folder = tmp_path / "patient 1"
    folder.mkdir()
    for name in ("S1_CK.tif", "S1_DAPI.tif", "S1_CD11c.ome.tif"):
        tifffile.imwrite(folder / name, pixels((8, 8)))
    (sample,) = read_samples(sheet(tmp_path, "slide,path\nS1,patient 1\n"))
    assert sample.channel_names == ("CD11c", "CK", "DAPI")
    assert [os.path.basename(path) for path in sample.paths] == [
        "S1_CD11c.ome.tif",
        "S1_CK.tif",
        "S1_DAPI.tif",
    ]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["DAPI.tif", "CK.tif"], ("DAPI", "CK")),
        (["S1_DAPI_raw.tif", "S1_CK_raw.tif"], ("DAPI", "CK")),
        (["a.DAPI.tif"], ("a.DAPI",)),
        (["s1 PD-1.tif", "s1 PD-L1.tif"], ("PD-1", "PD-L1")),
        (["x_1.tif", "x_2.tif"], ("1", "2")),
    ],
)
def test_channel_names_of_files(files: list[str], names: tuple[str, ...]) -> None:
    assert channel_names_of([f"/x/{file}" for file in files]) == names


def test_all_problems_at_once_with_lines(tmp_path: Path) -> None:
    text = "\n".join(
        [
            "slide,path,patient,group,regions,pixel_size_um,status,x,x",
            "s1,missing.tif,P1,A,,0.5,,,",
            "S1,,P1,B,none.geojson,zero,,,",
            "../../x,,P2,A,,,,,",
            "CON,,P3,A,,-1,,,",
            "s5,,P4,A,,,,=cmd(),",
            ",,P5,A,,,,,",
            "s7,,P6,A,,,,,,,too,many",
            "s8,,P7",
        ]
    )
    with pytest.raises(RequestError) as caught:
        read_samples(sheet(tmp_path, text))
    message = str(caught.value)
    for part in (
        "line 1: column 'x' occurs 2 times",
        "line 1: column 'status' is filled by ifquant",
        "line 2: path 'missing.tif' does not exist",
        "line 3: slide 'S1' is also on line 2",
        "line 3: patient 'P1' is in group 'B' here and in 'A' on line 2",
        "line 3: regions file",
        "line 3: pixel_size_um 'zero'",
        "line 4: slide '../../x' cannot name a folder",
        "line 5: slide 'CON'",
        "line 5: pixel_size_um '-1'",
        "line 7: neither slide nor path",
        "line 8: 12 values for 9 columns",
    ):
        assert part in message, message
    assert "line 9" not in message


def test_formulas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="would run as a formula"):
        read_samples(sheet(tmp_path, "slide,note\ns1,=cmd()\n"))
    (sample,) = read_samples(sheet(tmp_path, "slide,note\ns1,-1.5\n"))
    assert sample.columns == {"note": "-1.5"}


def test_one_image_in_two_rows(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels((8, 8)))
    os.link(tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(RequestError, match="is the same image as on line 2"):
        read_samples(sheet(tmp_path, "slide,path\ns1,a.tif\ns2,b.tif\n"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"slide,path\n", "no rows"),
        (b"name,age\ns1,3\n", "no column 'slide'"),
        (b"slide\n\0\n", "not text"),
        (b'slide,x\ns1,"never closed\n', "line 2"),
    ],
)
def test_sheets_that_are_none(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        read_samples(sheet(tmp_path, content))
    with pytest.raises(RequestError, match="no such file"):
        read_samples(tmp_path / "missing.csv")


@settings(max_examples=60)
@given(
    content=st.binary(max_size=300)
    | st.text(alphabet='slide,path;\n\r\t "=s1.\x00é', max_size=200).map(str.encode)
)
def test_any_bytes_are_a_sheet_or_a_request_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        samples = read_samples(path)
    except RequestError:
        return
    assert samples
