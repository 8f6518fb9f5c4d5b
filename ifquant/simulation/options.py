"""What a simulated slide is made of: one frozen record of options, and the order of channels and
classes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ifquant.errors import RequestError

CHANNELS = ("DAPI", "PanCK", "CD11c", "TGFB1", "IL1B")
CLASSES = ("tumor", "myeloid", "lymphocyte", "stroma")
TUMOR, MYELOID, LYMPHOCYTE, STROMA = range(4)

BLOCK_UM = 32.0
"""Side of the blocks in which cells are placed (um); every cell lies within one block's side of its
own block."""
EXPOSURE_UM = 30.0
"""A myeloid cell is exposed to tumor cells whose nuclear center lies at most this far from its own
(um)."""
EXPOSURE_CELLS = 5
"""... and among those to the nearest so many."""


@dataclass(frozen=True)
class SimulationOptions:
    """Everything a simulated slide depends on. The same options give the same pixels, in any window
    and order.

    Attributes
    ----------
    size : tuple of int
        Height and width of the slide (Y, X) in px.
    pixel_size_um : float
        Size of a pixel (um).
    seed : int
        The slide's seed.
    nest_fraction : float
        Share of the area inside tumor nests (0 to 1).
    nest_range_um : float
        Distance at which the field that outlines the nests has lost all but 1/e of its correlation
        (um); larger is coarser.
    follicle_fraction, hole_fraction : float
        Share of the area in lymphoid aggregates, and in holes (lumina, tears, fat).
    crowding : float
        1 is tumor tissue of about 6,400 cells per mm2; larger brings nuclei closer together,
        smaller further apart.
    overlap : float
        Share of nuclei that may overlap a neighbour in projection.
    myeloid_fraction : float
        Relative frequency of myeloid cells (1 is the default tissue; 0 makes none).
    without_nucleus : float
        Share of tumor and myeloid cells whose nucleus lies outside the section: stained, but no
        cell of the truth.
    out_of_focus : float
        Relative frequency of nuclei above or below the plane of focus (1 is the default; they are
        not in the truth).
    ligand_range_um, response_range_um : float
        Range of the smooth fields behind the TGFB1 of tumor cells and the IL1B of myeloid cells
        (um, as `nest_range_um`).
    smooth_share : float
        Share of the variance of each log level that is smooth in space; the rest is independent
        from cell to cell.
    ligand_sd, response_sd : float
        Standard deviation of the log level of TGFB1 over tumor cells and of IL1B over myeloid
        cells.
    effect : float
        True slope of the standardised log IL1B of a myeloid cell on its exposure (mean standardised
        log TGFB1 of its nearest tumor cells).
    confounding : float
        Share of the variance of both levels that comes from one common field of long range, without
        any effect between cells (0 to 1).
    confounding_range_um : float
        Range of that common field (um).
    ligand_shift, response_shift : float
        Added to the log level of every cell: a difference between patients or groups.
    blur_um : float
        Standard deviation of the optical blur (um).
    haze : float
        Share of the light that comes from out of focus, spread over several um.
    bleed : float
        Scale of the bleed-through between neighbouring channels (1 is the default matrix, 0 none).
    autofluorescence : float
        Scale of the tissue's own light (1 is the default).
    uneven : float
        Depth of uneven illumination (fraction of the signal).
    shot_noise, read_noise : float
        Counts per detected photon, and standard deviation of the read noise (counts).
    exposure_gain : float
        Scale of all signals (1 is the default).
    """

    size: tuple[int, int] = (2048, 2048)
    pixel_size_um: float = 0.5
    seed: int = 0
    nest_fraction: float = 0.48
    nest_range_um: float = 75.0
    follicle_fraction: float = 0.10
    hole_fraction: float = 0.03
    crowding: float = 1.0
    overlap: float = 0.04
    myeloid_fraction: float = 1.0
    without_nucleus: float = 0.05
    out_of_focus: float = 1.0
    ligand_range_um: float = 80.0
    response_range_um: float = 60.0
    smooth_share: float = 0.5
    ligand_sd: float = 0.6
    response_sd: float = 0.6
    effect: float = 0.0
    confounding: float = 0.0
    confounding_range_um: float = 400.0
    ligand_shift: float = 0.0
    response_shift: float = 0.0
    blur_um: float = 0.4
    haze: float = 0.15
    bleed: float = 1.0
    autofluorescence: float = 1.0
    uneven: float = 0.15
    shot_noise: float = 2.0
    read_noise: float = 6.0
    exposure_gain: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if min(self.size) < 1 or max(self.size) > 200_000:
            problems.append(f"size is {self.size}; height and width must be 1 to 200,000 px")
        if not 0.1 <= self.pixel_size_um <= 2:
            problems.append(f"pixel_size_um is {self.pixel_size_um}; 0.1 to 2 um can be simulated")
        if not 0 <= self.seed < 2**63:
            problems.append(f"seed is {self.seed}; it must be a whole number from 0 to 2^63 - 1")
        shares = (
            "nest_fraction",
            "follicle_fraction",
            "hole_fraction",
            "overlap",
            "without_nucleus",
            "smooth_share",
            "confounding",
            "haze",
        )
        problems += [
            f"{name} is {getattr(self, name)}; it must lie between 0 and 1"
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        positive = ("nest_range_um", "ligand_range_um", "response_range_um", "confounding_range_um")
        problems += [
            f"{name} is {getattr(self, name)}; it must be at least 5 um"
            for name in positive
            if not getattr(self, name) >= 5
        ]
        if not 0.3 <= self.crowding <= 2:
            problems.append(f"crowding is {self.crowding}; it must lie between 0.3 and 2")
        if problems:
            raise RequestError("cannot simulate: " + "; ".join(problems) + ".")
