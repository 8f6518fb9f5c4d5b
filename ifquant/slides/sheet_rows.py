"""Which row of the sample sheet is which slide, and which names of a sheet are easily confused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from ifquant.errors import RequestError
from ifquant.names import alike_warnings
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide_names import loose_slide_key, slide_key, slide_name, without_suffix


def rows_of(
    samples: Sequence[Sample], slides: Iterable[str], folders: Collection[str] = ()
) -> dict[str, Sample]:
    """Find the row of each slide: by its name as written, else by `slide_key`.

    Parameters
    ----------
    folders
        Slides that are folders of our results: they are called as `slide_name` cleans a name.

    Raises
    ------
    RequestError
        If a slide fits several rows or a row several slides, so that a patient would be guessed.
    """
    exact = {name: sample for sample in samples for name in (sample.slide, sample.written) if name}
    found = {slide: exact[slide] for slide in slides if slide in exact}
    left = [sample for sample in samples if all(sample is not row for row in found.values())]
    by_key: dict[str, list[Sample]] = {}
    for sample in left:
        by_key.setdefault(slide_key(sample.slide), []).append(sample)
    wanted: dict[str, list[str]] = {}
    for slide in slides:
        if slide not in found and slide_key(slide) in by_key:
            wanted.setdefault(slide_key(slide), []).append(slide)
    for key, named in wanted.items():
        rows = by_key[key]
        if len(named) > 1 or len(rows) > 1:
            lines = ", ".join(f"{row.written or row.slide!r} (line {row.line})" for row in rows)
            raise RequestError(
                f"the sample sheet's {lines} and the slides {', '.join(map(repr, named))} differ"
                " only in case, suffix or signs; write the names in the sheet as the slides have"
                " them."
            )
        found[named[0]] = rows[0]
    for slide in folders:
        cleaned = [sample for sample in left if slide_name(sample.written or sample.slide) == slide]
        if (
            slide not in found
            and len(cleaned) == 1
            and all(cleaned[0] is not row for row in found.values())
        ):
            found[slide] = cleaned[0]
    return found


def match_warnings(rows: Mapping[str, Sample]) -> list[str]:
    """Warn of slides given a row of another spelling, beyond a suffix or folders."""
    loose = [
        f"{slide!r} = {row.written or row.slide!r}"
        for slide, row in rows.items()
        if slide not in (row.slide, row.written)
        and without_suffix(re.split(r"[/\\]", slide)[-1])
        not in (row.slide, without_suffix(row.written))
    ]
    if not loose:
        return []
    more = f" and {len(loose) - 5} more" if len(loose) > 5 else ""
    return [
        "rows of the sample sheet were given to slides that are written otherwise:"
        f" {', '.join(loose[:5])}{more}"
    ]


def sheet_warnings(samples: Sequence[Sample]) -> list[str]:
    """Warn of patients, groups and slides of a sheet that are easily confused."""
    slides = [sample.slide for sample in samples if sample.slide]
    return [
        *alike_warnings("patient", [sample.patient for sample in samples if sample.patient]),
        *alike_warnings("group", [sample.group for sample in samples if sample.group]),
        *alike_warnings("slide", slides, slide_key, loose_slide_key),
    ]
