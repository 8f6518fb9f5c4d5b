"""The priming effect before and after review: contacts measured anew, the same numbers as an
analysis, and decisions that move them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reviewing import Clock, copied, recipe, run_slide, subject_of
from typer.testing import CliRunner

import ifquant
from ifquant.cli import app
from ifquant.commands.analyze_slide import SlideTask, analyze_slide
from ifquant.commands.review_apply import ReviewResult, apply_reviews
from ifquant.commands.review_effect import (
    LEVERAGE,
    REASON,
    VERDICT,
    leverage_column,
    slide_effect,
    with_leverage,
)
from ifquant.commands.review_log import ReviewLog
from ifquant.execution.executors import Execution
from ifquant.geometry.runs import paint
from ifquant.geometry.windows import Window
from ifquant.results.result_tables import read_result
from ifquant.results.run_record import run_recipe
from ifquant.review.review_queue import QueueOptions, make_queue
from ifquant.review.review_session import ReviewSession
from ifquant.slides import tiff_writer
from ifquant.statistics.priming.slide_effect import SlideEffect

SIDE = 1200
PRIMING = {"response": "IL1B", "ligand": "TGFB1", "permutations": 199, "min_exposed": 30}
PAIR = ["responder_id", "source_id"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_slide(
        tmp_path_factory.mktemp("primed"), seed=3, size=(SIDE, SIDE), effect=0.6, priming=PRIMING
    )


@pytest.fixture
def results(template: Path, tmp_path: Path) -> Path:
    return copied(template, tmp_path)


@pytest.fixture
def session(results: Path) -> Iterator[ReviewSession]:
    with ReviewLog(results / "a", "anna") as log:
        yield ReviewSession(subject_of(results), "anna", save=log.append, clock=Clock())


def effect(folder: Path) -> SlideEffect:
    found = slide_effect(
        folder, run_recipe(folder.parent if folder.name != "reviewed" else folder.parents[1])
    )
    assert found is not None
    return found


def pairs_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "pairs.parquet")


def applied(results: Path) -> ReviewResult:
    result = apply_reviews(results)
    assert result.exit_code == 0, result.summary_lines()
    assert {o.status for o in result.slides[0].outcomes} == {"applied"}, result.slides[0].outcomes
    return result


def exposed(results: Path) -> pd.DataFrame:
    """Cells in the effect with what each adds to Fisher's z, most negative first."""
    table = pd.read_parquet(results / "a" / "cells.parquet")
    weight = leverage_column(results / "a", run_recipe(results))
    assert weight is not None
    return table.assign(weight=weight)[np.isfinite(weight)].sort_values("weight")


def test_without_changes_the_answer_is_that_of_an_analysis_before_and_after(
    results: Path, session: ReviewSession
) -> None:
    session.note("nothing to correct")
    result = applied(results)
    pd.testing.assert_frame_equal(
        pairs_of(results / "a" / "reviewed"), pairs_of(results / "a"), check_exact=True
    )
    asked = run_recipe(results)
    analysis = analyze_slide(SlideTask(read_result(results / "a"), asked, ())).effect
    assert analysis is not None
    assert analysis.testable
    assert effect(results / "a") == effect(results / "a" / "reviewed") == analysis
    slide = result.slides[0]
    assert slide.before == slide.after
    assert slide.after["priming: Fisher z"] == analysis.z


def test_denied_contacts_are_dropped_and_no_other_is_touched(
    results: Path, session: ReviewSession
) -> None:
    before = pairs_of(results / "a")
    single = before.groupby("responder_id").filter(lambda rows: len(rows) == 1)[PAIR].iloc[0]
    several = before.groupby("responder_id").filter(lambda rows: len(rows) > 2)[PAIR].iloc[0]
    session.not_touching(int(single["responder_id"]), int(single["source_id"]), gap_um=0.0)
    session.not_touching(int(several["source_id"]), int(several["responder_id"]), gap_um=0.0)
    result = applied(results)
    left = before.drop([single.name, several.name]).reset_index(drop=True)
    pd.testing.assert_frame_equal(pairs_of(results / "a" / "reviewed"), left, check_exact=True)
    slide = result.slides[0]
    assert (
        slide.after["priming: myeloid in contact"]
        == slide.before["priming: myeloid in contact"] - 1
    ), "the one without another contact"
    assert slide.after["priming: Fisher z"] != slide.before["priming: Fisher z"]


def test_excluded_and_renamed_cells_take_their_contacts_along(
    results: Path, session: ReviewSession
) -> None:
    before = pairs_of(results / "a")
    responder, source = before[PAIR].iloc[0].astype(int)
    other = int(
        before.loc[
            ~before["responder_id"].isin([responder]) & ~before["source_id"].isin([source]),
            "responder_id",
        ].iloc[-1]
    )
    session.exclude(int(source), "artefact")
    session.change_phenotype(other, "other")
    applied(results)
    kept = before[(before["source_id"] != source) & (before["responder_id"] != other)]
    after = pairs_of(results / "a" / "reviewed")
    pd.testing.assert_frame_equal(after[PAIR], kept[PAIR].reset_index(drop=True), check_exact=True)
    pd.testing.assert_frame_equal(  # the responder's own pixels are the same, whoever touches it
        after[["response_eroded_sum", "own_ligand_eroded_sum"]],
        kept[["response_eroded_sum", "own_ligand_eroded_sum"]].reset_index(drop=True),
        check_exact=True,
    )


def test_contacts_of_edited_cells_are_what_a_run_on_these_outlines_measures(
    template: Path, results: Path, session: ReviewSession, tmp_path: Path
) -> None:
    before = pairs_of(results / "a")
    table = pd.read_parquet(results / "a" / "cells.parquet").set_index("cell_id")
    inner = table["x_px"].between(60, SIDE - 60) & table["y_px"].between(60, SIDE - 60)
    tried = before["responder_id"].map(inner) & before["source_id"].map(inner)
    first, last = before[tried].iloc[0], before[tried].iloc[-1]
    y, x = table.loc[first["responder_id"], ["y_px", "x_px"]]
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    session.redraw(
        int(first["responder_id"]),
        tuple((float(x + 12 * np.cos(t)), float(y + 12 * np.sin(t))) for t in turn),
    )
    y, x = table.loc[last["source_id"], ["y_px", "x_px"]]
    session.cut(int(last["source_id"]), [(x - 2, y), (x + 3, y + 2)])
    result = applied(results)
    reviewed = pd.read_parquet(results / "a" / "reviewed" / "cells.parquet")
    new = set(reviewed["cell_id"]) - set(table.index)
    after = pairs_of(results / "a" / "reviewed")
    assert new & set(after["responder_id"]), "the redrawn cell touches"
    assert new & set(after["source_id"]), "and so does a half of the other"
    assert result.slides[0].before != result.slides[0].after

    from ifquant.results.label_images import runs_of_labels

    masks = {}
    for kind in ("nuclei", "cells"):
        store, ids = (
            results / "a" / "reviewed",
            reviewed["cell_id"].to_numpy(np.int64),
        )
        labels = paint(
            runs_of_labels(store, kind, ids, (SIDE, SIDE)), ids, Window(0, 0, SIDE, SIDE)
        )
        masks[kind] = str(tmp_path / f"{kind}.tif")
        tiff_writer.write_image(
            Path(masks[kind]), labels[None].astype(np.uint32), names=["labels"], pixel_size_um=0.5
        )
    given = recipe(priming=PRIMING, segmentation={"method": "labels", **masks})
    run = ifquant.run(
        given, [template.parent / "a.ome.tif"], tmp_path / "again", execution=Execution(quiet=True)
    )
    assert run.exit_code == 0, run.summary_lines()
    again = pairs_of(tmp_path / "again" / "a")
    made = pd.read_parquet(tmp_path / "again" / "a" / "cells.parquet").set_index("cell_id")[
        "source_label"
    ]
    for name in PAIR:
        again[name] = again[name].map(made).astype("uint32")
    pd.testing.assert_frame_equal(
        after, again.sort_values(PAIR, ignore_index=True), check_exact=True
    )


@pytest.mark.parametrize("direction", ["for", "against"])
def test_leaving_out_those_who_carry_the_effect_moves_it_the_other_way(
    results: Path, session: ReviewSession, direction: str
) -> None:
    """Leave-one-out says by hand which way: without cells that add to z, z falls; without those
    that take from it, it rises.
    """
    order = exposed(results)
    chosen = order.iloc[-3:] if direction == "for" else order.iloc[:3]
    sign = 1 if direction == "for" else -1
    assert (sign * chosen["weight"] > 0).all()
    for cell in chosen["cell_id"]:
        session.exclude(int(cell), "artefact")
    before, after = effect(results / "a"), None
    result = applied(results)
    after = effect(results / "a" / "reviewed")
    assert sign * (before.z - after.z) > 0.5 * sign * chosen["weight"].sum() > 0
    assert after.n_exposed == before.n_exposed - 3
    slide = result.slides[0]
    assert (slide.before["priming: Fisher z"], slide.after["priming: Fisher z"]) == (
        before.z,
        after.z,
    )


def test_the_report_says_the_answer_before_and_after(results: Path, session: ReviewSession) -> None:
    order = exposed(results)
    n = len(order)
    for cell in order["cell_id"].iloc[: n - 29]:
        session.exclude(int(cell), "fold")
    done = CliRunner().invoke(app, ["review", str(results), "--apply"])
    assert done.exit_code == 0, done.output
    before = effect(results / "a")
    why = (
        "not testable: 29 myeloid cells touch tumor cells with a known TGFB1; at least 30 are"
        " needed ([priming] min_exposed)"
    )
    assert f"before review: {before.reason}" in done.output
    assert f"after review: {why}" in done.output
    page = (results / "review.html").read_text()
    assert f"<td>{VERDICT}</td>" in page
    assert why in page
    rows = pd.read_csv(results / "review.csv").set_index("number")
    assert rows.loc[VERDICT, ["before", "after"]].tolist() == [before.verdict, "not testable"]
    assert float(rows.loc["priming: Fisher z", "before"]) == before.z
    assert pd.isna(rows.loc["priming: Fisher z", "after"])
    assert rows.loc["priming: myeloid in contact", ["before", "after"]].tolist() == [str(n), "29"]
    assert rows.loc[REASON, "after"] == why


def test_the_queue_knows_whom_the_effect_hangs_on(results: Path) -> None:
    subject = with_leverage(
        subject_of(results), leverage_column(results / "a", run_recipe(results))
    )
    order = exposed(results)
    queue = make_queue(subject, QueueOptions(leverage=LEVERAGE))
    reasons = dict(zip(queue.ids.tolist(), queue.reasons, strict=True))
    assert {i for i, why in reasons.items() if "leverage" in why} == set(order["cell_id"])
    place = {i: k for k, i in enumerate(queue.ids.tolist())}
    without = {i: k for k, i in enumerate(make_queue(subject).ids.tolist())}
    heaviest = order.loc[order["weight"].abs().nlargest(10).index, "cell_id"]
    assert np.mean([place[i] for i in heaviest]) < 0.7 * np.mean(
        [without.get(i, len(subject)) for i in heaviest]
    )
    by_weight = make_queue(
        subject, QueueOptions(order="table", sort_by=LEVERAGE, phenotypes=("myeloid",))
    )
    assert list(by_weight.ids[: len(order)]) == order["cell_id"].tolist()


def test_without_the_question_there_is_no_answer(tmp_path: Path) -> None:
    results = run_slide(tmp_path, size=(260, 260))
    asked = run_recipe(results)
    assert slide_effect(results / "a", asked) is None
    assert leverage_column(results / "a", asked) is None
    with ReviewLog(results / "a", "anna") as log:
        ReviewSession(subject_of(results), "anna", save=log.append, clock=Clock()).note("seen")
    assert not any(name.startswith("priming") for name in apply_reviews(results).slides[0].after)
    assert not (results / "a" / "reviewed" / "pairs.parquet").exists()
