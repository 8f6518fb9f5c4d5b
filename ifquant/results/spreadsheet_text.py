"""Text that no spreadsheet takes for a formula."""

from __future__ import annotations

import pandas as pd

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a formula may begin with (OWASP, CSV injection)."""


def safe_for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Put ``'`` before texts (and column names) that a spreadsheet would run as a formula; numbers
    stay as they are.
    """
    out = table.copy(deep=False)
    for name in out.columns:
        if isinstance(out[name].dtype, pd.CategoricalDtype):
            out[name] = out[name].cat.rename_categories(safe_text)
        elif not pd.api.types.is_numeric_dtype(out[name].dtype):
            out[name] = out[name].map(
                lambda value: safe_text(value) if isinstance(value, str) else value,
                na_action="ignore",
            )
    return out.rename(columns=safe_text)


def safe_text(text: str) -> str:
    """Text with ``'`` before it where a spreadsheet would run it."""
    dangerous = text.lstrip(" \u00a0").startswith(_DANGEROUS) or text.startswith(_DANGEROUS)
    return f"'{text}" if dangerous else text
