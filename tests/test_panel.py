"""A recipe finds its channels in files with other orders and names."""

import pytest

from ifquant.errors import SlideError
from ifquant.recipe.model import Channel, Recipe
from ifquant.slides.panel import find_panel

RECIPE = Recipe(
    channels=(
        Channel(name="DAPI", role="nucleus", aliases=("Hoechst",)),
        Channel(name="PanCK", role="tumor"),
        Channel(name="AF", role="ignore"),
        Channel(name="IL1B"),
    )
)


@pytest.mark.parametrize(
    ("file", "indices"),
    [
        (("DAPI", "PanCK", "AF", "IL1B"), (0, 1, 3)),
        (("IL1B", "PanCK", "DAPI"), (2, 1, 0)),
        (("x", " hoechst ", "il1b", "PANCK"), (1, 3, 2)),
    ],
)
def test_channels_are_found_by_name(file: tuple[str, ...], indices: tuple[int, ...]) -> None:
    panel = find_panel(RECIPE, file)
    assert panel.indices == indices
    assert panel.names == ("DAPI", "PanCK", "IL1B")
    assert panel.nucleus() == 0
    assert panel.positions("tumor", "myeloid") == (1,)


def test_missing_channels_are_all_named_with_near_ones() -> None:
    with pytest.raises(
        SlideError, match=r"'PanCK' is not in the file \(near: PanCk1\); channel 'IL1B'"
    ):
        find_panel(RECIPE, ("DAPI", "PanCk1"))


def test_index_serves_files_without_names() -> None:
    recipe = Recipe(
        channels=(Channel(name="DNA", index=1, role="nucleus"), Channel(name="CK", index=0))
    )
    assert find_panel(recipe, ("channel 0", "channel 1")).indices == (1, 0)


def test_two_channels_cannot_share_a_plane() -> None:
    recipe = Recipe(
        channels=(Channel(name="DNA", index=0, role="nucleus"), Channel(name="CK", index=0))
    )
    with pytest.raises(SlideError, match="same plane"):
        find_panel(recipe, ("a", "b"))
