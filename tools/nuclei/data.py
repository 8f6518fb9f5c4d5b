"""Training crops, cut from labelled images and simulated fields (`banks`) and heavily augmented.

Every crop is a function of (seed, step, place in the batch), so a resumed run sees the crops that
it would have seen.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from .targets import target_maps

if TYPE_CHECKING:
    from .banks import Bank

SMALLEST_PX, LARGEST_PX = 7.0, 60.0
"""Range of nucleus diameters the network is trained for, in pixels of its input."""
MILD = 0.4
"""Share of the crops whose image is not degraded."""
CLIP = (-0.2, 2.0)
"""Range of the network's input; `ifquant.unet` clips in the same way."""

Picture = tuple[NDArray[np.float32], NDArray[np.int32]]


def held_out_groups(rows: list[dict[str, str]], fraction: float = 0.1) -> set[str]:
    """Return the groups of the training split that are kept for tuning: drawn with a fixed seed
    until a tenth of the images is held out.
    """
    train = [row["group"] for row in rows if row["split"] == "train"]
    groups = sorted(set(train))
    held: set[str] = set()
    images = 0
    for index in np.random.default_rng(3).permutation(len(groups)):
        if images >= fraction * len(train):
            break
        size = train.count(groups[index])
        if size > 0.05 * len(train):  # one mosaic must not be the whole tuning set
            continue
        held.add(groups[index])
        images += size
    return held


def read_dsb(folder: Path, part: str) -> list[Picture]:
    """Read images (float32, raw values) and labels of `part`: "train" (without the held-out tenth),
    "tune" (that tenth) or "val".
    """
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    held = held_out_groups(rows)
    kind = {"train": "train", "tune": "train", "val": "val"}[part]
    pictures = []
    for row in rows:
        if row["split"] == kind and (part == "val" or (row["group"] in held) == (part == "tune")):
            image = tifffile.imread(folder / "images" / f"{row['id']}.tif").astype(np.float32)
            pictures.append(
                (image, tifffile.imread(folder / "masks" / f"{row['id']}.tif").astype(np.int32))
            )
    return pictures


def normalised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image on the scale of its own 1st (0) and 99.8th (1) percentile."""
    low, high = np.percentile(image, [1, 99.8])
    return ((image - low) / max(high - low, 1e-3)).astype(np.float32)


def median_diameter(labels: NDArray[np.int32]) -> float:
    """Return the diameter of the circle with the median area (px); 16 when there is no object."""
    area = np.bincount(labels.ravel())[1:]
    area = area[area > 0]
    return float(2 * np.sqrt(np.median(area) / np.pi)) if area.size else 16.0


def warp(
    rng: np.random.Generator, picture: Picture, size: int, diameter: float, near: float = 0.85
) -> Picture:
    """Cut a random turned, mirrored and scaled crop; the share `near` of them centred near a
    nucleus.
    """
    image, labels = picture
    height, width = labels.shape
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(2.2))))
    if rng.uniform() < 0.5:  # half the crops near the working scale (nuclei of 10 to 30 px)
        scale = float(np.exp(rng.uniform(np.log(10), np.log(30)))) / diameter
    scale = float(
        np.clip(
            scale,
            max(0.3, SMALLEST_PX / diameter),
            max(SMALLEST_PX / diameter, min(4.0, LARGEST_PX / diameter)),
        )
    )
    stretch = np.exp(rng.uniform(-0.12, 0.12)) if rng.uniform() < 0.3 else 1.0
    turn = rng.uniform(0, 2 * np.pi) if rng.uniform() < 0.6 else rng.integers(4) * np.pi / 2
    mirror = rng.choice([-1, 1])
    centre = rng.uniform(0, 1, 2) * (width, height)
    if rng.uniform() < near:
        for _ in range(20):
            y, x = int(rng.integers(height)), int(rng.integers(width))
            if labels[y, x]:
                centre = np.array([x, y]) + rng.normal(0, size / 6, 2) / scale
                break
    half = np.minimum(size / 2 / scale, (width / 2, height / 2))
    centre = np.clip(centre, half, (width, height) - half)  # few pixels from beyond the border
    matrix = (
        np.array(
            [
                [np.cos(turn) * mirror * stretch, -np.sin(turn) * stretch],
                [np.sin(turn) * mirror, np.cos(turn)],
            ]
        )
        * scale
    )
    matrix = np.concatenate([matrix, (size / 2 - matrix @ centre)[:, None]], 1).astype(np.float32)
    image, labels, matrix = surroundings(
        image, labels, matrix, centre, size * 0.75 * max(1.0, stretch) / scale + 8
    )
    if scale < 0.8:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    interpolation = cv2.INTER_CUBIC if scale > 1 and rng.uniform() < 0.5 else cv2.INTER_LINEAR
    x = cv2.warpAffine(
        image, matrix, (size, size), flags=interpolation, borderMode=cv2.BORDER_REFLECT_101
    )
    y = cv2.warpAffine(
        labels.astype(np.float32),
        matrix,
        (size, size),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return x, y.astype(np.int32)


def surroundings(
    image: NDArray[np.float32],
    labels: NDArray[np.int32],
    matrix: NDArray[np.float32],
    centre: NDArray[np.float64],
    reach: float,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Cut out what a warp needs of a large image (less to blur and convert), and shift its matrix
    accordingly.
    """
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, (image.shape[1], image.shape[0]))
    matrix = matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ low.astype(np.float32)
    return (
        image[low[1] : high[1], low[0] : high[0]],
        labels[low[1] : high[1], low[0] : high[0]],
        matrix,
    )


def paste(rng: np.random.Generator, below: Picture, above: Picture) -> Picture:
    """Raise the density: nuclei of `above` are put where they cover at most a quarter of themselves
    with others.
    """
    (image, labels), (other, other_labels) = below, above
    image, labels = image.copy(), labels.copy()
    number = int(labels.max())
    edge = np.concatenate(
        [other_labels[0], other_labels[-1], other_labels[:, 0], other_labels[:, -1]]
    )
    for index in np.setdiff1d(np.unique(other_labels), np.append(edge, 0)):
        inside = other_labels == index
        area = np.count_nonzero(inside)
        if area < 25 or np.count_nonzero(labels[inside]) > 0.25 * area or rng.uniform() < 0.2:
            continue
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)
        image = np.maximum(image * (1 - soft) + other * soft, image * (1 - 0.5 * soft))
        number += 1
        labels[inside] = number
    return image, labels


def surface(rng: np.random.Generator, size: int, low: float, high: float) -> NDArray[np.float32]:
    """Make a smooth random surface with values of about low..high."""
    return cv2.resize(
        rng.uniform(low, high, (3, 3)).astype(np.float32),
        (size, size),
        interpolation=cv2.INTER_CUBIC,
    )


def degrade(rng: np.random.Generator, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change brightness, gamma, light gradients, blur, shot and read noise, 8-bit steps and
    JPEG.
    """
    size = x.shape[0]
    low, high = (
        rng.uniform(-0.12, 0.12),
        1 + rng.uniform(-0.3, 0.3),
    )  # a poor estimate of the percentiles
    if rng.uniform() < 0.5:
        x = np.sign(x) * np.abs(x) ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    x = (x - low) / np.float32(high - low)
    if rng.uniform() < 0.1:  # a faint field in a bright slide
        x = x * np.float32(rng.uniform(0.25, 0.7))
    if rng.uniform() < 0.3:
        x = x * surface(rng, size, 0.4, 1.4)
    if rng.uniform() < 0.3:
        x = x + surface(rng, size, 0, 0.4)
    if rng.uniform() < 0.35:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.8))
    if rng.uniform() < 0.1:  # coarse pixels, enlarged
        small = int(size / rng.uniform(1.3, 2.5))
        x = cv2.resize(
            cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA),
            (size, size),
            interpolation=cv2.INTER_LINEAR,
        )
    if rng.uniform() < 0.5:
        x = x + np.sqrt(np.maximum(x, 0)) * rng.standard_normal(x.shape, np.float32) * np.float32(
            rng.uniform(0.01, 0.15)
        )
    if rng.uniform() < 0.5:
        x = x + rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(0.005, 0.1))
    if rng.uniform() < 0.15:
        x = np.round(x * rng.integers(16, 80)) / np.float32(60)
    if rng.uniform() < 0.1:
        coded = cv2.imencode(
            ".jpg",
            np.clip(x * 127 + 25, 0, 255).astype(np.uint8),
            [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))],
        )[1]
        x = (cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE).astype(np.float32) - 25) / 127
    return np.clip(x, *CLIP).astype(np.float32)


def defocused(
    rng: np.random.Generator, x: NDArray[np.float32], other: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Add another crop as it would look far above or below the focus; nothing in it is to be
    found.
    """
    blurred = cv2.GaussianBlur(np.clip(other, *CLIP), (0, 0), rng.uniform(2.5, 8))
    strength = np.float32(rng.uniform(0.15, 0.8))
    return (x + strength * blurred) / (1 + strength * np.float32(rng.uniform(0, 0.7)))


def cluttered(
    rng: np.random.Generator, x: NDArray[np.float32], light: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Add a piece of a field of fibres, smears and grains, turned and mirrored."""
    size = x.shape[0]
    top, left = rng.integers(0, np.array(light.shape) - size + 1)
    piece = np.rot90(light[top : top + size, left : left + size], rng.integers(4))
    piece = piece[::-1] if rng.uniform() < 0.5 else piece
    strength = np.float32(np.exp(rng.uniform(np.log(0.15), np.log(1.2))))
    return (x + strength * np.clip(piece, 0, 1.5)) / (
        1 + strength * np.float32(rng.uniform(0, 0.7))
    )


class Crops(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless batches (images (B, 1, S, S), maps (B, 3, S, S)) from step `start`.

    Parameters
    ----------
    real
        Labelled images for half of the crops (the other half is simulated), where no `banks` are
        given.
    banks
        Sources with their shares.
    """

    def __init__(
        self,
        real: list[Picture],
        *,
        seed: int,
        start: int,
        batch: int,
        size: int,
        pool: int = 300,
        cache: Path | None = None,
        banks: list[Bank] | None = None,
    ) -> None:
        from . import banks as made

        fields = made.simulated(seed, pool, cache)["nuclei"]
        half = [made.Bank("real", 0.5, made.Stored(real), dense=True)] if real else []
        self.banks = banks or [*half, made.Bank("nuclei", 1.0 - 0.5 * len(half), fields)]
        self.clutter = made.Renewed(
            made.section.clutter, pool // 3 or 1, 60, cache / "clutter" if cache else None
        )
        self.seed, self.start, self.batch, self.size = seed, start, batch, size
        self.shares = np.cumsum([bank.share for bank in self.banks])

    def cut(self, rng: np.random.Generator, step: int) -> tuple[Picture, Bank, Any]:
        """Cut a crop out of a bank drawn by its share; also return the bank and the image."""
        bank = self.banks[
            min(int(np.searchsorted(self.shares, rng.uniform())), len(self.banks) - 1)
        ]
        image, labels, diameter = picked = bank.fields.pick(rng, step)
        return warp(rng, (image, labels), self.size, diameter, bank.near), bank, picked

    def crop(self, step: int, place: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make crop number `place` of the batch of `step`."""
        rng = np.random.default_rng([self.seed, step, place])
        (x, y), bank, (image, labels, diameter) = self.cut(rng, step)
        if bank.dense and rng.uniform() < 0.2:
            x, y = paste(rng, (x, y), warp(rng, (image, labels), self.size, diameter))
        if rng.uniform() < 0.15:
            x = defocused(rng, x, self.cut(rng, step)[0][0])
        if rng.uniform() < 0.25:
            x = cluttered(rng, x, self.clutter.pick(rng, step)[0])
        present = np.bincount(y.ravel()) > 0
        present[0] = False
        y = (np.cumsum(present) * present)[y].astype(np.int32)  # numbered 1..n
        mild = (
            rng.uniform() < MILD
        )  # images as they are: where annotators drew the border shows in fine detail only
        x = (
            np.clip(x * np.float32(np.exp(rng.normal(0, 0.1))), *CLIP).astype(np.float32)
            if mild
            else degrade(rng, x)
        )
        return x[None], target_maps(y)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(0)
        step = self.start
        while True:
            for fields in [self.clutter, *(bank.fields for bank in self.banks)]:
                fields.forget(step)
            crops = [self.crop(step, place) for place in range(self.batch)]
            yield (
                torch.from_numpy(np.stack([c[0] for c in crops])),
                torch.from_numpy(np.stack([c[1] for c in crops])),
            )
            step += 1


def tissue_field(number: int, size: int = 512) -> Picture:
    """Make field `number` of ifquant's own simulator: from the default tissue to dim nuclei in
    bright, textured tissue.
    """
    from ifquant.simulation.options import SimulationOptions
    from ifquant.simulation.simulated_window import simulate_field

    rng = np.random.default_rng([number, 20261123])
    options = SimulationOptions(size=(size, size), seed=10_000 + number)
    if number % 3:
        options = replace(
            options,
            pixel_size_um=float(rng.uniform(0.35, 0.6)),
            crowding=float(rng.uniform(0.7, 1.5)),
            overlap=float(rng.uniform(0.0, 0.12)),
            out_of_focus=float(rng.uniform(0, 3)),
            blur_um=float(rng.uniform(0.25, 0.7)),
            haze=float(rng.uniform(0.05, 0.4)),
            bleed=float(rng.uniform(0, 5)),
            autofluorescence=float(np.exp(rng.uniform(0, np.log(8)))),
            exposure_gain=float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))),
        )
    field = simulate_field(options)
    _, labels = np.unique(field.nuclei, return_inverse=True)
    return field.image[0].astype(np.float32), labels.reshape(size, size).astype(np.int32)
