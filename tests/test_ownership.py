"""Nobody's file is lost: no command writes onto an input, or onto a file that ifquant did not make,
however the path is spelled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from point_cohorts import write_cohort
from reviewing import recipe, run_slide, session_on, subject_of
from small_slides import write_small_slide
from tissue import PANELS, simulated, write_slide

import ifquant
from ifquant.commands.analyze_tables import read_cell_tables
from ifquant.commands.evaluate import evaluate_files
from ifquant.commands.review_apply import apply_reviews
from ifquant.commands.review_log import ReviewLog, log_path
from ifquant.commands.segment import segment_file
from ifquant.errors import RequestError, SlideError
from ifquant.execution.executors import Execution
from ifquant.files import ownership
from ifquant.files.table_files import slide_of, write_parquet
from ifquant.pipeline.slide_jobs import find_jobs
from ifquant.results.file_names import SLIDE_FILES
from ifquant.results.run_record import run_recipe
from ifquant.simulation.simulated_slides import simulate_slides
from ifquant.slides import tiff_writer
from ifquant.slides.slide_names import slide_name

QUIET = Execution(quiet=True)
THEIRS = "what somebody wrote\n"

Spelling = Callable[[Path], str]
SPELLINGS: dict[str, Spelling] = {
    "as it is": str,
    "dots": lambda path: str(path.parent / "." / ".." / path.parent.name / path.name),
    "relative": lambda path: os.path.relpath(path),
    "symbolic link": lambda path: _linked(path, os.symlink),
    "hard link": lambda path: _linked(path, os.link),
    "linked folder": lambda path: str(Path(_linked(path.parent, os.symlink)) / path.name),
}


def _linked(path: Path, link: Callable[[Path, Path], None]) -> str:
    made = path.parent / f"link_to_{path.name}"
    link(path, made)
    return str(made)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_small_slide(tmp_path / "in", "a")


def run(slides: list[Path], out: Path, **more: Any) -> Any:
    return ifquant.run(slides[0].parent / "recipe.toml", slides, out, execution=QUIET, **more)


# --- single files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_segment_never_writes_onto_its_slide(slide: Path, spelling: str) -> None:
    before = slide.read_bytes()
    with pytest.raises(RequestError, match=r"onto the input|no label image made by ifquant"):
        segment_file(str(slide), Path(SPELLINGS[spelling](slide)), method="classical")
    assert slide.read_bytes() == before


def test_segment_replaces_its_own_labels_and_no_other_file(slide: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.tif"
    for _ in range(2):
        segment_file(str(slide), out, method="classical")
    for name in ("notes.tif", "notes.txt", "empty.tif"):
        (tmp_path / name).write_text(THEIRS if "empty" not in name else "")
        with pytest.raises(
            RequestError, match=f"{name}: exists and is no label image made by ifquant"
        ):
            segment_file(str(slide), tmp_path / name, method="classical")
        assert (tmp_path / name).read_text() == (THEIRS if "empty" not in name else "")
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "nowhere.tif")
    with pytest.raises(RequestError, match="is no label image"):
        segment_file(str(slide), tmp_path / "dangling.tif", method="classical")


@pytest.mark.parametrize("what", ["out", "picture"])
def test_evaluate_never_writes_onto_its_images(tmp_path: Path, what: str) -> None:
    truth = tmp_path / "truth.tif"
    tiff_writer.write_image(truth, np.eye(64, dtype=np.uint32), pixel_size_um=None, labels=True)
    before = truth.read_bytes()
    for target in (truth, Path(_linked(truth, os.symlink))):
        with pytest.raises(RequestError, match="onto the input"):
            evaluate_files(truth, truth, **{what: target})
    (tmp_path / "mine.csv").write_text(THEIRS)
    with pytest.raises(RequestError, match="not made by ifquant"):
        evaluate_files(truth, truth, **{what: tmp_path / "mine.csv"})
    assert truth.read_bytes() == before
    name = {"out": "ap.csv", "picture": "ap.png"}[what]
    for _ in range(2):  # its own it replaces
        evaluate_files(truth, truth, **{what: tmp_path / name})
    with pytest.raises(RequestError, match="give two names"):
        evaluate_files(truth, truth, out=tmp_path / "both.csv", picture=tmp_path / "both.csv")


def test_simulate_replaces_its_own_slides_alone(tmp_path: Path) -> None:
    for _ in range(2):
        (made,) = simulate_slides(tmp_path, size=128)
    for ending in (".ome.tif", "_nuclei.tif", "_truth.parquet", "_truth.csv"):
        path = tmp_path / f"simulated_0000{ending}"
        kept = path.read_bytes()
        path.write_text(THEIRS)
        with pytest.raises(RequestError, match="not made by ifquant"):
            list(simulate_slides(tmp_path, size=128))
        assert path.read_text() == THEIRS
        path.write_bytes(kept)
    with pytest.raises(RequestError, match="a file; simulated slides need a folder"):
        list(simulate_slides(made, size=128))


# --- runs -----------------------------------------------------------------------------------------


def test_a_sheet_called_slides_csv_is_not_replaced(slide: Path) -> None:
    sheet = slide.parent / "slides.csv"
    sheet.write_text("slide,path,patient\na,a.ome.tif,P1\n")
    before = snapshot(slide.parent)
    for out in (slide.parent, Path(_linked(slide.parent, os.symlink))):
        with pytest.raises(
            RequestError,
            match=r"slides\.csv: the run would replace this file, which is its own input",
        ):
            ifquant.run(slide.parent / "recipe.toml", [], out, samples=sheet, execution=QUIET)
    assert snapshot(slide.parent) == before


@pytest.mark.parametrize("name", ["run.json", "slides.csv", "report.html", "crash.txt"])
@pytest.mark.parametrize(
    "content",
    ["", THEIRS, "{}", "slide,path,patient\na,a.tif,P\n", "<html><title>My report</title></html>"],
)
def test_foreign_files_of_our_names_are_refused_by_name(
    slide: Path, tmp_path: Path, name: str, content: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(content)
    with pytest.raises(RequestError, match=f"{name}: exists and was not made by ifquant"):
        run([slide], out)
    assert snapshot(out) == {name: content.encode()}


@pytest.mark.parametrize("name", SLIDE_FILES)
def test_foreign_files_in_a_slides_folder_are_refused_by_name(
    slide: Path, tmp_path: Path, name: str
) -> None:
    place = tmp_path / "out" / "a"
    place.mkdir(parents=True)
    (place / name).write_text(THEIRS)
    with pytest.raises(RequestError, match=f"{name}: exists and was not made by ifquant"):
        run([slide], tmp_path / "out")
    assert snapshot(tmp_path / "out") == {f"a/{name}": THEIRS.encode()}


def test_a_table_that_a_spreadsheet_saved_anew_is_ours_all_the_same(
    slide: Path, tmp_path: Path
) -> None:
    run([slide], tmp_path / "out")
    table = tmp_path / "out" / "slides.csv"
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        table.write_bytes(
            table.read_bytes()
            .decode("utf-8-sig")
            .replace(",", ";")
            .replace("\n", "\r\n")
            .encode(encoding)
        )
        assert run([slide], tmp_path / "out").exit_code == 0


def test_a_file_where_a_slides_folder_belongs_is_refused(slide: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text(THEIRS)
    with pytest.raises(RequestError, match="a file where the results of slide 'a' belong"):
        run([slide], tmp_path / "out")
    with pytest.raises(RequestError, match="a file; results need a folder"):
        run([slide], slide)
    assert (tmp_path / "out" / "a").read_text() == THEIRS


def test_a_run_beside_its_slides_touches_none_of_them_and_can_be_repeated(slide: Path) -> None:
    (slide.parent / "notes.txt").write_text(THEIRS)
    (slide.parent / "a").mkdir()
    (slide.parent / "a" / "mine.txt").write_text(THEIRS)
    before = snapshot(slide.parent)
    for _ in range(2):
        assert run([slide], slide.parent).exit_code == 0
        assert {
            name: content for name, content in snapshot(slide.parent).items() if name in before
        } == before


def test_results_are_not_written_into_a_store_that_is_an_input(slide: Path, tmp_path: Path) -> None:
    run([slide], tmp_path / "out")
    store = tmp_path / "scan.ome.zarr"
    shutil.copytree(tmp_path / "out" / "a" / "labels.ome.zarr", store)
    before = snapshot(store)
    for out in (store, store / "results"):
        with pytest.raises(RequestError, match="lies in the input"):
            ifquant.run(slide.parent / "recipe.toml", [store], out, execution=QUIET)
    assert snapshot(store) == before


def test_masks_of_an_earlier_run_are_not_replaced_by_the_run_that_reads_them(
    slide: Path, tmp_path: Path
) -> None:
    assert run([slide], tmp_path / "out").exit_code == 0
    text = (slide.parent / "recipe.toml").read_text()
    masks = tmp_path / "out" / "a" / "labels.ome.zarr"
    (slide.parent / "recipe.toml").write_text(text.replace("{slide}_mask.tif", str(masks)))
    before = snapshot(tmp_path / "out")
    with pytest.raises(
        RequestError,
        match=r"labels\.ome\.zarr: the run would replace this file, which is its own input",
    ):
        run([slide], tmp_path / "out")
    assert snapshot(tmp_path / "out") == before


def test_a_slide_called_like_a_result_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    assert slide_name("run.json.ome.tif") == "run.json_"
    for name in ("run.json", "slides.csv"):
        write_small_slide(tmp_path / "in", name)
        shutil.copy(tmp_path / "in" / f"{name}_mask.tif", tmp_path / "in" / f"{name}__mask.tif")
    result = run(
        [tmp_path / "in" / "run.json.ome.tif", tmp_path / "in" / "slides.csv.ome.tif"],
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.summary_lines()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "done"


def test_results_carry_a_marker_and_older_ones_without_it_are_known(
    slide: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([slide], out)
    assert ownership.marker(out) == {"format": ownership.FORMAT, "slides": ["a"]}
    (out / ownership.MARKER).unlink()
    assert [s.reused for s in run([slide], out).slides] == ["everything"]
    assert ownership.marker(out) is not None


# --- analyses and reviews -------------------------------------------------------------------------


def test_an_analysis_replaces_no_file_but_its_own(tmp_path: Path) -> None:
    write_cohort(tmp_path, beta=0.0, n=2)
    given: dict[str, Any] = {
        "samples": tmp_path / "samples.csv",
        "overrides": ("cohort.multiverse=false",),
        "execution": QUIET,
    }
    out = tmp_path / "out"
    for _ in range(2):
        ifquant.analyze(tmp_path / "cells.csv", tmp_path / "recipe.toml", out, **given)
        (out / ".DS_Store").write_text("what a file browser leaves")
    for name in ("notes.txt", "mine.csv", "figures/mine.svg"):
        (out / name).write_text(THEIRS)
        with pytest.raises(RequestError, match=f"{name}: not written by the analysis there"):
            ifquant.analyze(tmp_path / "cells.csv", tmp_path / "recipe.toml", out, **given)
        assert (out / name).read_text() == THEIRS
        (out / name).unlink()
    shutil.copy(tmp_path / "cells.csv", out / "cells.csv")
    with pytest.raises(RequestError, match=r"holds the input .*cells\.csv"):
        ifquant.analyze(out / "cells.csv", tmp_path / "recipe.toml", out, **given)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text(THEIRS)
    with pytest.raises(RequestError, match="something else than an earlier analysis"):
        ifquant.analyze(
            tmp_path / "cells.csv", tmp_path / "recipe.toml", tmp_path / "mine", **given
        )


def test_applied_reviews_replace_no_foreign_file(tmp_path: Path) -> None:
    results = run_slide(tmp_path, size=(300, 320))
    for name in ("review.html", "review.csv", "slides_reviewed.csv"):
        (results / name).write_text(THEIRS)
        with pytest.raises(RequestError, match=f"{name}: exists and was not made by ifquant"):
            apply_reviews(results)
        assert (results / name).read_text() == THEIRS
        (results / name).unlink()


def test_a_file_that_is_no_log_is_not_written_to(tmp_path: Path) -> None:
    path = log_path(tmp_path, "anna")
    path.parent.mkdir()
    path.write_text(THEIRS)
    with pytest.raises(RequestError, match="no decision in it is one of ifquant's"):
        ReviewLog(tmp_path, "anna")
    assert path.read_text() == THEIRS
    path.write_text('{"action": "acc')  # its first writer was stopped: a log all the same
    ReviewLog(tmp_path, "anna").close()


# --- results that failed, were renamed or were left out -------------------------------------------


def test_a_slide_that_fails_on_a_rerun_leaves_no_old_tables_and_comes_back(
    slide: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", write_small_slide(slide.parent, "b", seed=1)
    run([slide, other], out)
    (out / "a" / "review").mkdir()
    (out / "a" / "review" / "anna.jsonl").write_text(THEIRS)
    shutil.copytree(out / "b", out / "a" / "reviewed")
    before = snapshot(out / "a")
    content = slide.read_bytes()
    slide.write_bytes(content[: len(content) // 2])
    for _ in range(2):
        failed = run([slide, other], out)
        assert [s.status for s in failed.slides] == ["failed", "done"]
        assert {path.name for path in (out / "a").iterdir()} == {
            "review",
            ".unfinished",
        }, "what people wrote stays in sight"
        assert (
            pd.read_csv(out / "slides.csv")
            .set_index("slide")
            .loc["a", "n_cells":"fraction_flagged"]
            .isna()
            .all()
        )  # type: ignore[misc]
    assert list(read_cell_tables(out)) == ["b"]
    slide.write_bytes(content)
    again = run([slide, other], out)
    assert [s.reused for s in again.slides] == ["everything", "everything"]
    assert snapshot(out / "a") == before


def test_run_json_decides_which_slides_are_analyzed(slide: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", write_small_slide(slide.parent, "b", seed=1)
    run([slide, other], out)
    left_out = run([slide], out)
    assert "also holds results of slides that are not of this run: b" in left_out.warnings[0]
    assert list(read_cell_tables(out)) == ["a"]
    assert ifquant.read_cells(out)["slide"].unique().tolist() == ["a"]
    (out / "a").rename(out / "c")
    for read in (read_cell_tables, ifquant.read_cells):
        with pytest.raises(
            SlideError,
            match=(
                r"run\.json says that a is done, but there is no a/slide\.json \(there are results"
                r" of b, c"
            ),
        ):
            read(out)
    (out / "c").rename(out / "a")
    (out / "run.json").write_text("{")
    with pytest.raises(SlideError, match=r"run\.json: damaged"):
        read_cell_tables(out)
    (out / "run.json").unlink()  # interrupted: the marker knows what was asked for
    assert ifquant.read_cells(out)["slide"].unique().tolist() == ["a"]
    (out / ownership.MARKER).unlink()
    assert ifquant.read_cells(out)["slide"].unique().tolist() == ["a", "b"]


def test_tables_that_were_mixed_up_are_refused(slide: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", write_small_slide(slide.parent, "b", seed=1)
    run([slide, other], out)
    assert slide_of(out / "a" / "cells.parquet") == "a"
    table = pd.read_parquet(out / "a" / "cells.parquet")
    for key in ("ifquant.slide", "ifquant.slides.slide"):  # the second was written for a time
        write_parquet(table, out / "a" / "cells.parquet", None, {key: "a"})
        assert list(read_cell_tables(out)) == ["a", "b"]
        write_parquet(table, out / "a" / "cells.parquet", None, {key: "b"})
        with pytest.raises(SlideError, match=r"cells\.parquet is of slide 'b', slide\.json of 'a'"):
            read_cell_tables(out)


def test_byte_identical_slides_under_two_names_are_said(slide: Path, tmp_path: Path) -> None:
    shutil.copy(slide, slide.parent / "copy.ome.tif")
    shutil.copy(slide.parent / "a_mask.tif", slide.parent / "copy_mask.tif")
    result = run([slide, slide.parent / "copy.ome.tif"], tmp_path / "out")
    assert "slides a, copy are byte-identical" in result.warnings[0]
    assert any("byte-identical" in line for line in result.summary_lines())
    assert (
        "byte-identical" in json.loads((tmp_path / "out" / "run.json").read_text())["warnings"][0]
    )


# --- more of each kind ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "labels.ome.zarr/labels/nuclei",
        "reviewed/labels.ome.zarr/labels/nuclei",
        "reviewed/mask.tif",
    ],
)
def test_inputs_that_lie_inside_outputs_are_not_lost(
    slide: Path, tmp_path: Path, place: str
) -> None:
    out = tmp_path / "out"
    assert run([slide], out).exit_code == 0
    shutil.copytree(out / "a" / "labels.ome.zarr", out / "a" / "reviewed" / "labels.ome.zarr")
    shutil.copy(slide.parent / "a_mask.tif", out / "a" / "reviewed" / "mask.tif")
    recipe = slide.parent / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("{slide}_mask.tif", str(out / "{slide}" / place)))
    before = snapshot(out)
    with pytest.raises(RequestError, match="its own input"):
        run([slide], out)
    assert snapshot(out) == before


def test_fresh_keeps_what_was_set_aside_until_the_slide_can_be_analyzed(
    slide: Path, tmp_path: Path
) -> None:
    out, fresh = tmp_path / "out", Execution(quiet=True, fresh=True)
    run([slide], out)
    before, content = snapshot(out / "a"), slide.read_bytes()
    slide.write_bytes(content[:1000])
    for execution in (QUIET, fresh):
        assert (
            ifquant.run(slide.parent / "recipe.toml", [slide], out, execution=execution).exit_code
            == 3
        )
    slide.write_bytes(content)
    assert run([slide], out).slides[0].reused == "everything"
    assert snapshot(out / "a") == before


def test_a_file_put_where_results_were_set_aside_is_not_replaced(
    slide: Path, tmp_path: Path
) -> None:
    out, content = tmp_path / "out", slide.read_bytes()
    run([slide], out)
    slide.write_bytes(content[:1000])
    run([slide], out)
    (out / "a" / "cells.csv").write_text(THEIRS)
    slide.write_bytes(content)
    with pytest.raises(RequestError, match=r"cells\.csv: exists and was not made by ifquant"):
        run([slide], out)
    assert (out / "a" / "cells.csv").read_text() == THEIRS


def test_a_move_that_was_cut_short_is_no_foreign_file(slide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([slide], out)
    before = snapshot(out / "a")
    aside = out / "a" / ".unfinished" / "earlier"
    aside.mkdir(parents=True)
    (out / "a" / "slide.json").rename(aside / "slide.json")  # killed after the first of them
    assert run([slide], out).slides[0].reused == "everything"
    assert snapshot(out / "a") == before


def test_foreign_files_in_the_folder_of_a_review_stay(tmp_path: Path) -> None:
    results = run_slide(tmp_path, size=(300, 320))
    place = results / "a" / "reviewed"
    place.mkdir()
    theirs = dict.fromkeys(
        ("cells.csv", "decisions.csv", "slide.json", "overlay.png", "notes.txt"), THEIRS
    )
    for name, text in theirs.items():
        (place / name).write_text(text)
    with ReviewLog(results / "a", "anna") as log:
        session_on(subject_of(results), save=log.append).accept(1)
    with pytest.raises(
        RequestError, match=r"reviewed/slide\.json: exists and was not made by ifquant"
    ):
        apply_reviews(results)
    recipe = run_recipe(results)
    changed = recipe.model_copy(
        update={"proximity": recipe.proximity.model_copy(update={"radii_um": (15.0,)})}
    )
    again = ifquant.run(changed, [tmp_path / "a.ome.tif"], results, execution=QUIET)
    assert again.slides[0].reused == "cells"
    assert snapshot(place) == {name: text.encode() for name, text in theirs.items()}


def test_a_foreign_marker_and_other_peoples_crashes_are_refused(
    slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for name, text in (
        (ownership.MARKER, '{"my": "settings"}'),
        ("crash.txt", "Traceback (most recent call last)\n  theirs\n"),
    ):
        (tmp_path / "out" / name).write_text(text)
        with pytest.raises(RequestError, match=name):
            run([slide], tmp_path / "out")
        assert (tmp_path / "out" / name).read_text() == text
        (tmp_path / "out" / name).unlink()


@pytest.mark.parametrize("content", ["", "{", '{"status": "do'])
@pytest.mark.parametrize("marked", [True, False])
def test_a_damaged_record_of_ours_can_be_made_again(
    slide: Path, tmp_path: Path, content: str, marked: bool
) -> None:
    out = tmp_path / "out"
    run([slide], out)
    (out / "run.json").write_text(content)
    (out / "a" / "slide.json").write_text(content)
    if not marked:  # an older folder: another slide's record vouches for it
        (out / ownership.MARKER).unlink()
        (out / "b").mkdir()
        (out / "b" / "slide.json").write_text('{"format": "ifquant slide 1"}')
    assert run([slide], out).exit_code == 0
    assert json.loads((out / "run.json").read_text())["status"] == "done"


def test_an_older_analysis_keeps_tables_of_somebody_else(tmp_path: Path) -> None:
    write_cohort(tmp_path, beta=0.0, n=2)
    given: dict[str, Any] = {
        "samples": tmp_path / "samples.csv",
        "overrides": ("cohort.multiverse=false",),
        "execution": QUIET,
    }
    out = tmp_path / "out"
    ifquant.analyze(tmp_path / "cells.csv", tmp_path / "recipe.toml", out, **given)
    record = json.loads((out / "cohort.json").read_text())
    del record["files"]
    (out / "cohort.json").write_text(json.dumps(record))
    for name in ("my_patients.csv", "figures/mine.pdf"):
        (out / name).write_text(THEIRS)
        with pytest.raises(RequestError, match=f"{name}: not written by the analysis"):
            ifquant.analyze(tmp_path / "cells.csv", tmp_path / "recipe.toml", out, **given)
        (out / name).unlink()
    ifquant.analyze(tmp_path / "cells.csv", tmp_path / "recipe.toml", out, **given)


def test_segment_replaces_no_slide_that_ifquant_wrote(slide: Path) -> None:
    other = write_small_slide(slide.parent, "b", seed=1)
    before = other.read_bytes()
    with pytest.raises(RequestError, match="exists and is no label image made by ifquant"):
        segment_file(str(slide), other, method="classical")
    assert other.read_bytes() == before


@pytest.mark.parametrize("name", ["e.txt", "e.tsv", "e"])
def test_own_files_are_known_whatever_they_are_called(
    slide: Path, tmp_path: Path, name: str
) -> None:
    mask = slide.parent / "a_mask.tif"
    for _ in range(2):
        evaluate_files(mask, mask, out=tmp_path / name)
        segment_file(str(slide), tmp_path / f"labels_{name}", method="classical")


def test_an_interrupted_run_is_not_analyzed(slide: Path, tmp_path: Path) -> None:
    run([slide], tmp_path / "out")
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(RequestError, match="interrupted or is going on"):
        read_cell_tables(tmp_path / "out")
    assert len(ifquant.read_cells(tmp_path / "out")) == 49


def test_slides_of_one_name_that_are_other_images_are_no_other_segmentation(tmp_path: Path) -> None:
    results = [
        run_slide(tmp_path / name, seed=seed, priming={"response": "IL1B", "ligand": "TGFB1"})
        for name, seed in (("A", 1), ("B", 2))
    ]
    with pytest.raises(RequestError, match=r"its slide 'a' is another image than"):
        ifquant.analyze(results, out=tmp_path / "an", execution=QUIET)
    with pytest.raises(RequestError, match="given twice"):
        ifquant.analyze([results[0], f"{results[0]}/"], out=tmp_path / "an", execution=QUIET)


def test_applying_one_review_keeps_the_others_and_a_failed_one_leaves_no_tables(
    tmp_path: Path,
) -> None:
    slides = [
        write_slide(
            tmp_path / f"{n}.ome.tif", simulated(300, 320, seed=k).image, PANELS["tgfb_il1b"]
        )
        for k, n in enumerate("ab")
    ]
    assert ifquant.run(recipe(), slides, tmp_path / "out", execution=QUIET).exit_code == 0
    for name in "ab":
        with ReviewLog(tmp_path / "out" / name, "anna") as log:
            session_on(subject_of(tmp_path / "out", name), save=log.append).exclude(1, "fold")
    first = [slide.after["n_cells"] for slide in apply_reviews(tmp_path / "out").slides]
    apply_reviews(tmp_path / "out", ["a"])
    table = pd.read_csv(tmp_path / "out" / "slides_reviewed.csv").set_index("slide")
    assert table["n_cells"].tolist() == first
    slides[0].rename(tmp_path / "away.ome.tif")
    assert apply_reviews(tmp_path / "out").exit_code == 3
    table = pd.read_csv(tmp_path / "out" / "slides_reviewed.csv").set_index("slide")
    assert table["status"].tolist() == ["failed", "done"]
    assert table["n_cells"].isna().tolist() == [True, False]
    assert not list((tmp_path / "out" / "a" / "reviewed").iterdir())


def test_a_control_slide_that_fails_is_said_by_every_slide_and_a_missing_one_before_any_work(
    tmp_path: Path,
) -> None:
    a, control = (
        write_small_slide(tmp_path, name, seed=n) for n, name in enumerate(("a", "control"))
    )
    gates = 'gates.markers.PanCK={method="control", control_slide="%s", control_quantile=0.9}'
    for name in ("control", "Control.ome.tif"):
        done = run([a, control], tmp_path / "out", overrides=(gates % name,))
        assert done.exit_code == 0, done.summary_lines()
    with pytest.raises(
        RequestError, match="the control slide 'contrl' is not among the slides of this run"
    ):
        run([a, control], tmp_path / "out", overrides=(gates % "contrl",))
    assert (tmp_path / "out" / "run.json").exists(), "nothing changed"
    control.write_bytes(b"II*\0 cut")
    failed = run([a, control], tmp_path / "out", overrides=(gates % "control",))
    assert [slide.status for slide in failed.slides] == ["failed", "failed"]
    assert "needs the control slide 'control', which failed" in str(failed.slides[0].error)


def test_results_are_not_written_among_a_slides_own_images(slide: Path, tmp_path: Path) -> None:
    run([slide], tmp_path / "first")
    store = tmp_path / "z" / "s1"
    shutil.copytree(tmp_path / "first" / "a" / "labels.ome.zarr", store)
    before = snapshot(tmp_path / "z")
    with pytest.raises(RequestError, match=r"lie among its images|lies in the input"):
        ifquant.run(slide.parent / "recipe.toml", [store], tmp_path / "z", execution=QUIET)
    assert snapshot(tmp_path / "z") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "slide,path,status,error_notes,mine\n"),
        ("t.csv", "id,class,nucleus_x_um,foo\n"),
        ("t.html", "<title>ifquant notes of Anna</title>"),
        ("crash.txt", "ifquant does not work, my notes\n"),
    ],
)
def test_what_only_begins_like_ours_is_not_ours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert not ownership.made_here(tmp_path / name)


@pytest.mark.parametrize("moved", [0, 1, 3, 7])
@pytest.mark.parametrize("back", [False, True])
def test_a_kill_while_results_are_moved_locks_nothing(
    slide: Path, tmp_path: Path, moved: int, back: bool
) -> None:
    out = tmp_path / "out"
    run([slide], out)
    before, aside = snapshot(out / "a"), out / "a" / ".unfinished" / "earlier"
    aside.mkdir(parents=True)
    present = [name for name in SLIDE_FILES if (out / "a" / name).exists()]
    for name in list(reversed(present))[: len(present) - moved] if back else present[:moved]:
        (out / "a" / name).rename(aside / name)
    assert run([slide], out).slides[0].reused == "everything"
    assert snapshot(out / "a") == before


@pytest.mark.parametrize(
    "removed", [("slide.json", "cells.parquet", "cells.csv"), SLIDE_FILES[:2], SLIDE_FILES[:-1]]
)
def test_what_is_left_of_our_outputs_is_ours(
    slide: Path, tmp_path: Path, removed: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    run([slide], out)
    before = snapshot(out / "a")
    for name in removed:
        path = out / "a" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in ("cells.parquet", "slides.csv"):
        (out / ("a" if "cells" in name else ".") / name).write_text("")  # a copy that failed
    if removed == SLIDE_FILES[:-1]:  # a picture alone says nothing of who made it
        with pytest.raises(RequestError, match=r"detail\.png: exists and was not made by ifquant"):
            run([slide], out)
        return
    assert run([slide], out).exit_code == 0
    assert snapshot(out / "a") == before


def test_a_marker_that_points_nowhere_is_refused_and_parts_of_a_killed_review_go(
    tmp_path: Path,
) -> None:
    results = run_slide(tmp_path, size=(300, 320))
    with ReviewLog(results / "a", "anna") as log:
        session_on(subject_of(results), save=log.append).accept(1)
    part = results / "a" / "reviewed" / ".decisions.csv.123.0123abcd.part.csv"
    part.parent.mkdir()
    part.write_text("half")
    apply_reviews(results)
    assert not part.exists()
    (results / ownership.MARKER).unlink()
    (results / ownership.MARKER).symlink_to(tmp_path / "nowhere")
    with pytest.raises(RequestError, match=r"\.ifquant\.json: is no marker"):
        ifquant.run(run_recipe(results), [tmp_path / "a.ome.tif"], results, execution=QUIET)


def test_regions_beside_an_image_are_those_of_its_own_name(tmp_path: Path) -> None:
    for name in ("Tumor (1)", "Tumor 2", "Tumor_2"):
        write_small_slide(tmp_path, name)
    for name in ("Tumor (1)", "Tumor_2"):
        (tmp_path / f"{name}.geojson").write_text("[]")
    found = find_jobs(
        [tmp_path / f"{n}.ome.tif" for n in ("Tumor (1)", "Tumor 2", "Tumor_2")],
        None,
        pixel_size_um=None,
        z=None,
        allow_lossy=False,
    )
    regions = {Path(job.path).name: job.regions and job.regions.name for job in found}
    assert regions == {
        "Tumor (1).ome.tif": "Tumor (1).geojson",
        "Tumor 2.ome.tif": None,
        "Tumor_2.ome.tif": "Tumor_2.geojson",
    }


def test_images_of_one_name_are_said_to_be_numbered(tmp_path: Path) -> None:
    slides = [
        write_small_slide(tmp_path / place, "a", seed=n) for n, place in enumerate(("x", "y"))
    ]
    shutil.copy(tmp_path / "y" / "a_mask.tif", tmp_path / "y" / "a_2_mask.tif")
    result = run(slides, tmp_path / "out")
    assert result.exit_code == 0, result.summary_lines()
    assert any(
        "is called a_2: an image before it is called a already" in text for text in result.warnings
    )
