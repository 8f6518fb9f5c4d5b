"""Cell tables of other programs: positions, units, markers and phenotypes arrive as they were
meant, or are refused with a remedy.
"""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from pydantic import ValidationError
from scipy.spatial import cKDTree
from scipy.stats import mannwhitneyu
from skimage import measure
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.commands.analyze_tables import read_cell_tables
from ifquant.errors import RequestError, SlideError
from ifquant.execution.executors import Execution
from ifquant.proximity.distances import proximity
from ifquant.recipe.table_mapping import TableMapping
from ifquant.slides.sample_sheet import Sample
from ifquant.tables.cell_table import CellTable

XY = {"format": "columns", "x": "x", "y": "y", "unit": "um"}


def mapping(**given: object) -> TableMapping:
    return TableMapping.model_validate(given)


def read(path: Path, **given: object) -> dict[str, CellTable]:
    return read_cell_tables(path, mapping(**given))


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def nearest(table: CellTable, of: str) -> np.ndarray:
    cells = table.cells
    codes, names = cells["phenotype"].cat.codes, list(table.phenotypes)
    return proximity(
        cells.x_um,
        cells.y_um,
        codes,
        names,
        None,
        radii_um=[25.0],
        pixel_size_um=1.0,
        tissue=None,
        of=[of],
    )[f"nearest_{of}_um"]


# --- real tables ----------------------------------------------------------------------------------


def test_keren_distances_agree_with_scipy_and_separate_mixed_from_compartmentalised(
    data_dir: Path,
) -> None:
    path = data_dir / "cell_tables" / "keren_tnbc_DEV_11patients.csv.gz"
    tables = read(
        path,
        format="columns",
        x="x_um",
        y="y_um",
        unit="um",
        slide="patient",
        patient="patient",
        group="class_0mixed_1compartmentalized",
        phenotype="phenotype",
        phenotypes={"tumor": ("Tumor",), "macrophage": ("Macrophage",)},
    )
    raw = pd.read_csv(path)
    assert sum(len(t.cells) for t in tables.values()) == len(raw) == 62_924
    assert list(tables) == ["1", "4", "7", "10", "13", "17", "21", "28", "32", "35", "39"]
    medians, groups = [], []
    for slide, table in tables.items():
        mine = float(np.median(nearest(table, "tumor")[table.cells["phenotype"] == "macrophage"]))
        own = raw[raw.patient == int(slide)]
        tumor, macrophages = (
            own.loc[own.phenotype == p, ["x_um", "y_um"]].to_numpy()
            for p in ("Tumor", "Macrophage")
        )
        assert mine == pytest.approx(np.median(cKDTree(tumor).query(macrophages)[0]), abs=1e-9)
        assert table.patient == slide
        medians.append(mine)
        groups.append(int(table.group or "-1"))
    mixed, apart = (
        [m for m, g in zip(medians, groups, strict=True) if g == kind] for kind in (0, 1)
    )
    assert mannwhitneyu(apart, mixed).statistic / (len(apart) * len(mixed)) >= 0.9  # = AUC
    in_px = read(
        path,
        format="columns",
        x="x_px",
        y="y_px",
        unit="px",
        pixel_size_um=0.390625,
        pixel_center=0.5,
        slide="patient",
    )
    np.testing.assert_allclose(in_px["1"].cells["x_um"], tables["1"].cells["x_um"], atol=1e-3)


# What phenoptr prints for this table in its tutorial "Computing inter-cellular distances" and in
# its own test of count_within_batch.
PHENOPTR_MEANS = {
    "CD68+": (14.2, 30.6, 23.1, 24.8),
    "CD8+": (23.1, 17.5, 19.3, 28.4),
    "CK+": (44.3, 48.2, 7.9, 50.5),
    "FoxP3+": (19.1, 29.1, 23.3, 22.3),
}
PHENOPTR_FIRST = {
    "CD68+": (29.529646, 38.082148, 36.674242, 73.119765),
    "CD8+": (18.03469, 64.37585, 67.57403, 91.44397, 37.94733),
    "CK+": (36.830694, 109.317199, 3.605551, 4.031129),
    "FoxP3+": (16.347783, 40.140379, 30.870698, 65.408333),
}
PHENOPTR_WITHIN = (  # category, from, to, radius, cells with one, mean number
    (None, "CD68+", "CK+", 25, 274, 3.28),
    (None, "CK+", "CD68+", 25, 664, 0.606),
    ("Tumor", "CK+", "CD8+", 10, 63, 0.0342),
    ("Tumor", "CK+", "CD8+", 25, 320, 0.2035),
    ("Tumor", "CK+", "CD68+", 10, 79, 0.0397),
    ("Tumor", "CK+", "CD68+", 25, 397, 0.3079),
    ("Stroma", "CK+", "CD8+", 10, 4, 0.0769),
    ("Stroma", "CK+", "CD8+", 25, 22, 0.6),
    ("Stroma", "CK+", "CD68+", 10, 6, 0.0923),
    ("Stroma", "CK+", "CD68+", 25, 34, 0.7846),
)


def test_phenoptr_distances_and_counts_are_reproduced(data_dir: Path) -> None:
    (table,) = read(
        data_dir / "cell_tables" / "phenoptr_lung_6plex_cells.csv.gz",
        format="inform",
        unit="um",
        extra={"category": "Tissue Category"},
    ).values()
    cells, names = table.cells, table.phenotypes
    assert (table.slide, len(cells)) == ("Set4_1-6plex_[16142,55840].im3", 6072)
    assert {"PDL1_cell_mean", "DAPI_cell_mean", "nucleus_area_um2"} <= set(cells)
    typed = cells[cells["phenotype"] != "other"]
    for j, to in enumerate(PHENOPTR_MEANS):
        distance = nearest(table, to)[typed.index]
        np.testing.assert_allclose(
            distance[: len(PHENOPTR_FIRST[to])], PHENOPTR_FIRST[to], atol=6e-6
        )
        for kind, means in PHENOPTR_MEANS.items():
            assert distance[typed["phenotype"] == kind].mean() == pytest.approx(
                means[j], abs=0.0501
            )
    for category, kind, to, radius, having, mean in PHENOPTR_WITHIN:
        some = cells if category is None else cells[cells["category"] == category]
        columns = proximity(
            some.x_um,
            some.y_um,
            some["phenotype"].cat.codes,
            names,
            None,
            radii_um=[radius],
            pixel_size_um=1.0,
            tissue=None,
            of=[to],
        )
        counts = columns[f"n_{to}_within_{radius}um"][some["phenotype"] == kind]
        assert np.count_nonzero(counts) == having
        assert counts.mean() == pytest.approx(mean, abs=0.005 if category is None else 5.1e-5)


def test_halo_positions_and_rules_equal_what_halo_counted(data_dir: Path) -> None:
    path = data_dir / "cell_tables" / "spatialtime_ovarian_tma_halo.csv.gz"
    rules = {
        "regulatory": "CD3+ & FOXP3+ & CD8-",
        "cytotoxic": "CD3+ & CD8+ & FOXP3-",
        "both": "CD3+ & CD8+ & FOXP3+",
    }
    tables = read(
        path,
        format="halo",
        unit="px",
        pixel_size_um=0.5,
        slide="core",
        rules=rules,
        extra={"class": "Classifier.Label"},
    )
    raw = pd.read_csv(path)
    assert {s: len(t.cells) for s, t in tables.items()} == raw.groupby("core").size().to_dict()
    for slide, table in tables.items():
        own = raw[raw.core == slide].reset_index(drop=True)
        np.testing.assert_allclose(table.cells["x_um"], (own.XMin + own.XMax) / 4, rtol=1e-12)
        np.testing.assert_allclose(
            table.cells["CD3_cytoplasm_mean"], own["CD3..Opal.570..Cytoplasm.Intensity"], rtol=0
        )
        np.testing.assert_allclose(table.cells["area_um2"], own["Cell.Area..m.."], rtol=0)
        both = own["CD3..CD8..FOXP3."] == 1  # HALO's own phenotype columns
        assert ((table.cells["phenotype"] == "both") == both).all()
        assert (
            (table.cells["phenotype"] == "regulatory") == ((own["CD3..FOXP3."] == 1) & ~both)
        ).all()
        assert (
            (table.cells["phenotype"] == "cytotoxic") == ((own["CD3..CD8."] == 1) & ~both)
        ).all()
        assert (table.cells["class"] == own["Classifier.Label"]).all()


def test_mcquant_pixels_become_um_with_pixel_centers_at_half(data_dir: Path) -> None:
    path = data_dir / "cell_tables" / "mcmicro_exemplar001_cells.csv.gz"
    (table,) = read(
        path,
        format="mcquant",
        compartment="cell",
        pixel_size_um=0.65,
        gates={"ECAD": 2000.0},
        rules={"tumor": "ECAD+"},
    ).values()
    raw = pd.read_csv(path)
    np.testing.assert_allclose(table.cells["y_um"], (raw.Y_centroid + 0.5) * 0.65, rtol=1e-12)
    np.testing.assert_allclose(table.cells["area_um2"], raw.Area * 0.65**2, rtol=1e-12)
    assert [c for c in table.cells if c.endswith("_cell_mean")] == [
        f"{c}_cell_mean" for c in raw.columns[1:13]
    ]
    assert ((table.cells["phenotype"] == "tumor") == (raw.ECAD > 2000)).all()
    assert set(table.unknown) == {"outlines", "region"}
    mask = tifffile.imread(
        data_dir / "examples" / "mcquant_mask.tiff"
    )  # centroids from the mask itself, in ifquant's coordinates
    (small,) = read(
        data_dir / "examples" / "mcquant_expected.csv",
        format="mcquant",
        compartment="cell",
        pixel_size_um=1.0,
    ).values()
    props = {p.label: p for p in measure.regionprops(mask)}
    for cell in small.cells.itertuples():
        y, x = props[int(cell.cell_id)].centroid
        assert (cell.x_um, cell.y_um) == pytest.approx((x + 0.5, y + 0.5), abs=1e-9)
    assert {"CH1_cell_mean", "CH1_cell_sum", "CH1_cell_median"} <= set(small.cells)


def test_inform_pixels_agree_with_its_label_image(data_dir: Path) -> None:
    folder = data_dir / "vectra_fihc4"
    (table,) = read(
        folder / "FIHC4__0929309_HP_IM3_2_cell_seg_data.txt",
        format="inform",
        pixel_size_um=0.497,
        markers={"CD3": "Cy3"},
    ).values()
    assert table.cells["phenotype"].value_counts().to_dict() == {
        "B": 249,
        "Helper T": 15,
        "Cytotoxic T": 6,
        "other": 0,
    }
    assert {f"CD3_{place}_mean" for place in ("nucleus", "cytoplasm", "membrane", "cell")} <= set(
        table.cells
    )
    with tifffile.TiffFile(folder / "FIHC4__0929309_HP_IM3_2_binary_seg_maps.tif") as tif:
        maps = [page.asarray() for page in tif.pages]
    nuclei = next(m for m in maps if m.max() == len(table.cells))
    props = {p.label: p for p in measure.regionprops(nuclei)}
    away = [
        np.hypot(
            c.x_um / 0.497 - 0.5 - props[int(c.cell_id)].centroid[1],
            c.y_um / 0.497 - 0.5 - props[int(c.cell_id)].centroid[0],
        )
        for c in table.cells.itertuples()
        if int(c.cell_id) in props
    ]
    assert len(away) == len(table.cells)
    assert np.median(away) < 3  # inForm gives whole px, and of the cell, not of the nucleus


def test_our_own_results_bring_tissue_patient_and_unchanged_columns(tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "s1.ome.tif", simulated(300, 320).image, PANELS["tgfb_il1b"])
    (tmp_path / "samples.csv").write_text("slide,patient,group\ns1,P1,treated\n")
    folder = tmp_path / "results"
    recipe = recipe_for(PANELS["tgfb_il1b"])
    ifquant.run(
        recipe, [slide], folder, samples=tmp_path / "samples.csv", execution=Execution(quiet=True)
    )
    (table,) = read_cell_tables(folder).values()
    stored = pd.read_parquet(folder / table.slide / "cells.parquet")
    pd.testing.assert_frame_equal(table.cells, stored)
    assert (table.patient, table.group, table.pixel_size_um) == ("P1", "treated", 0.5)
    assert table.region is not None
    row = pd.read_csv(folder / "slides.csv").iloc[0]
    assert table.region.area_um2 == pytest.approx(row.tissue_area_mm2 * 1e6, rel=0.05)
    inside = table.region.contains(table.cells.x_um, table.cells.y_um)
    assert inside.mean() > 0.97
    assert not table.unknown


# --- QuPath and dialects --------------------------------------------------------------------------

QUPATH = (
    "Image\tObject ID\tObject type\tName\tClassification\tParent\tCentroid X µm\tCentroid Y"
    " µm\tNucleus: Area µm^2\tNucleus: DAPI: Mean\t"
    "Membrane: TGFB1: Median\tIL1B: Cytoplasm: Mean\tCell: PanCK mean\tCell: PanCK std dev\tCell:"
    " PanCK max\n"
    "a.tif\tu1\tCell\t\tTumor\tRoot\t10.5\t20\t30\t100\t7\t5\t900\t12\t1000\n"
    "a.tif\tu2\tCell\t\tTumor: TGFb\tRoot\t11.5\t21\t31\t101\t8\tNaN\t901\t13\t1001\n"
    "a.tif\tu3\tAnnotation\t\tTumor\tRoot\t500\t500\t\t\t\t\t\t\t\n"
    "b.tif\tu4\tDetection\t\t\tRoot\t1\t2\t32\t102\t9\t6\t10\t1\t11\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_qupath_export_states_its_unit_and_keeps_only_cells(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "measurements.tsv", QUPATH, encoding)
    tables = read(
        path,
        format="qupath",
        phenotypes={"tumor": ("Tumor", "Tumor: TGFb")},
        markers={"TGFb": "TGFB1"},
        extra={"id": "Object ID"},
    )
    assert list(tables) == ["a.tif", "b.tif"]
    cells = tables["a.tif"].cells
    assert cells[["x_um", "y_um"]].to_numpy().tolist() == [[10.5, 20], [11.5, 21]]
    assert cells["phenotype"].tolist() == ["tumor", "tumor"]
    assert tables["b.tif"].cells["phenotype"].tolist() == ["other"]
    for name, value in {
        "DAPI_nucleus_mean": 100,
        "TGFb_membrane_median": 7,
        "IL1B_cytoplasm_mean": 5,
        "PanCK_cell_mean": 900,
        "PanCK_cell_std": 12,
    }.items():
        assert cells[name][0] == value
    assert np.isnan(cells["IL1B_cytoplasm_mean"][1])
    assert "PanCK_cell_max" not in cells
    assert cells["id"].tolist() == ["u1", "u2"]
    assert tables["a.tif"].n_dropped == 1


def test_qupath_in_pixels_needs_the_pixel_size(tmp_path: Path) -> None:
    path = written(
        tmp_path / "m.tsv", QUPATH.replace("µm\t", "px\t").replace("Area µm^2", "Area px^2")
    )
    with pytest.raises(RequestError, match=r"in px; set pixel_size_um"):
        read(path, format="qupath")
    assert read(path, format="qupath", pixel_size_um=0.5)["a.tif"].cells["x_um"].tolist() == [
        5.25,
        5.75,
    ]


def test_semicolons_with_decimal_commas_are_read_when_declared(tmp_path: Path) -> None:
    path = written(tmp_path / "s1.csv", "x;y;cell\n1,5;2,25;T\n3;4;\n;4;T\n")
    with pytest.raises(RequestError, match=r"holds '1,5' where a number is expected.*decimal"):
        read(path, **XY)
    table = read(path, **XY, decimal=",", phenotype="cell", phenotypes={"tumor": ("T",)})["s1"]
    assert table.cells[["x_um", "y_um"]].to_numpy().tolist() == [[1.5, 2.25], [3, 4]]
    assert table.cells["phenotype"].tolist() == ["tumor", "other"]
    assert (table.n_dropped, table.cells["cell_id"].tolist()) == (1, [1, 2])


def test_parquet_gzip_and_a_folder_of_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, np.inf], "il": [5, 6], "pos": [True, None]})
    frame.to_parquet(tmp_path / "s10.parquet")
    with gzip.open(tmp_path / "s2.csv.gz", "wt") as file:
        frame.to_csv(file, index=False)
    tables = read(
        tmp_path, **XY, intensities={"IL1B_cytoplasm_mean": "il"}, positive={"IL1B": "pos"}
    )
    assert list(tables) == ["s2", "s10"]
    for table in tables.values():
        assert table.cells["IL1B_cytoplasm_mean"].tolist() == [5]
        assert table.cells["IL1B_positive"].tolist() == [True]
    sheet = [Sample("s2", patient="P", group="g"), Sample("elsewhere", patient="Q")]
    joined = read_cell_tables(tmp_path, mapping(**XY), samples=sheet)
    assert (joined["s2"].patient, joined["s2"].group, joined["s10"].patient) == ("P", "g", None)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "columns", "x": "x", "y": "y"}, "needs unit"),
        ({"format": "columns", "unit": "um"}, "needs x and y"),
        ({"format": "halo", "unit": "px"}, "needs pixel_size_um"),
        ({**XY, "area": "a"}, "needs area_unit"),
        ({**XY, "area": "a", "area_unit": "px2"}, "needs pixel_size_um"),
        ({**XY, "phenotype": "p", "rules": {"t": "A+"}}, "not both"),
        ({**XY, "unti": "um"}, "unti"),
        ({"format": "visiopharm"}, "qupath"),
    ],
)
def test_mappings_that_leave_something_open_are_refused(
    given: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        TableMapping.model_validate(given)


CSV = "x,y,p,s,q,a\n1,2,T,s1,P1,3\n2,3,M,s1,P1,1\n3,4,T,s2,P1,0\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {**XY, "x": "X position"},
            r"x names the column 'X position', which is not there; its columns are x, y",
        ),
        (
            {**XY, "phenotype": "p", "phenotypes": {"tumor": ("Tt",)}},
            r"phenotypes.tumor: no cell is called 'Tt'; did you mean 'T'",
        ),
        ({**XY, "phenotypes": {"tumor": ("T",)}}, r"found no phenotypes at all"),
        (
            {**XY, "slide": "s", "patient": "s", "group": "p"},
            r"slide 's1' belongs to 2 values of group \(T, M\)",
        ),
        ({**XY, "intensities": {"TGFB1": "a"}}, r"not <marker>_<compartment>_<statistic>"),
        (
            {**XY, "intensities": {"TGFB1_cell_mean": "b"}},
            r"intensities.TGFB1_cell_mean names the column 'b'",
        ),
        (
            {**XY, "markers": {"TGFB1": "TGFb"}},
            r"no marker is called 'TGFb'; found none \(use intensities\)",
        ),
        ({**XY, "gates": {"TGFB1": 3.0}}, r"gates.TGFB1 needs the column 'TGFB1_cell_mean'"),
        ({**XY, "rules": {"tumor": "A+"}}, r"rules need positivity"),
        ({**XY, "positive": {"A": "p"}}, r"column 'p' holds 't'; positivity"),
        ({**XY, "x": "p"}, r"column 'p' holds 'T' where a number is expected"),
        ({**XY, "extra": {"x_um": "a"}}, r"extra.x_um: ifquant fills the column 'x_um' itself"),
        ({"format": "qupath"}, r"no positions as qupath writes them"),
        ({"format": "inform", "unit": "um"}, r"no positions as inform"),
        (
            {"format": "mcquant", "pixel_size_um": 1.0},
            r'which mask was measured; set compartment = "cell"',
        ),
    ],
)
def test_mappings_that_do_not_fit_the_table_are_refused(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        read(written(tmp_path / "t.csv", CSV), **given)


def test_units_are_asked_for_and_contradictions_refused(tmp_path: Path) -> None:
    halo = written(
        tmp_path / "h.csv", "Image Location,Object Id,XMin,XMax,YMin,YMax\na,1,2,4,6,8\n"
    )
    with pytest.raises(
        RequestError, match=r"halo tables do not say whether positions are in px or um"
    ):
        read(halo, format="halo")
    assert read(halo, format="halo", unit="um")["a"].cells[
        ["x_um", "y_um"]
    ].to_numpy().tolist() == [[3, 7]]
    inform = written(
        tmp_path / "i.txt",
        "Sample Name\tCell ID\tCell X Position\tCell Y Position\tPhenotype\na\t1\t5\t6\tCK+\n",
    )
    with pytest.raises(RequestError, match=r'set unit = "um" or unit = "px"'):
        read(inform, format="inform")
    stated = written(
        tmp_path / "j.txt",
        "Sample Name\tCell X Position\tCell Y Position\tNucleus Area (pixels)\na\t5\t6\t9\n",
    )
    with pytest.raises(RequestError, match=r'unit = "um" contradicts the header, which says px'):
        read(stated, format="inform", unit="um")


def test_dyes_are_dropped_from_marker_names_only_where_that_tells_markers_apart(
    tmp_path: Path,
) -> None:
    head = (
        "XMin,XMax,YMin,YMax,CD3 (Opal 570) Nucleus Intensity,CD8 (Opal 520) Cell Intensity,CD8"
        " (Opal 620) Cell Intensity"
    )
    path = written(tmp_path / "h.csv", f"{head}\n0,2,0,2,1,2,3\n")
    cells = read(path, format="halo", unit="um")["h"].cells
    assert [c for c in cells if c.endswith("_mean")] == [
        "CD3_nucleus_mean",
        "CD8 (Opal 520)_cell_mean",
        "CD8 (Opal 620)_cell_mean",
    ]
    with pytest.raises(RequestError, match="would both become 'CD3_cell_mean'"):
        read(
            written(tmp_path / "two.csv", "CD3 Cell Intensity,CD8 Cell Intensity," + head),
            format="halo",
            unit="um",
            markers={"CD3": "CD8"},
        )
    renamed = read(path, format="halo", unit="um", markers={"CD8": "CD8 (Opal 620)"})["h"].cells
    assert renamed["CD8_cell_mean"].tolist() == [3]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("t.xlsx", b"PK", SlideError, "not a cell table"),
        ("t.csv", b"", SlideError, "first line is no header"),
        ("t.csv", b"x,y,x\n1,2,3\n", SlideError, "two columns are called 'x'"),
        ("t.csv", b"x,y\n", SlideError, "no cell with a position"),
        ("t.csv", b"x,y\nNA,2\n", SlideError, "no cell with a position"),
        ("t.csv.gz", b"not gzip", SlideError, "cannot be read"),
        ("t.parquet", b"PAR1 truncated", SlideError, "cannot be read"),
    ],
)
def test_damaged_and_empty_tables_are_refused(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=said):
        read(tmp_path / name, **XY)


def test_mixed_slides_are_noticed_by_repeated_cell_ids(tmp_path: Path) -> None:
    path = written(
        tmp_path / "m.csv",
        "CellID,CK,X_centroid,Y_centroid,imag\n1,5,1,1,a\n2,5,9,9,a\n1,5,1,2,b\n",
    )
    (table,) = read(path, format="mcquant", compartment="cell", pixel_size_um=1.0).values()
    assert "1 cell id occurs more than once" in table.warnings[0]
    apart = read(path, format="mcquant", compartment="cell", pixel_size_um=1.0, slide="imag")
    assert [t.warnings for t in apart.values()] == [(), ()]


def test_a_slide_in_two_files_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file or folder"):
        read_cell_tables(tmp_path / "nothing")
    with pytest.raises(RequestError, match="no finished slide"):
        read_cell_tables(tmp_path)
    with pytest.raises(RequestError, match="no cell tables"):
        read(tmp_path, **XY)
    for name in ("a.csv", "b.csv"):
        written(tmp_path / name, CSV)
    with pytest.raises(RequestError, match="slide 's1' is in"):
        read(tmp_path, **XY, slide="s")


def test_the_docs_name_every_key_of_the_section() -> None:
    text = (Path(__file__).parents[1] / "docs" / "cell_tables.md").read_text("utf-8")
    for name, field in TableMapping.model_fields.items():
        assert f"| `{name}` | {field.description} |" in text


def test_the_examples_of_the_docs_are_valid_mappings() -> None:
    text = (Path(__file__).parents[1] / "docs" / "cell_tables.md").read_text("utf-8")
    block = text.split("```toml\n")[1].split("```")[0]
    examples = [tomllib.loads("[table]" + part)["table"] for part in block.split("[table]")[1:]]
    assert [TableMapping.model_validate(example).format for example in examples] == [
        "qupath",
        "mcquant",
        "inform",
        "halo",
        "columns",
    ]
