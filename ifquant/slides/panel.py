"""The panel: which channel of one file is which channel of the recipe."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from ifquant.errors import SlideError
from ifquant.recipe.model import Channel, Recipe


@dataclass(frozen=True)
class Panel:
    """The recipe's channels found in a file, in the recipe's order.

    Attributes
    ----------
    channels
        The recipe's channels, `ignore` left out.
    indices
        Their positions in the file.
    """

    channels: tuple[Channel, ...]
    indices: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Marker names as the user wrote them."""
        return tuple(channel.name for channel in self.channels)

    def position(self, name: str) -> int:
        """Position of a marker within the panel."""
        return self.names.index(name)

    def positions(self, *roles: str) -> tuple[int, ...]:
        """Positions of the channels with one of these roles."""
        return tuple(i for i, channel in enumerate(self.channels) if channel.role in roles)

    def nucleus(self, wanted: str | None = None) -> int | None:
        """Position of the channel nuclei are found in; None without one (masks made elsewhere)."""
        if wanted is not None:
            return self.position(wanted)
        found = self.positions("nucleus")
        return found[0] if found else None


def find_panel(recipe: Recipe, file_channels: tuple[str, ...]) -> Panel:
    """Match the recipe's channels to those of a file: by name, then alias, then index.

    Raises
    ------
    SlideError
        If a channel is not in the file, listing all that are missing with the nearest names.
    """
    wanted = [channel for channel in recipe.channels if channel.role != "ignore"]
    lookup = {name.strip().casefold(): i for i, name in enumerate(file_channels)}
    indices: list[int] = []
    problems: list[str] = []
    for channel in wanted:
        index = next(
            (
                lookup[n.strip().casefold()]
                for n in (channel.name, *channel.aliases)
                if n.strip().casefold() in lookup
            ),
            channel.index,
        )
        if index is None:
            near = difflib.get_close_matches(channel.name, file_channels, n=2, cutoff=0.4)
            problems.append(
                f"channel {channel.name!r} is not in the file"
                + (f" (near: {', '.join(near)})" if near else "")
            )
        elif index >= len(file_channels):
            problems.append(
                f"channel {channel.name!r} has index {index}, but the file has {len(file_channels)}"
                " channels"
            )
        elif index in indices:
            problems.append(
                f"channel {channel.name!r} is the same plane as"
                f" {wanted[indices.index(index)].name!r}"
            )
        else:
            indices.append(index)
    if problems:
        raise SlideError(
            f"{'; '.join(problems)}. The file's channels are {', '.join(map(repr, file_channels))}."
            " Correct [[channels]] in the recipe, or give aliases = [...] or index = N."
        )
    return Panel(tuple(wanted), tuple(indices))
