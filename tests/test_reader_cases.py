"""Every file of shared/data/reader_cases and examples is read right or refused in one clear line,
within bounds of time and memory.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("read_cases.py")
REMEDY = re.compile(r"export|copy|convert|save|invert|give|choose|set |--pixel-size", re.IGNORECASE)


@pytest.fixture(scope="module")
def cases(data_dir: Path) -> list[dict[str, Any]]:
    folder = data_dir / "reader_cases"
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        manifest = {str(folder / row["path"]): row for row in csv.DictReader(file)}
    paths = [*manifest, *(str(path) for path in sorted((data_dir / "examples").iterdir()))]
    done: list[dict[str, Any]] = []
    while len(done) < len(paths):  # a crashed interpreter costs one file, not the rest
        child = subprocess.run(
            [sys.executable, "-X", "faulthandler", str(CHILD)],
            input="\n".join(paths[len(done) :]) + "\n",
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(CHILD.parents[1])},
        )
        done += [json.loads(line) for line in child.stdout.splitlines()]
        assert child.returncode == 0, (
            f"reading {paths[min(len(done), len(paths) - 1)]} ended the"
            f" process:\n{child.stderr[-2000:]}"
        )
        assert child.stderr == ""
    for case in done:
        case["manifest"] = manifest.get(case["path"], {})
    return done


def test_all_are_read_or_refused_in_one_line(cases: list[dict[str, Any]]) -> None:
    assert len(cases) > 350
    for case in cases:
        assert "crash" not in case, case
        assert case["printed"] == "", case
        assert case["seconds"] < 10, case
        for text in [*case["problems"], case.get("refused", "")]:
            assert "\n" not in text
            assert "Traceback" not in text
            assert len(text) < 700, text
            assert not text or REMEDY.search(text), text


def test_pixels_equal_those_of_the_pages(cases: list[dict[str, Any]]) -> None:
    both = [
        case for case in cases if "ours" in case and "theirs" in case and case["format"] == "TIFF"
    ]
    assert len(both) > 280
    assert [case["path"] for case in both if case["ours"] != case["theirs"]] == []


def test_what_tifffile_reads_is_not_lost_without_reason(cases: list[dict[str, Any]]) -> None:
    """Files that tifffile decodes are readable here too, unless they are damaged or spread over
    other files.
    """
    lost = [
        (case["path"].rsplit("/", 1)[-1], case["problems"])
        for case in cases
        if case["manifest"].get("read") == "ok" and case["format"] == "unreadable"
    ]
    reasons = (
        "its header is damaged",
        "other file",
        "cut off",
        "its pages differ",
        "runs in a circle",
        "is not read",
        "claims more",
    )
    assert [
        entry for entry in lost if not any(reason in " ".join(entry[1]) for reason in reasons)
    ] == []
    assert len(lost) <= 16, lost


def test_what_tifffile_cannot_read_is_refused(cases: list[dict[str, Any]]) -> None:
    broken = [case for case in cases if case["manifest"].get("read", "") not in ("ok", "")]
    assert len(broken) >= 20
    assert [
        case["path"] for case in broken if case["format"] != "unreadable" and "refused" not in case
    ] == []


def test_claims_of_terabytes_are_refused_at_once(cases: list[dict[str, Any]]) -> None:
    (case,) = [case for case in cases if case["path"].endswith("libtiff_segfault.tif")]
    assert case["format"] == "unreadable"
    assert case["seconds"] < 1
