"""Pages and how numbers are written on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ifquant.results.slide_summary import sample_columns


def environment() -> Environment:
    """Make the environment of all pages: everything is escaped, an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "percent": percent,
        "signed": um_range,
        "effect": effect,
        "p": p_value,
        "sheet": lambda row: sample_columns(row.get("sample")),
    }
    return made


def number(value: Any, digits: int = 3) -> str:
    """Write a number for reading; an en dash for none, words stay.

    Integers have thousands marks, others `digits` significant digits.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int) or float(value).is_integer() or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: Any) -> str:
    """Write a fraction in percent, with one more digit below 10 %; an en dash for none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return (
        f"{value:.0%}"
        if value >= 0.1 or value == 0
        else f"{value:.1%}"
        if value >= 0.001
        else "< 0.1%"
    )


def um_range(band: Mapping[str, Any]) -> str:
    """Write the limits of a band in um."""
    return f"{band['from_um']:g} to {band['to_um']:g}"


def effect(value: Any) -> str:
    """Write an effect with its sign; an en dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.3f}".replace("-", "−")


def p_value(value: Any) -> str:
    """Write a p-value: two significant digits, never 0; an en dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"
