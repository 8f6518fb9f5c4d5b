"""What lies in a slide's folder, and whose it is: ifquant's outputs, those set aside, and files
that somebody else put there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifquant.files import ownership, storage
from ifquant.results.file_names import (
    ASIDE,
    CELLS,
    CELLS_CSV,
    DECISIONS,
    PAIRS,
    REVIEWED,
    REVIEWED_FILES,
    SLIDE_FILES,
    WORK,
)
from ifquant.results.label_images import label_manifest
from ifquant.results.slide_outputs import is_file_of, remove_outputs
from ifquant.results.slide_record import SlideRecord

_ALL_FILES = (*SLIDE_FILES, *(f"{REVIEWED}/{name}" for name in REVIEWED_FILES))


def foreign_file(folder: Path) -> Path | None:
    """Find a file that a run would replace and that is not of an earlier run; None where there is
    none. Empty files are nobody's.
    """
    present = [
        name
        for name in SLIDE_FILES
        if os.path.lexists(folder / name) and not _is_empty(folder / name)
    ]
    aside = folder / WORK / ASIDE
    # what was set aside is no longer here: what is here now is not ours, but where the move was cut
    # short
    if aside.is_dir():
        twice = [
            name
            for name in _ALL_FILES
            if os.path.lexists(folder / name) and os.path.lexists(aside / name)
        ]
        if twice:
            return folder / twice[0]
        record = SlideRecord.find(aside)
        if record is None:
            return None
        files = record.files or {}
        return next(
            (folder / name for name in present if not _is_known(folder / name, files)), None
        )
    if not present or _ours(folder) or (folder / WORK).is_dir():
        return None
    return folder / present[0]


def foreign_reviewed_file(folder: Path) -> Path | None:
    """Find a file in `reviewed` that applying a review would replace and that no earlier review
    left there.
    """
    place = folder / REVIEWED
    present = [name for name in REVIEWED_FILES if os.path.lexists(place / name)]
    return place / present[0] if present and not _ours(place) else None


def remove_reviewed(folder: Path) -> None:
    """Take away corrected results, whose cells are about to go; what else is there stays, logs
    above all.
    """
    if _ours(folder / REVIEWED):
        remove_outputs(folder / REVIEWED, REVIEWED_FILES)


def set_aside(folder: Path) -> bool:
    """Put the outputs of a slide that failed out of sight, slide.json first; returns whether there
    were any.

    They speak of an earlier run. Nothing is lost: `restore` brings them back when the slide is run
    again.
    """
    names = list(SLIDE_FILES)
    if _ours(folder / REVIEWED):
        names += [f"{REVIEWED}/{name}" for name in REVIEWED_FILES]
    present = [name for name in names if (folder / name).exists()]
    with storage.writing(folder):
        for name in present:
            storage.make_folder((folder / WORK / ASIDE / name).parent)
            storage.remove(folder / WORK / ASIDE / name)
            storage.rename(folder / name, folder / WORK / ASIDE / name)
        if (folder / REVIEWED).is_dir() and not any((folder / REVIEWED).iterdir()):
            storage.remove(folder / REVIEWED)
    return bool(present)


def restore(folder: Path) -> None:
    """Bring back what `set_aside` put away, slide.json last; what is there already stays as it
    is.
    """
    aside = folder / WORK / ASIDE
    with storage.writing(folder):
        for name in reversed(_ALL_FILES):
            if (aside / name).exists() and not (folder / name).exists():
                storage.make_folder((folder / name).parent)
                storage.rename(aside / name, folder / name)
        if aside.is_dir():
            storage.remove(aside)


def _ours(place: Path) -> bool:
    """Whether a folder holds outputs of a slide that ifquant wrote, whole or damaged."""
    record = SlideRecord.find(place)
    if record is not None and record.is_ours:
        return True
    if str((label_manifest(place) or {}).get("format", "")).startswith("ifquant "):
        return True
    return any(ownership.made_here(place / name) for name in (CELLS, PAIRS, CELLS_CSV, DECISIONS))


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _is_known(path: Path, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a file is the one that a record tells of; a folder is taken for it."""
    if path.is_dir():
        return True
    known = files.get(path.name)
    if not isinstance(known, dict) or path.stat().st_size != known.get("bytes"):
        return ownership.made_here(path)
    return is_file_of(path, known)
