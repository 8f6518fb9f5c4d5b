"""Reading TIFF: the only module that touches tifffile for reading.

Directories are read once per open file; pixels by tile or strip, never through tifffile's series
(which can return another file's pixels for multi-file OME-TIFF: facts of 2026.3.3). What tifffile
only logs about a damaged file is an error here.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tifffile

from ifquant.geometry.windows import Window
from ifquant.slides.image_reader import (
    Array,
    ByteCache,
    Damaged,
    ImageFacts,
    Unfit,
    check_claim,
    check_level,
)
from ifquant.slides.tiff_layout import layout_of, smaller_pages
from ifquant.slides.tiff_page import (
    Layout,
    Page,
    Plane,
    Planes,
    describe,
    page_numbers,
    page_record,
    same_kind,
)
from ifquant.slides.tiff_segments import check_segments, is_raw, is_separate, segment_shape

MAX_PAGES = 20_000
CACHE_TILED_BYTES = 96 << 20
CACHE_STRIPS_BYTES = 384 << 20
"""Strips span the image's width, so that neighbouring windows need the same ones again."""
_VENDORS = (
    *("svs", "ndpi", "scn", "bif", "lsm", "stk", "fluoview", "nih", "eer", "philips"),
    *("indica", "tvips", "scanimage"),
)
_OPTIONAL_TAG = re.compile(r"TiffTag (\d+)")


class TiffReader:
    """One open TIFF file.

    tifffile's exceptions on damaged files are an open set; `slide` turns all into UnreadableImage.
    """

    def __init__(self, path: str) -> None:
        self._cache = ByteCache(CACHE_TILED_BYTES)
        self._raw = open(path, "rb", buffering=0)  # noqa: SIM115  closed by close()
        self._tiff: Any = None
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> None:
        with _promoted_log() as notes:
            self._tiff = tiff = tifffile.TiffFile(path)
            self._pages = _all_pages(tiff)
            self._records = [page_record(page) for page in self._pages]
            is_imagej = self._records[0].description.startswith("ImageJ=")
            labels = (tiff.imagej_metadata or {}).get("Labels") if is_imagej else None
        vendor = next((kind for kind in _VENDORS if getattr(tiff, f"is_{kind}", False)), None)
        if vendor:
            raise Unfit(
                f"it is a vendor's variant of TIFF ({vendor.upper()}), which is not read;"
                " convert it with bioformats2raw to OME-Zarr"
            )
        self._size = self._raw.seek(0, 2)
        start = (self._pages[0].dataoffsets or (self._size,))[0]
        layout = layout_of(
            self._records,
            path,
            qpi=bool(tiff.is_qpi),
            imagej_labels=labels,
            data_bytes=self._size - start,
        )
        self._levels: list[Planes] = [layout.planes]
        self._has_levels = layout.facts.levels > 1
        self._facts = self._checked(layout, notes)

    def _checked(self, layout: Layout, notes: Sequence[str]) -> ImageFacts:
        """Compare the pages with the file; returns the facts."""
        facts, used = layout.facts, page_numbers(layout.planes)
        check_claim(facts.shape, np.dtype(facts.dtype), "the image")
        sparse = check_segments(self._pages, used, self._size)
        if not self._pages[used[0]].is_tiled:
            self._cache.limit_bytes = CACHE_STRIPS_BYTES
        lossy = self._lossy_detail(used[0]) if facts.lossy == "?" else facts.lossy
        return replace(facts, lossy=lossy, warnings=(*facts.warnings, *notes, *sparse))

    @property
    def facts(self) -> ImageFacts:
        """What the file says."""
        return self._facts

    def close(self) -> None:
        """Close the file and drop decoded tiles."""
        self._cache.clear()
        self._raw.close()
        if self._tiff is not None:
            self._tiff.close()

    def levels(self) -> tuple[tuple[int, int], ...]:
        """Shapes (Y, X) of the image and its copies, in SubIFDs or pages; read and checked once."""
        if self._has_levels:
            self._has_levels = False
            with _promoted_log():
                self._levels += self._smaller_levels()
        pages = [self._pages[planes[0][0].page] for planes in self._levels]
        return tuple((int(page.imagelength), int(page.imagewidth)) for page in pages)

    def _smaller_levels(self) -> list[Planes]:
        image = self._levels[0]
        used = page_numbers(image)
        counts = {len(self._pages[i].subifds or ()) for i in used}
        if len(counts) > 1:
            raise Damaged("its planes have different numbers of levels")
        groups = [[self._add_level(i, k) for i in used] for k in range(counts.pop())]
        levels, larger = [], self._records[used[0]]
        for number, group in enumerate(groups or smaller_pages(self._records, image), 1):
            larger = self._check_level(number, group, larger)
            new = dict(zip(used, group, strict=True))
            levels.append(
                tuple(tuple(plane._replace(page=new[plane.page]) for plane in c) for c in image)
            )
        return levels

    def _add_level(self, index: int, k: int) -> int:
        """Add a smaller level of a page to the pages; its position among all."""
        self._pages.append(self._pages[index].pages[k])
        return len(self._pages) - 1

    def _check_level(self, number: int, group: Sequence[int], larger: Page) -> Page:
        """Check the pages of a level as those of the image; returns the first."""
        first = self._records[page_numbers(self._levels[0])[0]]
        records = [page_record(self._pages[i]) for i in group]
        head = records[0]
        of_image = (head.samples, head.dtype) == (first.samples, first.dtype)
        if not of_image or any(not same_kind(one, head) for one in records):
            kinds = ", ".join(sorted({describe(one) for one in records}))
            raise Damaged(f"its planes differ: {describe(first)}, and {kinds} in level {number}")
        check_level(
            (head.height, head.width), (larger.height, larger.width), (first.height, first.width)
        )
        try:
            check_segments(self._pages, group, self._size)
        except Unfit as error:
            raise type(error)(f"in its level {number}, {error}") from error
        return head

    def read_plane(self, channel: int, z: int, window: Window, level: int = 0) -> Array:
        """Pixels (Y, X) of one plane, native byte order; `window` lies inside the level."""
        plane = self._levels[level][channel][z]
        page = self._pages[plane.page]
        out = np.empty(window.shape, np.dtype(page.dtype))
        if plane.shift or is_raw(page):
            self._read_rows(page, plane, window, out)
        else:
            with _promoted_log():
                self._read_segments(page, plane, window, out)
        return out

    def _read_segments(self, page: Any, plane: Plane, window: Window, out: Array) -> None:
        height, width = segment_shape(page)
        across = -(-page.imagewidth // width)
        down = -(-page.imagelength // height)
        base = plane.sample * across * down if is_separate(page) else 0
        sample = 0 if is_separate(page) else plane.sample
        for row in range(window.y0 // height, -(-window.y1 // height)):
            for column in range(window.x0 // width, -(-window.x1 // width)):
                y, x = row * height, column * width
                whole = Window(
                    y, x, min(y + height, page.imagelength), min(x + width, page.imagewidth)
                )
                part = whole.intersection(window)
                pixels = self._segment(plane.page, page, base + row * across + column)
                target = part.slices_in(window)
                if pixels is None:
                    out[target] = page.nodata
                else:
                    out[target] = pixels[(*part.slices_in(whole), sample)]

    def _segment(self, page_index: int, page: Any, index: int) -> Array | None:
        """One decoded tile or strip (rows, columns, samples); None if it is declared sparse."""
        key = (page_index, index)
        found = self._cache.get(key)
        if found is not None:
            return found
        count = page.databytecounts[index]
        if count == 0:
            return None
        data, _, shape = page.decode(
            self._bytes(page.dataoffsets[index], count),
            index,
            jpegtables=page.jpegtables,
            jpegheader=page.jpegheader,
        )
        if data is None:
            raise Damaged(f"tile {index} of page {page_index + 1} cannot be decoded")
        pixels: Array = data[0]
        if pixels.shape[-1] != shape[-1]:
            raise Damaged(
                f"tile {index} of page {page_index + 1} has {pixels.shape[-1]} samples, expected"
                f" {shape[-1]}"
            )
        self._cache.put(key, pixels)
        return pixels

    def _read_rows(self, page: Any, plane: Plane, window: Window, out: Array) -> None:
        """Read just the window's bytes of raw strips, by the row or in blocks of whole rows."""
        dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        width, rows_per_strip = page.imagewidth, min(page.rowsperstrip, page.imagelength)
        strips = -(-page.imagelength // rows_per_strip)
        first = plane.sample * strips
        row_bytes = width * dtype.itemsize
        whole_rows = 2 * (window.x1 - window.x0) >= width
        step = max((4 << 20) // row_bytes, 1) if whole_rows else 1
        y = window.y0
        while y < window.y1:
            strip, within = divmod(y, rows_per_strip)
            n_rows = min(rows_per_strip - within, window.y1 - y, step)
            at = page.dataoffsets[first + strip] + plane.shift + within * row_bytes
            target = out[y - window.y0 : y - window.y0 + n_rows]
            if page.databytecounts[first + strip] == 0:
                target[:] = page.nodata
            elif whole_rows:
                target[:] = np.frombuffer(self._bytes(at, n_rows * row_bytes), dtype).reshape(
                    n_rows, width
                )[:, window.x0 : window.x1]
            else:
                x_bytes = window.x0 * dtype.itemsize
                target[0] = np.frombuffer(
                    self._bytes(at + x_bytes, (window.x1 - window.x0) * dtype.itemsize), dtype
                )
            y += n_rows

    def _bytes(self, offset: int, count: int) -> bytes:
        self._raw.seek(offset)
        data = self._raw.read(count)
        while len(data) < count:
            more = self._raw.read(count - len(data))
            if not more:
                raise Damaged(f"it ends before byte {offset + count}: the file was cut off")
            data += more
        return data

    def _lossy_detail(self, index: int) -> str | None:
        """Whether a JPEG or JPEG 2000 stream is of the lossless kind."""
        page = self._pages[index]
        at = next((i for i, count in enumerate(page.databytecounts) if count), 0)
        head = self._bytes(page.dataoffsets[at], min(page.databytecounts[at], 1 << 16))
        if page.compression == 7:
            return None if b"\xff\xc3" in head[:4096] else "JPEG"
        cod = head.find(b"\xff\x52")  # JPEG 2000 COD marker: byte 13 is the wavelet, 1 = reversible
        return None if cod >= 0 and len(head) > cod + 13 and head[cod + 13] == 1 else "JPEG 2000"


def _all_pages(tiff: Any) -> list[Any]:
    pages: list[Any] = []
    seen: set[int] = set()
    for index in range(MAX_PAGES + 1):
        try:
            page = tiff.pages[index]
        except IndexError:
            break
        if page.offset in seen:
            raise Damaged(
                f"its list of pages runs in a circle (page {index + 1}): the header is damaged"
            )
        seen.add(page.offset)
        pages.append(page)
    if len(pages) > MAX_PAGES:
        raise Damaged(f"it has more than {MAX_PAGES} pages, which no slide has")
    if not pages:
        raise Damaged("it holds no image: the file was not written to its end")
    return pages


@contextlib.contextmanager
def _promoted_log() -> Iterator[list[str]]:
    """Raise what tifffile logs in this thread, unless it is about a private tag nobody needs."""
    records: list[str] = []
    notes: list[str] = []
    handler = _Collect(records)
    logger = logging.getLogger("tifffile")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    failure: Exception | None = None
    try:
        yield notes
    except Exception as error:
        failure = error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
    for text in records:
        code = _OPTIONAL_TAG.search(text)
        if not code or int(code[1]) < 32768:
            raise Damaged(f"its header is damaged: {text}") from failure
        notes.append(f"a private tag ({code[1]}) is damaged and ignored")
    if failure is not None:
        raise failure


class _Collect(logging.Handler):
    def __init__(self, records: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._records = records
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._records.append(record.getMessage())
