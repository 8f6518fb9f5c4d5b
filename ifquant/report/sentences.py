"""Sentences and lists that the pages of runs, reviews and cohorts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ifquant.columns.cell_columns import proximity_pair
from ifquant.recipe.model import Recipe


def and_list(names: Sequence[str]) -> str:
    """Write ``a, b and c``; ``none`` without names."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "none"


def software(versions: Mapping[str, str], without: Sequence[str] = ()) -> str:
    """List the packages that are installed, with their versions."""
    return ", ".join(
        f"{name} {version}"
        for name, version in versions.items()
        if name not in ("algorithm", *without) and version != "missing"
    )


def priming_limits(recipe: Recipe, *, gate_varied: bool = False) -> list[str]:
    """List what no result of [priming] can say; nothing where the recipe has no ligand.

    Parameters
    ----------
    gate_varied
        Whether the page shows the result under other gates of the sources.
    """
    options = recipe.priming
    if options is None or not options.ligand:
        return []
    source = options.source or proximity_pair(recipe)[1] or "source"
    clone = "no clone is given in the recipe (ligand_antibody)"
    if options.ligand_antibody:
        clone = f"here: {options.ligand_antibody}"
    multiverse = "; the multiverse varies that gate" if gate_varied else ""
    return [
        f"Immunofluorescence shows presence: {options.response} staining does not tell a precursor"
        " from the active or secreted form (for IL1β it is mostly pro-IL1β).",
        "A section is about 4 µm thick: contacts above and below its plane are missed, and"
        " overlapping cells can pass for touching ones.",
        f"Latent and active forms of a ligand such as TGFβ need different antibodies; {clone}.",
        "A ligand can change what defines its source: TGFβ can lower cytokeratin and so move the"
        f" gate of {source} cells{multiverse}.",
    ]
