"""Sections on what is asked of the cells: [proximity], [priming] and [cohort]."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from ifquant.recipe.section import Compartment, Section, Um


class Proximity(Section):
    """Distances and counts between phenotypes."""

    model_config = ConfigDict(populate_by_name=True)

    from_: str | None = Field(
        None,
        alias="from",
        description="Phenotype the summary looks from; default: myeloid if there is one",
    )
    to: str | None = Field(
        None, description="Phenotype it looks to; default: tumor if there is one"
    )
    radii_um: tuple[Um, ...] = Field(
        (10, 20, 50, 100), description="Radii of the neighbour counts, in um"
    )
    region_close_um: Um = Field(
        30.0, description="Tumor region: gaps between tumor cells up to this width are closed"
    )
    region_min_area_um2: float = Field(
        5_000.0, ge=0, description="Tumor region: smaller islands and holes are ignored"
    )
    margin_um: tuple[float, ...] = Field(
        (-100, -50, -20, 0, 20, 50, 100),
        description="Edges of the density bands at the invasive margin",
    )


class Priming(Section):
    """Does the response of one cell type depend on the ligand of the cells it touches? Runs only
    where this section is.
    """

    responder: str | None = Field(
        None, description="Phenotype that responds; default: `from` of [proximity]"
    )
    response: str = Field(description="Channel measured in the responders, e.g. IL1B")
    source: str | None = Field(
        None, description="Phenotype that carries the ligand; default: `to` of [proximity]"
    )
    ligand: str = Field(description="Channel measured on the sources, e.g. TGFB1")
    response_compartment: Compartment | None = Field(
        None, description="Where the response is measured; default: the channel's compartment"
    )
    ligand_compartment: Compartment = Field("membrane", description="Where the ligand is measured")
    ligand_antibody: str = Field(
        "", description="Clone, and what it binds (latent or active form); printed in every report"
    )
    radii_um: tuple[Um, ...] = Field(
        (20, 50),
        description=(
            "Sensitivity: exposure within these radii, weighted by distance, beside contact"
        ),
    )
    away_um: Um = Field(
        1.5, description="The primary ligand leaves out source pixels this close to the responder"
    )
    erode_um: Um = Field(
        1.0, description="Guard: response measured this far inside the responder's border"
    )
    contact_um: Um = Field(
        12.0,
        description=(
            "Tables without outlines only: cells whose centroids are this close count as touching"
        ),
    )
    controls: tuple[str, ...] | None = Field(
        None,
        description=(
            "Negative controls taken as ligand; default: the channels of role nucleus, tumor and"
            " background"
        ),
    )
    reference_um: Um = Field(
        40.0, description="Bandwidth of the local staining level that is adjusted for"
    )
    snap_um: Um = Field(
        15.0,
        description=(
            "A shifted neighbour takes the nearest source within this distance, else it is dropped"
        ),
    )
    permutations: int = Field(
        999, ge=199, le=100_000, description="Random shifts of the null model"
    )
    min_exposed: int = Field(
        60, ge=30, description="Fewer responders in contact with a source: not testable"
    )


class CohortOptions(Section):
    """How slides become a cohort: patients are the unit, groups and visits come from the sample
    sheet.
    """

    unit: Literal["patient"] = Field(
        "patient", description="What is independent: patients, never cells or images"
    )
    group: str | None = Field(
        "group", description="Column of the sample sheet whose values are compared between patients"
    )
    visit: str | None = Field(
        None, description="Column that tells visits apart (before, after); compared within patients"
    )
    order: tuple[str, ...] = Field(
        (),
        description=(
            "Groups and visits in the order they are compared; default: as in the sample sheet"
        ),
    )
    proximity_shifts: int = Field(
        199,
        ge=0,
        le=10_000,
        description="Random shifts and labellings of the proximity tests; 0: none",
    )
    multiverse: bool = Field(
        True, description="Recompute the effect over gates, radii and compartments"
    )
    gate_replicates: int = Field(
        200, ge=40, le=10_000, description="Bootstrap replicates behind the interval of each gate"
    )

    @field_validator("unit", mode="before")
    @classmethod
    def _patients(cls, value: Any) -> Any:
        if value != "patient":
            raise ValueError(
                f"{value!r} cannot be the unit: cells and images of one patient are not"
                " independent; pooled cells reject a true null in about 80 % of cohorts; remove"
                ' the line or write unit = "patient"'
            )
        return value
