"""Which slides a folder of results holds: those of run.json, not whatever folder lies there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifquant.errors import RequestError, SlideError
from ifquant.files import ownership, storage
from ifquant.names import name_or_none


@dataclass(frozen=True)
class Finished:
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

    def warnings(self) -> list[str]:
        """Say which slides are not among these although somebody may think so."""
        said = []
        if self.strays:
            said.append(
                f"{self.folder} also holds results of {_few(self.strays)}, which are not of its"
                " latest run (run.json); they are left out"
            )
        if self.failed:
            said.append(
                f"{self.folder}: {_few(self.failed)} failed in the run and cannot take part"
            )
        return said


def finished_slides(results: str | Path) -> Finished:
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
    present = (
        sorted(path.parent.name for path in folder.glob("*/slide.json")) if folder.is_dir() else []
    )
    statuses, samples = _recorded(folder, present)
    done = [slide for slide, status in statuses.items() if status == "done"]
    strays = tuple(name for name in present if name not in statuses)
    if lost := [slide for slide in done if slide not in present]:
        hint = (
            f" (there are results of {_few(strays)}, which are not of the run: was the folder"
            " renamed?)"
            if strays
            else ""
        )
        raise SlideError(
            f"{folder}: run.json says that {_few(lost)} is done, but there is no"
            f" {lost[0]}/slide.json{hint}; run it again."
        )
    if not done:
        raise RequestError(
            f"{folder}: no finished slide in it; give the folder ifquant run wrote (-o); other"
            " programs' tables need [table]."
        )
    named = {slide: _named(samples[slide]) for slide in done}
    failed = tuple(slide for slide, status in statuses.items() if status == "failed")
    return Finished(folder, named, strays, failed, (folder / "run.json").exists())


def _recorded(
    folder: Path, present: list[str]
) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
    """Status and sample of every slide of the latest run."""
    path = folder / "run.json"
    record = storage.read_json(path)
    if path.exists():
        try:
            entries = {str(entry["slide"]): entry for entry in record["slides"]}
            return {slide: str(e["status"]) for slide, e in entries.items()}, {
                slide: e.get("sample") or {} for slide, e in entries.items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise SlideError(
                f"{path}: damaged; run ifquant run again (finished slides are kept)."
            ) from error
    # interrupted: the marker knows what was asked for
    asked = (ownership.marker(folder) or {}).get("slides")
    wanted = [name for name in asked if name in present] if isinstance(asked, list) else present
    records = {name: storage.read_json(folder / name / "slide.json") for name in wanted}
    known = {name: content for name, content in records.items() if isinstance(content, dict)}
    return dict.fromkeys(known, "done"), {
        name: content.get("sample") or {} for name, content in known.items()
    }


def _named(sample: Mapping[str, Any]) -> dict[str, str]:
    """Return what is said of a slide, without names that are none (``NA``)."""
    said = {
        name: name_or_none(None if value is None else str(value)) for name, value in sample.items()
    }
    return {name: value for name, value in said.items() if value is not None}


def _few(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
