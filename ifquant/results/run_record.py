"""run.json: the record of the latest run in a folder of results. It decides which slides the folder
holds, not whatever folder lies there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifquant.errors import RequestError, SlideError
from ifquant.files import ownership, storage
from ifquant.names import few, name_or_none
from ifquant.recipe.defaults import ResolvedRecipe, resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import from_canonical, parse_recipe
from ifquant.results.file_names import RUN_FILES, RUN_RECORD, SLIDE_RECORD
from ifquant.results.slide_record import SlideRecord
from ifquant.slides.slide_names import natural_order


@dataclass(frozen=True)
class RunRecord:
    """What run.json says.

    Attributes
    ----------
    folder
        The folder of the results.
    content
        The values as they are written.
    """

    folder: Path
    content: Mapping[str, Any]

    @classmethod
    def find(cls, folder: Path) -> RunRecord | None:
        """Read the record of a run; None where there is none, or the file is damaged."""
        content = storage.read_json(folder / RUN_RECORD)
        return cls(folder, content) if isinstance(content, dict) else None

    def write(self) -> None:
        """Write the record into its folder."""
        storage.write_json(self.folder / RUN_RECORD, dict(self.content))

    @property
    def has_recipe(self) -> bool:
        """Whether the recipe of the run is in it."""
        return isinstance(self.content.get("recipe"), dict)

    @property
    def recipe(self) -> ResolvedRecipe:
        """The run's recipe, resolved."""
        return resolved(from_canonical(self.content["recipe"]))

    def recipe_with(self, overrides: Sequence[str]) -> Recipe:
        """Read the run's recipe as if from a file, with some values overridden."""
        recipe = self.content["recipe"]
        values = {name: value for name, value in recipe.items() if value is not None}
        # kept as pairs, because their order matters
        values["phenotypes"] = dict(values.get("phenotypes", ()))
        return parse_recipe(values, overrides, source=str(self.folder / RUN_RECORD))

    @property
    def slides(self) -> dict[str, Mapping[str, Any]]:
        """Slide > its status, error and sample, in the order of the run.

        Raises
        ------
        SlideError
            If the record is damaged.
        """
        try:
            entries = {str(entry["slide"]): entry for entry in self.content["slides"]}
            if not all(isinstance(entry["status"], str) for entry in entries.values()):
                raise TypeError("status")
            return entries
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(self.folder / RUN_RECORD) from error


def _damaged(path: Path) -> SlideError:
    return SlideError(f"{path}: damaged; run ifquant run again (finished slides are kept).")


def is_run_folder(folder: Path) -> bool:
    """Whether a run that came to its end left its record here."""
    return (folder / RUN_RECORD).is_file()


def run_recipe(results: Path) -> ResolvedRecipe:
    """Recipe of a run, resolved.

    Raises
    ------
    RequestError
        If run.json is not there or damaged.
    """
    record = RunRecord.find(results)
    if record is None or "recipe" not in record.content:
        raise RequestError(
            f"{results / RUN_RECORD}: not there or damaged; run ifquant run again (finished slides"
            " are kept)."
        )
    return record.recipe


@dataclass(frozen=True)
class FinishedSlides:
    """Finished slides of a run.

    Attributes
    ----------
    samples
        Slide > what the sample sheet says of it, in the order of the run. The slide's folder has
        the slide's name.
    strays
        Folders with results that are not of the latest run: slides that were renamed or left out
        since.
    failed
        Slides of the run that failed.
    whole
        The run came to its end (run.json is there).
    """

    folder: Path
    samples: Mapping[str, Mapping[str, str]]
    strays: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    whole: bool = True

    @property
    def folders(self) -> list[Path]:
        """Folders of the slides, in natural order of their names."""
        return [self.folder / slide for slide in sorted(self.samples, key=natural_order)]

    def warnings(self) -> list[str]:
        """Say which slides are not among these although somebody may think so."""
        texts = []
        if self.strays:
            texts.append(
                f"{self.folder} also holds results of {few(self.strays)}, which are not of its"
                " latest run (run.json); they are left out"
            )
        if self.failed:
            texts.append(
                f"{self.folder}: {few(self.failed)} failed in the run and cannot take part"
            )
        return texts


def finished_slides(results: str | Path) -> FinishedSlides:
    """Find the finished slides of a run: those run.json calls done; after an interruption, those of
    the request that are finished.

    Raises
    ------
    RequestError
        If there is none.
    SlideError
        If run.json is damaged, or names a slide whose results are not there.
    """
    folder = Path(results)
    present = slide_folders(folder)
    statuses, samples = _statuses(folder, present)
    done = [slide for slide, status in statuses.items() if status == "done"]
    strays = tuple(name for name in present if name not in statuses)
    if lost := [slide for slide in done if slide not in present]:
        hint = (
            f" (there are results of {few(strays)}, which are not of the run: was the folder"
            " renamed?)"
            if strays
            else ""
        )
        raise SlideError(
            f"{folder}: run.json says that {few(lost)} is done, but there is no"
            f" {lost[0]}/slide.json{hint}; run it again."
        )
    if not done:
        raise RequestError(
            f"{folder}: no finished slide in it; give the folder ifquant run wrote (-o); other"
            " programs' tables need [table]."
        )
    named = {slide: _named(samples[slide]) for slide in done}
    failed = tuple(slide for slide, status in statuses.items() if status == "failed")
    return FinishedSlides(folder, named, strays, failed, is_run_folder(folder))


def slide_folders(results: Path) -> list[str]:
    """Names of the folders that hold a slide's record, whatever run they are of."""
    return sorted(path.parent.name for path in results.glob(f"*/{SLIDE_RECORD}"))


def is_damaged_run(folder: Path) -> bool:
    """Whether run.json cannot be read in a folder that is one of results all the same."""
    if storage.read_json(folder / RUN_RECORD) is not None:
        return False
    return ownership.marker(folder) is not None or any(
        ownership.made_here(path) for path in folder.glob(f"*/{SLIDE_RECORD}")
    )


def remove_run_files(folder: Path) -> None:
    """Take away the tables and the report of an earlier run."""
    for name in RUN_FILES:
        storage.remove(folder / name)


def _statuses(
    folder: Path, present: list[str]
) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
    """Status and sample of every slide of the latest run."""
    if (folder / RUN_RECORD).exists():
        record = RunRecord.find(folder)
        if record is None:
            raise _damaged(folder / RUN_RECORD)
        entries = record.slides
        statuses = {slide: str(entry["status"]) for slide, entry in entries.items()}
        return statuses, {slide: entry.get("sample") or {} for slide, entry in entries.items()}
    # interrupted: the marker knows what was asked for
    names = (ownership.marker(folder) or {}).get("slides")
    requested = [name for name in names if name in present] if isinstance(names, list) else present
    records = {name: SlideRecord.find(folder / name) for name in requested}
    known = {name: record for name, record in records.items() if record is not None}
    return dict.fromkeys(known, "done"), {name: r.sample for name, r in known.items()}


def _named(sample: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a slide, without names that are none (``NA``)."""
    names = {
        what: name_or_none(None if value is None else str(value)) for what, value in sample.items()
    }
    return {what: name for what, name in names.items() if name is not None}
