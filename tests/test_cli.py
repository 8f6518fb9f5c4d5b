"""The command line as a user meets it: every command once, every exit code once, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from killed_runs import tiles_done
from point_cohorts import write_cohort
from tissue import PANELS, simulated, write_slide

from ifquant.slides import tiff_writer


def ifquant(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "ifquant.cli", *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small slide and the recipe `ifquant init` writes for it."""
    root = tmp_path_factory.mktemp("cli")
    write_slide(root / "a.ome.tif", simulated(300, 320, seed=5).image, PANELS["tgfb_il1b"])
    recipe = ifquant("init", root / "a.ome.tif")
    assert recipe.returncode == 0
    (root / "recipe.toml").write_text(recipe.stdout)
    return root


def test_init_guesses_roles_and_runs_as_it_is(folder: Path, tmp_path: Path) -> None:
    channels = {
        c["name"]: c for c in tomllib.loads((folder / "recipe.toml").read_text())["channels"]
    }
    assert {name: c.get("role", "marker") for name, c in channels.items()} == {
        "DAPI": "nucleus",
        "PanCK": "tumor",
        "CD11c": "myeloid",
        "TGFB1": "marker",
        "IL1B": "marker",
    }
    done = ifquant(
        "run",
        "-r",
        folder / "recipe.toml",
        folder / "a.ome.tif",
        "-o",
        tmp_path / "out",
        "--quiet",
        "--set",
        "outputs.csv=false",
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")} == {
        "a",
        "report.html",
        "run.json",
        "slides.csv",
    }
    assert not (tmp_path / "out" / "a" / "cells.csv").exists()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["overrides"] == ["outputs.csv=false"]
    assert record["status"] == "done"


def test_init_reads_marker_files(tmp_path: Path) -> None:
    (tmp_path / "markers.csv").write_bytes("\ufeffcycle;marker_name\n1;DAPI\n1;CD68\n".encode())
    done = ifquant("init", "--markers", tmp_path / "markers.csv")
    assert [c["name"] for c in tomllib.loads(done.stdout)["channels"]] == ["DAPI", "CD68"]


def test_inspect_shows_problems(folder: Path, tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(
        tmp_path / "plain.tif", np.zeros((2, 40, 50), np.uint16), photometric="minisblack"
    )
    done = ifquant("inspect", folder / "a.ome.tif", tmp_path / "plain.tif")
    assert done.returncode == 3
    assert "0.5 (ome)" in done.stdout
    assert "--pixel-size" in done.stdout


def test_segment_and_evaluate(folder: Path, tmp_path: Path) -> None:
    for words in ([], ["--cells"], ["--channel", "DAPI"], ["--channel", "0"]):
        done = ifquant("segment", folder / "a.ome.tif", "-o", tmp_path / "labels.ome.tif", *words)
        assert done.returncode == 0, done.stderr
    truth = simulated(300, 320, seed=5).nuclei
    tiff_writer.write_image(
        tmp_path / "truth.tif", truth.astype(np.uint32), pixel_size_um=0.5, labels=True
    )
    words = ["-o", tmp_path / "ap.csv", "--picture", tmp_path / "ap.png"]
    done = ifquant("evaluate", tmp_path / "labels.ome.tif", tmp_path / "truth.tif", *words)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "ap.csv")["ap"].iloc[0] > 0.6
    assert (tmp_path / "ap.png").stat().st_size > 1000


def test_simulate_writes_truth(tmp_path: Path) -> None:
    done = ifquant("simulate", "-o", tmp_path, "--size", "256", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()
    assert len(list(tmp_path.glob("*_truth.csv"))) == 1


def test_schema_and_version() -> None:
    assert "channels" in json.loads(ifquant("schema").stdout)["properties"]
    assert ifquant("--version").stdout.startswith("ifquant ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "-r", "missing.toml", "a.ome.tif"], "missing.toml"),
        (["run", "-r", "recipe.toml"], "no slides"),
        (["run", "-r", "recipe.toml", "a.ome.tif", "--crop", "1,2"], "--crop"),
        (["run", "-r", "recipe.toml", "a.ome.tif", "--tile-size", "3"], "--tile-size"),
        (["run", "-r", "recipe.toml", "a.ome.tif", "--set", "gates.defalt.method=otsu"], "default"),
        (
            ["run", "-r", "recipe.toml", "a.ome.tif", "--set", "segmentation.method=magic"],
            "classical",
        ),
        (["segment", "a.ome.tif", "-o", "x.tif", "--channel", "CD99"], "CD99"),
        (["init"], "--markers"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_requests_exit_2_in_one_message(folder: Path, words: list[str], message: str) -> None:
    done = ifquant(*words, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_failed_slides_exit_3(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tif").write_bytes(b"II*\0 cut")
    done = ifquant(
        "run", "-r", folder / "recipe.toml", tmp_path / "b.tif", "-o", tmp_path / "out", "-q"
    )
    assert done.returncode == 3
    assert "failed: b:" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupts_exit_with_their_codes_and_can_go_on(
    folder: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    command = [
        sys.executable,
        "-m",
        "ifquant.cli",
        "run",
        "-r",
        "recipe.toml",
        "a.ome.tif",
        "-o",
        str(tmp_path),
        "--tile-size",
        "64",
    ]
    with subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as running:
        deadline = time.monotonic() + 120
        while not tiles_done(tmp_path) and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        running.send_signal(sent)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == code, errors
    assert "Traceback" not in errors
    again = ifquant(
        "run",
        "-r",
        "recipe.toml",
        "a.ome.tif",
        "-o",
        tmp_path,
        "--tile-size",
        "64",
        "-q",
        cwd=folder,
    )
    assert again.returncode == 0, again.stderr
    assert not list(tmp_path.glob("a/.unfinished"))


def test_import_stays_light() -> None:
    heavy = [
        "torch",
        "napari",
        "matplotlib",
        "onnxruntime",
        "distributed",
        "pandas",
        "skimage",
        "numba",
        "zarr",
    ]
    code = f"import sys, ifquant; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_analyze(tmp_path: Path) -> None:
    write_cohort(tmp_path, beta=0.8, n=2)
    words = [
        "analyze",
        tmp_path / "cells.csv",
        "-r",
        tmp_path / "recipe.toml",
        "--samples",
        tmp_path / "samples.csv",
        "-o",
        tmp_path / "out",
    ]
    done = ifquant(*words, "--set", "cohort.multiverse=false")
    assert done.returncode == 0, done.stderr
    assert "not testable: 2 patients" in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    wrong = ifquant(*words, "--set", "cohort.unit='cell'")
    assert wrong.returncode == 2
    assert "cells and images of one patient are not independent" in wrong.stderr
