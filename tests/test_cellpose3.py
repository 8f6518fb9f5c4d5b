"""cellpose 3.1 beside cellpose 4: the same tests in a Python that finds the older version (and the
numpy it wants) first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OVERLAY = Path(os.environ.get("IFQUANT_CELLPOSE3") or Path(sys.prefix) / "cellpose3")
"""Folder of cellpose 3.1 and nothing else but its numpy; `make test` installs it."""
CHOSEN = "recovers or windows or tile_size or errors or light"
"""Those whose answer may differ between versions; its networks are ten times larger than the one
trained for version 4."""


def test_cellpose_3_passes_the_tests_of_cellpose(tmp_path: Path) -> None:
    if not (OVERLAY / "cellpose").is_dir():
        pytest.skip(f"no cellpose 3.1 in {OVERLAY}: make test installs it")
    path = os.pathsep.join([str(OVERLAY), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(tmp_path / "inner"),
        "test_cellpose.py",
        "-k",
        CHOSEN,
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
