"""Whole folders of results compared byte for byte."""

from __future__ import annotations

import json
from pathlib import Path


def files_of(folder: Path) -> dict[str, Path]:
    """Relative path > file, of everything in a folder."""
    return {
        str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()
    }


def same_outputs(one: Path, other: Path) -> None:
    """Both hold the same files with the same bytes, nothing else; run.json may differ in how the
    run was executed.

    That is its block `execution` and the tile cores, which follow from the tile size.
    """
    ours, theirs = files_of(one), files_of(other)
    assert list(ours) == list(theirs)
    for name, path in ours.items():
        if name == "run.json":
            assert run_record(path) == run_record(theirs[name])
        else:
            assert path.read_bytes() == theirs[name].read_bytes(), name


def run_record(path: Path) -> dict[str, object]:
    """Content of run.json that must not depend on how a run was executed."""
    record = json.loads(path.read_text())
    del record["execution"]
    for slide in record["slides"]:
        del slide["tile_cores"]
    return dict(record)
