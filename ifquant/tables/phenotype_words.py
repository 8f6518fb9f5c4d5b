"""Phenotypes and positivity as other programs write them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ifquant.columns.cell_columns import OTHER
from ifquant.errors import RequestError
from ifquant.recipe.rules import holds, parse
from ifquant.recipe.table_mapping import TableMapping

_TRUE = {"1", "1.0", "2", "2.0", "3", "3.0", "true", "positive", "pos", "+", "yes"}
_FALSE = {"0", "0.0", "false", "negative", "neg", "-", "no"}


def positivity(column: pd.Series, where: str) -> pd.Series:
    """Turn 0/1, true/false or positive/negative into nullable booleans.

    HALO counts 0 to 3 (negative, weak, moderate, strong); above 0 is positive.

    Raises
    ------
    RequestError
        If it holds anything else.
    """
    text = column.astype("string").str.strip().str.casefold()
    strange = text.dropna()[~text.dropna().isin(_TRUE | _FALSE)]
    if len(strange):
        raise RequestError(
            f"{where} holds {strange.iloc[0]!r}; positivity is 0/1 (HALO: 0 to 3), true/false or"
            " positive/negative."
        )
    return text.isin(_TRUE).astype("boolean").mask(text.isna())


def phenotypes_of(
    cells: pd.DataFrame, values: pd.Series | None, mapping: TableMapping, path: str
) -> pd.Categorical[Any] | None:
    """Make the column ``phenotype`` (n,) of the table's values, else of rules over positivity.

    Categories: those of the mapping in its order, then the table's own by name, ``other`` last;
    cells without a value are ``other``.
    """
    if mapping.rules:
        return _by_rules(cells, mapping, path)
    if values is None:
        return None
    renamed: dict[str, str] = {
        theirs: ours for ours, listed in mapping.phenotypes.items() for theirs in listed
    }
    renamed = {"Other": OTHER, "OTHER": OTHER, **renamed}
    named = (
        values.astype(object)
        .where(values.notna(), OTHER)
        .map(lambda value: renamed.get(value, value))
    )
    own = sorted(set(named.unique()) - set(mapping.phenotypes) - {OTHER})
    names = [*(name for name in mapping.phenotypes if name != OTHER), *map(str, own), OTHER]
    return pd.Categorical(named.astype(object), categories=names)


def _by_rules(cells: pd.DataFrame, mapping: TableMapping, path: str) -> pd.Categorical[Any]:
    """Take the first rule that holds; + and - are judged in the same column."""
    ending = "_positive"
    known = {
        str(name)[: -len(ending)]: cells[name].array for name in cells if str(name).endswith(ending)
    }
    if not known:
        raise RequestError(
            f"{path}: rules need positivity, and the table has none; give positive columns or"
            " gates."
        )
    phenotype = pd.Series(OTHER, index=cells.index, dtype=object)
    open_ = pd.Series(True, index=cells.index)
    for name, text in mapping.rules.items():
        answer = holds(parse(text, list(known)), known, known)
        yes = answer.to_numpy(dtype=bool, na_value=False) & open_.to_numpy()
        phenotype[yes] = name
        open_[yes] = False
    return pd.Categorical(
        phenotype, categories=[*(name for name in mapping.rules if name != OTHER), OTHER]
    )
