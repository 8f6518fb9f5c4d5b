"""Write example_images/: three simulated slides and their sample sheet. The same bytes every time
on one machine.

Run `python tools/make_examples.py [folder]`. The recipe is written by hand and stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ifquant.files.storage import write_text
from ifquant.simulation.simulated_slides import write_slide
from ifquant.simulation.simulated_window import SimulationOptions

FOLDER = Path(__file__).resolve().parents[1] / "example_images"
SIDE_PX = 640
SLIDES = {
    # slide: (patient, group, options). Small fields need small nests to show a border, and more
    # myeloid cells to count.
    "example_1": (
        "P1",
        "responder",
        SimulationOptions(
            size=(SIDE_PX, SIDE_PX), seed=21, nest_range_um=70, myeloid_fraction=1.5, effect=0.8
        ),
    ),
    "example_2": (
        "P2",
        "responder",
        SimulationOptions(
            size=(SIDE_PX, SIDE_PX), seed=22, nest_range_um=60, myeloid_fraction=1.5, effect=0.8
        ),
    ),
    "example_3": (
        "P3",
        "non-responder",
        SimulationOptions(size=(SIDE_PX, SIDE_PX), seed=23, nest_range_um=80, ligand_shift=-0.4),
    ),
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    rows = ["slide,path,patient,group"]
    for name, (patient, group, options) in SLIDES.items():
        path = write_slide(folder, name, options, pyramid=False, truth=False)
        rows.append(f"{name},{path.name},{patient},{group}")
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    write_text(folder / "samples.csv", "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
