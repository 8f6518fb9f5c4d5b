"""CSV text made in Arrow: byte for byte what pandas writes, digit for digit what Python prints."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifquant.files.table_files import csv_text


def as_pandas(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, lineterminator="\n")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_every_float_is_printed_as_python_prints_it(values: list[float]) -> None:
    table = pd.DataFrame({"n": range(len(values)), "x": np.array(values)})
    text = "".join(csv_text(table))
    assert text == as_pandas(table)
    read = [float(line.split(",")[1] or "nan") for line in text.splitlines()[1:]]
    np.testing.assert_array_equal(read, values)


def test_edges_of_the_number_format() -> None:
    values = [
        0.0,
        -0.0,
        1.0,
        1e-4,
        9.999999e-5,
        1e-5,
        9_999_999_999.0,
        1e10,
        12_345_678_901.5,
        1e15,
        1e16,
        1e22,
        5e-324,
        1 / 3,
        0.1 + 0.2,
    ]
    table = pd.DataFrame({"n": 1, "x": [*values, *(-v for v in values)]})
    assert "".join(csv_text(table)) == as_pandas(table)


def test_every_kind_of_column() -> None:
    table = pd.DataFrame(
        {
            "id": np.array([1, 2, 2**32 - 1], np.uint32),
            "count": pd.array([0, None, 3], "Int32"),
            "positive": pd.array([True, None, False], "boolean"),
            "flag": [True, False, True],
            "class": pd.Categorical(["b", None, "a,b"], categories=["a,b", "b"]),
            'na"me': ["plain", None, 'say "hi",\nthere'],
            "µ, ß": pd.array(["'=1+1", "", None], "string"),
            "float32": np.array([0.1, np.nan, 3], np.float32),
            "nothing": [np.nan, np.nan, np.nan],
        }
    )
    assert "".join(csv_text(table)) == as_pandas(table)
    assert "".join(csv_text(table.iloc[:0])) == as_pandas(table.iloc[:0])


def test_blocks_of_rows_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifquant.files.table_files._CSV_ROWS", 7)
    table = pd.DataFrame({"a": np.arange(23), "b": np.random.default_rng(0).random(23)})
    blocks = list(csv_text(table))
    assert len(blocks) == 5
    assert "".join(blocks) == as_pandas(table)


def test_what_has_no_plain_text_is_refused() -> None:
    with pytest.raises(TypeError, match="column 'a' holds a list"):
        list(csv_text(pd.DataFrame({"a": [[1, 2]], "b": 1})))
