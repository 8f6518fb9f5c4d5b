"""A run that is killed or interrupted at any moment goes on where it was, and leaves the same bytes
as one that was not.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from killed_runs import (
    Request,
    finish,
    killed_until_done,
    slides_done,
    start,
    stop_group,
    tiles_done,
    wait_for,
    workers_of,
)
from outputs_compared import same_outputs
from tissue import PANELS, recipe_for, simulated, write_slide

from ifquant.files import storage
from ifquant.files.run_lock import LOCK_NAME

RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[segmentation]
method = "classical"
[phenotypes]
tumor = "PanCK+"
"""


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides, a larger one and a recipe; one with a gate for both, so that slides wait for each
    other.
    """
    folder = tmp_path_factory.mktemp("slides")
    image = simulated(300, 420).image
    write_slide(folder / "one.ome.tif", image, PANELS["tgfb_il1b"])
    write_slide(folder / "two.ome.tif", image[:, ::-1].copy(), PANELS["tgfb_il1b"])
    write_slide(folder / "long.ome.tif", np.tile(image, (1, 4, 3)), PANELS["tgfb_il1b"])
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "shared.toml").write_text(RECIPE + "[gates.markers.PanCK]\nshared = true\n")
    return folder


def request(slides: Path, out: Path, recipe: str = "recipe.toml", **options: int) -> Request:
    return Request(
        slides / recipe, [slides / "one.ome.tif", slides / "two.ome.tif"], out, **options
    )


@pytest.fixture(scope="module")
def whole(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """Results of an uninterrupted run, and how long it took."""
    out = tmp_path_factory.mktemp("whole")
    started = time.monotonic()
    assert finish(start(request(slides, out)))[0] == 0
    return out, time.monotonic() - started


@pytest.fixture(scope="module")
def whole_long(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole_long")
    assert (
        finish(
            start(
                replace(
                    request(slides, out), images=[slides / "one.ome.tif", slides / "long.ome.tif"]
                )
            )
        )[0]
        == 0
    )
    return out


@pytest.fixture(scope="module")
def whole_shared(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole_shared")
    assert finish(start(request(slides, out, "shared.toml")))[0] == 0
    return out


@pytest.mark.parametrize(
    ("how", "workers", "kills"),
    [("self", 1, 4), ("group", 2, 2), ("parent", 2, 1), ("worker", 2, 1)],
)
def test_killed_at_random_moments(
    how: str, workers: int, kills: int, slides: Path, whole: tuple[Path, float], tmp_path: Path
) -> None:
    moments = killed_until_done(
        request(slides, tmp_path, workers=workers),
        whole[0],
        how,
        random.Random(f"{how} 3"),
        kills=kills,
        lasts_s=whole[1],
        changes=170,
    )
    assert moments


def test_killed_while_a_gate_is_changed_never_measures_again(
    slides: Path, whole_shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a shared gate: finished with one recipe, killed while the outputs are rewritten for
    another, taken up again.
    """
    assert finish(start(request(slides, tmp_path)))[0] == 0
    for changes in (9, 21):
        assert (
            finish(start(request(slides, tmp_path, "shared.toml"), kill_at=changes))[0]
            == -signal.SIGKILL
        )
    import ifquant
    from ifquant.execution.executors import Execution
    from ifquant.pipeline import slide_measurement

    monkeypatch.setattr(
        slide_measurement, "measure_slide", lambda *_, **__: pytest.fail("measured again")
    )
    last = request(slides, tmp_path, "shared.toml")
    assert (
        ifquant.run(
            last.recipe, last.images, tmp_path, execution=Execution(tile_size_px=160, quiet=True)
        ).exit_code
        == 0
    )
    same_outputs(tmp_path, whole_shared)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_stops_at_once_and_keeps_what_is_done(
    workers: int, slides: Path, whole: tuple[Path, float], whole_long: Path, tmp_path: Path
) -> None:
    asked = replace(
        request(slides, tmp_path), images=[slides / "one.ome.tif", slides / "long.ome.tif"]
    )
    process = start(replace(asked, workers=workers))
    wait_for(
        lambda: slides_done(tmp_path) == 1 and tiles_done(tmp_path, "long") > 0, process
    )  # dozens of tiles are still to come: seconds
    workers_then = workers_of(process)
    assert len(workers_then) == (2 if workers == 2 else 0)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the run and its workers
    code, said = finish(process)
    assert code == 130
    assert time.monotonic() - began < 10
    assert "interrupted. Finished slides and tiles are kept" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(workers_then, timeout=5)[1]
    assert not (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / "run.json").exists()
    for file in ("cells.parquet", "cells.csv", "overlay.png", "slide.json"):
        assert (tmp_path / "one" / file).read_bytes() == (whole[0] / "one" / file).read_bytes()
    before = (tmp_path / "one" / "slide.json").stat().st_mtime_ns
    assert tiles_done(tmp_path, "long") > 0
    assert finish(start(asked))[0] == 0
    assert (tmp_path / "one" / "slide.json").stat().st_mtime_ns == before
    same_outputs(tmp_path, whole_long)


def test_a_second_run_into_the_same_folder_is_refused(
    slides: Path, whole: tuple[Path, float], tmp_path: Path
) -> None:
    first = start(request(slides, tmp_path))
    wait_for(lambda: (tmp_path / LOCK_NAME).exists(), first)
    second = start(request(slides, tmp_path))
    code, said = finish(second)
    assert code == 2
    assert f"another run is writing here (process {first.pid} on" in said
    assert finish(first)[0] == 0
    same_outputs(tmp_path, whole[0])


def test_a_part_the_disk_has_damaged_is_computed_again(
    slides: Path, whole: tuple[Path, float], tmp_path: Path
) -> None:
    process = start(request(slides, tmp_path))
    wait_for(lambda: tiles_done(tmp_path) >= 3, process)
    stop_group(process)
    for number, part in enumerate(sorted(tmp_path.glob("*/.unfinished/*/*/*.npz"))):
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 0xFF
        part.write_bytes(content if number % 2 else content[: len(content) // 3])
    assert finish(start(request(slides, tmp_path)))[0] == 0
    same_outputs(tmp_path, whole[0])


def test_fresh_computes_everything_again(
    slides: Path, whole: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ifquant
    from ifquant.execution.executors import Execution
    from ifquant.pipeline import tile

    process = start(request(slides, tmp_path))
    wait_for(lambda: tiles_done(tmp_path) >= 3, process)
    stop_group(process)
    real, computed = tile.tile_part, []
    monkeypatch.setattr(tile, "tile_part", lambda task: (computed.append(task.core), real(task))[1])
    again = request(slides, tmp_path)
    for _ in range(2):
        computed.clear()
        result = ifquant.run(
            again.recipe,
            again.images,
            tmp_path,
            execution=Execution(tile_size_px=160, fresh=True, quiet=True),
        )
        assert result.exit_code == 0
        assert len(computed) == 2 * 6
        same_outputs(tmp_path, whole[0])


def test_another_version_recomputes(
    slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ifquant
    from ifquant import provenance
    from ifquant.execution.executors import Execution

    def run() -> str:
        result = ifquant.run(
            recipe_for(PANELS["tgfb_il1b"]),
            [slides / "one.ome.tif"],
            tmp_path,
            execution=Execution(quiet=True),
        )
        return str(result.slides[0].reused)

    assert [run(), run()] == ["nothing", "everything"]
    monkeypatch.setattr(provenance, "__version__", "0.0.0+other")
    assert [run(), run()] == ["nothing", "everything"]
    monkeypatch.setattr(provenance, "ALGORITHM_VERSION", "another")
    assert run() == "nothing"
    content = bytearray((slides / "one.ome.tif").read_bytes())
    path = tmp_path / "in" / "one.ome.tif"
    storage.write_bytes(path, bytes(content))
    result = ifquant.run(
        recipe_for(PANELS["tgfb_il1b"]), [path], tmp_path, execution=Execution(quiet=True)
    )
    assert result.slides[0].reused == "everything"  # the same content elsewhere
