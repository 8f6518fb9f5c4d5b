"""The folder a run writes to: checked before anything in it changes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from ifquant.errors import IfquantError, RequestError
from ifquant.files import ownership, storage
from ifquant.pipeline.mask_files import mask_files
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.file_names import CRASH, REVIEWED, RUN_FILES, RUN_RECORD, SLIDE_FILES, WORK
from ifquant.results.run_record import is_damaged_run, slide_folders
from ifquant.results.slide_folder import foreign_file
from ifquant.slides.slide_input import SlideJob


def check_out(
    folder: Path, jobs: Sequence[SlideJob], recipe: ResolvedRecipe, files: Iterable[Path]
) -> None:
    """Refuse a folder in which a run would write onto an input, or onto a file that ifquant did not
    make.

    Parameters
    ----------
    files
        Further inputs: the recipe, the sample sheet.

    Raises
    ------
    RequestError
        Naming the file.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: a file; results need a folder of their own (-o)")
    inputs = {_key(path): path for path in (*files, *_inputs(jobs, recipe)) if os.path.exists(path)}
    for place in (folder, *folder.absolute().parents):
        given = inputs.get(_key(place)) if place.is_dir() else None
        if given is not None:
            raise RequestError(f"{folder}: lies in the input {given}; choose another folder (-o)")
    for name in (*RUN_FILES, CRASH):
        if os.path.lexists(folder / name):
            _refuse_input(folder / name, inputs)
            if not _may_replace(folder, name):
                ownership.refuse_foreign(folder / name)
    images = [path for job in jobs for path in job.ref.paths if os.path.exists(path)]
    among = {_key(near) for path in images for near in (path, Path(path).absolute().parent)}
    within = {
        _key(parent): path
        for path in inputs.values()
        for parent in Path(os.path.realpath(path)).parents
    }
    for job in jobs:
        _check_slide(folder / job.name, inputs, within, among)


def _may_replace(folder: Path, name: str) -> bool:
    """Whether a file of the run that is not known by its content is ours all the same."""
    path = folder / name
    if name == RUN_RECORD and is_damaged_run(folder):
        return True
    return bool(ownership.marker(folder)) and path.is_file() and not path.stat().st_size


def _check_slide(
    place: Path,
    inputs: Mapping[object, str | Path],
    within: Mapping[object, str | Path],
    among: Set[object],
) -> None:
    """Refuse the folder of one slide's results where it would take something from the user.

    Parameters
    ----------
    inputs, within
        Inputs by their identity, and by that of every folder they lie in.
    among
        Identities of the images and of their folders.
    """
    slide = place.name
    if os.path.lexists(place) and not place.is_dir():
        raise RequestError(
            f"{place}: a file where the results of slide {slide!r} belong; choose another"
            " folder (-o)"
        )
    if place.is_dir() and _key(place) in among:
        raise RequestError(
            f"{place}: the results of slide {slide!r} would lie among its images; choose"
            " another folder (-o)"
        )
    for name in (*SLIDE_FILES, REVIEWED, WORK):
        _refuse_input(place / name, inputs if name in SLIDE_FILES else {})
        _refuse_input(place / name, within)
    if (strange := foreign_file(place)) is not None:
        raise RequestError(
            f"{strange}: exists and was not made by ifquant; it is left as it is. Choose"
            " another folder (-o)"
        )


def strays(folder: Path, jobs: Sequence[SlideJob]) -> list[str]:
    """Names of folders with results of slides that are not among those of this run."""
    own = {job.name for job in jobs}
    return [name for name in slide_folders(folder) if name not in own]


def _refuse_input(target: Path, inputs: Mapping[object, str | Path]) -> None:
    given = inputs.get(_key(target)) if target.exists() else None
    if given is not None:
        raise RequestError(
            f"{target}: the run would replace this file, which is its own input {given}; choose"
            " another folder (-o)"
        )


def _inputs(jobs: Sequence[SlideJob], recipe: ResolvedRecipe) -> Iterable[str | Path]:
    for job in jobs:
        yield from job.ref.paths
        if job.regions is not None:
            yield job.regions
        try:
            masks = mask_files(recipe.segmentation, job.name, job.ref.paths[0])
        except IfquantError:  # said when the slide's turn comes
            continue
        if masks is not None:
            yield from (masks.nuclei, *([masks.cells] if masks.cells is not None else []))
    if recipe.segmentation.model is not None:
        yield recipe.segmentation.model


def _key(path: storage.PathLike) -> object:
    facts = os.stat(path)
    return (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(path)
