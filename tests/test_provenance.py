"""A digest changes with what a stage depends on, and with nothing else."""

from typing import Any

import pytest

from ifquant.provenance import stage_digests
from ifquant.recipe.model import Channel, Gate, Gates, Measure, Outputs, Picture, Priming, Recipe

BASE = Recipe(channels=(Channel(name="DAPI", role="nucleus"), Channel(name="CK", role="tumor")))


@pytest.mark.parametrize(
    ("update", "changed"),
    [
        ({"measure": Measure(statistics=("mean",))}, {"cells", "table", "pictures"}),
        ({"seed": 3}, {"cells", "table", "pictures"}),
        ({"gates": Gates(default=Gate(method="otsu"))}, {"table", "pictures"}),
        ({"phenotypes": {"tumor": "CK+"}}, {"table", "pictures"}),
        ({"priming": Priming(response="A", ligand="B")}, {"table", "pictures"}),
        ({"picture": Picture(pair_lines=True)}, {"pictures"}),
        ({"outputs": Outputs(csv=False)}, {"pictures"}),
        ({}, set()),
    ],
)
def test_only_later_stages_see_a_change(update: dict[str, Any], changed: set[str]) -> None:
    before = stage_digests(BASE, {"image": "a"})
    after = stage_digests(BASE.model_copy(update=update), {"image": "a"})
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_inputs_change_every_stage() -> None:
    assert not set(stage_digests(BASE, {"image": "a"}).values()) & set(
        stage_digests(BASE, {"image": "b"}).values()
    )


def test_a_channels_compartment_never_remeasures() -> None:
    moved = BASE.model_copy(
        update={
            "channels": (BASE.channels[0], Channel(name="CK", role="tumor", compartment="soma"))
        }
    )
    before, after = stage_digests(BASE, {}), stage_digests(moved, {})
    assert before["cells"] == after["cells"]
    assert before["table"] != after["table"]
