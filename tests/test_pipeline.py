"""The whole pipeline on simulated slides: the same bits for every tiling, worker count and order,
and nothing wired to one panel.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.commands import run as cohort
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window

HEIGHT, WIDTH = 900, 1100


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return simulated(HEIGHT, WIDTH).image


@pytest.fixture(scope="module", params=["tgfb_il1b", "all_at_once"])
def panel(request: pytest.FixtureRequest) -> str:
    """Every test that takes a slide runs on both; the second is renamed, permuted, has a channel
    more and another ligand and response.
    """
    return str(request.param)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, image: np.ndarray) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    return {
        name: write_slide(folder / name / "tumor 1.ome.tif", image, panel)
        for name, panel in PANELS.items()
    }


@pytest.fixture(scope="module")
def slide(panel: str, slides: dict[str, Path]) -> Path:
    return slides[panel]


def run(slide: Path, out: Path, panel: str, **execution: Any) -> pd.DataFrame:
    result = ifquant.run(
        recipe_for(PANELS[panel]), [slide], out, execution=Execution(quiet=True, **execution)
    )
    assert result.exit_code == 0, result.summary_lines()
    return pd.read_parquet(out / result.slides[0].name / "cells.parquet")


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, slide: Path, panel: str
) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("whole")
    return out, run(slide, out, panel, tile_size_px=4096)


def folder(out: Path) -> Path:
    return next(path for path in out.iterdir() if (path / "slide.json").exists())


def same_outputs(one: Path, other: Path) -> None:
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(("tile", "workers"), [(256, 1), (300, 2), (1000, 1)])
def test_tiles_and_workers_change_no_bit(
    tile: int,
    workers: int,
    panel: str,
    slide: Path,
    whole: tuple[Path, pd.DataFrame],
    tmp_path: Path,
) -> None:
    table = run(slide, tmp_path, panel, tile_size_px=tile, workers=workers)
    pd.testing.assert_frame_equal(table, whole[1], check_exact=True)
    same_outputs(folder(tmp_path), folder(whole[0]))
    cores = json.loads((tmp_path / "run.json").read_text())["slides"][0]["tile_cores"]
    assert len(cores) == -(-HEIGHT // tile) * -(-WIDTH // tile)
    assert len(json.loads((whole[0] / "run.json").read_text())["slides"][0]["tile_cores"]) == 1


def test_the_network_sees_a_fixed_lattice(panel: str, image: np.ndarray, tmp_path: Path) -> None:
    """`unet`: maps are computed once per lattice cell, so tiles, workers and a crop of the lattice
    change nothing.
    """
    slide = write_slide(tmp_path / "a.ome.tif", image[:, :500, :600], PANELS[panel])
    recipe = recipe_for(PANELS[panel], segmentation={"method": "unet"})
    tables = []
    for tile, workers in ((4096, 1), (200, 2)):
        out = tmp_path / str(tile)
        result = ifquant.run(
            recipe,
            [slide],
            out,
            execution=Execution(quiet=True, tile_size_px=tile, workers=workers),
        )
        assert result.exit_code == 0, result.summary_lines()
        tables.append(pd.read_parquet(out / "a" / "cells.parquet"))
    assert len(tables[0]) > 300
    pd.testing.assert_frame_equal(*tables, check_exact=True)


class Shuffled(Executor):
    """Completes tasks in a random order."""

    def __init__(self) -> None:
        self.random = random.Random(5)
        self.waiting: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, fn, args))
        self.random.shuffle(self.waiting)
        if len(self.waiting) > 2:
            self.step()
        return future

    def step(self) -> None:
        future, fn, args = self.waiting.pop()
        future.set_result(fn(*args))


def test_the_order_of_completion_changes_no_bit(
    panel: str,
    slide: Path,
    whole: tuple[Path, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from contextlib import nullcontext

    from ifquant.execution import executors as execution

    pool = Shuffled()
    real_wait = execution.wait

    def wait(futures: Any, **kwargs: Any) -> Any:
        while pool.waiting and not any(future.done() for future in futures):
            pool.step()
        return real_wait(futures, **kwargs)

    monkeypatch.setattr(execution, "wait", wait)
    monkeypatch.setattr(cohort, "executor", lambda *_, **__: nullcontext(pool))
    pd.testing.assert_frame_equal(
        run(slide, tmp_path, panel, tile_size_px=300), whole[1], check_exact=True
    )


def test_nothing_is_wired_to_the_panel(slides: dict[str, Path], tmp_path: Path) -> None:
    own = run(slides["tgfb_il1b"], tmp_path / "own", "tgfb_il1b")
    for name, panel in PANELS.items():
        table = run(slides[name], tmp_path / name, name)
        shared = {}
        for column in own.columns:
            marker = next((known for known in panel.names if column.startswith(f"{known}_")), None)
            shared[column] = column.replace(marker, panel.names[marker], 1) if marker else column
        renamed = own.rename(columns=shared)
        pd.testing.assert_frame_equal(table[list(renamed.columns)], renamed, check_exact=True)


def test_a_crop_is_the_image_cut(
    image: np.ndarray, panel: str, slide: Path, tmp_path: Path
) -> None:
    window = Window(100, 200, 600, 800)
    cut = write_slide(
        tmp_path / "cut" / "tumor 1.ome.tif", image[:, 100:600, 200:800], PANELS[panel]
    )
    cropped = run(slide, tmp_path / "a", panel, crop=window)
    pd.testing.assert_frame_equal(cropped, run(cut, tmp_path / "b", panel), check_exact=True)


def test_a_second_run_reuses_everything(
    panel: str, slide: Path, whole: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifquant.pipeline import slide_measurement

    monkeypatch.setattr(
        slide_measurement, "measure_slide", lambda *_, **__: pytest.fail("measured again")
    )
    before = {p: p.stat().st_mtime_ns for p in folder(whole[0]).rglob("*") if p.is_file()}
    result = ifquant.run(
        recipe_for(PANELS[panel]),
        [slide],
        whole[0],
        execution=Execution(quiet=True, tile_size_px=4096),
    )
    assert result.slides[0].reused == "everything"
    assert {p: p.stat().st_mtime_ns for p in folder(whole[0]).rglob("*") if p.is_file()} == before


def test_a_changed_gate_never_measures_again(
    panel: str, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifquant.pipeline import slide_measurement

    run(slide, tmp_path / "a", panel)
    recipe = recipe_for(
        PANELS[panel],
        gates={"markers": {PANELS[panel].names["PanCK"]: {"method": "value", "value": 500.0}}},
    )
    fresh = ifquant.run(recipe, [slide], tmp_path / "b", execution=Execution(quiet=True))
    monkeypatch.setattr(
        slide_measurement, "measure_slide", lambda *_, **__: pytest.fail("measured again")
    )
    again = ifquant.run(recipe, [slide], tmp_path / "a", execution=Execution(quiet=True))
    assert (fresh.exit_code, again.exit_code) == (0, 0)
    assert again.slides[0].reused == "cells"
    same_outputs(folder(tmp_path / "a"), folder(tmp_path / "b"))


def test_unfinished_tiles_are_reused(
    panel: str,
    slide: Path,
    whole: tuple[Path, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ifquant.pipeline import slide_measurement, tile

    real, calls = tile.tile_part, []

    def interrupted(task: Any) -> Any:
        calls.append(task.core)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(task)

    monkeypatch.setattr(tile, "tile_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(slide, tmp_path, panel, tile_size_px=300)
    done = set(calls[:3])
    calls.clear()
    monkeypatch.setattr(tile, "tile_part", lambda task: (calls.append(task.core), real(task))[1])
    pd.testing.assert_frame_equal(
        run(slide, tmp_path, panel, tile_size_px=300), whole[1], check_exact=True
    )
    assert not done & set(calls)
    assert not list(tmp_path.rglob(".unfinished"))
    assert slide_measurement.SCAN_BLOCK_PX


def test_a_bad_slide_does_not_stop_the_others(panel: str, slide: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"not an image")
    result = ifquant.run(
        recipe_for(PANELS[panel]),
        [bad, slide],
        tmp_path / "out",
        execution=Execution(quiet=True, crop=Window(0, 0, 300, 300)),
    )
    assert result.exit_code == 3
    assert [s.status for s in result.slides] == ["failed", "done"]
    table = pd.read_csv(tmp_path / "out" / "slides.csv")
    assert list(table["status"]) == ["failed", "done"]
    assert "TIFF" in table["error"][0]
    assert not (tmp_path / "out" / "bad" / "slide.json").exists()
