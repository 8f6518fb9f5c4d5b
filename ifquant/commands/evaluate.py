"""`ifquant evaluate`: two label images from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.files.ownership import refuse_foreign, refuse_inputs, same_place
from ifquant.nuclei.evaluation import evaluate
from ifquant.nuclei.evaluation_picture import draw
from ifquant.pipeline.label_files import read_label_image


def evaluate_files(
    predicted: Path, truth: Path, *, out: Path | None = None, picture: Path | None = None
) -> pd.DataFrame:
    """Compare two label images; write the table as CSV and draw the picture where asked.

    Raises
    ------
    RequestError
        If the images differ in size, or a file to be written is an input or was not made by
        ifquant.
    """
    for target in filter(None, (out, picture)):
        refuse_inputs(target, [predicted, truth])
        refuse_foreign(target)
    if out is not None and picture is not None and same_place(out, picture):
        raise RequestError(f"{out}: named for the table and for the picture; give two names")
    found, true = _labels(predicted), _labels(truth)
    if found.shape != true.shape:
        raise RequestError(
            f"{predicted} has {found.shape} px (Y, X), {truth} has {true.shape}; compare label"
            " images of one size."
        )
    table = evaluate(found, true)
    if out is not None:
        storage.write_text(out, table.to_csv(index=False))
    if picture is not None:
        storage.write_bytes(picture, draw(found, true))
    return table


def _labels(path: Path) -> NDArray[Any]:
    return read_label_image(str(path))
