"""Names stay the text that is written, wherever a table or sheet enters; what would shift columns
or merge slides is refused by line.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifquant.commands.analyze_tables import read_cell_tables
from ifquant.errors import IfquantError, RequestError, SlideError
from ifquant.files.text_table import TableProblem, open_text_table
from ifquant.names import alike, alike_warnings, loose_key, name_or_none
from ifquant.recipe.table_mapping import TableMapping
from ifquant.slides.sample_sheet import Sample, read_samples
from ifquant.slides.sheet_rows import match_warnings, rows_of, sheet_warnings
from ifquant.slides.slide_names import loose_slide_key, slide_key

XY = {"format": "columns", "x": "x", "y": "y", "unit": "um"}
AWKWARD = (
    "007",
    "1",
    "1.0",
    "1e5",
    "True",
    "None",
    "inf",
    "-0",
    "+1",
    "2026-11-30",
    "0x1F",
    "1,5",
    "P 01",
    "ä",
    "日本",
    "none",
    "1_000",
    "½",
)


def read(path: Path, **given: object) -> dict[str, Any]:
    return read_cell_tables(path, TableMapping.model_validate(given))


def text_of(rows: list[dict[str, str]], separator: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "NA", "n/a", "#N/A", "nan", "NaN", "<NA>", "null"])
def test_what_names_nothing_is_missing(text: str) -> None:
    assert name_or_none(text) is None


@pytest.mark.parametrize("text", AWKWARD)
def test_what_names_something_stays(text: str) -> None:
    assert name_or_none(f" {text} ") == text


def test_names_that_are_easily_confused() -> None:
    assert alike(["P01", "p01", "P 01", "P02"]) == [("P01", "p01", "P 01")]
    assert alike(["007", "7", "7.0", "70"]) == [("007", "7", "7.0")]
    assert alike(["a.ome.tif", "A", "b"], slide_key) == [("a.ome.tif", "A")]
    assert loose_key("-1") != loose_key("1")
    assert "count as 2 different ones" in alike_warnings("patient", ["P1", "p1"])[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s1", "s1.ome.tif"),
        ("my slide 1", "My_Slide_1.qptiff"),
        ("C:\\scans\\s1.TIF", "s1"),
        ("/data/s1.ome.zarr/", "S1"),
        ("Gewebe_ä.tif", "gewebe_a\u0308"),
        ("TMA1_[3,B].tif", "tma1_[3,B]"),
        ("scan.im3", "scan"),
    ],
)
def test_spellings_of_one_slide_share_a_key(one: str, other: str) -> None:
    assert slide_key(one) == slide_key(other)


def test_other_slides_have_other_keys() -> None:
    names = ["s1", "s11", "s-1", "日本", "東京", "slide 1.vsi - 20x_01", "slide 1.vsi - 20x_02"]
    assert len({slide_key(name) for name in names}) == len(names)


# --- every reader keeps every id ------------------------------------------------------------------

FORMATS: dict[str, tuple[dict[str, object], Callable[[int, str, str, str], dict[str, str]]]] = {
    "qupath": (
        {"format": "qupath"},
        lambda i, s, c, p: {
            "Image": s,
            "Classification": p,
            "Centroid X µm": str(i),
            "Centroid Y µm": "2",
        },
    ),
    "halo": (
        {"format": "halo", "unit": "um", "phenotype": "class"},
        lambda i, s, c, p: {
            "Image Location": s,
            "Object Id": c,
            "XMin": str(i),
            "XMax": str(i),
            "YMin": "1",
            "YMax": "1",
            "class": p,
        },
    ),
    "inform": (
        {"format": "inform", "unit": "um"},
        lambda i, s, c, p: {
            "Sample Name": s,
            "Cell ID": c,
            "Cell X Position": str(i),
            "Cell Y Position": "1",
            "Phenotype": p,
        },
    ),
    "mcquant": (
        {"format": "mcquant", "compartment": "cell", "pixel_size_um": 0.5},
        lambda i, s, c, p: {
            "CellID": c,
            "CK": "5",
            "X_centroid": str(i),
            "Y_centroid": "1",
            "imageid": s,
            "phenotype": p,
        },
    ),
    "columns": (
        {
            **XY,
            "slide": "s",
            "cell_id": "c",
            "phenotype": "p",
            "patient": "q",
            "extra": {"cluster": "p"},
        },
        lambda i, s, c, p: {"s": s, "c": c, "p": p, "x": str(i), "y": "1", "q": f"patient {s}"},
    ),
}
NAMES = st.text(
    st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12
).map(str.strip) | st.sampled_from(AWKWARD)
IDS = NAMES.filter(lambda name: name_or_none(name) is not None and "\ufeff" not in name)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("stored", ["csv", "tsv.gz", "parquet"])
@settings(max_examples=25, deadline=None)
@given(cells=st.lists(st.tuples(IDS, IDS, IDS), min_size=1, max_size=6))
@example(cells=[("1", "1", "1"), ("1.0", "2", "2"), ("007", "007", "007")])
@example(cells=[("True", "10", "False"), ("False", "9007199254740993", "True")])
def test_a_table_through_any_reader_keeps_every_id(
    kind: str,
    stored: str,
    cells: list[tuple[str, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    given_, row = FORMATS[kind]
    rows = [row(i, *cell) for i, cell in enumerate(cells)]
    path = tmp_path_factory.mktemp("ids") / f"t.{stored}"
    if stored == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif stored == "csv":
        path.write_text(text_of(rows), "utf-8", newline="")
    else:
        path.write_bytes(gzip.compress(text_of(rows, "\t").encode()))
    numbers = {
        name: "float64"
        for name in rows[0]
        if name.startswith(("x", "y", "X", "Y", "Centroid", "Cell X", "Cell Y", "CK"))
    }
    if stored == "parquet":
        pd.DataFrame(rows).astype(numbers).to_parquet(path)
    tables = read(path, **given_)
    found = {
        (slide, str(cell), str(phenotype))
        for slide, table in tables.items()
        for cell, phenotype in zip(table.cells["cell_id"], table.cells["phenotype"], strict=True)
    }
    called = {"Other": "other", "OTHER": "other"}
    wanted = {(s, c, called.get(p, p)) for s, c, p in cells}
    if kind == "qupath":  # cells are numbered: QuPath's Object ID is a column of its own
        found, wanted = {(s, "", p) for s, _, p in found}, {(s, "", p) for s, _, p in wanted}
    assert found == wanted
    if kind == "columns":
        assert {slide: table.patient for slide, table in tables.items()} == {
            s: f"patient {s}" for s, _, _ in cells
        }
        assert {v for table in tables.values() for v in table.cells["cluster"]} == {
            p for _, _, p in cells
        }


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(IDS, IDS, IDS), min_size=1, max_size=5, unique_by=lambda row: slide_key(row[0])
    )
)
@example(rows=[("1", "007", "1.0"), ("02", "1e5", "None")])
def test_a_sheet_keeps_every_name(
    rows: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sheet") / "s.csv"
    patients = [f"{i}{patient}" for i, (_, patient, _) in enumerate(rows)]
    made = [
        {"slide": s, "patient": f"P{p}", "group": f"G{g}"}
        for (s, _, g), p in zip(rows, patients, strict=True)
    ]
    made = [row for row in made if row["slide"][:1] not in "=+-@#"]
    if not made:
        return
    path.write_text(text_of(made), "utf-8", newline="")
    assert [
        {"slide": s.written, "patient": s.patient, "group": s.group}
        for s in read_samples(path, folders=False)
    ] == made


def test_numbers_in_parquet_are_ids_even_where_one_is_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "x": [1.0, 2, 3],
            "y": [1.0, 2, 3],
            "s": [7, 7, 7],
            "c": [1.0, np.nan, 3.0],
            "p": pd.Categorical(["1", "2", None]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    (table,) = read(
        tmp_path / "t.parquet",
        **XY,
        slide="s",
        cell_id="c",
        phenotype="p",
        phenotypes={"tumor": ("1",)},
    ).values()
    assert table.slide == "7"
    assert table.cells["cell_id"].fillna("missing").tolist() == ["1", "missing", "3"]
    assert table.cells["phenotype"].tolist() == ["tumor", "2", "other"]
    frame.assign(c=[2.0**60, 1, 2]).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(SlideError, match="not exact; store ids as text"):
        read(tmp_path / "t.parquet", **XY, cell_id="c")


def test_a_label_missing_in_one_file_changes_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,cluster\n1,2,1\n3,4,2\n")
    (tmp_path / "b.csv").write_text("x,y,cluster\n1,2,1\n3,4,2\n5,6,\n7,8,NA\n")
    tables = read(
        tmp_path, **XY, phenotype="cluster", phenotypes={"tumor": ("1",), "myeloid": ("2",)}
    )
    assert {name: table.cells["phenotype"].tolist() for name, table in tables.items()} == {
        "a": ["tumor", "myeloid"],
        "b": ["tumor", "myeloid", "other", "other"],
    }


# --- slides ---------------------------------------------------------------------------------------

CORES = "Image\tTMA core\tClassification\tCentroid X µm\tCentroid Y µm\n"


def test_cores_of_two_images_named_alike_are_refused_and_told_apart_by_both(tmp_path: Path) -> None:
    rows = [f"{image}\tA-1\tTumor\t{x}\t1\n" for image in ("TMA1", "TMA2") for x in range(3)]
    path = tmp_path / "both.tsv"
    path.write_text(CORES + "".join(rows), "utf-8")
    with pytest.raises(
        RequestError,
        match=(
            r"both\.tsv: line 5: slide 'A-1' holds several images .*'TMA1', 'TMA2'.*slide ="
            r" \[\"Image\", \"TMA"
        ),
    ):
        read(path, format="qupath", slide="TMA core")
    apart = read(path, format="qupath", slide=("Image", "TMA core"))
    assert {slide: len(table.cells) for slide, table in apart.items()} == {
        "TMA1_A-1": 3,
        "TMA2_A-1": 3,
    }
    path.write_text(CORES + "A_B\tC\tTumor\t1\t1\nA\tB_C\tTumor\t1\t1\n", "utf-8")
    with pytest.raises(RequestError, match=r"line 3: slide 'A_B_C' holds several combinations"):
        read(path, format="qupath", slide=("Image", "TMA core"))


@pytest.mark.parametrize(
    ("given", "header"),
    [
        (
            {"format": "halo", "unit": "um"},
            "Image Location,Analysis Region,Object Id,XMin,XMax,YMin,YMax",
        ),
        (
            {"format": "mcquant", "compartment": "cell", "pixel_size_um": 1},
            "imageid,region,CellID,X_centroid,Y_centroid,a,b",
        ),
        (
            {"format": "inform", "unit": "um"},
            "Sample Name,Slide ID,Cell ID,Cell X Position,Cell Y Position,a,b",
        ),
    ],
)
def test_every_format_refuses_several_of_its_images_in_one_slide(
    tmp_path: Path, given: dict[str, Any], header: str
) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\ni1,r,1,1,1,1,1\ni1,r,2,2,2,2,2\ni2,r,3,3,3,3,3\n")
    with pytest.raises(RequestError, match=r"t\.csv: line 4: slide 'r' holds several images"):
        read(tmp_path / "t.csv", **given, slide=header.split(",")[1])


def test_cells_without_a_slide_are_refused_with_the_line_and_annotations_are_not(
    tmp_path: Path,
) -> None:
    head = "Image\tObject type\tTMA core\tCentroid X µm\tCentroid Y µm\n"
    (tmp_path / "t.tsv").write_text(head + "i\tAnnotation\t\t1\t1\ni\tCell\tA\t1\t1\n", "utf-8")
    assert list(read(tmp_path / "t.tsv", format="qupath", slide="TMA core")) == ["A"]
    (tmp_path / "t.tsv").write_text(head + "i\tCell\tA\t1\t1\ni\tCell\tNA\t1\t1\n", "utf-8")
    with pytest.raises(
        RequestError, match=r"t\.tsv: line 3: no slide in column 'TMA core' \(1 such rows\)"
    ):
        read(tmp_path / "t.tsv", format="qupath", slide="TMA core")


def test_a_sheet_finds_the_slides_of_other_programs(tmp_path: Path) -> None:
    rows = "".join(
        f"{name}\tCell\tTumor\t1\t1\n"
        for name in ("s1.ome.tif", "s2.ome.tif", "slide 1.vsi - 20x_01")
    )
    (tmp_path / "q.tsv").write_text(
        "Image\tObject type\tClassification\tCentroid X µm\tCentroid Y µm\n" + rows, "utf-8"
    )
    (tmp_path / "s.csv").write_text(
        "slide,patient\ns1.ome.tif,P1\nS2,P2\nslide 1.vsi - 20x_01,P3\n"
    )
    sheet = read_samples(tmp_path / "s.csv", folders=False)
    tables = read_cell_tables(tmp_path / "q.tsv", TableMapping(format="qupath"), samples=sheet)
    assert {slide: table.patient for slide, table in tables.items()} == {
        "s1.ome.tif": "P1",
        "s2.ome.tif": "P2",
        "slide 1.vsi - 20x_01": "P3",
    }


def test_rows_that_could_be_several_slides_are_refused() -> None:
    with pytest.raises(RequestError, match="differ only in case, suffix or signs"):
        rows_of([Sample("s1", written="s1", line=2)], ["s1.tif", "s1.ome.tif"])
    with pytest.raises(RequestError, match="differ only in case, suffix or signs"):
        rows_of([Sample("S1", written="S1"), Sample("s1", written="s1")], ["s1.tif"])
    exact = rows_of(
        [Sample("s1.tif", written="s1.tif"), Sample("s1.ome.tif", written="s1.ome.tif")],
        ["s1.tif", "s1.ome.tif"],
    )
    assert [row.written for row in exact.values()] == ["s1.tif", "s1.ome.tif"]


def test_tables_say_which_names_are_easily_confused(tmp_path: Path) -> None:
    rows = "s1.tif,P1,Tumor\nS1.tif,p1,tumor\ns2.tif,P2,1\ns3.tif,P3,1.0\n"
    (tmp_path / "t.csv").write_text("x,y,s,q,p\n" + "".join(f"1,2,{row}\n" for row in rows.split()))
    tables = read(tmp_path / "t.csv", **XY, slide="s", patient="q", phenotype="p")
    assert sorted(tables) == ["S1.tif", "s1.tif", "s2.tif", "s3.tif"]
    said = " | ".join(tables["s1.tif"].warnings)
    for part in (
        "slide names 'S1.tif', 's1.tif' differ",
        "patient names 'p1', 'P1'",
        "phenotype names 'Tumor', 'tumor'",
        "'1', '1.0'",
    ):
        assert part in said or part.replace("'Tumor', 'tumor'", "'tumor', 'Tumor'") in said, said


def test_a_sheet_says_which_names_are_easily_confused() -> None:
    rows = [
        Sample("a", patient="P1", group="x"),
        Sample("b", patient="p1", group="X"),
        Sample("c", patient="P 1", group="x"),
    ]
    said = sheet_warnings(rows)
    assert "patient names 'P1', 'p1', 'P 1' differ only" in said[0]
    assert "group names 'x', 'X'" in said[1]


# --- text tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "x,y,ck\n1,2,3\n101,5,220,25,3\n",
            r"line 3: 5 values for 3 columns",
        ),  # decimal commas without quotes
        ("x,y,ck\n1,2,3\n1,2,3,4\n", r"line 3: 4 values for 3 columns"),
        ("x,y\n1,1,2\n", r"line 2: 3 values for 2 columns.*row names"),
        ('x,y,ck\n1,2,"a\nb"\n', r"line 2: a quoted value has a line break in it"),
        ('x,y,"c\nk"\n1,2,3\n', r"line 1: a quoted value has a line break in it"),
        ('x,y,ck\n1,2,"a"b\n', r"line 2: "),
        (
            "x,y,ck\n1,2,3\n4,5",
            r"line 3: fewer than 3 values and no line end: the file was cut off",
        ),
        ("x,y,ck\n1,\0,3\n", r"line 2 is not text"),
    ],
)
def test_rows_that_would_shift_or_lose_something_are_refused_with_the_line(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "t.csv").write_text(content, newline="")
    with pytest.raises(SlideError, match=rf"t\.csv: {said}"):
        read(tmp_path / "t.csv", **XY)
    sheet = content.replace("x,y", "slide,patient", 1)
    (tmp_path / "s.csv").write_text(sheet, newline="")
    if "cut off" in said:  # people type sheets: a short last row without a line end is whole
        assert len(read_samples(tmp_path / "s.csv")) == 2
        return
    with pytest.raises(RequestError, match=said.split(":")[0]):
        read_samples(tmp_path / "s.csv")


def test_quoted_decimal_commas_are_refused_with_the_line_or_declared(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('x,y\n1,2\n\n"1,5",2\n')
    with pytest.raises(
        RequestError,
        match=r"t\.csv: line 4: column 'x' holds '1,5' where a number is expected.*decimal = \",\"",
    ):
        read(tmp_path / "t.csv", **XY)
    assert read(tmp_path / "t.csv", **XY, decimal=",")["t"].cells["x_um"].tolist() == [1, 1.5]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_every_way_of_writing_lines_gives_the_same(tmp_path: Path, end: str, encoding: str) -> None:
    text = (
        end.join(["sep=;", "x;y;p;;", '1;2;"a ""b"" ä";;', "", '3;4;5" c;;', ";;;;", "5;6"]) + end
    )
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    (table,) = read(tmp_path / "t.csv", **XY, phenotype="p").values()
    assert table.cells["phenotype"].tolist() == ['a "b" ä', '5" c', "other"]
    assert table.cells["x_um"].tolist() == [1, 3, 5]


def test_no_other_character_ends_a_line(tmp_path: Path) -> None:
    odd = "a\x85b\u2028c\x0bd"
    (tmp_path / "t.csv").write_text(f"x,y,p\n1,2,{odd}\n", "utf-8", newline="")
    (table,) = read(tmp_path / "t.csv", **XY, phenotype="p").values()
    assert table.cells["phenotype"].tolist() == [odd]


def test_a_row_that_begins_with_a_hash_is_no_remark(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("# cohort of May\nslide,patient\n# checked\n#3,P1\n")
    (sample,) = read_samples(tmp_path / "s.csv", folders=False)
    assert (sample.slide, sample.patient) == ("#3", "P1")
    with pytest.raises(RequestError, match="line 4: slide '#3' cannot name a folder"):
        read_samples(tmp_path / "s.csv")


@settings(max_examples=80, deadline=None)
@given(
    content=st.binary(max_size=200)
    | st.text(alphabet='x,y;p\n\r\t "=1.\x00é', max_size=150).map(str.encode)
)
def test_any_bytes_are_a_table_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(IfquantError):
        read(path, **XY, cell_id="p")


def test_a_text_table_needs_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n\n")
    with pytest.raises(TableProblem, match="no header"):
        open_text_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("slide", "row"),
    [
        ("B2021/1234", "B2020/1234"),
        ("HER2+", "HER2-"),
        ("S1 [a]", "S1 (a)"),
        ("-1", "1"),
        ("か", "が"),
        ("мой", "мои"),
        ("1", "#1"),
    ],
)
def test_a_row_is_given_to_no_other_slide(slide: str, row: str) -> None:
    assert rows_of([Sample(row, written=row)], [slide]) == {}


def test_rows_of_another_spelling_are_told(tmp_path: Path) -> None:
    found = rows_of(
        [Sample("S 1", written="S 1"), Sample("s2", written="s2")],
        ["s_1.tif", "C:\\scans\\s2.ome.tif"],
    )
    assert [row.slide for row in found.values()] == ["S 1", "s2"]
    assert match_warnings(found) == [
        "rows of the sample sheet were given to slides that are written otherwise: 's_1.tif' ="
        " 'S 1'"
    ]


@pytest.mark.parametrize(
    "names",
    [("P1", "P1\u200b"), ("'007", "007"), ("P01", "P1"), ("slide 1", "slide1"), ("1", "1.0")],
)
def test_more_that_is_easily_confused(names: tuple[str, str]) -> None:
    assert alike(names) == [names]
    assert alike_warnings("slide", names, slide_key, loose_slide_key)


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([1.1, 2.0], "float32", ["1.1", "2"]),
        ([True, False], "bool", ["True", "False"]),
        (pd.to_datetime(["2026-11-30", "2026-12-01"]), None, ["2026-11-30", "2026-12-01"]),
        ([2**60, 2**60 + 1], "uint64", [str(2**60), str(2**60 + 1)]),
    ],
)
def test_parquet_names_are_the_text_that_a_csv_of_it_has(
    tmp_path: Path, values: Any, kind: str | None, texts: list[str]
) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0], "c": pd.Series(values, dtype=kind)})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "u.csv", index=False)
    for name in ("t.parquet", "u.csv"):
        (table,) = read(tmp_path / name, **XY, cell_id="c").values()
        expected = texts if name == "t.parquet" or kind != "float32" else ["1.1", "2.0"]
        assert table.cells["cell_id"].tolist() == expected


@pytest.mark.parametrize(
    ("kind", "value"), [("float16", 2048), ("float32", 16_777_216), ("float64", 2**53)]
)
def test_floats_that_are_no_exact_ids_are_refused(tmp_path: Path, kind: str, value: int) -> None:
    for ids, exact in (([value - 1, 3], True), ([value, 3], False)):
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0], "c": np.array(ids, kind)})
        frame.to_parquet(tmp_path / "t.parquet")
        if exact:
            (table,) = read(tmp_path / "t.parquet", **XY, cell_id="c").values()
            assert table.cells["cell_id"].tolist() == [str(value - 1), "3"]
        else:
            with pytest.raises(SlideError, match="not exact; store ids as text"):
                read(tmp_path / "t.parquet", **XY, cell_id="c")


def test_columns_that_hold_no_names_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1.0], "y": [1.0], "c": [[1, 2]]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(SlideError, match="lists or records where names are expected"):
        read(tmp_path / "t.parquet", **XY, cell_id="c")
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    with pytest.raises(RequestError, match="column 'x' is used as a number and as a name"):
        read(tmp_path / "t.csv", **XY, slide="x")


def test_a_table_without_any_phenotype_is_all_other(tmp_path: Path) -> None:
    for missing in ("", "NA", "#N/A"):
        (tmp_path / "t.csv").write_text(f"x,y,p\n1,2,{missing}\n3,4,{missing}\n")
        (table,) = read(tmp_path / "t.csv", **XY, phenotype="p").values()
        assert table.cells["phenotype"].tolist() == ["other", "other"]


def test_blanks_behind_a_closing_quote_are_no_problem_and_short_tables_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('x,y,p\n1,2, "007" \n"3" ,4,"a,b"\n')
    (table,) = read(tmp_path / "t.csv", **XY, phenotype="p").values()
    assert table.cells["phenotype"].tolist() == ["007", "a,b"]
    assert table.cells["x_um"].tolist() == [1, 3]
    (tmp_path / "t.csv").write_text("x,y,p,q\n1,2,T\n3,4,T\n")
    with pytest.raises(SlideError, match="the header has 4 names, and no row more than 3 values"):
        read(tmp_path / "t.csv", **XY)


def test_every_image_column_of_halo_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "Image File Name,Image Tag,Object Id,XMin,XMax,YMin,YMax\na,1,1,1,1,1,1\na,2,1,1,1,1,1\n"
    )
    with pytest.raises(
        RequestError, match=r"line 3: slide 'a' holds several images \(column 'Image Tag'\)"
    ):
        read(tmp_path / "t.csv", format="halo", unit="um")


def test_sheets_as_r_and_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "Image,Slide,patient,path,regions,pixel_size_um,group\nscan 7,s1,P1,NA,NA,NA,+\n"
    )
    (row,) = read_samples(tmp_path / "s.csv")
    assert (row.slide, row.columns, row.paths, row.regions, row.pixel_size_um, row.group) == (
        "s1",
        {"Image": "scan 7"},
        (),
        None,
        None,
        "+",
    )
    (tmp_path / "s.csv").write_text("slide,path,patient\ns1,gone.tif,P1\n")
    assert (
        read_samples(tmp_path / "s.csv", folders=False)[0].patient == "P1"
    )  # analyze needs no image
    with pytest.raises(RequestError, match="does not exist"):
        read_samples(tmp_path / "s.csv")


def test_numbers_side_by_side_are_not_confused() -> None:
    grid = [f"TMA_{r}_{c}" for r in range(1, 13) for c in range(1, 13)]
    assert alike(grid, slide_key, loose_slide_key) == []
    assert alike(["1 12", "11 2"]) == []
    assert alike(["P 01", "p1"]) == [("P 01", "p1")]


def test_our_folders_are_found_by_the_names_that_runs_clean() -> None:
    rows = [
        Sample("Tumor (1).ome.tif", written="Tumor (1).ome.tif"),
        Sample("Müller 2.tif", written="Müller 2.tif"),
    ]
    folders = ["Tumor_1", "Muller_2"]
    assert list(rows_of(rows, folders, folders)) == folders
    assert rows_of(rows, folders) == {}, "in other programs' tables names are what they are"


@pytest.mark.parametrize("text", ["slide,patient,\ns1,P1,extra\n", "slide,,patient\ns1,extra,P1\n"])
def test_a_value_under_no_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(RequestError, match="line 2: a value stands in a column without a name"):
        read_samples(tmp_path / "s.csv")


def test_sheets_of_everyday(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "Sample Name,path,Patient,Group,note\n,D:\\scans\\s1.ome.tif,A1,+ve,- scanned"
        " twice\ns2,,a1,-ve,\n\x1a"
    )
    first, second = read_samples(tmp_path / "s.csv", folders=False)
    assert (first.slide, first.patient, first.group, first.columns["note"]) == (
        "s1",
        "A1",
        "+ve",
        "- scanned twice",
    )
    assert (second.slide, second.patient, second.group) == ("s2", "a1", "-ve")
    (tmp_path / "s.csv").write_text("Our cohort,,\nslide,patient\ns1,P1\n")
    with pytest.raises(RequestError, match="no column 'slide'") as caught:
        read_samples(tmp_path / "s.csv")
    assert "neither slide nor path" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "x,y,p,\n1,2,T\n3,4,T\n",
        "x,y,p,,\n1,2,T,,\n3,4,T\n",
        "sep=;;;;\nx;y;p\n1;2;T\n3;4;T\n",
        "x,y,p\n1,2,T\n3,4,T\n\x1a",
    ],
)
def test_tables_of_everyday(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    (table,) = read(tmp_path / "t.csv", **XY, phenotype="p").values()
    assert table.cells["phenotype"].tolist() == ["T", "T"]
