"""Whose file it is: nothing is written onto an input, or onto a file that ifquant did not make.

A file of ours is known by its content (the writer it names, its first columns), a folder by its
marker. Paths are compared as the system sees them, so that links and other spellings of a path are
seen through.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ifquant.errors import RequestError
from ifquant.files import storage

MARKER = ".ifquant.json"
"""In every folder of results: that it is one, and the slides of the latest run."""
FORMAT = "ifquant results 1"
LABEL_NAMES = ("nuclei", "cells", "labels")
"""What the one channel of a label image of ours is called."""
_HEAD = 8192
_CSV = (
    "slide,path,status,error",
    "threshold,tp,fp,fn",
    "slide,number,before,after",
    "cell_id,flags",
    "id,class,nucleus_x_um,nucleus_y_um,tgfb1_level",
    "reviewer,line,number,time_utc",
)
"""How the tables begin that ifquant writes as CSV."""


def marker(folder: Path) -> dict[str, object] | None:
    """Return what the marker of a folder of results says; None where there is none."""
    content = storage.read_json(folder / MARKER)
    return content if isinstance(content, dict) and content.get("format") == FORMAT else None


def mark(folder: Path, slides: Iterable[str]) -> None:
    """Mark a folder as one of results, of these slides."""
    ours = not os.path.lexists(folder / MARKER) or marker(folder) is not None
    if not ours and not ((folder / MARKER).is_file() and not (folder / MARKER).stat().st_size):
        raise RequestError(
            f"{folder / MARKER}: is no marker of ifquant's; move it, or choose another folder (-o)"
        )
    wanted = {"format": FORMAT, "slides": list(slides)}
    if marker(folder) != wanted:
        storage.write_json(folder / MARKER, wanted)


def same_place(first: storage.PathLike, second: storage.PathLike) -> bool:
    """Whether two paths are one file or folder, however they are spelled or linked."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)


def inside(path: storage.PathLike, folder: storage.PathLike) -> bool:
    """Whether a path is a folder or lies in it."""
    real = Path(os.path.realpath(path))
    return any(same_place(place, folder) for place in (real, *real.parents))


def refuse_inputs(target: storage.PathLike, inputs: Iterable[storage.PathLike]) -> None:
    """Refuse to write onto an input, or into an input that is a folder.

    Raises
    ------
    RequestError
        Naming both.
    """
    for given in inputs:
        if same_place(target, given) or (os.path.isdir(given) and inside(target, given)):
            raise RequestError(
                f"{target}: would be written onto the input {given}, which would be lost; choose"
                " another name (-o)"
            )


def refuse_foreign(target: storage.PathLike, *, labels: bool = False) -> None:
    """Refuse to replace a file that ifquant did not make (`labels`: no label image of ours).

    Raises
    ------
    RequestError
        Naming it.
    """
    if os.path.lexists(target) and not made_here(Path(target), labels=labels):
        what = "is no label image made by ifquant" if labels else "was not made by ifquant"
        raise RequestError(
            f"{target}: exists and {what}; it is left as it is. Move it, or choose another name"
            " (-o)"
        )


def made_here(path: Path, *, labels: bool = False) -> bool:
    """Whether ifquant wrote this file, by its content, whatever it is called."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _names_us_in_tiff(path, labels)
        if labels:
            return False
        if head[:4] == b"PAR1":
            return _names_us_in_parquet(path)
        if head[:1] == b"{":
            content = storage.read_json(path)
            return isinstance(content, dict) and (
                str(content.get("format", "")).startswith("ifquant ") or "recipe_digest" in content
            )
    except OSError:
        return False
    if head.startswith(b"\x89PNG"):
        return b"Software\0ifquant" in head
    if re.match(rb"(ifquant \d[^\n]*, slide [^\n]*\n)?Traceback \(most recent call last\)", head):
        return b"ifquant" in head
    return re.search(
        rb"<title>ifquant (report|review)</title>|<title>ifquant cohort: ", head
    ) is not None or _is_our_table(head)


def is_system_file(name: str) -> bool:
    """Whether a file browser left this file in a folder; nobody misses it."""
    return name in (".DS_Store", "Thumbs.db", "desktop.ini") or name.startswith("._")


def _is_our_table(head: bytes) -> bool:
    """Whether a text begins like a table of ours, as written or as a spreadsheet saved it."""
    text = head.decode(
        "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace"
    ).replace('"', "")
    text = re.sub(r"\Asep=.\s+", "", text, flags=re.IGNORECASE)
    header = text.replace(";", ",").replace("\t", ",").splitlines()[0] if text else ""
    return f"{header},".startswith(tuple(f"{names}," for names in _CSV))


def _names_us_in_tiff(path: Path, labels: bool) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            ours = str(page.tags.valueof("Software", "")) == "ifquant"
            return ours and (
                not labels or any(f'Name="{name}"' in str(page.description) for name in LABEL_NAMES)
            )
    except Exception:  # whatever a damaged file raises: it is not ours
        return False


def _names_us_in_parquet(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return False
    return any(key.startswith(b"ifquant") for key in schema.metadata or {}) or any(
        b"meaning" in (field.metadata or {}) for field in schema
    )
