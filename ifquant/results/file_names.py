"""What the files and folders of results are called. No other package knows these names."""

from __future__ import annotations

RUN_RECORD = "run.json"
SLIDES_TABLE = "slides.csv"
REPORT = "report.html"
CRASH = "crash.txt"
"""Where an unexpected error is kept."""
RUN_FILES = (RUN_RECORD, SLIDES_TABLE, REPORT)
"""What a run writes beside the slides' folders."""

SLIDE_RECORD = "slide.json"
CELLS = "cells.parquet"
CELLS_CSV = "cells.csv"
PAIRS = "pairs.parquet"
LABELS = "labels.ome.zarr"
OVERLAY = "overlay.png"
DETAIL = "detail.png"
SLIDE_FILES = (SLIDE_RECORD, CELLS, CELLS_CSV, PAIRS, LABELS, OVERLAY, DETAIL)
"""Everything in a slide's folder that is written for it, the record first."""
DIGESTED_FILES = (CELLS, CELLS_CSV, PAIRS, OVERLAY, DETAIL)
"""Those whose size and digest the record holds."""

REVIEW = "review"
"""Folder of the review logs inside the slide's folder."""
REVIEWED = "reviewed"
"""Folder of the corrected results inside the slide's folder."""
DECISIONS = "decisions.csv"
REVIEWED_FILES = (*SLIDE_FILES, DECISIONS)
SLIDES_REVIEWED_TABLE = "slides_reviewed.csv"
REVIEW_TABLE = "review.csv"
REVIEW_REPORT = "review.html"
REVIEW_FILES = (SLIDES_REVIEWED_TABLE, REVIEW_TABLE, REVIEW_REPORT)
"""What applied reviews leave beside the slides' folders."""

WORK = ".unfinished"
"""Folder of a slide's parts, inside the slide's folder; removed when the slide is finished."""
ASIDE = "earlier"
"""Folder in `WORK` of the outputs of a slide that failed when it was run again."""
RESUMED_RECORD = "earlier.json"
"""File in `WORK`: what makes finished cells reusable while their outputs are rewritten."""
