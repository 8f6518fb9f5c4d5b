"""Pictures: channels in their colors, outlines by phenotype, the same bytes every time, degenerate
slides.
"""

import dataclasses
import io

import numpy as np
import phantoms
import pytest
from PIL import Image

from ifquant.geometry.runs import runs_of
from ifquant.geometry.windows import Window, cores
from ifquant.recipe.defaults import channel_colors, resolved
from ifquant.report import overlay, overlay_lines, picture
from ifquant.report.picture import View
from ifquant.results.slide_outputs import read_overview
from ifquant.slides import overview as stacks
from ifquant.slides.overview import Stack


def small(**more: object) -> tuple[object, object]:
    tissue = phantoms.tissue_of(200, seed=4, **more)
    return phantoms.result_of(tissue), phantoms.reader_of(tissue)


@pytest.mark.parametrize(
    "case", [{}, {"n_cells": 0}, {"n_cells": 1}, {"kinds": ("tumor",)}, {"kinds": ("other",)}]
)
def test_pictures_of_any_slide_and_the_same_bytes_again(case: dict[str, object]) -> None:
    result, read = small(**case)
    stack = read_overview(result, read)
    first = overlay.overlay_png(result, stack)
    assert first == overlay.overlay_png(result, stack)
    image = Image.open(io.BytesIO(first))
    assert image.size[0] == 600
    assert not image.info  # no date, no software
    assert Image.open(io.BytesIO(overlay.detail_png(result, read))).size[0] > 500


def test_longest_side_is_the_recipes() -> None:
    tissue = phantoms.tissue_of(256, seed=4, n_cells=30)
    for size in (200, 255, 600):
        result = phantoms.result_of(tissue, phantoms.recipe_of(picture={"max_size_px": size}))
        view = picture.fit_view(Window(0, 0, 256, 256), result.recipe.picture.max_size_px, 3)
        assert view.shape == (size, size)
        assert overlay.render_view(
            result, read_overview(result, phantoms.reader_of(tissue)), view
        ).shape == (size, size, 3)


def test_channel_colors_follow_role_order_and_recipe() -> None:
    recipe = phantoms.recipe_of(picture={"colors": {"IL1B": "cyan", "PanCK": "none"}})
    colors = channel_colors(recipe)
    assert colors["IL1B"] == "#00ffff"
    assert "PanCK" not in colors
    default = channel_colors(
        resolved(phantoms.recipe_of(names=("H", "CK", "M", "ligand", "response")))
    )
    red, green, blue = (picture.rgb(default[name]) for name in ("ligand", "response", "CK"))
    assert red[0] == max(red)
    assert green[1] == max(green)
    assert blue[2] == max(blue)


def test_blending_is_additive_and_keeps_the_hue_where_it_is_too_bright() -> None:
    shown = np.array([[[255, 0, 255]], [[0, 255, 255]], [[0, 0, 255]]], np.uint8)
    out = picture.blend_channels(shown, ["#ff0000", "#00ff00", "#ff0000"], [1, 1, 1])
    assert out[0].tolist() == [[255, 0, 0], [0, 255, 0], [255, 128, 0]]


def test_block_means_are_exact_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 4096, (2, 301, 207)).astype(np.uint16)
    means = stacks.block_means(image, 3)
    assert means.shape == (2, 101, 69)
    assert means[0, 0, 0] == image[0, :3, :3].mean()
    assert means[1, -1, -1] == image[1, 300:, 204:].mean()
    whole = stacks.read_stack(
        lambda w: image[:, w.y0 : w.y1, w.x0 : w.x1], Window(0, 0, 301, 207), [(0, 4095)] * 2, 100
    )
    monkeypatch.setattr(stacks, "READ_BLOCK_PX", 64)
    parts = stacks.read_stack(
        lambda w: image[:, w.y0 : w.y1, w.x0 : w.x1], Window(0, 0, 301, 207), [(0, 4095)] * 2, 100
    )
    np.testing.assert_array_equal(whole.pixels, parts.pixels)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_blocks_collected_in_any_order_give_the_picture_that_is_read(
    dtype: type, step: int
) -> None:
    image = (np.random.default_rng(1).random((2, 301, 207)) * 250).astype(dtype)
    ranges = [(3.0, 200.0), (10.5, 11.0)]
    read = stacks.read_stack(
        lambda w: image[:, w.y0 : w.y1, w.x0 : w.x1], Window(0, 0, 301, 207), ranges, 301 // step
    )
    builder = stacks.StackBuilder((301, 207), step)
    for block in reversed(cores((301, 207), 96)):
        builder.add(block, stacks.reduced(image[:, block.y0 : block.y1, block.x0 : block.x1], step))
    collected = builder.stack(ranges)
    assert (collected.step, collected.window) == (read.step, read.window)
    np.testing.assert_array_equal(collected.pixels, read.pixels)


def test_pixels_that_are_not_finite_are_black() -> None:
    pixels = np.array([[[np.nan, np.inf, 1.0, -np.inf]]], np.float32)
    assert stacks.displayed(stacks.block_means(pixels, 1), [(0.0, 1.0)]).tolist() == [
        [[0, 0, 255, 0]]
    ]


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 1.7, 3.0])
def test_labels_keep_their_place_and_area_at_every_scale(scale: float) -> None:
    yy, xx = np.mgrid[:120, :120]
    labels = ((yy - 60) ** 2 + (xx - 50) ** 2 < 30**2).astype(np.int32)
    labels[labels == 0] = 2 * (xx[labels == 0] > 100)
    view = View(Window(0, 0, 120, 120), scale)
    drawn = picture.render_labels(runs_of(labels, [1, 2]), view)
    per_px = (scale * picture.SUPERSAMPLE) ** 2
    assert (drawn == 1).sum() == pytest.approx((labels == 1).sum() * per_px, rel=0.03)
    y, x = np.nonzero(drawn == 1)
    assert [y.mean() + 0.5, x.mean() + 0.5] == pytest.approx(
        [60.5 * scale * 2, 50.5 * scale * 2], abs=1.5
    )


def test_ink_is_an_outline_inside_the_object_or_the_whole_object() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    colors = np.array([[0, 0, 0, 0], [1, 0.5, 0, 0.5]], np.float32)
    outline, filled = (
        picture.draw_outlines(labels, colors, 2),
        picture.draw_outlines(labels, colors, 0),
    )
    assert outline[5, 5].tolist() == [0.5, 0.25, 0, 0.5]
    assert outline[10, 10, 3] == 0
    assert outline[4, 10, 3] == 0
    assert filled[10, 10, 3] == 0.5


def test_small_cells_are_filled() -> None:
    tissue = phantoms.tissue_of(800, seed=6, n_cells=150)
    result = phantoms.result_of(tissue, phantoms.recipe_of(picture={"max_size_px": 200}))
    view = picture.fit_view(Window(0, 0, 800, 800), 200, 3)
    bare = dataclasses.replace(
        result,
        cells=result.cells.take(np.zeros(0, int)),
        nuclei=result.nuclei,
        table=result.table.iloc[:0],
    )
    stack = read_overview(result, phantoms.reader_of(tissue))
    changed = (
        overlay.render_view(result, stack, view) != overlay.render_view(bare, stack, view)
    ).any(axis=2)
    tumor = result.table[result.table["phenotype"] == "tumor"]
    inside = changed[(tumor["y_px"] / 4).astype(int), (tumor["x_px"] / 4).astype(int)]
    assert inside.mean() > 0.9


def test_pair_lines_run_to_the_nearest_target_cell() -> None:
    result, _ = small()
    pairs = overlay_lines.nearest_pairs(result.table, "myeloid", "tumor")
    lengths = [np.hypot(*(pair[1] - pair[0])) * result.pixel_size_um for pair in pairs]
    wanted = result.table.loc[result.table["phenotype"] == "myeloid", "nearest_tumor_um"]
    np.testing.assert_allclose(lengths, wanted)
    assert overlay_lines.nearest_pairs(result.table, "myeloid", "absent") == []
    own = overlay_lines.nearest_pairs(result.table, "tumor", "tumor")
    assert all((pair[0] != pair[1]).any() for pair in own)


def test_detail_window_lies_in_the_image_where_cells_touch() -> None:
    result, _ = small()
    window = overlay.detail_window(result)
    assert window.intersection(Window(0, 0, *result.image_shape)) == window
    touching = result.table[
        (result.table["phenotype"] == "myeloid") & (result.table["n_touching_tumor"] > 0)
    ]
    assert any(
        window.contains(int(y), int(x))
        for y, x in zip(touching["y_px"], touching["x_px"], strict=True)
    )


def test_dashes_cover_half_of_an_outline() -> None:
    outline = np.array([[0, 0], [0, 100], [100, 100], [100, 0], [0, 0]], float)
    dashes = overlay_lines.dash_outline(outline, 10)
    assert sum(np.hypot(*np.diff(dash, axis=0).T).sum() for dash in dashes) == pytest.approx(200)


def test_names_in_the_legend_may_be_anything() -> None:
    names = ("DAPI / ☃", "<script>", "µ€😀", "$x^2$", "a" * 64)
    recipe = phantoms.recipe_of(names=names, phenotypes={"tumor": f'"{names[1]}"+'})
    tissue = phantoms.tissue_of(128, n_cells=5)
    result = phantoms.result_of(tissue, recipe)
    assert isinstance(read_overview(result, phantoms.reader_of(tissue)), Stack)
    assert overlay.overlay_png(result, read_overview(result, phantoms.reader_of(tissue)))
