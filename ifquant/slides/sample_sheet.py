"""The sample sheet: slides, their patients and groups, and columns carried through to slides.csv.

Spreadsheet programs write many kinds of CSV: byte-order marks, semicolons or tabs, decimal commas,
spaces, blank lines and quotes are all understood. What cannot be understood is reported at once,
every problem with its line. Names are text exactly as written.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ifquant.errors import RequestError
from ifquant.files.text_table import TableProblem, TextTable, is_blank, is_remark, open_text_table
from ifquant.names import name_or_none
from ifquant.recipe.pixel_size import implausible
from ifquant.slides.slide_names import (
    IMAGE_SUFFIXES,
    is_zarr_folder,
    natural_order,
    slide_name,
)

KNOWN = ("slide", "path", "patient", "group", "regions", "pixel_size_um")
RESERVED = ("status", "error", "tissue_area_mm2", "tumor_region_area_mm2", "n_cells")
"""Columns that slides.csv fills itself."""
_ALIASES = {
    **dict.fromkeys(("slide_name", "sample_name", "image_name", "sample", "image"), "slide"),
    **dict.fromkeys(("slide_id", "sample_id"), "slide"),
    **dict.fromkeys(("file", "filename"), "path"),
    **dict.fromkeys(("patient_id", "subject"), "patient"),
    "condition": "group",
    "geojson": "regions",
    "pixel_size": "pixel_size_um",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Sample:
    """One row of the sheet.

    `slide` names the slide's folder, `written` is the name as the sheet has it. `paths` is empty
    when the sheet gives none (the slide is then found by its name), one image, or several
    one-channel images, whose `channel_names` come from their file names. `columns` holds the free
    columns as text. `line` is where the row is in the sheet.
    """

    slide: str
    paths: tuple[str, ...] = ()
    patient: str | None = None
    group: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    regions: str | None = None
    pixel_size_um: float | None = None
    channel_names: tuple[str, ...] | None = None
    line: int = 0
    written: str = ""


def read_samples(path: str | os.PathLike[str], *, folders: bool = True) -> list[Sample]:
    """Read a sample sheet.

    Columns: `slide` (or `path`), and optionally `path` (relative to the sheet; an image, an
    OME-Zarr folder, or a folder of one-channel TIFFs), `patient`, `group`, `regions` (a GeoJSON
    file), `pixel_size_um`, and free ones.

    Parameters
    ----------
    folders
        The slides are to be run: their names become folders (those that cannot be one on every
        system are refused, and those that differ in case alone), and images and regions must be
        there. Else only names count.

    Raises
    ------
    RequestError
        With every problem and its line.
    """
    sheet = Path(path)
    table = _opened(sheet)
    problems: list[str] = []
    names = _header(list(table.header), table.header_line, problems)
    if not {"slide", "path"} & set(names):
        raise RequestError(f"{sheet}: {'; '.join(problems)}")
    samples = []
    for line, text in table.lines():
        if is_blank(text) or is_remark(text, table.separator):
            continue
        try:
            cells = [cell.strip("\u00a0") for cell in table.values(text, line)]
        except TableProblem as error:
            problems.append(str(error))
            continue
        if any(cells):
            values = dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=False))
            if any(value for name, value in zip(names, cells, strict=False) if not name):
                problems.append(
                    f"line {line}: a value stands in a column without a name; name it in the header"
                )
            values.pop("", None)
            samples.append(_sample(values, line, sheet.parent, folders, problems))
    if not samples and not problems:
        problems.append("it has a header but no rows")
    _check_together(samples, folders, problems)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise RequestError(f"{sheet}: the sample sheet has {len(problems)} problem(s):\n{listed}")
    return samples


def _opened(sheet: Path) -> TextTable:
    try:
        if not sheet.is_file():
            raise RequestError(f"{sheet}: no such file; --samples needs a CSV file")
        if sheet.stat().st_size > _MAX_BYTES:
            raise RequestError(f"{sheet}: {sheet.stat().st_size >> 20} MiB is no sample sheet")
        if not sheet.read_bytes().strip():
            raise RequestError(
                f"{sheet}: the sample sheet is empty; expected a header such as"
                " slide,path,patient,group, and rows"
            )
        table = open_text_table(sheet, remarks=True)
        for _ in table.lines():  # all of it can be decoded
            pass
    except TableProblem as error:
        raise RequestError(f"{sheet}: {error}") from error
    except UnicodeError as error:
        raise RequestError(
            f"{sheet}: it is not text in UTF-8, UTF-16 or Windows-1252; save the table as CSV"
            " (UTF-8)"
        ) from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(
            f"{sheet}: cannot be read ({reason}); check the path and its rights"
        ) from error
    return table


def _header(cells: list[str], line: int, problems: list[str]) -> list[str]:
    plain = [re.sub(r"[\s-]+", "_", cell.strip().casefold()) for cell in cells]
    names: list[str] = [name if name in KNOWN else "" for name in plain]
    for place, cell in enumerate(cells):  # aliases count where the column itself is not there
        known = _ALIASES.get(plain[place], "")
        names[place] = names[place] or (known if known and known not in names else cell)
    for name in dict.fromkeys(names):
        if name and names.count(name) > 1:
            problems.append(
                f"line {line}: column {name!r} occurs {names.count(name)} times; rename one"
            )
        if name.casefold() in RESERVED:
            problems.append(
                f"line {line}: column {name!r} is filled by ifquant in slides.csv; rename it"
            )
    if "slide" not in names and "path" not in names:
        found = ", ".join(filter(None, names)) or "none"
        problems.append(
            f"line {line}: there is no column 'slide' (found {found}); the first line must name the"
            " columns"
        )
    return names


def _sample(
    values: dict[str, str], line: int, folder: Path, folders: bool, problems: list[str]
) -> Sample:
    for name, value in values.items():
        if any(ord(character) < 32 for character in value):
            problems.append(
                f"line {line}: {name} {value!r} contains control characters; remove them"
            )
        elif value[:1] in "=@" and len(value) > 1 and name not in ("path", "regions"):
            problems.append(
                f"line {line}: {name} {value!r} would run as a formula in a spreadsheet; write it"
                f" without the leading {value[0]!r}"
            )
    path = name_or_none(values.get("path")) or ""
    written = name_or_none(values.get("slide")) or ""
    name = written or (slide_name(re.split(r"[/\\]", path.rstrip("/\\"))[-1]) if path else "")
    if name.lower().endswith(IMAGE_SUFFIXES):
        name = slide_name(name) if folders else name
    if not name:
        problems.append(f"line {line}: neither slide nor path is given")
    elif folders and (not _NAME.fullmatch(name) or slide_name(name) != name):
        problems.append(
            f"line {line}: slide {name!r} cannot name a folder on every system; use letters,"
            f" digits, dot, dash and underscore (e.g. {slide_name(name)!r})"
        )
    paths, channels = _paths(path, folder, line, problems) if path and folders else ((), None)
    regions = name_or_none(values.get("regions")) if folders else None
    if regions is not None:
        regions = str(folder / regions)
        if not os.path.isfile(regions):
            problems.append(
                f"line {line}: regions file {values['regions']!r} does not exist (looked for"
                f" {regions})"
            )
    return Sample(
        slide=name,
        paths=paths,
        patient=name_or_none(values.get("patient")),
        group=name_or_none(values.get("group")),
        columns={key: value for key, value in values.items() if key not in KNOWN},
        regions=regions,
        pixel_size_um=_pixel_size(name_or_none(values.get("pixel_size_um")) or "", line, problems),
        channel_names=channels,
        line=line,
        written=written,
    )


def _paths(
    path: str, folder: Path, line: int, problems: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    full = str(folder / path)
    if not os.path.exists(full):
        problems.append(f"line {line}: path {path!r} does not exist (looked for {full})")
        return (), None
    if not os.path.isdir(full) or is_zarr_folder(full):
        return (full,), None
    inside = [
        name
        for name in os.listdir(full)
        if name.lower().endswith((".tif", ".tiff")) and not name.startswith(".")
    ]
    files = sorted((os.path.join(full, name) for name in inside), key=natural_order)
    if not files:
        problems.append(
            f"line {line}: folder {path!r} holds no TIFF files; a slide in a folder is one TIFF per"
            " channel"
        )
        return (), None
    return tuple(files), channel_names_of(files)


def channel_names_of(files: list[str]) -> tuple[str, ...]:
    """Channel names from one-channel files: their names less suffix and what all of them share.

    `S1_DAPI.tif, S1_PanCK.tif` give DAPI, PanCK.
    """
    stems = [_stem(os.path.basename(file)) for file in files]
    parts = [re.split(r"([_\s.]+)", stem) for stem in stems]
    if len(parts) > 1:
        start = _n_common(parts)
        end = _n_common([part[start:][::-1] for part in parts])
        stems = [
            "".join(part[start : len(part) - end]).strip("_ .") or stem
            for part, stem in zip(parts, stems, strict=True)
        ]
    return tuple(stems)


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _n_common(parts: list[list[str]]) -> int:
    """How many first parts all share, less the last of the shortest."""
    shortest = min(map(len, parts)) - 1
    return next((k for k in range(shortest) if len({part[k] for part in parts}) > 1), shortest)


def _pixel_size(text: str, line: int, problems: list[str]) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        problems.append(
            f"line {line}: pixel_size_um {text!r} is not a positive number of micrometers"
        )
        return None
    if reason := implausible(value):
        problems.append(f"line {line}: pixel_size_um {text!r}: {reason}")
        return None
    return value


def _check_together(samples: list[Sample], folders: bool, problems: list[str]) -> None:
    """Refuse a slide or image in two rows, or a patient in two groups: they mix patients."""
    by_name: dict[str, Sample] = {}
    by_file: dict[object, Sample] = {}
    groups: dict[str, Sample] = {}
    for sample in samples:
        if sample.slide:
            first = by_name.setdefault(sample.slide.casefold() if folders else sample.slide, sample)
            if first is not sample:
                problems.append(
                    f"line {sample.line}: slide {sample.slide!r} is also on line {first.line};"
                    " every row needs its own name"
                )
        for path in sample.paths:
            facts = os.stat(path)
            key: object = (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(path)
            other = by_file.setdefault(key, sample)
            if other is not sample:
                problems.append(
                    f"line {sample.line}: {path} is the same image as on line {other.line}; an"
                    " image counts once"
                )
        if sample.patient and sample.group:
            known = groups.setdefault(sample.patient, sample)
            if known.group != sample.group:
                problems.append(
                    f"line {sample.line}: patient {sample.patient!r} is in group {sample.group!r}"
                    f" here and in {known.group!r} on line {known.line}"
                )
