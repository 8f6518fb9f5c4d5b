"""Reviews on real results: from a slide through a run and a log to other numbers; what a run would
give, and nothing else.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from numpy.typing import NDArray
from reviewing import START, Clock, copied, log_of, recipe, run_slide, session_on, subject_of
from typer.testing import CliRunner

import ifquant
from ifquant.cli import app
from ifquant.columns.cell_columns import measured_columns
from ifquant.columns.flags import has_flag
from ifquant.commands.review_apply import apply_reviews
from ifquant.commands.review_log import ReviewLog, log_path
from ifquant.commands.review_measure import measurer
from ifquant.commands.review_slide import recorded_input
from ifquant.commands.review_viewer import open_viewer
from ifquant.errors import MissingDependency, RecipeError, RequestError, SlideError
from ifquant.execution.executors import Execution
from ifquant.geometry.runs import paint
from ifquant.geometry.windows import Window
from ifquant.proximity.distances import touching_pairs
from ifquant.recipe.defaults import resolved
from ifquant.recipe.recipe_file import canonical, from_canonical
from ifquant.results.slide_record import SlideRecord
from ifquant.review.agreement import EXCLUDED, OUTLINE, judgements
from ifquant.review.corrected_results import Corrected, Measure, apply_review
from ifquant.review.decisions import Decision
from ifquant.review.outlines import polygon_of
from ifquant.review.review_queue import QueueOptions, make_queue
from ifquant.review.review_session import LEFT_OUT, ReviewSession
from ifquant.review.subject import Subject
from ifquant.slides import tiff_writer
from ifquant.slides.slide import SlideRef

SIZE = (420, 480)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviewed")
    run_slide(folder, size=SIZE)
    return folder


@pytest.fixture(scope="module")
def subject(folder: Path) -> Subject:
    return subject_of(folder / "results")


@pytest.fixture(scope="module")
def measure(folder: Path, subject: Subject) -> Iterator[Measure]:
    """Measures edited cells on the slide, as `ifquant review --apply` does."""
    record = SlideRecord.read(folder / "results" / "a")
    with record.ref.open() as slide:
        opened = recorded_input(record, record.ref, slide.info, subject.recipe)
        yield measurer(slide, opened, record.calibration)


def apply(subject: Subject, session: ReviewSession, measure: Measure | None = None) -> Corrected:
    return apply_review(subject, {session.reviewer: session.decisions}, measure=measure)


def by_id(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index("cell_id")


def inner(subject: Subject, phenotype: str | None = None) -> NDArray[np.int64]:
    """Cells away from the image border."""
    table = subject.table
    away = table["x_px"].between(80, SIZE[1] - 80) & table["y_px"].between(80, SIZE[0] - 80)
    return subject.ids[away & (True if phenotype is None else table["phenotype"] == phenotype)]


def touching(subject: Subject, first: str, second: str) -> list[tuple[int, int]]:
    """Touching pairs of cells by phenotype."""
    names = subject.table["phenotype"].astype(str).to_numpy()
    i, j = touching_pairs(subject.outlines().all()[1])
    both = [
        (a, b)
        for a, b in zip(np.r_[i, j], np.r_[j, i], strict=True)
        if (names[a], names[b]) == (first, second)
    ]
    return [(int(subject.ids[a]), int(subject.ids[b])) for a, b in both]


def disc(y: float, x: float, radius: float, n: int = 24) -> tuple[tuple[float, float], ...]:
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return tuple((float(x + radius * np.cos(t)), float(y + radius * np.sin(t))) for t in turn)


# ---- tables --------------------------------------------------------------------------------------


def test_without_decisions_nothing_changes(subject: Subject) -> None:
    same = apply_review(subject, {})
    pd.testing.assert_frame_equal(same.table, subject.table, check_exact=True)
    assert same.gates == subject.gates
    assert not same.outcomes


def test_the_recipe_of_a_run_is_read_back_with_its_rules_in_order(subject: Subject) -> None:
    assert list(subject.recipe.phenotypes) == ["tumor", "myeloid"]
    assert subject.recipe == resolved(recipe())
    for order in (["b", "a"], ["a", "b"]):
        made = recipe(phenotypes={name: "PanCK+" if name == "a" else "CD11c+" for name in order})
        kept = from_canonical(json.loads(json.dumps(canonical(made), sort_keys=True)))
        assert (kept, list(kept.phenotypes)) == (made, order)
    with pytest.raises(RecipeError, match="cannot be read"):
        from_canonical({"channels": []})


def test_a_gate_set_in_review_gives_what_a_run_with_that_gate_gives(
    folder: Path, subject: Subject, tmp_path: Path
) -> None:
    results = copied(folder / "results", tmp_path)
    session = session_on(subject)
    session.change_gate("CD11c", 420.0)
    reviewed = apply(subject, session)
    other = recipe()
    other = other.model_copy(
        update={
            "gates": other.gates.model_copy(
                update={
                    "markers": {
                        **other.gates.markers,
                        "CD11c": other.gate("CD11c").model_copy(update={"value": 420.0}),
                    }
                }
            )
        }
    )
    done = ifquant.run(other, [folder / "a.ome.tif"], results, execution=Execution(quiet=True))
    assert done.slides[0].reused == "cells"
    again = pd.read_parquet(results / "a" / "cells.parquet")
    assert (again["phenotype"] != subject.table["phenotype"]).any()
    pd.testing.assert_frame_equal(reviewed.table, again, check_exact=True)
    gate = next(gate for gate in reviewed.gates if gate.marker == "CD11c")
    assert (gate.value, "anna" in gate.origin, "before review: 300" in gate.origin) == (
        420.0,
        True,
        True,
    )
    assert list(session.codes) == list(again["phenotype"].cat.codes)
    assert list(session_on(subject).preview({"CD11c": 420.0})) == list(session.codes)


def test_verdicts_outlast_gates_and_neighbours_follow(subject: Subject) -> None:
    session = session_on(subject)
    tumor, myeloid = inner(subject, "tumor"), inner(subject, "myeloid")
    session.change_phenotype(int(tumor[0]), "other")
    session.change_phenotype(int(tumor[0]), "myeloid", "dendrites")
    session.accept(int(myeloid[0]))
    session.exclude(int(tumor[1]), "fold")
    session.change_gate("CD11c", 1e6)
    reviewed = apply(subject, session)
    after, before = by_id(reviewed.table), by_id(subject.table)
    assert [o.status for o in reviewed.outcomes] == [
        "superseded",
        "applied",
        "applied",
        "applied",
        "applied",
    ]
    assert set(after.index[after["phenotype"] == "myeloid"]) == {tumor[0], myeloid[0]}
    assert tumor[1] not in after.index
    assert list(has_flag(after.loc[[tumor[0], myeloid[0]], "flags"], "reviewed")) == [True, True]
    assert has_flag(after["flags"], "reviewed").sum() == 2
    assert has_flag(after["flags"], "growth_mismatch")[after.index.get_loc(tumor[0])]
    xy = after[["x_um", "y_um"]].to_numpy()
    targets = np.flatnonzero(after["phenotype"] == "tumor")
    distance = np.hypot(*(xy[:, None] - xy[None, targets]).transpose(2, 0, 1))
    distance[targets, np.arange(len(targets))] = np.inf
    np.testing.assert_allclose(after["nearest_tumor_um"], distance.min(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(after["n_tumor_within_20um"], (distance <= 20).sum(axis=1))
    measured = [name for name in measured_columns(subject.recipe) if name != "flags"]
    pd.testing.assert_frame_equal(
        after[measured], before.loc[after.index, measured], check_exact=True
    )


def test_an_excluded_region_takes_its_cells_and_its_tissue(subject: Subject) -> None:
    session = session_on(subject)
    outline = ((100.0, 90.0), (260.0, 90.0), (260.0, 250.0), (100.0, 250.0))
    session.exclude_region(outline, "artefact")
    reviewed = apply(subject, session)
    inside = shapely.contains_xy(
        shapely.Polygon(outline), subject.table["x_px"], subject.table["y_px"]
    )
    assert 5 < inside.sum() < len(subject)
    assert list(reviewed.table["cell_id"]) == list(subject.ids[~inside])
    step = subject.tissue.step_px
    lost = subject.tissue.area_px() - reviewed.tissue.area_px()
    assert abs(lost - 160 * 160) <= 4 * 160 * step / 2
    assert (session.codes == LEFT_OUT).sum() == inside.sum()
    session.undo()
    pd.testing.assert_frame_equal(apply(subject, session).table, subject.table, check_exact=True)


def test_a_denied_contact_is_no_contact(subject: Subject) -> None:
    pairs = touching(subject, "myeloid", "tumor")
    counts = by_id(subject.table)["n_touching_tumor"]
    single = next((m, t) for m, t in pairs if counts[m] == 1)
    double = next((m, t) for m, t in pairs if counts[m] > 1)
    session = session_on(subject)
    for pair in (single, double):
        session.not_touching(*pair, gap_um=0.0)
    reviewed = apply(subject, session)
    after, before = by_id(reviewed.table), by_id(subject.table)
    assert after.loc[single[0], ["n_touching_tumor", "nearest_tumor_border_um"]].tolist() == [
        0,
        subject.pixel_size_um,
    ]
    assert after.loc[double[0], "n_touching_tumor"] == before.loc[double[0], "n_touching_tumor"] - 1
    assert after.loc[double[0], "nearest_tumor_border_um"] == 0
    for myeloid, tumor in {single, double}:
        assert after.loc[tumor, "n_touching_myeloid"] < before.loc[tumor, "n_touching_myeloid"]
        assert after.loc[myeloid, "nearest_tumor_um"] == before.loc[myeloid, "nearest_tumor_um"]
    rest = after.index.difference([i for pair in (single, double) for i in pair])
    pd.testing.assert_frame_equal(after.loc[rest], before.loc[rest], check_exact=True)


# ---- outlines ------------------------------------------------------------------------------------


def edited(subject: Subject) -> ReviewSession:
    """A merge, a cut and a redraw, far from each other, and a verdict on the merged cell."""
    session = session_on(subject)
    names = by_id(subject.table)
    left = next(
        (a, b)
        for a, b in touching(subject, "tumor", "tumor")
        if names.loc[[a, b], "x_px"].max() < 150 and names.loc[[a, b], "y_px"].min() > 100
    )
    session.merge(*left)
    session.change_phenotype(len(subject) + 1, "myeloid")
    middle = next(i for i in inner(subject, "tumor") if 200 < names.loc[i, "x_px"] < 260)
    y, x = names.loc[middle, ["y_px", "x_px"]]
    session.cut(int(middle), [(x - 3, y), (x + 3, y + 1)])
    right = next(i for i in inner(subject, "tumor") if names.loc[i, "x_px"] > 330)
    session.redraw(int(right), disc(*names.loc[right, ["y_px", "x_px"]], radius=13.3))
    return session


def test_edited_outlines_measure_as_a_run_on_these_outlines_would(
    folder: Path, subject: Subject, measure: Measure, tmp_path: Path
) -> None:
    reviewed = apply(subject, edited(subject), measure)
    assert [o.status for o in reviewed.outcomes] == ["applied"] * 4
    n = len(subject)
    after = by_id(reviewed.table)
    assert [i for i in after.index if i > n] == [n + 1, n + 2, n + 3, n + 4]
    assert len(after) == n - 4 + 4
    assert after.loc[n + 1, "phenotype"] == "myeloid"
    whole = Window(0, 0, *subject.image_shape)
    masks = {kind: tmp_path / f"{kind}.tif" for kind in ("nuclei", "cells")}
    for path, runs in zip(masks.values(), (reviewed.nuclei, reviewed.cells), strict=True):
        labels = paint(runs, reviewed.table["cell_id"], whole)
        tiff_writer.write_image(path, labels[None], names=["labels"], pixel_size_um=0.5)
    given = recipe(
        segmentation={"method": "labels", **{kind: str(path) for kind, path in masks.items()}}
    )
    result = ifquant.run(
        given,
        [folder / "a.ome.tif"],
        tmp_path / "labels",
        execution=Execution(quiet=True, tile_size_px=200),
    )
    assert result.exit_code == 0, result.summary_lines()
    run = (
        pd.read_parquet(tmp_path / "labels" / "a" / "cells.parquet")
        .set_index("source_label")
        .sort_index()
    )
    assert list(run.index) == list(after.index)
    measured = [
        name for name in measured_columns(subject.recipe) if name not in ("growth_class", "flags")
    ]
    one_piece = (
        after.index != n + 1
    )  # of the merged nucleus, which is in two pieces, a mask's reader keeps the larger one
    mine, theirs = (table.loc[one_piece, measured].reset_index(drop=True) for table in (after, run))
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    nuclei, cells = (
        paint(runs, reviewed.table["cell_id"], whole).astype(np.int64)
        for runs in (reviewed.nuclei, reviewed.cells)
    )
    with SlideRef((str(folder / "a.ome.tif"),)).open() as slide:
        image = slide.read(range(5), whole)
    direct = ifquant.quantify(
        image, nuclei=nuclei, cells=cells, channels=slide.info.channels, pixel_size_um=0.5
    )
    common = [name for name in measured if name in direct.columns]
    assert len(common) > 50
    direct = direct.set_index("cell_id" if "cell_id" in direct.columns else "label").loc[
        list(after.index), common
    ]
    pd.testing.assert_frame_equal(
        after[common].reset_index(drop=True),
        direct.reset_index(drop=True),
        check_exact=True,
        check_dtype=False,
    )
    before = by_id(subject.table)
    kept = after.index.intersection(before.index)
    neighbours = kept[
        (after.loc[kept, measured] != before.loc[kept, measured])
        .fillna(False)
        .any(axis=1)
        .to_numpy()
    ]
    assert len(neighbours) > 0, (
        "the edits change what is measured in neighbours, which is why those are measured again"
    )
    assert len(neighbours) < 30


def test_edits_without_the_image_are_refused_and_the_rest_is_applied(subject: Subject) -> None:
    session = edited(subject)
    session.accept(int(subject.ids[0]))
    reviewed = apply(subject, session, None)
    assert [o.status for o in reviewed.outcomes] == ["refused"] * 4 + ["applied"]
    np.testing.assert_array_equal(reviewed.table["cell_id"], subject.ids)


def test_a_session_refuses_what_cannot_be_and_saves_nothing(subject: Subject) -> None:
    saved: list[Decision] = []
    session = ReviewSession(subject, "anna", save=saved.append, clock=Clock())
    far = int(subject.ids[0]), int(subject.ids[-1])
    y, x = subject.table.loc[subject.row(far[0]), ["y_px", "x_px"]]
    for attempt, message in (
        (lambda: session.merge(*far), "do not touch"),
        (lambda: session.merge(far[0], far[0]), "same one"),
        (lambda: session.accept(10**6), "has no cell"),
        (lambda: session.change_phenotype(far[0], "lymphocyte"), "found phenotype 'lymphocyte'"),
        (lambda: session.change_gate("DAPI", 3.0), "has no gate"),
        (lambda: session.cut(far[0], [(x, y + 400), (x + 1, y + 400)]), "does not cross"),
        (
            lambda: session.redraw(far[0], disc(300, 300, 4)),
            "draw the nucleus as well|no pixel of its nucleus",
        ),
        (
            lambda: session.split(far[0], [disc(y, x, 60), disc(390, 450, 3)]),
            "holds no pixel of its nucleus",
        ),
    ):
        with pytest.raises(RequestError, match=message):
            attempt()
    assert saved == []
    assert session.decisions == ()
    session.accept(far[0])
    assert len(saved) == 1

    def full(_: Decision) -> None:
        raise OSError("disk full")

    broken = ReviewSession(subject, "anna", saved, save=full, clock=Clock())
    with pytest.raises(OSError, match="disk full"):
        broken.exclude(far[0], "fold")
    assert broken.codes[0] != LEFT_OUT


def test_what_fails_in_a_decision_fails_before_it_is_saved(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Decision] = []
    session = ReviewSession(subject, "anna", save=saved.append, clock=Clock())
    before = session.codes

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("ifquant.review.review_session.classify_cells", broken)
        with pytest.raises(ZeroDivisionError):
            session.change_gate("PanCK", 1e6)
    assert saved == []
    assert session.decisions == ()
    assert session.standing.gates == {}
    assert session.codes is before


def test_what_stands_where_a_cell_was(subject: Subject) -> None:
    session = ReviewSession(subject, "anna", save=lambda _: None, clock=Clock())
    first, second = touching(subject, "myeloid", "tumor")[0]
    n = len(subject)
    session.merge(first, second)
    session.redraw(n + 1, polygon_of(session.standing.outlines.of(n + 1)[1]))
    assert [session.stands(i) for i in (first, second, n + 1, n + 2)] == [n + 2] * 4
    session.undo()
    assert [session.stands(i) for i in (first, second, n + 1, n + 2)] == [n + 1] * 4
    session.undo()
    assert [session.stands(i) for i in (first, second, n + 1, n + 2)] == [
        first,
        second,
        first,
        first,
    ]
    session.merge(first, second)  # anew, with an id of its own
    assert [session.stands(i) for i in (first, second, n + 1, n + 2, n + 3)] == [n + 3] * 5


def test_undo_takes_back_everything_step_by_step(subject: Subject, measure: Measure) -> None:
    session = edited(subject)
    full = apply(subject, session, measure)
    states = [session.codes.copy()]
    while session.undo() is not None:
        states.append(session.codes.copy())
    assert len(states) == 5
    pd.testing.assert_frame_equal(
        apply(subject, session, measure).table, subject.table, check_exact=True
    )
    for state in reversed(states[:-1]):
        assert session.redo() is not None
        np.testing.assert_array_equal(session.codes, state)
    assert session.redo() is None
    pd.testing.assert_frame_equal(
        apply(subject, session, measure).table, full.table, check_exact=True
    )


# ---- other results -------------------------------------------------------------------------------


def test_a_log_of_another_slide_is_refused_line_by_line(subject: Subject, measure: Measure) -> None:
    other = dataclasses.replace(
        subject, source=subject.source.model_copy(update={"slide": "b", "image_sha256": "0" * 64})
    )
    session = edited(other)
    for cell in other.ids[:5]:
        session.exclude(int(cell), "artefact")
    session.change_gate("CD11c", 1.0)
    session.exclude_region(disc(200, 200, 100), "fold")
    reviewed = apply(subject, session, measure)
    assert {o.status for o in reviewed.outcomes} == {"refused"}
    assert all("another image" in o.reason for o in reviewed.outcomes)
    pd.testing.assert_frame_equal(reviewed.table, subject.table, check_exact=True)
    # the control: the same log is not harmless, it is refused for what it was made on
    own = [d.model_copy(update={"source": subject.source}) for d in session.decisions]
    assert len(apply_review(subject, {"anna": own}, measure=measure).table) < len(subject) - 5


def test_a_log_of_another_segmentation_is_matched_by_place_or_refused(
    folder: Path, subject: Subject, measure: Measure, tmp_path: Path
) -> None:
    run_slide(
        tmp_path,
        size=SIZE,
        segmentation={"method": "classical", "sensitivity": 1.6, "min_area_um2": 20.0},
    )
    other = subject_of(tmp_path / "results")
    assert other.source.image_sha256 == subject.source.image_sha256
    assert other.source.cells_digest != subject.source.cells_digest
    session = session_on(other)
    for cell in other.ids:
        session.change_phenotype(int(cell), "other")
    session.merge(*touching(other, "tumor", "tumor")[0])
    reviewed = apply(subject, session, measure)
    *verdicts, merge = reviewed.outcomes
    assert merge.status == "refused"
    assert "segmentation it was drawn on" in merge.reason
    matched = [o for o in verdicts if o.status == "applied"]
    refused = [o for o in verdicts if o.status == "refused"]
    assert len(matched) > 0.5 * len(other)
    assert refused
    assert all("within 2 um" in o.reason for o in refused)
    assert any(o.cell_ids[0] != o.decision.cell.cell_id for o in matched), (
        "taking ids at their word would misapply"
    )
    there, here = by_id(other.table), by_id(subject.table)
    for o in matched:
        move = (
            there.loc[o.decision.cell.cell_id, ["x_um", "y_um"]]
            - here.loc[o.cell_ids[0], ["x_um", "y_um"]]
        )
        assert np.hypot(*move) <= 2.0
    ids = [o.cell_ids[0] for o in matched]
    assert len(set(ids)) == len(ids)
    assert set(by_id(reviewed.table).loc[ids, "phenotype"]) == {"other"}


def test_a_log_whose_cells_were_renumbered_is_refused(subject: Subject) -> None:
    session = session_on(subject)
    session.accept(int(subject.ids[3]))
    (good,) = session.decisions
    wrong = good.model_copy(
        update={"cell": good.cell.model_copy(update={"cell_id": good.cell.cell_id + 1})}
    )
    (outcome,) = apply_review(subject, {"anna": [wrong]}).outcomes
    assert outcome.status == "refused"
    assert "the log says" in outcome.reason


# ---- reviewers -----------------------------------------------------------------------------------


def test_where_reviewers_disagree_neither_is_followed_unless_chosen(subject: Subject) -> None:
    anna, ben = session_on(subject, "anna"), session_on(subject, "ben", clock=Clock())
    one, two = (int(i) for i in inner(subject, "tumor")[:2])
    for session, phenotype in ((anna, "myeloid"), (ben, "other")):
        session.change_phenotype(one, phenotype)
        session.change_phenotype(two, "myeloid")
        session.change_gate("IL1B", 100.0 if phenotype == "other" else 200.0)
    logs = {s.reviewer: s.decisions for s in (anna, ben)}
    both = apply_review(subject, logs)
    assert [o.status for o in both.outcomes] == ["refused", "applied", "refused"] * 2
    assert "anna says myeloid; ben says other" in both.outcomes[0].reason
    assert by_id(both.table).loc[[one, two], "phenotype"].tolist() == ["tumor", "myeloid"]
    assert both.gates == subject.gates
    chosen = apply_review(subject, logs, reviewer="ben")
    assert by_id(chosen.table).loc[[one, two], "phenotype"].tolist() == ["other", "myeloid"]
    assert [o.status for o in chosen.outcomes] == ["not used"] * 3 + ["applied"] * 3
    with pytest.raises(RequestError, match="no log of reviewer 'eve'"):
        apply_review(subject, logs, reviewer="eve")


def test_new_cells_of_two_reviewers_have_their_own_ids(subject: Subject, measure: Measure) -> None:
    anna, ben = edited(subject), session_on(subject, "ben")
    place = by_id(subject.table)
    last = int(
        next(
            i
            for i in reversed(inner(subject, "tumor"))
            if place.loc[i, "x_px"] < 190 and place.loc[i, "y_px"] > 250
        )
    )
    y, x = by_id(subject.table).loc[last, ["y_px", "x_px"]]
    ben.redraw(last, disc(y, x, 11.0))
    ben.change_phenotype(len(subject) + 1, "other")  # as anna's log names her first new cell
    reviewed = apply_review(
        subject, {"anna": anna.decisions, "ben": ben.decisions}, measure=measure
    )
    n = len(subject)
    statuses = {o.decision.reviewer: [] for o in reviewed.outcomes}
    for outcome in reviewed.outcomes:
        statuses[outcome.decision.reviewer].append((outcome.status, outcome.cell_ids))
    assert [status for status, _ in statuses["anna"]] == ["applied"] * 4
    assert statuses["ben"] == [("applied", (n + 5,)), ("applied", (n + 5,))]
    assert by_id(reviewed.table).loc[n + 5, "phenotype"] == "other"
    same = session_on(subject, "ben", clock=Clock(START + datetime.timedelta(hours=1)))
    edit = anna.decisions[-1]
    same.redraw(edit.cell.cell_id, edit.new)
    late = apply_review(
        subject, {"anna": anna.decisions, "ben": same.decisions}, measure=measure
    ).outcomes[-1]
    assert (late.status, "was replaced" in late.reason) == (
        "refused",
        True,
    ), "the first in time holds"


def test_judgements_count_only_what_came_up_at_random(subject: Subject) -> None:
    session = session_on(subject)
    doubtful, random = (
        make_queue(subject),
        make_queue(subject, QueueOptions(order="random", seed=7)),
    )
    for place in (1, 2, 3):
        session.exclude(session.show(doubtful, place) or 0, "fold")
    places = [
        p for p in range(1, len(random) + 1) if int(random.ids[p - 1]) not in session.decided()
    ][:4]
    cells = [session.show(random, place) or 0 for place in places]
    session.accept(cells[0])
    wrong = "other" if session.phenotype(cells[1]) != "other" else "tumor"
    session.change_phenotype(cells[1], wrong)
    session.exclude(cells[2], "out of focus")
    y, x = by_id(subject.table).loc[cells[3], ["y_px", "x_px"]]
    session.redraw(cells[3], disc(y, x, 30))
    judged = judgements(subject, "anna", session.decisions)
    assert set(judged.sampled) == set(cells)
    assert [judged.judgement[c] for c in cells[1:]] == [wrong, EXCLUDED, OUTLINE]
    assert len(judged.judgement) == 7
    assert session.decided(random) == set(cells)
    assert random.progress(session.decided(random)) == (4, len(random))


# ---- from slide to report ------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_whole_review_from_slide_to_another_number_in_the_report(
    folder: Path, subject: Subject, tmp_path: Path
) -> None:
    results = copied(folder / "results", tmp_path)
    for reviewer, phenotype in (("anna", "myeloid"), ("ben", "other")):
        with ReviewLog(results / "a", reviewer) as log:
            session = ReviewSession(
                subject, reviewer, log.content.decisions, save=log.append, clock=Clock()
            )
            queue = make_queue(subject, QueueOptions(order="random", seed=1, hidden=("IL1B",)))
            for place in range(1, 31):
                cell = session.show(queue, place) or 0
                if session.phenotype(cell) == "other" and place % 3 == 0:
                    session.change_phenotype(cell, "tumor")
                elif place == 7 and session.phenotype(cell) != phenotype:
                    session.change_phenotype(cell, phenotype)
                else:
                    session.accept(cell)
            if reviewer == "anna":
                session.show(None)
                session.merge(
                    *touching(subject, "tumor", "tumor")[4], reason="one cell <b>bold</b>"
                )
                session.exclude_region(disc(330, 380, 60), "fold")
                session.note("<script>alert(1)</script>")
    with log_path(results / "a", "ben").open("ab") as file:
        file.write(b'{"torn')
    before = files_of(results)
    done = CliRunner().invoke(app, ["review", str(results), "--apply"])
    assert done.exit_code == 0, done.output
    after = files_of(results)
    assert {name: after[name] for name in before} == before, "originals and logs are never changed"
    new = sorted(set(after) - set(before))
    assert {"review.html", "slides_reviewed.csv"} <= set(new)
    assert all(name.startswith("a/reviewed/") for name in new if "/" in name)
    for name in (
        "cells.parquet",
        "cells.csv",
        "slide.json",
        "overlay.png",
        "detail.png",
        "decisions.csv",
        "labels.ome.zarr/zarr.json",
    ):
        assert f"a/reviewed/{name}" in new
    first, second = (pd.read_csv(results / name) for name in ("slides.csv", "slides_reviewed.csv"))
    assert list(first.columns) == list(second.columns)
    table = pd.read_parquet(results / "a" / "reviewed" / "cells.parquet")
    assert second["n_tumor"][0] == (table["phenotype"] == "tumor").sum() != first["n_tumor"][0]
    assert second["tissue_area_mm2"][0] < first["tissue_area_mm2"][0]
    record = json.loads((results / "a" / "reviewed" / "slide.json").read_text())
    assert record["review"]["reviewers"] == {"anna": 33, "ben": 30}
    assert record["review"]["unreadable_lines"] == 1
    decisions = pd.read_csv(results / "a" / "reviewed" / "decisions.csv")
    assert len(decisions) == 64
    assert set(decisions["status"]) >= {"applied", "refused"}
    page = (results / "review.html").read_text()
    assert (
        f'<tr class="changed"><td>n_tumor</td><td class="n">{first["n_tumor"][0]}</td><td'
        f' class="n">{second["n_tumor"][0]}</td></tr>' in page
    )
    for wanted in (
        "Cohen&#39;s kappa",
        "wrong phenotype",
        "anna and ben",
        "reviewers disagree",
        "torn",
        "IL1B+ among myeloid touching tumor",
    ):
        assert wanted.replace("&#39;", "'") in page, wanted
    assert "<script>" not in page
    again = CliRunner().invoke(app, ["review", str(results), "a", "--apply"])
    assert again.exit_code == 0
    assert files_of(results) == after, "applying twice gives the same bytes"


def test_slides_without_a_log_keep_their_numbers_and_damage_is_named(
    folder: Path, subject: Subject, tmp_path: Path
) -> None:
    results = copied(folder / "results", tmp_path)
    with pytest.raises(RequestError, match="no slide has a review log"):
        apply_reviews(results)
    with pytest.raises(RequestError, match="no finished slide 'zebra'"):
        apply_reviews(results, ["zebra"])
    assert apply_reviews(results, ["a"]).failed["a"].startswith("no log in")
    log = log_path(results / "a", "anna")
    log.parent.mkdir()
    session = session_on(subject)
    session.accept(1)
    log.write_bytes(log_of(session.decisions))
    changed = shutil.copytree(folder, tmp_path / "moved", ignore=shutil.ignore_patterns("results"))
    image = next(changed.glob("a.ome.tif"))
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1
    image.write_bytes(bytes(data))
    result = apply_reviews(results, images=changed)
    assert result.exit_code == 3
    assert "changed since" in result.failed["a"]
    missing = apply_reviews(results, images=tmp_path)
    assert "--images FOLDER" in missing.failed["a"]
    assert apply_reviews(results, images=folder).exit_code == 0
    (results / "run.json").unlink()
    with pytest.raises(RequestError, match="run ifquant run again"):
        apply_reviews(results)


def test_without_a_viewer_the_command_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifquant.commands import review_viewer

    monkeypatch.setattr(review_viewer, "entry_points", lambda group: [])
    with pytest.raises(MissingDependency, match="pip install"):
        open_viewer(folder / "results", None)
    assert isinstance(
        CliRunner().invoke(app, ["review", str(folder / "results")]).exception, MissingDependency
    )
    assert isinstance(
        CliRunner().invoke(app, ["review", "x", "--reviewer", "anna"]).exception, RequestError
    )


def test_damaged_results_are_refused(folder: Path, tmp_path: Path) -> None:
    results = copied(folder / "results", tmp_path)
    (results / "a" / "cells.parquet").write_bytes(b"no table")
    with pytest.raises(SlideError, match="damaged results"):
        subject_of(results)
