"""A display for the windows, helpers of the main package's tests, and the rule that nothing is
skipped under CI=true.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import screen_needs

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault(
    "NAPARI_CONFIG",
    str(
        Path(tempfile.gettempdir())
        / f"napari-ifquant-tests-{os.getuid() if hasattr(os, 'getuid') else 0}.yaml"
    ),
)
os.environ.setdefault("QT_API", "pyside6")

CI = os.environ.get("CI", "").lower() == "true"

if importlib.util.find_spec("napari") is None:
    reason = (
        'napari is not installed: pip install -e "plugins/napari-ifquant[test]" (make test does it)'
    )
    if CI:
        raise RuntimeError(f"CI=true and {reason}")
    print(f"\n*** The napari plugin is NOT tested: {reason} ***\n", file=sys.stderr)
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def display() -> Iterator[str]:
    """A screen with OpenGL: the one there is, or Xvfb. Qt's offscreen platform would leave every
    canvas black without a word.
    """
    asked, used = os.environ["QT_API"], _binding()
    if used != asked:
        pytest.fail(
            f"windows were to be tested with {asked}, which cannot be imported; {used} would be"
            " tested instead"
        )
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        yield os.environ.get("DISPLAY", "")
        return
    if missing := screen_needs.missing_packages():
        if CI:
            pytest.fail(screen_needs.asks(missing))
        print(f"\n*** {screen_needs.asks(missing)} ***\n", file=sys.stderr)
        pytest.skip(screen_needs.asks(missing))
    read, write = os.pipe()
    server = subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(write),
            "-terminate",
            "-screen",
            "0",
            "1600x1000x24",
            "-nolisten",
            "tcp",
        ],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        number = (
            pipe.readline().strip()
        )  # up to the line end: a server whose reader goes before it has written that gives up
    if not number:
        pytest.fail("Xvfb did not start; windows cannot be tested")
    os.environ["DISPLAY"] = f":{number}"
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    yield os.environ["DISPLAY"]
    if _application() is None:
        server.terminate()
        server.wait(20)
    # Qt aborts the process when its screen goes first: the server ends with its last client, and
    # nobody waits for it
    else:
        server.returncode = 0


def _binding() -> str:
    """Qt binding that is used: another one than QT_API names, if that one cannot be imported."""
    with warnings.catch_warnings(action="ignore"):
        import qtpy
    return str(qtpy.API)


def _application() -> object:
    from qtpy.QtWidgets import QApplication

    return QApplication.instance()


@pytest.fixture(scope="session")
def results_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run on a small slide, too small for the question it asks."""
    from reviewing import run_slide

    return run_slide(
        tmp_path_factory.mktemp("reviewed"),
        size=(420, 480),
        priming={"response": "IL1B", "ligand": "TGFB1"},
    )


@pytest.fixture
def results(results_once: Path, tmp_path: Path) -> Path:
    """Copy of the results that a test may write to; the slide stays where it was."""
    return Path(shutil.copytree(results_once, tmp_path / "results"))


@pytest.fixture
def viewers(display: str) -> Iterator[list[Any]]:
    """Viewers to be closed at the end, whatever happens."""
    import napari

    open_ones: list[Any] = []
    yield open_ones
    for viewer in open_ones:
        viewer.close()
    napari.Viewer.close_all()
    gc.collect()
