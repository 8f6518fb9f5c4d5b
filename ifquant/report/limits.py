"""What no result of [priming] can say, in sentences; the same on the pages of runs, reviews and
cohorts.
"""

from __future__ import annotations

from ifquant.columns.cell_columns import proximity_pair
from ifquant.recipe.model import Recipe


def priming_limits(recipe: Recipe, *, gate_varied: bool = False) -> list[str]:
    """Limits of the stain, the section, the antibody and the gate; nothing without ligand and
    response in the recipe.

    Parameters
    ----------
    gate_varied
        Whether the page shows the result under other gates of the sources.
    """
    options = recipe.priming
    if options is None or not options.ligand:
        return []
    source = options.source or proximity_pair(recipe)[1] or "source"
    named = (
        f"here: {options.ligand_antibody}"
        if options.ligand_antibody
        else "no clone is given in the recipe (ligand_antibody)"
    )
    return [
        (
            f"Immunofluorescence shows presence: {options.response} staining does not tell a"
            " precursor from the active or secreted form (for IL1β it is mostly pro-IL1β)."
        ),
        (
            "A section is about 4 µm thick: contacts above and below its plane are missed, and"
            " overlapping cells can pass for touching ones."
        ),
        f"Latent and active forms of a ligand such as TGFβ need different antibodies; {named}.",
        "A ligand can change what defines its source: TGFβ can lower cytokeratin and so move the"
        f" gate of {source} cells" + ("; the multiverse varies that gate." if gate_varied else "."),
    ]
