"""What recipe sections are made of: frozen values, names fit for columns, lengths."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Compartment = Literal["nucleus", "cytoplasm", "membrane", "cell", "soma"]
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control and invisible characters."""
Um = Annotated[float, Field(gt=0, le=10_000)]


def _clean_name(name: str) -> str:
    """Refuse names that cannot head a table column: control characters, spaces around them."""
    if name != name.strip():
        raise ValueError("spaces at its beginning or end; write it without them")
    if any(unicodedata.category(letter) in INVISIBLE for letter in name):
        raise ValueError("control or invisible characters; write the name without them")
    return name


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_clean_name)]


def name_key(name: str) -> str:
    """Return what two names must not share: no case, compatibility-normalised (micro sign = mu)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


class Section(BaseModel):
    """A frozen part of the recipe that refuses unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )
