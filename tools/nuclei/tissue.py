"""Simulated fields of nuclei for training: fast, varied, and with exact labels.

Not the project's tissue simulator (`ifquant.simulate`, which also makes cells and markers): this
one only has to be quick and to cover what real nuclear stains show: crowds, contacts, overlap,
elongated and lobed nuclei, chromatin texture, out-of-focus copies, debris, bleed-through of other
stains, autofluorescent fibres, uneven light. Noise, blur and quantisation come later, with the
augmentation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import measure

FIELD_PX = 384


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> NDArray[np.float32]:
    """Band-limited noise (size, size), zero mean, unit standard deviation, with structures of about
    `scale` px.
    """
    coarse = max(2, int(np.ceil(size / max(scale, 1.0))) + 3)
    noise = cv2.resize(
        rng.standard_normal((coarse, coarse)).astype(np.float32),
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_CUBIC,
    )
    noise = noise[:size, :size] if min(noise.shape) >= size else cv2.resize(noise, (size, size))
    return (noise - noise.mean()) / (noise.std() + 1e-6)


class Nucleus:
    """A contour r(angle) = radius * (1 + harmonics), stretched and turned, and the pixels it may
    cover.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        y: float,
        x: float,
        radius: float,
        aspect: float,
        angle: float,
        rough: float,
    ) -> None:
        self.y, self.x, self.radius = y, x, radius
        stretch = np.sqrt(aspect)
        order = np.arange(2, 6)
        amplitude = rng.normal(0, rough, order.size) / (order - 1)
        phase = rng.uniform(0, 2 * np.pi, order.size)
        reach = radius * stretch * (1 + np.abs(amplitude).sum()) + 2
        self.y0, self.x0 = int(np.floor(y - reach)), int(np.floor(x - reach))
        n = int(np.ceil(2 * reach)) + 2
        dy = (np.arange(n, dtype=np.float32) + self.y0 + 0.5 - y)[:, None]
        dx = (np.arange(n, dtype=np.float32) + self.x0 + 0.5 - x)[None, :]
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch
        v = (-dx * np.sin(angle) + dy * np.cos(angle)) * stretch
        theta = np.arctan2(v, u)
        r = np.hypot(u, v)
        contour = np.ones_like(r)
        for k, a, p in zip(order, amplitude, phase, strict=True):
            contour += np.float32(a) * np.cos(np.float32(k) * theta + np.float32(p))
        self.depth = r / (radius * np.maximum(contour, 0.3))  # 0 in the centre, 1 on the contour
        self.coverage = np.clip(
            (1 - self.depth) * radius / 1.2 + 0.5, 0, 1
        )  # soft, about a pixel wide

    def slices(self, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """(slices in the field, slices in the own patch), or None when the patch lies outside."""
        n = self.depth.shape[0]
        y0, x0, y1, x1 = (
            max(self.y0, 0),
            max(self.x0, 0),
            min(self.y0 + n, size),
            min(self.x0 + n, size),
        )
        if y0 >= y1 or x0 >= x1:
            return None
        field = (slice(y0, y1), slice(x0, x1))
        return field, (slice(y0 - self.y0, y1 - self.y0), slice(x0 - self.x0, x1 - self.x0))


def place(
    rng: np.random.Generator, size: int, radius: float, cover: float, gap: float, spread: float
) -> NDArray[np.float64]:
    """Centres and radii (n, 3): clustered, no two closer than `gap` x (sum of radii), until `cover`
    of the field is filled.
    """
    wanted = cover * size * size
    clumps = rng.uniform(-20, size + 20, (rng.integers(1, 12), 2))
    clustered = rng.uniform(0, 1)
    tight = rng.uniform(0, 0.8)
    placed = np.empty((0, 3))
    area = 0.0
    for _ in range(4000):
        if area >= wanted:
            break
        r = radius * np.exp(rng.normal(0, spread))
        kind = rng.uniform()
        if kind < tight and len(placed):  # next to one that is there: contacts
            near = placed[rng.integers(len(placed))]
            away, turn = (
                (near[2] + r) * rng.uniform(gap, max(1.15, gap + 0.05)),
                rng.uniform(0, 2 * np.pi),
            )
            y, x = near[0] + away * np.sin(turn), near[1] + away * np.cos(turn)
        elif kind < tight + (1 - tight) * clustered:
            y, x = clumps[rng.integers(len(clumps))] + rng.normal(0, size / 8, 2)
        else:
            y, x = rng.uniform(-10, size + 10, 2)
        if not (-15 < y < size + 15 and -15 < x < size + 15):
            continue
        if (
            len(placed)
            and (np.hypot(placed[:, 0] - y, placed[:, 1] - x) < gap * (placed[:, 2] + r)).any()
        ):
            continue
        placed = np.vstack([placed, (y, x, r)])
        area += np.pi * r * r
    return placed


def nuclei_layer(
    rng: np.random.Generator, size: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Image and labels of the nuclei in focus."""
    radius = float(np.exp(rng.uniform(np.log(5), np.log(13))))
    crowded = rng.uniform() < 0.6
    cover = rng.uniform(0.3, 0.8) if crowded else rng.uniform(0.02, 0.3)
    squeezed = (
        rng.uniform() < 0.5
    )  # neighbours press flat borders; else they overlap and their light adds
    gap = rng.uniform(0.72, 0.98)
    elongated = rng.choice([0.0, rng.uniform(0, 0.4), 1.0], p=[0.4, 0.45, 0.15])
    rough = rng.uniform(0.0, 0.12)
    lobed = rng.uniform(0, 0.25) if rng.uniform() < 0.3 else 0.0
    brightness_spread = rng.uniform(0.05, 0.55)
    dome = rng.uniform(0, 0.9)
    rim = rng.uniform(0, 0.35) if rng.uniform() < 0.3 else 0.0
    grain = rng.uniform(0, 0.35)
    fine, coarse = (
        smooth_noise(rng, size, rng.uniform(1.2, 3)),
        smooth_noise(rng, size, rng.uniform(3, 8)),
    )
    turn = smooth_noise(rng, size, 90) * 1.5 + rng.uniform(0, np.pi)
    image = np.zeros((size, size), np.float32)
    labels = np.zeros((size, size), np.int32)
    owner_depth = np.full((size, size), np.inf, np.float32)
    for number, (y, x, r) in enumerate(
        place(rng, size, radius, cover, gap, rng.uniform(0.08, 0.4)), 1
    ):
        long = rng.uniform() < elongated
        aspect = rng.uniform(1.6, 4.0) if long else np.exp(abs(rng.normal(0, 0.22)))
        local = turn[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))]
        angle = local + rng.normal(0, 0.35) if long else rng.uniform(0, np.pi)
        nucleus = Nucleus(
            rng, y, x, r, aspect, angle, rough + (lobed if rng.uniform() < 0.3 else 0)
        )
        where = nucleus.slices(size)
        if where is None:
            continue
        field, own = where
        depth, coverage = nucleus.depth[own], nucleus.coverage[own]
        profile = (
            1 - dome * np.minimum(depth, 1) ** 2 + rim * np.exp(-(((depth - 0.85) / 0.15) ** 2))
        )
        light = np.exp(rng.normal(0, brightness_spread)) * coverage * profile
        light = light * np.clip(1 + grain * (0.6 * fine[field] + 0.6 * coarse[field]), 0.15, 3)
        for _ in range(
            rng.integers(0, 4) if r > 6 and rng.uniform() < 0.4 else 0
        ):  # nucleoli (dark) or chromocentres (bright)
            cy, cx = rng.uniform(-0.5, 0.5, 2) * r
            dy = np.arange(field[0].start, field[0].stop)[:, None] + 0.5 - y - cy
            dx = np.arange(field[1].start, field[1].stop)[None, :] + 0.5 - x - cx
            light = light * (
                1
                + rng.choice([-0.6, 0.8])
                * np.exp(-(dy * dy + dx * dx) / (2 * (r * rng.uniform(0.08, 0.2)) ** 2))
            )
        inside = depth < 1
        if squeezed:
            wins = inside & (depth < owner_depth[field])
            closer = depth < owner_depth[field]
            seam = inside & (np.abs(depth - owner_depth[field]) * r < 1.3)
            image[field] = np.where(
                closer, light + image[field] * (1 - coverage), image[field]
            ) * np.where(seam, rng.uniform(0.5, 1.0), 1)
        else:
            wins = inside if rng.uniform() < 0.5 else inside & (labels[field] == 0)
            image[field] += light
        owner_depth[field] = np.where(
            inside, np.minimum(depth, owner_depth[field]), owner_depth[field]
        )
        labels[field] = np.where(wins, number, labels[field])
    return image, tidy(labels)


def tidy(labels: NDArray[np.int32], smallest: int = 16) -> NDArray[np.int32]:
    """Each connected piece becomes a nucleus of its own; slivers that a neighbour left over become
    background.
    """
    pieces = measure.label(labels, connectivity=1).astype(np.int32)
    area = np.bincount(pieces.ravel())
    keep = area >= smallest
    keep[0] = False
    return (np.cumsum(keep) * keep)[pieces].astype(np.int32)


def backdrop(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Light that is not a nucleus: haze, out-of-focus nuclei, debris, other stains' bleed-through,
    fibres.
    """
    light = np.full((size, size), rng.uniform(0, 0.15), np.float32)
    if rng.uniform() < 0.5:  # tissue haze
        light += rng.uniform(0, 0.15) * np.maximum(
            0, 1 + 0.7 * smooth_noise(rng, size, rng.uniform(15, 80))
        )
    if rng.uniform() < 0.45:  # nuclei above and below the focus
        far = np.zeros((size, size), np.float32)
        for _ in range(rng.integers(3, 60)):
            y, x = rng.uniform(0, size, 2)
            axes = rng.uniform(4, 14, 2)
            cv2.ellipse(
                far,
                ((x, y), (2 * axes[0], 2 * axes[1]), rng.uniform(0, 180)),
                float(rng.uniform(0.1, 0.6)),
                -1,
            )
        light += cv2.GaussianBlur(far, (0, 0), rng.uniform(2.5, 7))
    if rng.uniform() < 0.4:  # debris and micronuclei: too small to be a nucleus
        for _ in range(rng.integers(1, 40)):
            y, x = rng.uniform(0, size, 2)
            cv2.circle(
                light,
                (int(x * 8), int(y * 8)),
                int(8 * rng.uniform(0.4, 1.8)),
                float(rng.uniform(0.2, 1.5)),
                -1,
                cv2.LINE_AA,
                3,
            )
    if rng.uniform() < 0.25:  # bleed-through of a cytoplasmic or membrane stain
        cells = np.abs(smooth_noise(rng, size, rng.uniform(8, 18)))
        nests = np.clip(smooth_noise(rng, size, 90) * 1.5, 0, 1)
        light += (
            rng.uniform(0.05, 0.25)
            * nests
            * (np.exp(-cells * 6) if rng.uniform() < 0.5 else np.clip(cells, 0, 1.5))
        )
    if rng.uniform() < 0.2:  # collagen fibres
        fibres = np.zeros((size, size), np.float32)
        for _ in range(rng.integers(2, 12)):
            start, turn = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
            bends = turn + np.cumsum(rng.normal(0, 0.15, (2, 40)), axis=1)
            steps = np.cumsum(10 * np.stack([np.cos(bends[0]), np.sin(bends[1])], 1), 0)
            light_of, thick = float(rng.uniform(0.05, 0.35)), int(rng.integers(1, 4))
            cv2.polylines(
                fibres, [(start + steps).astype(np.int32)], False, light_of, thick, cv2.LINE_AA
            )
        light += cv2.GaussianBlur(fibres, (0, 0), rng.uniform(0.7, 1.5))
    return light


def field(seed: int, size: int = FIELD_PX) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """One field for training: image (size, size) float32 (nuclei about 1, no noise) and labels, a
    function of the seed alone.
    """
    rng = np.random.default_rng([seed, 20261123])
    nuclei, labels = nuclei_layer(rng, size)
    image = nuclei + backdrop(rng, size) * rng.uniform(0.3, 1.2)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.1)), labels
