"""slide.json: the record of one finished slide. Written last; a folder without it is unfinished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ifquant import provenance
from ifquant.calibration.calibrate import Calibration
from ifquant.columns.flags import count_flags, flags_as_json
from ifquant.columns.slide_columns import sample_names
from ifquant.errors import SlideError
from ifquant.files import storage
from ifquant.files.packed_arrays import packed, unpacked
from ifquant.geometry.region import Region
from ifquant.geometry.windows import Window
from ifquant.notes import GRAVE, PLAIN, grave
from ifquant.phenotypes.classification import double_positive_counts
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.file_names import CELLS, RESUMED_RECORD, REVIEWED, SLIDE_RECORD, WORK
from ifquant.results.slide_result import SlideResult
from ifquant.results.slide_summary import margin_table, sample_columns
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideRef

FORMAT = "ifquant slide 1"
DISPLAY_TEXT = (
    "8-bit picture for display: 0 and 255 are the black and white of each channel's calibrated"
    " range; measure in the original file"
)
_RESUMED = ("digests", "calibration_arrays", "orphan_px")


@dataclass(frozen=True)
class SlideRecord:
    """What slide.json says, by typed properties; a value that is missing or damaged is a
    `SlideError` when it is asked for.

    Attributes
    ----------
    folder
        The folder it lies in: ``results/<slide>``, or ``reviewed`` in that.
    content
        The values as they are written.
    """

    folder: Path
    content: Mapping[str, Any]

    @classmethod
    def find(cls, folder: Path) -> SlideRecord | None:
        """Read the record of a slide; None where there is none, or the file is damaged."""
        content = storage.read_json(folder / SLIDE_RECORD)
        return cls(folder, content) if isinstance(content, dict) else None

    @classmethod
    def read(cls, folder: Path) -> SlideRecord:
        """Read the record of a slide.

        Raises
        ------
        SlideError
            If it is not there or damaged.
        """
        found = cls.find(folder)
        if found is None:
            raise SlideError(f"{folder}: slide.json is gone or damaged; run the slide again.")
        return found

    @classmethod
    def finished(cls, folder: Path) -> SlideRecord | None:
        """Read the record of a slide whose cells may be used again; None otherwise."""
        found = cls.find(folder)
        return found if found is not None and "digests" in found.content else None

    @classmethod
    def interrupted(cls, folder: Path) -> SlideRecord | None:
        """Read what `keep_for_resume` kept of a slide whose outputs were being rewritten."""
        content = storage.read_json(folder / WORK / RESUMED_RECORD)
        found = isinstance(content, dict) and "digests" in content
        return cls(folder, content) if found else None

    def write(self) -> None:
        """Write the record into its folder."""
        storage.write_json(self.folder / SLIDE_RECORD, dict(self.content))

    def keep_for_resume(self) -> None:
        """Keep what makes finished cells reusable while their outputs are rewritten: a run killed
        meanwhile need not measure them again.
        """
        kept = {name: self.content[name] for name in _RESUMED}
        storage.write_json(self.folder / WORK / RESUMED_RECORD, kept)

    def _get(self, *keys: str) -> Any:
        value: Any = self.content
        try:
            for key in keys:
                value = value[key]
        except (KeyError, TypeError) as error:
            raise self.damaged(error) from error
        return value

    def damaged(self, error: Exception) -> SlideError:
        """Make the error that says that this record cannot be used."""
        return SlideError(f"{self.folder}: damaged results ({error!r}); run the slide again.")

    @property
    def is_ours(self) -> bool:
        """Whether a slide of ifquant's wrote it."""
        return self.content.get("format") == FORMAT

    @property
    def slide(self) -> str:
        """Name of the slide."""
        return str(self._get("slide"))

    @property
    def digests(self) -> Mapping[str, str]:
        """Digests by what they cover: ``input``, ``cells``, ``table``, ``pictures``, ``cohort``."""
        return dict(self._get("digests"))

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the programs that made the results."""
        return dict(self._get("versions"))

    @property
    def sample(self) -> Mapping[str, Any]:
        """What the sample sheet says of the slide; empty where nothing is known."""
        return dict(self.content.get("sample") or {})

    @property
    def summary(self) -> Mapping[str, Any]:
        """The slide's row of slides.csv."""
        return dict(self._get("summary"))

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width (Y, X) in px."""
        shape = self._get("input", "shape")
        return int(shape[1]), int(shape[2])

    @property
    def pixel_size_um(self) -> float:
        """Edge of a pixel in um."""
        return float(self._get("input", "pixel_size_um"))

    @property
    def path(self) -> str:
        """Path of the slide's image, as it was opened."""
        return str(self._get("input", "path"))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels in the slide's file."""
        return tuple(self._get("input", "channels"))

    @property
    def dtype(self) -> str:
        """Kind of the pixels in the slide's file."""
        return str(self._get("input", "dtype"))

    @property
    def regions(self) -> str | None:
        """GeoJSON file of the regions the user drew, if there is one."""
        path: str | None = self._get("input", "regions")
        return path

    @property
    def crop(self) -> Window | None:
        """The part of the image that was analyzed; None: all of it."""
        crop = self._get("input", "crop")
        return None if crop is None else Window(*crop)

    @property
    def ref(self) -> SlideRef:
        """How the slide was opened."""
        opened = self._get("input", "opened")
        values: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in opened.items()
        }
        return SlideRef(**values, crop=self.crop)

    @property
    def image_identity(self) -> str:
        """What the cells were measured on: the content of the image, and the part of it."""
        return f"{self._get('digests', 'input')} {self._get('input', 'crop')}"

    @cached_property
    def calibration(self) -> Calibration:
        """Calibration of the slide, exactly as it was used."""
        try:
            return Calibration.from_arrays(self._arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(error) from error

    @cached_property
    def tissue(self) -> Region | None:
        """The tissue as a region in um; None where there is none."""
        try:
            arrays = self._arrays
            step, height, width = (int(v) for v in arrays["tissue_geometry"])
            mask = np.asarray(arrays["tissue_mask"], np.bool_)
            if not mask[: height // step, : width // step].any():
                return None
            pixel_um = float(self.summary["pixel_size_um"])
            origin = str(arrays["tissue_origin"])
            return Region.of_tissue(mask, step, (height, width), pixel_um, origin)
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(error) from error

    @cached_property
    def _arrays(self) -> dict[str, Any]:
        return unpacked(self._get("calibration_arrays"))

    @property
    def channel_levels(self) -> list[dict[str, Any]]:
        """Levels of every channel as they are printed: background, display range, threshold."""
        return list(self._get("calibration", "channels"))

    @property
    def orphan_px(self) -> int:
        """Pixels of myeloid stain that belong to no nucleus in the section."""
        return int(self._get("orphan_px"))

    @cached_property
    def gates(self) -> dict[str, FittedGate]:
        """Gates by marker, in the order of the recipe."""
        return {gate["marker"]: _gate(gate) for gate in self._get("gates")}

    @property
    def margin(self) -> list[dict[str, Any]]:
        """Densities in bands along the border of the tumor region."""
        return list(self._get("margin"))

    @property
    def double_positives(self) -> list[dict[str, Any]]:
        """Counts of cells positive for what excludes each other."""
        return list(self._get("double_positives"))

    @property
    def tumor_region_origin(self) -> str | None:
        """Where the tumor region came from: ``cells`` or ``regions``; None without one."""
        region = self._get("tumor_region")
        return None if region is None else str(region["origin"])

    @property
    def display_ranges(self) -> dict[str, tuple[float, float]]:
        """Raw values shown as black and white, by channel."""
        ranges = self._get("display_ranges")
        return {name: (float(low), float(high)) for name, (low, high) in ranges.items()}

    @property
    def flags(self) -> Mapping[str, int]:
        """Number of cells with each flag."""
        return dict(self._get("flags"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the slide, gravest first, with their gravity."""
        texts = map(str, self.content.get("warnings", ()))
        graver = int(self.content.get("grave_warnings", 0))
        return tuple(grave(text) if k < graver else text for k, text in enumerate(texts))

    @property
    def files(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Size and digest of the slide's files; None where the record does not know."""
        found = self.content.get("files")
        return found if isinstance(found, dict) else None


def is_slide_folder(folder: Path) -> bool:
    """Whether a folder holds a finished slide's record and cells."""
    return (folder / SLIDE_RECORD).is_file() and (folder / CELLS).is_file()


def _gate(values: Mapping[str, Any]) -> FittedGate:
    plain: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    plain["components"] = tuple(tuple(component) for component in plain.get("components", ()))
    return FittedGate(**plain)


def slide_record(
    result: SlideResult, folder: Path, row: Mapping[str, Any], files: Mapping[str, Any]
) -> SlideRecord:
    """Make the record of a finished slide from its result, its row of slides.csv and its files."""
    crop = result.slide.ref.crop
    opened = {name: value for name, value in asdict(result.slide.ref).items() if name != "crop"}
    ranges = zip(result.panel.names, map(list, result.display_ranges), strict=True)
    double = double_positive_counts(result.table, result.recipe)
    region, regions = result.tumor_region, result.slide.job.regions
    content = {
        "format": FORMAT,
        "slide": result.name,
        "input": {
            **asdict(result.slide.info),
            "crop": None if crop is None else [crop.y0, crop.x0, crop.y1, crop.x1],
            "opened": opened,
            "regions": None if regions is None else str(regions),
        },
        "sample": sample_columns(result.slide.job.sample),
        "digests": dict(result.digests),
        "versions": provenance.versions(),
        "calibration": result.calibration.to_dict(),
        "calibration_arrays": packed(result.calibration.to_arrays()),
        "orphan_px": result.orphan_px,
        "gates": [gate.to_dict() for gate in result.gates],
        "summary": dict(row),
        "flags": count_flags(result.table["flags"].to_numpy()),
        "flag_meanings": flags_as_json(),
        "margin": margin_table(result),
        "double_positives": [counts.to_dict() for counts in double],
        "tumor_region": None if region is None else {"origin": region.origin},
        "display_ranges": dict(ranges),
        "display": DISPLAY_TEXT,
        "warnings": list(result.warnings),
        "grave_warnings": sum(getattr(w, "level", PLAIN) == GRAVE for w in result.warnings),
        "files": dict(files),
        **({} if result.review is None else {"review": dict(result.review)}),
    }
    return SlideRecord(folder, content)


def refresh_sample(folder: Path, sample: Sample | None, recipe: ResolvedRecipe) -> None:
    """Put what the sample sheet says now into the records of a finished slide and of its corrected
    results: a sheet may change, the cells do not.
    """
    for place in (folder, folder / REVIEWED):
        record = SlideRecord.find(place)
        if record is None or not record.is_ours or record.sample == sample_columns(sample):
            continue
        now, summary = sample_columns(sample), dict(record.summary)
        for name in sample_names(recipe, list(record.sample)).values():
            del summary[name]
        summary |= {new: now[given] for given, new in sample_names(recipe, list(now)).items()}
        content = {**record.content, "summary": summary, "sample": now}
        SlideRecord(place, content).write()
