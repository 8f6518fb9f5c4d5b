"""Where training crops come from: labelled images by source, and simulated fields, each with its
share of the crops.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from . import data, section, tissue

Scaled = tuple[NDArray[np.float32], NDArray[np.int32], float]
"""Normalised image, labels, median diameter in px."""

OPEN = ("nuclei_dsb2018", "bitdepth_tissue", "aitslab_u2os_nuclei")
"""Sources under CC0, Apache-2.0 and CC BY 4.0."""
MORE = ("bitdepth_tissue", "aitslab_u2os_nuclei", "pecot_polyps", "pecot_intestine")
SHARES = {
    "nuclei_dsb2018": 0.20,
    "bitdepth_tissue": 0.12,
    "aitslab_u2os_nuclei": 0.04,
    "pecot_polyps": 0.15,
    "pecot_intestine": 0.15,
    "nuclei": 0.07,
    "tissue": 0.06,
    "epithelium": 0.10,
    "section": 0.11,
}
"""Share of the crops by source; those of sources that are left out go to the others."""
NEAR = {"bitdepth_tissue": 0.5, "section": 0.3, "aitslab_u2os_nuclei": 0.6}
"""Share of a source's crops that lie near a nucleus, where it is not 0.85: anywhere else there is
something to be left alone."""
HELD_OUT = {
    "bitdepth_tissue": (
        "heart_20x_2",
        "heart_63x_oil_3",
        "muscle_20x_2",
        "muscle_40x_oil_3",
        "bone_40x_air_3",
        "bone_40x_oil_3",
    ),
    "aitslab_u2os_nuclei": ("170702000001_B", "170702000001_D"),
    "pecot_polyps": ("10837_39273_1_2", "12699_39273_0_2", "12699_39273_1_2"),
    "pecot_intestine": ("E2F3A_EdU_mouse1", "E2F4_pH3_mouse1"),
}
"""Images of the training split, by parts of their names, on which choices are made: never trained
on."""


def is_held_out(source: str, name: str) -> bool:
    """Whether an image of the training split is kept for tuning."""
    return any(part in name for part in HELD_OUT[source])


def read_source(
    folder: Path, source: str, part: str
) -> list[tuple[str, data.Picture, float | None]]:
    """Read a source of the folder `nuclei_more`: names, images (float32, raw values) with labels,
    and pixel size (um) where stated.

    Parameters
    ----------
    part
        "train" (without the held-out images), "tune" (those) or "val".
    """
    with open(folder / "manifest.csv", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["source"] == source and row["split"] == ("val" if part == "val" else "train")
        ]
    pictures = []
    for row in rows:
        if part == "val" or is_held_out(source, row["name"]) == (part == "tune"):
            image, labels = (
                tifffile.imread(folder / source / kind / f"{row['name']}.tif")
                for kind in ("images", "masks")
            )
            pictures.append(
                (
                    row["name"],
                    (image.astype(np.float32), labels.astype(np.int32)),
                    stated_pixel_size(row),
                )
            )
    return pictures


def stated_pixel_size(row: dict[str, str]) -> float | None:
    """Return the pixel size (um) of a row of the manifest: recorded, or told by its note as one
    number; None where neither is so.
    """
    told = re.search(r"about (\d\.\d+) if", row["pixel_size_note"])
    size = row["pixel_size_um"] or (told.group(1) if told else "")
    return float(size) if size else None


class Stored:
    """Labelled images that are all kept in memory."""

    def __init__(self, pictures: list[data.Picture]) -> None:
        self.pictures = [
            (data.normalised(image), labels, data.median_diameter(labels))
            for image, labels in pictures
        ]

    def pick(self, rng: np.random.Generator, step: int) -> Scaled:
        """Return one at random."""
        return self.pictures[rng.integers(len(self.pictures))]

    def forget(self, step: int) -> None:
        """Keep everything."""


class Renewed:
    """Simulated fields, made when first asked for; a window of `pool` is kept, one is renewed every
    `renew` steps (0: never).
    """

    def __init__(
        self,
        make: Callable[[int], data.Picture],
        pool: int,
        renew: int = 12,
        cache: Path | None = None,
    ) -> None:
        self.make, self.pool, self.renew, self.cache = make, pool, renew, cache
        self.fields: dict[int, Scaled] = {}

    def first(self, step: int) -> int:
        """Return the number of the first field of the window."""
        return step // self.renew if self.renew else 0

    def pick(self, rng: np.random.Generator, step: int) -> Scaled:
        """Return one of the window at random."""
        index = self.first(step) + int(rng.integers(self.pool))
        if index not in self.fields:
            image, labels = self.stored_field(index)
            self.fields[index] = (data.normalised(image), labels, data.median_diameter(labels))
        return self.fields[index]

    def forget(self, step: int) -> None:
        """Let go of fields that have left the window."""
        for old in [index for index in self.fields if index < self.first(step)]:
            del self.fields[old]

    def stored_field(self, index: int) -> data.Picture:
        """Return a field from the cache on disk, if there is one; made, and kept there, if not."""
        path = self.cache / f"{index:06d}.npz" if self.cache else None
        if path and path.exists():
            with np.load(path) as stored:
                return stored["image"].astype(np.float32), stored["labels"].astype(np.int32)
        image, labels = self.make(index)
        half = image.astype(np.float16)  # as it is kept, so that a resumed run sees the same
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, image=half, labels=labels.astype(np.uint16))
            partial.replace(path)
        return half.astype(np.float32), labels


@dataclass(frozen=True)
class Bank:
    """A source with its share of the crops.

    Attributes
    ----------
    near
        Share of its crops that are centred near a nucleus.
    dense
        Whether nuclei of a second crop may be pasted in.
    """

    name: str
    share: float
    fields: Stored | Renewed
    near: float = 0.85
    dense: bool = False


def simulated(seed: int, pool: int, cache: Path | None) -> dict[str, Renewed]:
    """Return the simulated fields by kind."""
    base = seed * 10_000_000

    def of(
        make: Callable[[int], data.Picture], name: str, offset: int = base, renew: int = 12
    ) -> Renewed:
        return Renewed(
            lambda number: make(offset + number), pool, renew, cache / name if cache else None
        )

    return {
        "nuclei": of(tissue.field, "nuclei"),
        "tissue": of(data.tissue_field, "tissue", 0, 0),
        "epithelium": of(section.epithelium, "epithelium"),
        "section": of(section.section, "section"),
    }


def all_banks(
    folder: Path | None, *, licences: str, seed: int, pool: int, cache: Path | None
) -> list[Bank]:
    """Return every source that is there, its share as in `SHARES`.

    Parameters
    ----------
    folder
        Holds `nuclei_dsb2018` and `nuclei_more`; None: simulated fields only.
    licences
        "all", or "open" for the sources in `OPEN` only.
    """
    fields: dict[str, Stored | Renewed] = {}
    if folder and (folder / "nuclei_dsb2018").exists():
        fields["nuclei_dsb2018"] = Stored(data.read_dsb(folder / "nuclei_dsb2018", "train"))
    if folder and (folder / "nuclei_more").exists():
        for source in MORE:
            if licences == "all" or source in OPEN:
                fields[source] = Stored(
                    [
                        picture
                        for _, picture, _ in read_source(folder / "nuclei_more", source, "train")
                    ]
                )
    fields |= simulated(seed, pool, cache)
    whole = sum(SHARES[name] for name in fields)
    return [
        Bank(name, SHARES[name] / whole, one, NEAR.get(name, 0.85), isinstance(one, Stored))
        for name, one in fields.items()
    ]
