"""A run on a real Dask cluster: the same bits as alone, also when a worker is killed; unfit workers
are refused with their reason.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import ROOT, Cluster, cluster
from killed_runs import tiles_done
from outputs_compared import same_outputs
from tissue import PANELS, recipe_for, simulated, write_slide

import ifquant
from ifquant.errors import RequestError, ResourceError
from ifquant.execution import dask_cluster as dask
from ifquant.execution.executors import Execution, run_tasks
from ifquant.files.run_lock import RunLock

RECIPE = recipe_for(PANELS["tgfb_il1b"])


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "a.ome.tif", simulated(700, 800).image, PANELS["tgfb_il1b"])
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Path:
    """Results of one process."""
    out = tmp_path_factory.mktemp("alone")
    with contextlib.chdir(slides):
        assert (
            ifquant.run(RECIPE, ["a.ome.tif"], out, execution=Execution(quiet=True)).exit_code == 0
        )
    return out


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with cluster(folder) as made:
        yield made


def test_a_worker_killed_in_the_middle_changes_no_bit(
    scheduler: Cluster, slides: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = scheduler.add_worker(), scheduler.add_worker()
    killed_after = []

    def kill_in_the_middle() -> None:
        while not (done := tiles_done(tmp_path / "out")):
            time.sleep(0.005)
        first.kill()
        killed_after.append(done)

    watcher = threading.Thread(target=kill_in_the_middle)
    watcher.start()
    monkeypatch.chdir(slides)  # relative paths: workers are elsewhere
    (tmp_path / "out").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    execution = Execution(scheduler=str(scheduler.file), tile_size_px=128, quiet=True)
    result = ifquant.run(RECIPE, ["a.ome.tif"], tmp_path / "out", execution=execution)
    watcher.join()
    assert result.exit_code == 0, result.summary_lines()
    assert 0 < killed_after[0] < 30  # of 42 tiles
    assert first.poll() is not None
    assert scheduler.count() == 1
    same_outputs(tmp_path / "out", alone)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An installation of something that is called ifquant and has nothing in it."""
    (tmp_path / "old" / "ifquant").mkdir(parents=True)
    (tmp_path / "old" / "ifquant" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    return tmp_path / "old"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """This version of ifquant with one changed line."""
    shutil.copytree(
        ROOT / "ifquant",
        tmp_path / "other" / "ifquant",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    with (tmp_path / "other" / "ifquant" / "errors.py").open("a") as file:
        file.write("# changed\n")
    return tmp_path / "other"


def test_unfit_workers_are_named_with_their_reasons(
    scheduler: Cluster, old: Path, other: Path, tmp_path: Path
) -> None:
    scheduler.add_worker(python_path=old)
    scheduler.add_worker(python_path=other)
    scheduler.add_worker(threads=2)
    out = tmp_path / "out"
    with (
        RunLock(out),
        pytest.raises(RequestError) as refused,
        dask.cluster_workers(scheduler.address, inputs=[tmp_path / "gone.tif"], out=out),
    ):
        pass
    said = str(refused.value)
    assert said.startswith("3 Dask worker(s)")
    assert "ifquant cannot be loaded there" in said
    assert "other code than the one that started the run" in said
    assert "2 tasks at once in one process; start it with --nthreads 1" in said
    assert said.count(f"cannot see {tmp_path / 'gone.tif'}") == 1
    assert not list(out.iterdir())


def test_a_worker_that_joins_later_is_checked_too(
    scheduler: Cluster, old: Path, other: Path, tmp_path: Path
) -> None:
    good = scheduler.add_worker()
    with (
        RunLock(tmp_path / "out"),
        dask.cluster_workers(scheduler.address, out=tmp_path / "out") as pool,
    ):
        assert sorted(run_tasks(pool, abs, [-1, -2], in_flight=2)) == [1, 2]
        empty = scheduler.add_worker(python_path=old)
        assert len(list(run_tasks(pool, time.sleep, [0.05] * 40, in_flight=20))) == 40
        assert empty.wait(60) == 0  # Dask ends a worker that cannot load a task
        scheduler.add_worker(python_path=other)
        with pytest.raises(RequestError, match="other code than the one"):
            list(run_tasks(pool, time.sleep, [0.1] * 60, in_flight=50))
    assert good.poll() is None


def test_a_lost_scheduler_exits_4(scheduler: Cluster, slides: Path, tmp_path: Path) -> None:
    scheduler.add_worker()

    def end() -> None:
        while not tiles_done(tmp_path / "out"):
            time.sleep(0.005)
        scheduler.scheduler.kill()

    watcher = threading.Thread(target=end)
    watcher.start()
    execution = Execution(scheduler=scheduler.address, tile_size_px=128, quiet=True)
    with pytest.raises(ResourceError, match="connection to the Dask scheduler was lost"):
        ifquant.run(RECIPE, [slides / "a.ome.tif"], tmp_path / "out", execution=execution)
    watcher.join()


def test_no_scheduler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "CONNECT_S", 1)
    with (
        pytest.raises(RequestError, match="no Dask scheduler answers at tcp"),
        dask.cluster_workers("tcp://127.0.0.1:9"),
    ):
        pass


def test_a_worker_checks_what_it_sees(tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    slide.write_bytes(b"12")
    out = tmp_path / "out"
    with RunLock(out):
        needs = dask._needs([slide], out)
        assert dask.missing_needs(needs) == []
        assert not [path for path in out.iterdir() if path.name != ".ifquant.lock"]
        slide.write_bytes(b"123")
        assert "is another file (3 bytes instead of 2)" in dask.missing_needs(needs)[0]
        versions = tuple(
            (name, "0.0" if name == "numpy" else version) for name, version in needs.versions
        )
        assert "numpy" in dask.missing_needs(dask.replace(needs, versions=versions))[0]
    assert "is another folder" in dask.missing_needs(needs)[0]
    shutil.rmtree(out)
    assert "does not exist" in dask.missing_needs(needs)[0]
