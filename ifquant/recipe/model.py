"""The recipe: every scientific choice of a run, as frozen values declared once.

CLI help, the JSON Schema, the commented template of ``ifquant init`` and the docs are all generated
from the fields below. What is run and how (paths, workers, tile size) is never part of a recipe,
nor of its digest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ifquant.recipe.question_sections import CohortOptions, Priming, Proximity
from ifquant.recipe.section import Compartment, Name, Section, Um
from ifquant.recipe.table_mapping import TableMapping

__all__ = ["CohortOptions", "Compartment", "Priming", "Proximity", "Recipe"]

Role = Literal["nucleus", "tumor", "myeloid", "marker", "background", "ignore"]
Statistic = Literal["mean", "median", "p95", "sum", "std"]
GateStatistic = Literal["mean", "median", "p95"]


class Channel(Section):
    """One channel of the panel, addressed by name (or by index when the file has no names)."""

    name: Name = Field(
        description=(
            "Name as in the file; column names in all tables use it exactly as written (default"
            " with index = 3: channel_3)"
        )
    )
    index: int | None = Field(
        None,
        ge=0,
        le=100_000,
        description="0-based position in the file, for files without channel names",
    )
    aliases: tuple[Name, ...] = Field(
        (), description="Other names the same marker has on other slides of the cohort"
    )
    role: Role = Field(
        "marker",
        description=(
            "nucleus, tumor and myeloid channels shape cells; marker channels are only measured"
        ),
    )
    compartment: Compartment | None = Field(
        None,
        description=(
            "Where positivity is judged; default: tumor > cytoplasm, nucleus > nucleus, others >"
            " cell"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _name_from_index(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data and type(data.get("index")) is int:
            return {"name": f"channel_{data['index']}", **data}
        return data


class SlideOptions(Section):
    """How files are read."""

    z: Literal["max", "mean"] | Annotated[int, Field(ge=0)] | None = Field(
        None,
        description=(
            "Projection of a z-stack: max, mean or one plane's index; a stack without it is refused"
        ),
    )
    allow_lossy: bool = Field(
        False, description="Accept lossy compressed pixels (JPEG), which change intensities"
    )


class TissueOptions(Section):
    """Where there is tissue. Glass costs no time and does not enter densities."""

    enabled: bool = Field(True, description="false: the whole image counts as tissue")
    step_um: Um = Field(8.0, description="Grid of the tissue mask in um")
    close_um: Um = Field(
        40.0, description="Gaps up to this width between stained areas count as tissue, in um"
    )
    min_area_um2: float = Field(10_000.0, ge=0, description="Smaller islands are debris, in um2")


class Segmentation(Section):
    """How nuclei are found."""

    method: str = Field(
        "unet",
        description=(
            "unet (ships with ifquant) | classical | cellpose | labels (masks you have) | any"
            " installed segmenter"
        ),
    )
    channel: str | None = Field(
        None, description="Nucleus channel; default: the channel whose role is nucleus"
    )
    nucleus_diameter_um: Um = Field(
        8.0, description="Typical nucleus diameter in um (classical; cellpose 3 networks)"
    )
    min_area_um2: float = Field(12.0, ge=0, description="Smaller objects are debris, in um2")
    max_diameter_um: Um = Field(
        30.0, description="Largest nucleus diameter the decoder keeps whole, in um"
    )
    sensitivity: float = Field(
        1.0,
        gt=0,
        le=5,
        description="Scales the foreground threshold down: above 1 finds dimmer nuclei",
    )
    nuclei: str | None = Field(
        None,
        description="method = labels: path of nucleus masks; {slide} stands for the slide's name",
    )
    cells: str | None = Field(None, description="method = labels: path of cell masks (optional)")
    model: str | None = Field(
        None,
        description=(
            "method = cellpose: absolute path of the network for nuclei, or with allow_download its"
            " name, e.g. cpsam"
        ),
    )
    cell_model: str | None = Field(
        None,
        description=(
            "method = cellpose: network for whole cells, each paired with its nucleus; without it"
            " cells are grown"
        ),
    )
    allow_download: bool = Field(
        False,
        description="method = cellpose: networks may be given by name and are downloaded once",
    )
    cellprob_threshold: float = Field(
        0.0, ge=-20, le=20, description="method = cellpose: below 0 finds more and larger objects"
    )
    flow_threshold: float = Field(
        0.4,
        ge=0,
        le=10,
        description="method = cellpose: largest flow error of an object; 0 keeps all",
    )
    cell_diameter_um: Um = Field(
        16.0, description="method = cellpose: typical cell diameter in um (cellpose 3 networks)"
    )


class Cells(Section):
    """How a nucleus grows into a cell. Distances in um."""

    other_um: Um = Field(2.5, description="Growth of cells that carry no tumor or myeloid stain")
    tumor_um: Um = Field(8.0, description="Largest growth inside the tumor stain (cytokeratin)")
    myeloid_soma_um: Um = Field(3.0, description="Soma of a myeloid cell: nucleus plus this")
    myeloid_process_um: Um = Field(
        15.0,
        description="Myeloid stain connected to the soma belongs to the cell up to this distance",
    )
    intrusion_um: float = Field(
        1.0, ge=0, description="How far a non-tumor cell may enter the tumor stain"
    )
    ring_um: Um = Field(
        2.0,
        description=(
            "Ring around the nucleus in which tumor and myeloid stain decide how a cell grows"
        ),
    )
    min_stained_fraction: float = Field(
        0.5, gt=0, le=1, description="Fraction of that ring that must be stained"
    )
    thresholds: dict[str, float] = Field(
        {}, description="Pixel threshold per channel, raw values, instead of the calibrated one"
    )


class Measure(Section):
    """What is measured per cell."""

    statistics: tuple[Statistic, ...] = Field(
        ("mean", "median"), description="Any of mean, median, p95, sum, std"
    )
    membrane_um: Um = Field(1.0, description="Width of the membrane ring inside the cell border")
    shared_membrane: bool = Field(
        True, description="false: membrane pixels within membrane_um of another cell are left out"
    )
    soma_um: Um = Field(2.0, description="Soma: nucleus plus this")
    soma_clear_um: float = Field(
        1.0, ge=0, description="Soma leaves out pixels this close to another cell"
    )
    background: Literal["none", "calibration"] = Field(
        "none", description="calibration: add <marker>_<compartment>_corrected_<statistic> columns"
    )


class Gate(Section):
    """How one marker is called positive. A value alone means method = value, a control slide or
    region alone method = control.
    """

    method: Literal["mixture", "otsu", "value", "control"] = Field(
        "mixture",
        description=(
            "mixture | otsu (both on log intensities, only when two populations show) | value |"
            " control"
        ),
    )
    value: float | None = Field(None, description="method = value: the gate in raw intensities")
    control_slide: str | None = Field(
        None, description="method = control: slide without this stain (its name)"
    )
    control_region: str | None = Field(
        None, description="method = control: name of a polygon of kind 'control'"
    )
    control_quantile: float = Field(
        0.99, gt=0.5, lt=1, description="Quantile of the control cells taken as gate"
    )
    shared: bool = Field(False, description="true: one gate for all slides of the cohort")
    statistic: GateStatistic = Field(
        "mean", description="Statistic the gate is applied to: mean, median or p95"
    )

    @model_validator(mode="before")
    @classmethod
    def _method_from_its_parameter(cls, data: Any) -> Any:
        if isinstance(data, dict) and "method" not in data:
            if data.get("value") is not None:
                return {"method": "value", **data}
            if data.get("control_slide") is not None or data.get("control_region") is not None:
                return {"method": "control", **data}
        return data


class Gates(Section):
    """Default gate and exceptions per marker."""

    default: Gate = Field(
        default_factory=Gate, description="Used for every marker without its own entry"
    )
    markers: dict[str, Gate] = Field({}, description="Per marker: [gates.markers.PanCK]")
    min_cells: int = Field(
        50, ge=2, description="Fewer cells than this: automatic gates are not callable"
    )


class Picture(Section):
    """The overlay picture."""

    colors: dict[str, str] = Field(
        {},
        description=(
            "Channel > color name, #rrggbb or none (hidden). Default: nucleus gray, tumor blue,"
            " first markers red and green"
        ),
    )
    pair_lines: bool = Field(
        False, description="Draw lines from each `from` cell to its nearest `to` cell"
    )
    max_size_px: int = Field(2000, ge=200, le=10_000, description="Longest side of overlay.png")


class Outputs(Section):
    """What is written beside cells.parquet."""

    csv: bool = Field(True, description="Also cells.csv (never above a million cells)")


class Recipe(Section):
    """All scientific choices of a run."""

    channels: tuple[Channel, ...] = Field(min_length=1)
    slide: SlideOptions = SlideOptions()
    tissue: TissueOptions = TissueOptions()
    segmentation: Segmentation = Segmentation()
    cells: Cells = Cells()
    measure: Measure = Measure()
    gates: Gates = Gates()
    phenotypes: dict[Name, str] = Field(
        {},
        description=(
            'Name = rule, in order, e.g. myeloid = "CD11c+ & PanCK-". Default: tumor and myeloid'
            " from the channels of these roles"
        ),
    )
    proximity: Proximity = Proximity()
    priming: Priming | None = Field(None, description="Statistics of the question; absent: not run")
    cohort: CohortOptions = CohortOptions()
    table: TableMapping | None = Field(
        None,
        description=(
            "ifquant analyze: how cell tables of another program are read; absent: our results"
        ),
    )
    picture: Picture = Picture()
    outputs: Outputs = Outputs()
    seed: int = Field(0, ge=0, lt=2**63, description="All random numbers derive from it")

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names in the order of the recipe."""
        return tuple(channel.name for channel in self.channels)

    def channel(self, name: str) -> Channel:
        """Find a channel by its name; KeyError when there is none."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise KeyError(name)

    def with_role(self, *roles: Role) -> tuple[Channel, ...]:
        """Find the channels that have one of these roles, in order."""
        return tuple(channel for channel in self.channels if channel.role in roles)

    def gate(self, marker: str) -> Gate:
        """Find the gate of a marker: its own entry, else the default."""
        return self.gates.markers.get(marker, self.gates.default)
