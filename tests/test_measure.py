"""Measurement: agreement with scikit-image, with other tools' tables and with values worked out by
hand.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from skimage.measure import regionprops_table
from skimage.morphology import convex_hull_image

import ifquant.recipe.model as recipe
from ifquant.cells.measurement import measure_cells, reach_um
from ifquant.cells.quantify import quantify
from ifquant.errors import RequestError

ALL = ("mean", "median", "p95", "sum", "std")
DATA = Path(os.environ.get("IFQUANT_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
UM = 0.5


def needs(path: str) -> Path:
    if not (DATA / path).exists():
        pytest.skip(f"no {path} under IFQUANT_DATA ({DATA})")
    return DATA / path


def blobs(seed=0, shape=(90, 110), n=40):
    """Touching cells of irregular shape with nuclei, and an image of three channels."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, shape, (n, 2))
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y[..., None] - centers[:, 0], x[..., None] - centers[:, 1]) + rng.normal(
        0, 0.4, (*shape, n)
    )
    nearest, label = distance.min(-1), distance.argmin(-1) + 1
    cells = np.where(nearest < 9, label, 0)
    nuclei = np.where(nearest < 4, label, 0)
    image = rng.gamma(2.0, 300, (3, *shape))
    image[1] = np.round(image[1] / 300)  # many equal values
    return image, nuclei.astype(np.int32), cells.astype(np.int32)


def as_type(image, kind):
    if kind == np.uint8:
        return np.clip(image / 8, 0, 255).astype(kind)
    return (image - (700 if np.dtype(kind).kind != "u" else 0)).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float32])
def test_agrees_with_scikit_image(kind):
    image, nuclei, cells = blobs()
    image = as_type(image, kind)
    table = quantify(
        image,
        nuclei=nuclei,
        cells=cells,
        channels=["A", "B b", "C_c"],
        pixel_size_um=UM,
        statistics=ALL,
    )
    pixels = np.moveaxis(image, 0, -1).astype(
        np.float64
    )  # float32 sums of scikit-image are not exact to 1e-9

    def median(mask, values):
        return np.median(values[mask], axis=0)

    def p95(mask, values):
        return np.percentile(values[mask], 95, axis=0)

    def total(mask, values):
        return values[mask].sum(axis=0)

    wanted = (
        "label",
        "area",
        "centroid",
        "axis_major_length",
        "axis_minor_length",
        "eccentricity",
        "solidity",
    )
    compartments = {"cell": cells, "nucleus": nuclei, "cytoplasm": np.where(nuclei > 0, 0, cells)}
    for compartment, labels in compartments.items():
        theirs = regionprops_table(
            labels,
            pixels,
            properties=(*wanted, "intensity_mean", "intensity_std"),
            extra_properties=(median, p95, total),
        )
        ours = table.set_index("label").loc[theirs["label"]]
        for c, name in enumerate(["A", "B b", "C_c"]):
            for statistic, their in (
                ("mean", "intensity_mean"),
                ("median",) * 2,
                ("p95",) * 2,
                ("sum", "total"),
                ("std", "intensity_std"),
            ):
                np.testing.assert_allclose(
                    ours[f"{name}_{compartment}_{statistic}"],
                    theirs[f"{their}-{c}"],
                    rtol=1e-9,
                    atol=1e-9,
                )
        if compartment == "cytoplasm":
            continue
        prefix = "" if compartment == "cell" else "nucleus_"
        np.testing.assert_array_equal(ours[f"{prefix}area_um2"], theirs["area"] * UM**2)
        np.testing.assert_array_equal(ours[f"{prefix}solidity"], theirs["solidity"])
        np.testing.assert_allclose(
            ours[f"{prefix}axis_major_um"], theirs["axis_major_length"] * UM, rtol=1e-9
        )
        np.testing.assert_allclose(
            ours[f"{prefix}axis_minor_um"], theirs["axis_minor_length"] * UM, rtol=1e-9, atol=1e-6
        )
        np.testing.assert_allclose(
            ours[f"{prefix}eccentricity"], theirs["eccentricity"], rtol=1e-9, atol=1e-9
        )
        if not prefix:
            np.testing.assert_allclose(ours["y_px"], theirs["centroid-0"] + 0.5, rtol=1e-12)
            np.testing.assert_allclose(ours["x_um"], (theirs["centroid-1"] + 0.5) * UM, rtol=1e-12)
    empty = table[table["no_cytoplasm"]]
    assert empty["A_cytoplasm_mean"].isna().all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)))
def test_solidity_is_that_of_scikit_image_for_any_shape(mask):
    if not mask.any():
        return
    labels = np.pad(mask, 1).astype(np.int32)
    table = quantify(
        np.zeros((1, *labels.shape), np.uint8),
        nuclei=labels,
        cells=labels,
        channels=["A"],
        pixel_size_um=1.0,
    )
    y, x = np.nonzero(mask)
    cropped = mask[y.min() : y.max() + 1, x.min() : x.max() + 1]
    assert table["solidity"][0] == mask.sum() / convex_hull_image(cropped).sum()


def test_large_irregular_shapes_have_scikit_images_solidity():
    image, _, cells = blobs(seed=3, shape=(300, 300), n=12)
    noise = np.random.default_rng(1).random(cells.shape)
    cells = np.where(noise < 0.4, cells, 0).astype(np.int32)  # scattered pixels
    ours = quantify(
        image[:1, :1].repeat(300, 1)[:, :, :1].repeat(300, 2),
        nuclei=cells,
        cells=cells,
        channels=["A"],
        pixel_size_um=1.0,
    )
    theirs = regionprops_table(cells, properties=("label", "solidity", "axis_minor_length"))
    np.testing.assert_array_equal(ours["label"], theirs["label"])
    np.testing.assert_array_equal(ours["solidity"], theirs["solidity"])
    np.testing.assert_allclose(ours["axis_minor_um"], theirs["axis_minor_length"], rtol=1e-9)


def hand_phantom():
    """Two square cells of 9 x 9 px side by side with nuclei of 3 x 3 px; values are the column
    number.
    """
    cells, nuclei = np.zeros((13, 22), np.int32), np.zeros((13, 22), np.int32)
    cells[2:11, 2:11], cells[2:11, 11:20] = 1, 2
    nuclei[5:8, 5:8], nuclei[5:8, 14:17] = 1, 2
    image = np.broadcast_to(np.arange(22, dtype=np.uint16), (1, 13, 22))
    return image, nuclei, cells


def measured(options=None, image=None, **more):
    default, nuclei, cells = hand_phantom()
    image = default if image is None else image
    return quantify(
        image,
        nuclei=nuclei,
        cells=cells,
        channels=["A"],
        pixel_size_um=1.0,
        options=options,
        statistics=ALL,
        **more,
    )


def test_compartments_worked_out_by_hand():
    table = measured(recipe.Measure(membrane_um=2, soma_um=1, soma_clear_um=1))
    assert table["A_cell_sum"].tolist() == [9 * sum(range(2, 11)), 9 * sum(range(11, 20))]
    assert table["A_nucleus_sum"].tolist() == [3 * (5 + 6 + 7), 3 * (14 + 15 + 16)]
    assert table["A_cytoplasm_mean"].tolist() == [6.0, 15.0]
    # the ring is 2 px wide: 81 - 25 pixels, symmetric about the center
    assert table["A_membrane_sum"].tolist() == [56 * 6, 56 * 15]
    # soma: 3 x 3 nucleus plus its 4 sides of 3 px, no corners (distance sqrt 2)
    assert table["A_soma_sum"].tolist() == [21 * 6, 21 * 15]
    assert table["A_soma_std"][0] == np.std([4] * 3 + [5, 6, 7] * 5 + [8] * 3)
    assert table["A_cell_median"].tolist() == [6, 15]
    assert table["y_px"].tolist() == [6.5, 6.5]
    assert table["x_px"].tolist() == [6.5, 15.5]
    assert table[["anchor_y_px", "anchor_x_px"]].to_numpy().tolist() == [[5, 5], [5, 14]]
    assert not table["touches_border"].any()


def test_membrane_shared_with_a_neighbour_can_be_left_out():
    table = measured(recipe.Measure(membrane_um=2, shared_membrane=False))
    # cell 1 loses its columns 9 and 10 (9 rows each)
    assert table["A_membrane_sum"][0] == 56 * 6 - 9 * (9 + 10)
    assert table["A_membrane_sum"][1] == 56 * 15 - 9 * (11 + 12)


def test_soma_stays_clear_of_other_cells():
    table = measured(recipe.Measure(soma_um=20, soma_clear_um=2))
    assert table["A_soma_sum"][0] == 9 * sum(range(2, 9))  # the whole cell but columns 9 and 10
    assert not table["soma_is_nucleus"].any()
    table = measured(recipe.Measure(soma_clear_um=30))
    assert table["soma_is_nucleus"].all()
    assert table["A_soma_mean"].tolist() == table["A_nucleus_mean"].tolist()


def test_image_border_is_no_membrane():
    image, nuclei, cells = hand_phantom()
    cut = slice(6, None)
    table = quantify(
        image[:, cut],
        nuclei=nuclei[cut],
        cells=cells[cut],
        channels=["A"],
        pixel_size_um=1.0,
        options=recipe.Measure(membrane_um=1),
    )
    assert table["touches_border"].all()
    columns = [2] * 5 + [10] * 5 + list(range(3, 10))  # two sides and the bottom, not the cut
    assert table["A_membrane_mean"][0] == pytest.approx(np.mean(columns), rel=1e-15)


def test_saturated_pixels_are_counted():
    table = measured(saturation=[10])
    assert table["A_saturated_fraction"].tolist() == [9 / 81, 1.0]
    assert measured()["A_saturated_fraction"].tolist() == [
        0,
        0,
    ]  # unknown: the largest value of the type
    image = hand_phantom()[0].astype(np.float32)
    assert measured(image=image)["A_saturated_fraction"].isna().all()


def test_pixels_that_are_not_finite_are_left_out_and_reported():
    image = hand_phantom()[0].astype(np.float32).copy()
    image[0, 5, 5], image[0, 2, 2], image[0, 3, 3] = np.nan, np.inf, -np.inf
    table = measured(image=image)
    assert table["non_finite_pixels"].tolist() == [True, False]
    assert table["A_nucleus_mean"][0] == (2 * 5 + 3 * 6 + 3 * 7) / 8
    assert table["A_nucleus_median"][0] == 6
    assert table["A_cell_sum"][0] == 9 * sum(range(2, 11)) - 5 - 2 - 3
    image[0, 5:8, 5:8] = np.nan
    table = measured(image=image)
    assert table[[f"A_nucleus_{s}" for s in ALL]].isna().to_numpy().tolist() == [
        [True] * 5,
        [False] * 5,
    ]


@pytest.mark.parametrize("values", [[1, 2], [1, 2, 3, 10], [5, 5, 6, 6], [3], [65535, 0, 65535, 0]])
def test_median_and_percentile_of_few_pixels(values):
    labels = np.zeros((3, len(values) + 2), np.int32)
    labels[1, 1:-1] = 7
    image = np.zeros((1, *labels.shape), np.uint16)
    image[0, 1, 1:-1] = values
    table = quantify(
        image, nuclei=labels, cells=labels, channels=["A"], pixel_size_um=1.0, statistics=ALL
    )
    assert table["A_cell_median"][0] == np.median(values)
    assert table["A_cell_p95"][0] == np.percentile(values, 95)
    assert table["A_nucleus_std"][0] == pytest.approx(np.std(values), rel=1e-15)


def test_results_do_not_depend_on_the_window():
    image, nuclei, cells = blobs(seed=5)
    options = recipe.Measure(statistics=ALL)
    for kind in (np.uint16, np.float32):
        whole = as_type(image, kind)
        halo = int(np.ceil(reach_um(options) / UM)) + 1
        y, x = 21, 33
        window = (slice(y, 77), slice(x, 101))
        inside = np.zeros(cells.shape, bool)
        inside[y + halo : 77 - halo, x + halo : 101 - halo] = True
        kept = np.setdiff1d(cells[window], cells[~inside])
        kept = np.setdiff1d(kept, nuclei[~inside])
        assert len(kept) >= 4
        names = list("ABC")
        more = {"labels_wanted": kept, "names": names, "pixel_size_um": UM, "options": options}
        expected = measure_cells(whole, nuclei, cells, **more)
        found = measure_cells(
            whole[(slice(None), *window)], nuclei[window], cells[window], origin=(y, x), **more
        )
        assert expected.keys() == found.keys()
        for column, values in expected.items():
            np.testing.assert_array_equal(values, found[column], err_msg=column)  # bit for bit


def test_wanted_statistics_per_compartment_and_order_of_labels():
    image, nuclei, cells = blobs()
    image = image.astype(np.uint16)
    table = measure_cells(
        image,
        nuclei,
        cells,
        labels_wanted=[9, 3],
        names=["A", "B", "C"],
        pixel_size_um=UM,
        options=recipe.Measure(),
        statistics={"soma": ["median"], "cell": ["mean", "sum"]},
        solidity=False,
    )
    assert [name for name in table if name.startswith("A_")] == [
        "A_cell_mean",
        "A_cell_sum",
        "A_soma_median",
        "A_saturated_fraction",
    ]
    assert table["A_cell_mean"][0] == pytest.approx(image[0][cells == 9].mean(), rel=1e-12)
    assert "solidity" not in table


def test_background_is_subtracted_where_it_should_be():
    image, nuclei, cells = hand_phantom()
    options = recipe.Measure(background="calibration", statistics=ALL)
    table = measure_cells(
        image,
        nuclei,
        cells,
        labels_wanted=[1],
        names=["A"],
        pixel_size_um=1.0,
        options=options,
        background=[2.0],
    )
    for statistic, taken in (("mean", 2), ("median", 2), ("p95", 2), ("sum", 2 * 81), ("std", 0)):
        assert table[f"A_cell_corrected_{statistic}"][0] == table[f"A_cell_{statistic}"][0] - taken


def test_huge_and_missing_labels():
    image, nuclei, cells = hand_phantom()
    names = np.array([0, 4_000_000_000, 7], np.uint32)
    table = quantify(
        image,
        nuclei=np.where(nuclei == 2, 0, names[nuclei]),
        cells=names[cells],
        channels=["A"],
        pixel_size_um=1.0,
    )
    assert table["label"].tolist() == [7, 4_000_000_000]
    assert np.isnan(table["nucleus_area_um2"][0])
    assert table["A_cell_mean"].tolist() == [15, 6]
    empty = quantify(
        image,
        nuclei=np.zeros_like(nuclei),
        cells=np.zeros_like(cells),
        channels=["A"],
        pixel_size_um=1.0,
    )
    assert len(empty) == 0
    assert list(empty.columns) == list(table.columns)


def test_wrong_requests_say_what_is_wrong():
    image, nuclei, cells = hand_phantom()
    with pytest.raises(RequestError, match="one different name per channel"):
        quantify(image, nuclei=nuclei, cells=cells, channels=["A", "B"], pixel_size_um=1.0)
    with pytest.raises(RequestError, match="must be"):
        quantify(image[0], nuclei=nuclei, cells=cells, channels=["A"], pixel_size_um=1.0)
    with pytest.raises(RequestError, match="integer labels"):
        quantify(image, nuclei=nuclei * 1.0, cells=cells, channels=["A"], pixel_size_um=1.0)
    with pytest.raises(RequestError, match="'mode' is unknown"):
        quantify(
            image,
            nuclei=nuclei,
            cells=cells,
            channels=["A"],
            pixel_size_um=1.0,
            statistics=["mode"],
        )
    with pytest.raises(RequestError, match="positive"):
        quantify(image, nuclei=nuclei, cells=cells, channels=["A"], pixel_size_um=0)


def test_mcquant_table():
    expected = pd.read_csv(needs("examples/mcquant_expected.csv"))
    mask = tifffile.imread(needs("examples/mcquant_mask.tiff"))
    image = tifffile.imread(needs("examples/mcquant_test.tiff"))[None]
    table = quantify(
        image, nuclei=mask, cells=mask, channels=["CH1"], pixel_size_um=1.0, statistics=ALL
    ).set_index("label")
    table = table.loc[expected["CellID"]]
    pairs = {
        "CH1": "CH1_cell_mean",
        "CH1_intensity_sum": "CH1_cell_sum",
        "CH1_intensity_median": "CH1_cell_median",
        "Area": "area_um2",
        "MajorAxisLength": "axis_major_um",
        "MinorAxisLength": "axis_minor_um",
        "Eccentricity": "eccentricity",
        "Solidity": "solidity",
    }
    for theirs, ours in pairs.items():
        np.testing.assert_allclose(
            table[ours], expected[theirs], rtol=1e-9, atol=1e-9, err_msg=ours
        )
    np.testing.assert_allclose(
        table["x_px"], expected["X_centroid"] + 0.5, rtol=1e-12
    )  # theirs: pixel centers at integers
    np.testing.assert_allclose(table["y_px"], expected["Y_centroid"] + 0.5, rtol=1e-12)


def test_vectra_table():
    folder = needs("vectra_fihc4")
    stem = "FIHC4__0929309_HP_IM3_2"
    table = pd.read_csv(folder / f"{stem}_cell_seg_data.txt", sep="\t", na_values="#N/A")
    with tifffile.TiffFile(folder / f"{stem}_binary_seg_maps.tif") as maps:
        nuclei, cytoplasm = (maps.pages[i].asarray().astype(np.int32) for i in (1, 2))
    with tifffile.TiffFile(folder / f"{stem}_component_data.tif") as components:
        image = np.stack([components.pages[i].asarray() for i in range(5)])
    names = ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"]
    for compartment, labels in (("Nucleus", nuclei), ("Cytoplasm", cytoplasm)):
        ours = quantify(
            image,
            nuclei=np.zeros_like(labels),
            cells=labels,
            channels=names,
            pixel_size_um=1.0,
            solidity=False,
        )
        theirs = table.set_index("Cell ID").loc[ours["label"]]
        area = pd.to_numeric(theirs[f"{compartment} Area (pixels)"])
        same = ours["area_um2"].to_numpy() == area.to_numpy()
        assert (
            same.mean() > 0.97
        )  # the cytoplasm map of 8 of 270 cells is not what the table was made from
        assert same.all() or compartment == "Cytoplasm"
        for name in names:
            mean = theirs[
                f"{compartment} {name} Mean (Normalized Counts, Total Weighting)"
            ].to_numpy(np.float64)
            assert np.abs(ours[f"{name}_cell_mean"].to_numpy() - mean)[same].max() <= 0.000_501
