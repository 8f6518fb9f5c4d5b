"""Child process of test_reader_cases: reads the files named on stdin under a memory limit, prints
one JSON line per file.

Per file: what `inspect` says, a hash of all pixels read in odd windows, and a hash of what tifffile
decodes page by page.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import signal
import sys
import time
import warnings

import numpy as np
import tifffile

from ifquant.errors import IfquantError
from ifquant.geometry.windows import Window
from ifquant.slides.slide import SlideRef, inspect


class TooSlow(BaseException):
    pass


def stop(number: int, frame: object) -> None:
    raise TooSlow


def sha(array: np.ndarray) -> str:
    array = np.ascontiguousarray(array)
    return f"{array.dtype.name} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def ours(path: str) -> str:
    with SlideRef((path,), pixel_size_um=1.0, z=0, allow_lossy=True).open() as slide:
        n, height, width = slide.info.shape
        if slide.info.timepoints > 1:
            return "time series"
        out = np.empty(slide.info.shape, slide.info.dtype)
        for y0 in range(0, height, 211):
            for x0 in range(0, width, 307):
                window = Window(y0, x0, min(y0 + 211, height), min(x0 + 307, width))
                out[(slice(None), *window.slices_in(Window(0, 0, height, width)))] = slide.read(
                    range(n), window
                )
        return sha(out)


def theirs(path: str) -> str:
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages[0]
        planes = []
        for page in tiff.pages:
            if (page.imagelength, page.imagewidth, page.samplesperpixel, page.dtype) != (
                first.imagelength,
                first.imagewidth,
                first.samplesperpixel,
                first.dtype,
            ):
                continue
            pixels = page.asarray(maxworkers=1)
            if page.samplesperpixel == 1:
                planes.append(pixels)
            else:
                planes.extend(pixels if page.planarconfig == 2 else np.moveaxis(pixels, -1, 0))
        return sha(np.stack(planes).astype(first.dtype.newbyteorder("=")))


def case(path: str) -> dict[str, object]:
    result: dict[str, object] = {"path": path}
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 20)
    try:
        info, problems = inspect(SlideRef((path,)))
        result |= {
            "format": info.format,
            "shape": info.shape,
            "dtype": info.dtype,
            "problems": problems,
            "warnings": info.warnings,
        }
        if info.format != "unreadable":
            try:
                result["ours"] = ours(path)
            except IfquantError as error:
                result["refused"] = str(error)
    except TooSlow:
        result["crash"] = "more than 20 s"
    except Exception as error:
        result["crash"] = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    result["seconds"] = time.monotonic() - started
    if "ours" in result:
        with contextlib.suppress(Exception):
            result["theirs"] = theirs(path)
    return result


def main() -> None:
    warnings.simplefilter("error")
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    signal.signal(signal.SIGALRM, stop)
    out, err = sys.stdout, io.StringIO()
    for line in sys.stdin:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(err):
            result = case(line.rstrip("\n"))
        result["printed"] = err.getvalue()
        err.seek(0)
        err.truncate()
        print(json.dumps(result), file=out, flush=True)


if __name__ == "__main__":
    main()
