"""The section ``[table]``: how a cell table of another program is read. Units are asked for, never
guessed.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ifquant.recipe.pixel_size import PIXEL_SIZE_UM
from ifquant.recipe.section import Compartment, Name, Section

TableFormat = Literal["ifquant", "qupath", "mcquant", "inform", "halo", "columns"]
_Text = Annotated[str, Field(min_length=1, max_length=300)]


class TableMapping(Section):
    """Which program wrote a cell table, in which unit its positions are, and what its columns
    mean.
    """

    format: TableFormat = Field(
        description=(
            "ifquant | qupath | mcquant | inform | halo | columns (any table; name its columns"
            " below)"
        )
    )
    unit: Literal["um", "px"] | None = Field(
        None, description="Unit of the positions; asked for where the format does not say it"
    )
    pixel_size_um: float | None = Field(
        None,
        ge=PIXEL_SIZE_UM[0],
        le=PIXEL_SIZE_UM[1],
        description="um per px; needed when positions or areas are in px",
    )
    x: _Text | None = Field(
        None, description="Column of the centroid's x; default: as the format calls it"
    )
    y: _Text | None = Field(None, description="Column of the centroid's y (downwards)")
    pixel_center: float | None = Field(
        None,
        ge=0,
        le=1,
        description=(
            "Coordinate of the first pixel's center in the table (unit px): 0, 0.5 or 1; default:"
            " the format's"
        ),
    )
    slide: _Text | tuple[_Text, ...] | None = Field(
        None,
        description=(
            "Column that tells slides (or cores, fields) apart, or several together, e.g. image and"
            " core; default: the format's, else the file"
        ),
    )
    patient: _Text | None = Field(None, description="Column with the patient of each cell's slide")
    group: _Text | None = Field(None, description="Column with the group of each cell's slide")
    cell_id: _Text | None = Field(
        None,
        description=(
            "Column with the cell's id, kept as the text it is; default: the format's, else 1..n"
        ),
    )
    area: _Text | None = Field(None, description="Column of the cell area (format = columns)")
    area_unit: Literal["um2", "px2"] | None = Field(None, description="Unit of that column")
    phenotype: _Text | None = Field(
        None, description="Column with the phenotype; default: the format's"
    )
    phenotypes: dict[Name, tuple[str, ...]] = Field(
        {},
        description=(
            'Our phenotype = its values in the table, e.g. tumor = ["CK+"]; values not listed keep'
            " their names"
        ),
    )
    rules: dict[Name, str] = Field(
        {},
        description=(
            'Phenotypes from positivity instead of a column, in order, e.g. tumor = "PanCK+ & CD3-"'
        ),
    )
    compartment: Compartment | None = Field(
        None, description="mcquant: the mask that was measured (cell, nucleus, ...)"
    )
    markers: dict[Name, str] = Field(
        {}, description="Our marker name = the table's; markers not listed keep their names"
    )
    intensities: dict[str, str] = Field(
        {},
        description=(
            "Our column <marker>_<compartment>_<statistic> = its column, e.g. TGFB1_membrane_mean ="
            ' "TGFb ring"'
        ),
    )
    positive: dict[Name, str] = Field(
        {}, description="Our marker = its column of positivity (0/1, true/false)"
    )
    gates: dict[Name, float] = Field(
        {}, description="Our marker = gate on its mean intensity, for tables without positivity"
    )
    extra: dict[str, str] = Field(
        {},
        description=(
            "Further columns to carry along: new name = its column; text as written, numbers where"
            " the new name ends in a unit or statistic (_um, _mean)"
        ),
    )
    separator: Literal[",", ";", "\t"] | None = Field(
        None, description="Separator of a text table; default: the header's commonest"
    )
    decimal: Literal[".", ","] = Field(".", description="Decimal sign of a text table")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format == "columns":
            if self.x is None or self.y is None:
                raise ValueError(
                    'format = "columns" needs x and y: the names of the columns with the cells\''
                    " positions"
                )
            if self.unit is None:
                raise ValueError(
                    'format = "columns" needs unit = "um" or "px": the unit of x and y'
                )
        if self.unit == "px" and self.pixel_size_um is None:
            raise ValueError('unit = "px" needs pixel_size_um')
        if self.area is not None and self.area_unit is None:
            raise ValueError('area needs area_unit = "um2" or "px2"')
        if self.area_unit == "px2" and self.pixel_size_um is None:
            raise ValueError('area_unit = "px2" needs pixel_size_um')
        if self.rules and self.phenotype is not None:
            raise ValueError("give either phenotype (a column) or rules, not both")
        return self
