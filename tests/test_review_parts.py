"""The queue, agreement and edits of outlines, each against hand-derived answers or another
library.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from reviewing import GeometryInMemory
from scipy import ndimage
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from ifquant.calibration.tissue import TissueMask
from ifquant.columns.cell_columns import typed
from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, paint, runs_of
from ifquant.geometry.windows import Window
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Priming, Recipe
from ifquant.review.agreement import cohen_kappa, rate
from ifquant.review.decisions import Source
from ifquant.review.outlines import Outlines, parts_of_cut, polygon_of
from ifquant.review.review_queue import (
    QueueOptions,
    blind_names,
    blindable_markers,
    doubts,
    hidden_columns,
    make_queue,
)
from ifquant.review.subject import Subject

# ---- queue ---------------------------------------------------------------------------------------

CHANNELS = [
    {"name": "DAPI", "role": "nucleus"},
    {"name": "PanCK", "role": "tumor"},
    {"name": "CD11c", "role": "myeloid"},
    {"name": "IL1B", "compartment": "cytoplasm"},
]
RECIPE = resolved(
    Recipe.model_validate({"channels": CHANNELS, "measure": {"statistics": ["mean"]}})
)
COLUMNS = {
    "PanCK": "PanCK_cytoplasm_mean",
    "CD11c": "CD11c_cell_mean",
    "IL1B": "IL1B_cytoplasm_mean",
}


def table_of(n: int, **columns: object) -> Subject:
    """A slide of `n` cells far from every gate (100), with these columns instead."""
    from ifquant.columns.cell_columns import cell_columns

    values: dict[str, object] = {}
    for column in cell_columns(RECIPE):
        values[column.name] = (
            np.full(n, 1.0) if column.dtype == "float64" else np.zeros(n, np.int64)
        )
    values |= {
        "cell_id": np.arange(1, n + 1),
        "phenotype": np.full(n, 2),
        "nearest_tumor_border_um": np.full(n, 50.0),
    }
    values |= {f"{m}_positive": np.zeros(n, bool) for m in COLUMNS}
    table = typed({**values, **{k: np.asarray(v) for k, v in columns.items()}}, RECIPE)
    gates = tuple(FittedGate(m, 100.0, True, "given", column=c) for m, c in COLUMNS.items())
    source = Source(slide="a", image_sha256="1" * 64, cells_digest="2" * 64)
    return Subject(source, RECIPE, table, gates, 0.5, (100, 100), TissueMask.full((100, 100), 16))


def test_doubts_are_what_can_be_derived_by_hand() -> None:
    subject = table_of(
        6,
        PanCK_cytoplasm_mean=[100.0, 150.0, 100 * 1.5**0.5, 100 / 1.5**0.5, 300.0, np.nan],
        IL1B_cytoplasm_mean=np.full(6, 100.0),
        flags=[0, 1 << 5, 0, 1 << 10, 1 << 0, 0],
        phenotype=[2, 2, 2, 1, 1, 1],
        nearest_tumor_border_um=[0.0, 0.0, 0.0, 0.0, 1.0, 2.5],
    )
    parts = doubts(subject)
    np.testing.assert_allclose(parts["near a gate"], [1, 0, 0.5, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(parts["flagged"], [0, 1, 0, 0, 0.5, 0])
    np.testing.assert_allclose(parts["contact in doubt"], [0, 0, 0, 1, 0.75, 0])
    queue = make_queue(subject)
    assert list(queue.ids) == [4, 5, 1, 2, 3]
    assert list(queue.reasons[0]) == ["near a gate", "contact in doubt"]
    assert len(make_queue(subject, QueueOptions(limit=2))) == 2
    assert doubts(subject, hidden=("PanCK",))["near a gate"].max() == 0


def test_leverage_comes_from_a_column_whatever_its_sign() -> None:
    subject = table_of(4)
    object.__setattr__(subject, "columns", {"leverage": np.array([0.1, -5.0, np.nan, 2.0])})
    assert list(make_queue(subject, QueueOptions(leverage="leverage")).ids) == [2, 4, 1]
    with pytest.raises(RequestError, match="found column 'weight'"):
        make_queue(subject, QueueOptions(leverage="weight"))


def test_what_tells_of_a_hidden_marker_orders_no_queue() -> None:
    subject = table_of(4)
    asked = subject.recipe.model_copy(update={"priming": Priming(response="IL1B", ligand="CD11c")})
    subject = dataclasses.replace(
        subject, recipe=asked, columns={"leverage": np.array([0.1, -5.0, np.nan, 2.0])}
    )
    hidden = ("IL1B",)
    assert list(make_queue(subject, QueueOptions(order="table", sort_by="leverage")).ids) == [
        2,
        1,
        4,
        3,
    ]
    for options in (
        QueueOptions(order="table", sort_by="leverage", hidden=hidden),
        QueueOptions(order="table", sort_by="IL1B_cytoplasm_mean", hidden=hidden),
        QueueOptions(order="random", ranges=(("IL1B_cytoplasm_mean", 1.0, None),), hidden=hidden),
    ):
        with pytest.raises(RequestError, match="tells of IL1B"):
            make_queue(subject, options)
    assert "leverage" in doubts(subject, leverage="leverage")
    assert "leverage" not in doubts(subject, leverage="leverage", hidden=hidden)


def test_a_random_queue_is_a_random_sample_and_stays_the_same() -> None:
    subject = table_of(400, phenotype=np.arange(400) % 3)
    first = make_queue(subject, QueueOptions(order="random", seed=1))
    assert sorted(first.ids) == list(range(1, 401))
    np.testing.assert_array_equal(
        first.ids, make_queue(subject, QueueOptions(order="random", seed=1)).ids
    )
    assert list(first.ids) != list(make_queue(subject, QueueOptions(order="random", seed=2)).ids)
    some = make_queue(subject, QueueOptions(order="random", seed=1, phenotypes=("tumor",)))
    assert list(some.ids) == [i for i in first.ids if (i - 1) % 3 == 0], "a filter does not reorder"
    hits = np.zeros(400)
    for seed in range(300):
        hits[make_queue(subject, QueueOptions(order="random", seed=seed, limit=40)).ids - 1] += 1
    assert hits.sum() == 300 * 40
    assert abs(((hits - 30) ** 2 / (300 * 0.1 * 0.9)).mean() - 1) < 0.25, (
        "each cell is drawn with the same chance"
    )


def test_sorting_filtering_and_progress() -> None:
    subject = table_of(5, PanCK_cytoplasm_mean=[5.0, 1.0, np.nan, 3.0, 4.0], flags=[1, 0, 2, 3, 0])
    by_value = QueueOptions(order="table", sort_by="PanCK_cytoplasm_mean", descending=True)
    assert list(make_queue(subject, by_value).ids) == [1, 5, 4, 2, 3]
    assert list(make_queue(subject, QueueOptions(order="table", flags=("saturated",))).ids) == [
        3,
        4,
    ]
    limited = QueueOptions(order="table", ranges=(("PanCK_cytoplasm_mean", 3.0, None),))
    queue = make_queue(subject, limited)
    assert list(queue.ids) == [1, 4, 5]
    assert limited.among == "PanCK_cytoplasm_mean >= 3"
    assert queue.record(2).among == limited.among
    assert queue.progress({1, 2}) == (1, 3)
    assert [queue.next_open({4}, after) for after in (0, 1, 3)] == [1, 3, 1]
    assert queue.next_open({1, 4, 5}) is None
    for wrong, message in (
        (QueueOptions(phenotypes=("x",)), "found phenotype"),
        (QueueOptions(flags=("x",)), "no flag is called"),
    ):
        with pytest.raises(RequestError, match=message):
            make_queue(subject, wrong)
    assert len(make_queue(table_of(0))) == 0


def test_blinding_hides_all_of_a_marker_and_nothing_else() -> None:
    subject = table_of(3)
    assert blindable_markers(subject) == ("IL1B",)
    hidden = hidden_columns(subject, ["IL1B"])
    assert hidden == {name for name in subject.table.columns if name.startswith("IL1B_")}
    assert QueueOptions(hidden=("IL1B",), hide_sample=True)
    assert make_queue(
        subject, QueueOptions(order="table", hidden=("IL1B",), hide_sample=True)
    ).record(1).hidden == ("IL1B", "sample")
    names = blind_names([f"case-{i}" for i in range(12)], 3)
    assert sorted(names.values()) == [f"slide {i:02d}" for i in range(1, 13)]
    assert names == blind_names(sorted(names, reverse=True), 3)
    assert names != blind_names(list(names), 4)


# ---- agreement -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data(), k=st.integers(2, 4))
def test_kappa_is_that_of_statsmodels(data: st.DataObject, k: int) -> None:
    judgement = st.lists(st.integers(0, k - 1), min_size=5, max_size=60)
    first = data.draw(judgement)
    other = data.draw(st.lists(st.integers(0, k - 1), min_size=len(first), max_size=len(first)))
    second = [b if data.draw(st.booleans()) else a for a, b in zip(first, other, strict=True)]
    ours = cohen_kappa([str(a) for a in first], [str(b) for b in second])
    if len({*first, *second}) == 1:
        assert ours.kappa is None
        return
    table = np.zeros((k, k))
    np.add.at(table, (first, second), 1)
    with np.errstate(all="ignore"):  # it divides by a variance of zero
        theirs = cohens_kappa(table)
    assert ours.n == len(first)
    assert ours.kappa == pytest.approx(theirs.kappa, abs=1e-12)
    assert ours.low is not None
    assert ours.high is not None
    # rounding below zero: theirs is nan where the variance is zero, ours 0
    half = 0.0 if not theirs.var_kappa > 1e-15 else 1.959963984540054 * theirs.std_kappa
    assert (ours.low, ours.high) == pytest.approx(
        (max(-1, ours.kappa - half), min(1, ours.kappa + half)), abs=1e-6
    )


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 300), data=st.data())
def test_intervals_are_wilsons(n: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, n))
    found = rate("x", [True] * wrong + [False] * (n - wrong))
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(wrong, n, method="wilson"), abs=1e-9
    )
    assert found.rate == wrong / n


def test_no_cells_no_rate() -> None:
    assert (rate("x", []).rate, rate("x", []).low) == (None, None)
    assert cohen_kappa([], []).kappa is None


# ---- outlines ------------------------------------------------------------------------------------

SHAPE = (60, 80)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei (every second erased pixel by pixel from their cells) and cells that fill much of a
    window, numbered by anchor.
    """
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.random(SHAPE), 3)
    seeds, _ = ndimage.label(noise > np.quantile(noise, 0.8))
    _, (y, x) = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    near = ndimage.distance_transform_edt(seeds == 0) <= 5
    cells = np.where(near, seeds[y, x], 0)
    return seeds.astype(np.int64), cells.astype(np.int64)


def outlines_of(seed: int) -> tuple[Outlines, int]:
    nuclei, cells = blobs(seed)
    ids = np.arange(1, int(nuclei.max()) + 1)
    return Outlines(
        ids, GeometryInMemory(ids, runs_of(nuclei, ids), runs_of(cells, ids)), SHAPE
    ), len(ids)


def sound(outlines: Outlines) -> None:
    """Every nucleus lies in its own cell, no pixel has two cells, every cell has a nucleus; runs
    and paint agree.
    """
    ids, nuclei, cells = outlines.objects()
    whole = Window(0, 0, *SHAPE)
    painted = [paint(runs, ids, whole).astype(np.int64) for runs in (nuclei, cells)]
    assert painted[1].astype(bool).sum() == cells.areas_px.sum(), "cells overlap"
    assert (painted[0] > 0).sum() == nuclei.areas_px.sum(), "nuclei overlap"
    np.testing.assert_array_equal(painted[0][painted[0] > 0], painted[1][painted[0] > 0])
    assert (nuclei.areas_px > 0).all()
    assert (np.diff(ids) > 0).all()
    for mine, direct in zip(outlines.painted(whole), painted, strict=True):
        np.testing.assert_array_equal(mine, direct)
    for k, cell_id in enumerate(ids):
        assert outlines.anchor(int(cell_id)) == tuple(np.argwhere(painted[0] == cell_id)[0])
        np.testing.assert_allclose(
            outlines.centroid_px(int(cell_id)),
            np.argwhere(painted[1] == cell_id).mean(axis=0) + 0.5,
            rtol=1e-12,
        )
        assert cells.areas_px[k] > 0


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 200))
def test_any_edits_keep_cells_sound(data: st.DataObject, seed: int) -> None:
    outlines, n = outlines_of(seed)
    next_id = n + 1
    for _ in range(data.draw(st.integers(1, 6))):
        here = [int(i) for i in outlines.objects()[0]]
        cell = data.draw(st.sampled_from(here))
        kind = data.draw(st.sampled_from(["merge", "split", "redraw", "nucleus"]))
        y, x = outlines.centroid_px(cell)
        before = outlines.objects()
        try:
            if kind == "merge":
                outlines.merge(cell, data.draw(st.sampled_from(here)), next_id)
            elif kind == "split":
                angle = data.draw(st.floats(0, 3.1))
                line = [
                    (x - np.cos(angle), y - np.sin(angle)),
                    (x + np.cos(angle), y + np.sin(angle)),
                ]
                parts = parts_of_cut(polygon_of(outlines.of(cell)[1]), line)
                outlines.split(cell, parts, range(next_id, next_id + len(parts)))
            else:
                radius = data.draw(st.floats(2, 14))
                dy, dx = data.draw(st.floats(-9, 9)), data.draw(st.floats(-9, 9))
                ring = tuple(
                    (x + dx + radius * np.cos(t), y + dy + radius * np.sin(t))
                    for t in np.linspace(0, 6, 15)
                )
                small = (
                    tuple(
                        (x + dx + np.cos(t) * 2, y + dy + np.sin(t) * 2)
                        for t in np.linspace(0, 6, 9)
                    )
                    if kind == "nucleus"
                    else None
                )
                outlines.redraw(cell, ring, small, next_id)
        except RequestError:
            after = outlines.objects()
            np.testing.assert_array_equal(after[0], before[0])
            np.testing.assert_array_equal(after[2].y, before[2].y)
            continue
        assert cell not in outlines
        assert outlines.gone[cell] >= next_id
        next_id = max(int(outlines.objects()[0].max()) + 1, next_id)
        sound(outlines)


def test_a_merge_is_the_union_and_a_split_loses_no_pixel() -> None:
    nuclei, cells = blobs(3)
    outlines, n = outlines_of(3)
    a, b = next(
        (i, j)
        for i in range(1, n + 1)
        for j in range(i + 1, n + 1)
        if ndimage.label(np.isin(cells, (i, j)), np.ones((3, 3)))[1] == 1
    )
    outlines.merge(a, b, n + 1)
    painted = outlines.painted(Window(0, 0, *SHAPE))
    np.testing.assert_array_equal(painted[1] == n + 1, np.isin(cells, (a, b)))
    np.testing.assert_array_equal(painted[0] == n + 1, np.isin(nuclei, (a, b)))
    y, x = outlines.centroid_px(n + 1)
    outlines.split(
        n + 1,
        parts_of_cut(polygon_of(outlines.of(n + 1)[1]), [(x, y - 1), (x, y + 1)]),
        (n + 2, n + 3),
    )
    painted = outlines.painted(Window(0, 0, *SHAPE))
    np.testing.assert_array_equal(np.isin(painted[1], (n + 2, n + 3)), np.isin(cells, (a, b)))
    assert outlines.parents[n + 2] in (a, b)
    assert outlines.near_changes(0).size >= 2


def test_a_redraw_takes_from_cells_but_never_from_nuclei() -> None:
    nuclei, cells = blobs(5)
    outlines, n = outlines_of(5)
    cell = int(np.argmax(np.bincount(cells.ravel())[1:]) + 1)
    y, x = outlines.centroid_px(cell)
    ring = tuple(
        (x + 16 * np.cos(t), y + 16 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 30)[:-1]
    )
    outlines.redraw(cell, ring, None, n + 1)
    after_nuclei, after_cells = outlines.painted(Window(0, 0, *SHAPE))
    others = (nuclei > 0) & (nuclei != cell)
    np.testing.assert_array_equal(after_nuclei[others], nuclei[others])
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    inside = shapely.contains_xy(shapely.Polygon(ring), xx, yy) & ~others
    assert (inside & (after_cells == n + 1)).sum() > 0.8 * inside.sum()
    assert not (after_cells == n + 1)[~inside].any()
    sound(outlines)


def test_an_outline_is_its_pixels_and_a_joined_one_their_union() -> None:
    labels = np.zeros((6, 8), np.int64)
    labels[1:4, 2:5] = 1
    labels[2, 3] = 0  # a hole, filled in the outline
    labels[4, 2:7] = 2
    runs = runs_of(labels, [1, 2])
    assert shapely.Polygon(polygon_of(runs.take([0]))).equals(shapely.box(2, 1, 5, 4))
    both = shapely.Polygon(polygon_of(runs))
    assert both.equals(shapely.union(shapely.box(2, 1, 5, 4), shapely.box(2, 4, 7, 5)))
    assert len(CellRuns.empty(1)) == 1
    parts = parts_of_cut(((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)), [(1.0, 3.9), (1.0, 4.1)])
    assert [shapely.Polygon(p).area for p in parts] == [4, 12]
