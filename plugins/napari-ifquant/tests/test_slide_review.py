"""The review of a slide on a viewer model, without Qt or OpenGL."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel

from ifquant.commands.review_apply import apply_reviews
from ifquant.commands.review_log import read_log
from ifquant.errors import RequestError, SlideError
from ifquant.files import storage
from ifquant.review.review_queue import QueueOptions
from napari_ifquant.open_reviews import review_in
from napari_ifquant.pair_text import intensities
from napari_ifquant.pair_view import neighbors
from napari_ifquant.result import layers_of, open_result
from napari_ifquant.review_layers import PAIR
from napari_ifquant.slide_review import SlideReview

MYELOID_FIRST = QueueOptions(order="table", phenotypes=("myeloid",))


def review_on(
    results: Path, options: QueueOptions | None = None, reviewer: str = "anna"
) -> SlideReview:
    return SlideReview(ViewerModel(), open_result(results / "a"), reviewer, options)


def test_layers_of_a_result(results: Path) -> None:
    view = open_result(results / "a")
    assert view.source == "slide"
    layers = {
        attributes["name"]: (data, attributes, kind) for data, attributes, kind in layers_of(view)
    }
    table = pd.read_parquet(results / "a" / "cells.parquet")
    assert {
        "DAPI",
        "PanCK",
        "TGFB1",
        "IL1B",
        "nuclei",
        "cells",
        "tumor region",
        "cell centers",
    } <= set(layers)
    assert [name for name in ("DAPI", "PanCK", "CD11c") if layers[name][1]["visible"]] == [
        "DAPI",
        "PanCK",
    ]  # those of the report
    assert all(
        attributes["scale"] == (0.5, 0.5) and attributes["units"] == ("um", "um")
        for _, attributes, _ in layers.values()
    )
    points, attributes, _ = layers["cell centers"]
    assert attributes["features"]["index"].tolist() == table["cell_id"].tolist()
    assert set(table.columns) - {"cell_id"} == set(attributes["features"].columns) - {"index"}
    assert np.allclose(
        points[:, 1] * 0.5 + 0.25, table["x_um"]
    )  # napari's pixel (0, 0) has its center at 0, ours at 0.5 px
    lines = layers["myeloid to nearest tumor"][0]
    myeloid = table[table["phenotype"] == "myeloid"]
    lengths = np.hypot(*lines[:, 1].T) * 0.5
    assert np.allclose(
        np.sort(lengths), np.sort(myeloid["nearest_tumor_um"].dropna().to_numpy(float))
    )


def test_class_images_show_the_phenotypes(results: Path) -> None:
    view = open_result(results / "a")
    labels, classes = np.asarray(view.cells.levels[0]), np.asarray(view.cells.classes(0)[0])
    codes = view.subject.table["phenotype"].cat.codes.to_numpy()
    inside = labels > 0
    assert inside.any()
    assert np.array_equal(classes[inside], codes[labels[inside] - 1] + 1)
    assert not classes[~inside].any()
    outlined = np.asarray(view.cells.classes(1)[0])
    assert set(np.unique(labels[outlined > 0])) == set(
        np.unique(labels[inside])
    )  # every cell has an outline of its own
    assert (outlined > 0).sum() < 0.7 * inside.sum()


def test_moved_slides_are_shown_from_the_results(results: Path) -> None:
    record = json.loads((results / "a" / "slide.json").read_text())
    channels = open_result(results / "a").channels
    record["input"]["opened"]["paths"] = ["/nowhere/a.ome.tif"]
    (results / "a" / "slide.json").write_text(json.dumps(record))
    moved = open_result(results / "a")
    assert "the slide is not there" in moved.source
    for name, levels in channels.items():
        low, high = moved.ranges[name]
        shown, raw = (
            np.asarray(moved.channels[name][0]).astype(float),
            np.clip(np.asarray(levels[0]).astype(float), low, high),
        )
        assert np.abs(shown - raw).max() <= (high - low) / 255 + 1  # 8 bits of the display range


def test_another_image_in_the_place_of_the_slide_is_not_shown(
    results: Path, tmp_path: Path
) -> None:
    from reviewing import PANELS, simulated, write_slide

    other = write_slide(
        tmp_path / "other.ome.tif", simulated(420, 480, seed=12).image, PANELS["tgfb_il1b"]
    )
    record = json.loads((results / "a" / "slide.json").read_text())
    record["input"]["opened"]["paths"] = [str(other)]
    (results / "a" / "slide.json").write_text(json.dumps(record))
    assert "another slide" in open_result(results / "a").source


def test_the_partner_is_the_one_the_table_means(results: Path) -> None:
    review = review_on(results, MYELOID_FIRST)
    table = review.view.subject.table.set_index("cell_id")
    checked = 0
    for cell_id in review.queue.ids:
        found = neighbors(review.session, int(cell_id))
        expected = float(table.loc[cell_id, "nearest_tumor_border_um"])
        if not found or found[0].phenotype != "tumor" or expected > 20:
            continue
        assert found[0].gap_um == pytest.approx(expected)
        touching = sum(n.gap_um == 0 and n.phenotype == "tumor" for n in found)
        assert touching == table.loc[cell_id, "n_touching_tumor"]
        checked += 1
    assert checked >= 5
    review.close()


def test_a_review_by_keys_is_kept_and_changes_the_answer(results: Path) -> None:
    review = review_on(results, MYELOID_FIRST)
    before = review.view.subject.table
    first, second, third = (int(i) for i in review.queue.ids[:3])
    assert review.cell_id == first
    assert review_in(review.viewer) is review
    review.accept()
    assert review.cell_id == second
    review.change_phenotype(1)
    assert review.session.phenotype(second) == "tumor"
    review.exclude("fold")
    assert review.progress == (3, len(review.queue))
    review.undo()
    assert review.cell_id == third
    assert review.progress == (2, len(review.queue))
    review.redo()
    review.undo()
    labels = np.asarray(review.view.cells.levels[0])
    classes = np.asarray(review.view.cells.classes(0)[0])
    assert set(classes[labels == second]) == {1}  # shown in its new color
    actions = [d.action for d in review.session.decisions]
    review.close()
    assert review_in(review.viewer) is None

    again = review_on(results, MYELOID_FIRST)
    assert [d.action for d in again.session.decisions] == actions
    assert again.session.phenotype(second) == "tumor"
    assert again.cell_id == third  # goes on where it stopped
    again.close()
    assert [d.action for d in read_log(results / "a", "anna").decisions] == [
        "accept",
        "phenotype",
        "exclude",
        "undo",
        "redo",
        "undo",
    ]

    assert apply_reviews(results).exit_code == 0
    after = pd.read_parquet(results / "a" / "reviewed" / "cells.parquet")
    assert (after["phenotype"] == "myeloid").sum() == (before["phenotype"] == "myeloid").sum() - 1


def test_merge_split_redraw_and_regions(results: Path) -> None:
    review = review_on(results, MYELOID_FIRST)
    n = len(review.view.subject)
    place = next(
        i
        for i, cell in enumerate(review.queue.ids, 1)
        if neighbors(review.session, int(cell))[0].gap_um == 0
    )
    review.go(place)
    cell, partner = review.cell_id, review.partner
    assert cell is not None
    assert partner is not None
    labels = np.asarray(review.view.cells.levels[0])
    pair = np.isin(labels, (cell, partner.cell_id))
    review.merge()
    assert review.cell_id == n + 1
    assert np.array_equal(np.asarray(review.view.cells.levels[0]) == n + 1, pair)
    review.undo()
    assert np.array_equal(np.asarray(review.view.cells.levels[0]), labels)

    review.go(place)
    review.split()
    assert "cut" in [layer.name for layer in review.viewer.layers]
    for _ in range(
        12
    ):  # some cuts leave a part without nucleus: turned until one does not, as a reviewer would
        review.split()
        if review.drawing is None:
            break
        review.adjust(1)
    assert review.drawing is None, review.message
    assert "cut" not in [layer.name for layer in review.viewer.layers]
    parts = np.asarray(review.view.cells.levels[0])[labels == cell]
    assert len(set(parts)) == 2
    assert review.session.codes[review.view.subject.row(cell)] == -1
    review.undo()

    review.go(place)
    review.redraw()
    review.adjust(1)
    review.redraw()
    grown = np.asarray(review.view.cells.levels[0]) == review.cell_id
    assert grown.sum() > (labels == cell).sum()
    assert not np.any(
        grown
        & (np.asarray(review.view.nuclei.levels[0]) != 0)
        & (np.asarray(review.view.nuclei.levels[0]) != review.cell_id)
    )
    review.undo()

    review.go(place)
    review.exclude_region()
    frame = review.drawing._frame  # type: ignore[union-attr]
    review.exclude_region()
    y, x = (review.view.subject.table[f"{axis}_px"].to_numpy() - 0.5 for axis in "yx")
    inside = (y > frame[0, 0]) & (y < frame[2, 0]) & (x > frame[0, 1]) & (x < frame[1, 1])
    assert inside.any()
    assert np.array_equal(review.session.codes == -1, inside)
    review.split()
    review.cancel()
    assert review.drawing is None
    review.close()


def test_what_is_hidden_is_nowhere(results: Path) -> None:
    review = review_on(
        results, QueueOptions(order="random", seed=3, hidden=("TGFB1", "IL1B"), hide_sample=True)
    )
    names = [layer.name for layer in review.viewer.layers]
    assert "PanCK" in names
    assert not {"TGFB1", "IL1B"} & set(names)
    features = review.layers.named("cell centers").features
    assert not [name for name in features.columns if "IL1B" in name or "TGFB1" in name]
    assert {row[0] for row in intensities(review.state)} == {"PanCK", "CD11c"}
    review.accept()
    assert read_log(results / "a", "anna").decisions[0].queue.hidden == ("TGFB1", "IL1B", "sample")  # type: ignore[union-attr]
    review.close()


def test_contrast_stays_on_the_next_slide(results: Path) -> None:
    review = review_on(results)
    review.layers.named("PanCK").contrast_limits = (111, 999)
    limits = review.layers.limits()
    review.close()
    shutil.copytree(results / "a", results / "b")
    other = SlideReview(ViewerModel(), open_result(results / "b"), "anna", limits=limits)
    assert tuple(other.layers.named("PanCK").contrast_limits) == (111, 999)
    other.close()


def test_lines_stay_visible_from_afar(results: Path) -> None:
    review = review_on(results)
    camera, region, pairs = (
        review.viewer.scene.camera,
        review.layers.named("tumor region"),
        review.layers.named("myeloid to nearest tumor"),
    )
    for zoom, factor in (
        (8.0, 1),
        (1.0, 2),
        (0.1, 32),
        (8.0, 1),
    ):  # 0.5 um per px: at zoom 1 a pixel of the screen is 2 px of the slide
        camera.zoom = zoom
        assert region.edge_width == pytest.approx(1.2 * factor)
        assert pairs.edge_width == pytest.approx(0.6 * factor)
        assert region.edge_width * zoom * 0.5 >= 1, "at least a pixel of the screen"
    review.close()


def test_gates_recolor_before_they_are_saved(results: Path) -> None:
    review = review_on(results)
    before = np.asarray(review.view.cells.classes(0)[0])
    review.preview_gate("PanCK", 1e6)
    shown = np.asarray(review.view.cells.classes(0)[0])
    assert (before == 1).any()
    assert not (shown == 1).any()  # nothing is PanCK+ any more
    assert not review.session.decisions
    review.change_gate("PanCK", 500.0, "cut at the foot")
    decision = review.session.decisions[0]
    assert (decision.action, decision.new, decision.reason) == ("gate", 500.0, "cut at the foot")  # type: ignore[union-attr]
    expected = review.view.subject.table[review.view.subject.gate("PanCK").column] > 500
    codes = review.session.codes
    assert np.array_equal(codes == 0, expected.to_numpy())
    review.close()


def test_damaged_outlines_are_told_where_they_are_met(results: Path) -> None:
    chunk = results / "a" / "labels.ome.zarr" / "labels" / "nuclei" / "0" / "c" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 0xFF
    chunk.write_bytes(bytes(content))
    review = review_on(results)
    assert "labels.ome.zarr" in review.message
    assert review.cell_id == int(review.queue.ids[0])
    review.next()
    assert "labels.ome.zarr" in review.message
    review.merge()
    assert review.message == "there is no other cell nearby"
    assert not review.session.decisions
    review.exclude("artefact")  # what needs no outline goes on
    assert [d.action for d in review.session.decisions] == ["exclude"]
    review.close()

    chunk.unlink()
    with pytest.raises(SlideError, match="labels"):
        open_result(results / "a")


def test_two_windows_cannot_write_one_log(results: Path) -> None:
    review = review_on(results)
    with pytest.raises(RequestError, match="open in another"):
        review_on(results)
    other = review_on(results, reviewer="bo")
    other.close()
    review.close()


def test_a_line_that_arrived_although_its_writer_failed_stands(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    review = review_on(results)
    first = review.cell_id

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "flush_to_device", no_space)
        assert review.accept()
    assert review.message.startswith("1: accept is in the log, but: "), review.message
    assert [d.action for d in read_log(results / "a", "anna").decisions] == ["accept"]
    assert review.session.decided() == {first}
    review.next()
    assert review.exclude("fold")
    review.close()
    assert not review.exclude("fold")
    shown = [d.queue and d.queue.place for d in read_log(results / "a", "anna").decisions]
    assert shown == [1, 2]


def test_notes_and_what_cannot_be_done(results: Path) -> None:
    review = review_on(results)
    review.note("pretty")
    assert review.session.decisions[0].reason == "pretty"
    review.change_phenotype(9)
    assert "3 phenotypes" in review.message
    review.undo()
    review.undo()
    assert review.message == "nothing to undo"
    first = review.partner
    review.other_partner()
    assert review.partner != first
    assert PAIR in [layer.name for layer in review.viewer.layers]
    review.close()
