"""Simulated fields of what thick sections show: palisades of epithelium, chromocentres, defocus,
and light that is no nucleus.

Each kind answers a failure seen on real tissue: nuclei merged or cut in pseudostratified
epithelium, mouse nuclei split at their bright chromocentres, nuclei above and below the focus, pale
nuclei beside bright ones, fibres, smears and granular cytoplasm taken for nuclei.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .tissue import FIELD_PX, Nucleus, smooth_noise, tidy

Image = NDArray[np.float32]


@dataclass
class Style:
    """How the nuclei of one field look; drawn once per field.

    Attributes
    ----------
    spots
        Largest number of chromocentres in a nucleus (0: none); `spot_light` their brightness
        against the rest.
    pale
        Share of the nuclei that are pale, by the factor `paleness`.
    owner
        True: a pixel in two nuclei belongs to the one whose centre is nearer; False: to the one
        drawn later.
    """

    spots: int
    spot_light: float
    pale: float
    paleness: float
    spread: float
    dome: float
    rim: float
    grain: float
    rough: float
    owner: bool
    adds: float
    fine: Image
    coarse: Image


def draw_style(rng: np.random.Generator, size: int) -> Style:
    """Draw the look of a field."""
    spots = rng.uniform() < 0.4
    pale = rng.uniform() < 0.45
    return Style(
        spots=int(rng.integers(3, 9)) if spots else 0,
        spot_light=float(rng.uniform(0.5, 2.5)),
        pale=float(rng.uniform(0.2, 0.6)) if pale else 0.0,
        paleness=float(rng.uniform(0.2, 0.55)),
        spread=float(rng.uniform(0.05, 0.35)),
        dome=float(rng.uniform(0, 0.7)),
        rim=float(rng.uniform(0, 0.4)) if rng.uniform() < 0.4 else 0.0,
        grain=float(rng.uniform(0.05, 0.45)),
        rough=float(rng.uniform(0.0, 0.08)),
        owner=bool(rng.uniform() < 0.6),
        adds=float(rng.uniform(0.2, 1.0)),
        fine=smooth_noise(rng, size, rng.uniform(1.2, 2.5)),
        coarse=smooth_noise(rng, size, rng.uniform(2.5, 6)),
    )


class Layer:
    """Light, labels and depth (0 in a nucleus' centre, 1 on its contour) of the nuclei drawn so
    far.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = np.zeros((size, size), np.float32)
        self.labels = np.zeros((size, size), np.int32)
        self.depth = np.full((size, size), np.inf, np.float32)
        self.number = 0

    def draw(
        self,
        rng: np.random.Generator,
        style: Style,
        y: float,
        x: float,
        radius: float,
        aspect: float,
        angle: float,
    ) -> None:
        """Add one nucleus."""
        nucleus = Nucleus(rng, y, x, radius, aspect, angle, style.rough)
        where = nucleus.slices(self.size)
        if where is None:
            return
        field, own = where
        depth, coverage = nucleus.depth[own], nucleus.coverage[own]
        light = coverage * (
            1
            - style.dome * np.minimum(depth, 1) ** 2
            + style.rim * np.exp(-(((depth - 0.85) / 0.15) ** 2))
        )
        light = light * np.clip(
            1 + style.grain * (0.6 * style.fine[field] + 0.6 * style.coarse[field]), 0.2, 3
        )
        light = (
            light
            * np.exp(rng.normal(0, style.spread))
            * (style.paleness if rng.uniform() < style.pale else 1.0)
        )
        if style.spots:
            light = light * chromocentres(rng, style, depth, radius)
        before = self.image[field]
        self.image[field] = np.maximum(before, light) + style.adds * np.minimum(before, light)
        inside = depth < 1
        wins = inside & (depth < self.depth[field]) if style.owner else inside
        self.number += 1
        self.labels[field] = np.where(wins, self.number, self.labels[field])
        self.depth[field] = np.where(
            inside, np.minimum(depth, self.depth[field]), self.depth[field]
        )


def chromocentres(rng: np.random.Generator, style: Style, depth: Image, radius: float) -> Image:
    """Factor on a nucleus' light: bright spots within it, on darker ground between."""
    height, width = depth.shape
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    factor = np.full(depth.shape, rng.uniform(0.6, 1.0), np.float32)
    inside = np.argwhere(depth < 0.85)
    for _ in range(rng.integers(1, style.spots + 1) if len(inside) else 0):
        cy, cx = inside[rng.integers(len(inside))]
        sigma = max(0.6, radius * rng.uniform(0.09, 0.2))
        factor += np.float32(style.spot_light) * np.exp(
            -((yy - cy) ** 2 + (xx - cx) ** 2) / np.float32(2 * sigma * sigma)
        )
    return factor


def curves(rng: np.random.Generator, size: int) -> list[NDArray[np.float64]]:
    """Lines (n, 2) in px that an epithelium follows: cross-cut crypts (closed) or folds (open)."""
    lines = []
    t = np.linspace(0, 1, 400)
    if rng.uniform() < 0.5:
        for _ in range(rng.integers(3, 12)):
            centre, axes, turn = (
                rng.uniform(0, size, 2),
                rng.uniform(14, 75, 2),
                rng.uniform(0, 2 * np.pi),
            )
            wave = 1 + rng.uniform(0, 0.15) * np.sin(
                rng.integers(2, 6) * 2 * np.pi * t + rng.uniform(0, 6)
            )
            u, v = axes[0] * wave * np.cos(2 * np.pi * t), axes[1] * wave * np.sin(2 * np.pi * t)
            lines.append(
                centre
                + np.stack(
                    [u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], 1
                )
            )
        return lines
    turn, step = rng.uniform(0, np.pi), rng.uniform(26, 90)
    amplitude, waves, phase = rng.uniform(0, 30), rng.uniform(0.5, 4), rng.uniform(0, 6)
    along = (t - 0.5) * 1.6 * size
    for offset in np.arange(-0.75 * size, 0.75 * size, step):
        away = (
            offset + rng.normal(0, 0.1 * step) + amplitude * np.sin(2 * np.pi * waves * t + phase)
        )
        lines.append(
            size / 2
            + np.stack(
                [
                    along * np.cos(turn) - away * np.sin(turn),
                    along * np.sin(turn) + away * np.cos(turn),
                ],
                1,
            )
        )
    return lines


def palisade(
    rng: np.random.Generator, line: NDArray[np.float64], short: float, rows: int, aspect: float
) -> NDArray[np.float64]:
    """Places (y, x, radius, aspect, angle) of nuclei that stand side by side along a line, in
    `rows` interleaved rows.
    """
    steps = np.diff(line, axis=0)
    arc = np.concatenate([[0], np.cumsum(np.hypot(*steps.T))])
    found = []
    for row in range(rows):
        position = rng.uniform(0, 2 * short)
        while position < arc[-1]:
            i = min(int(np.searchsorted(arc, position)), len(steps) - 1)
            normal = np.arctan2(steps[i, 0], -steps[i, 1])
            b, a = short * np.exp(rng.normal(0, 0.14)), aspect * np.exp(rng.normal(0, 0.15))
            away = (
                ((row - (rows - 1) / 2) * rng.uniform(0.9, 1.5) + rng.normal(0, 0.35))
                * short
                * max(a, 1.2)
            )
            y, x = line[i, 1] + away * np.sin(normal), line[i, 0] + away * np.cos(normal)
            found.append(
                (y, x, b * np.sqrt(max(a, 1.0)), max(a, 1.0), normal + rng.normal(0, 0.15))
            )
            position += 2 * b * rng.uniform(0.72, 1.25)
    return np.array(found).reshape(-1, 5)


def scattered(
    rng: np.random.Generator, size: int, number: int, radius: float, spindle: float
) -> NDArray[np.float64]:
    """Places of loose cells: round ones and spindles."""
    rows = []
    for _ in range(number):
        long = rng.uniform() < spindle
        aspect = rng.uniform(2.2, 5) if long else np.exp(abs(rng.normal(0, 0.2)))
        rows.append(
            (
                *rng.uniform(-5, size + 5, 2),
                radius * np.exp(rng.normal(0, 0.2)),
                aspect,
                rng.uniform(0, np.pi),
            )
        )
    return np.array(rows).reshape(-1, 5)


def free_of(
    places: NDArray[np.float64], others: NDArray[np.float64], gap: float
) -> NDArray[np.float64]:
    """Those places that lie no closer than `gap` x (sum of radii) to any of `others`, nor to an
    earlier one kept.
    """
    kept = others
    fresh = []
    for row in places:
        if (
            len(kept)
            and (
                np.hypot(kept[:, 0] - row[0], kept[:, 1] - row[1]) < gap * (kept[:, 2] + row[2])
            ).any()
        ):
            continue
        kept = np.vstack([kept, row])
        fresh.append(row)
    return np.array(fresh).reshape(-1, 5)


def compose(
    rng: np.random.Generator, size: int, places: NDArray[np.float64], thick: float
) -> tuple[Image, NDArray[np.int32]]:
    """Draw nuclei at depths spread by `thick`: blurred and unlabelled far from the focus, softer
    but labelled near it, sharp in it.
    """
    style = draw_style(rng, size)
    order = rng.permutation(len(places))
    level = np.abs(rng.normal(0, thick, len(places)))
    far, sharp, soft = Layer(size), Layer(size), Layer(size)
    for i in order:
        layer = far if level[i] > 2 else soft if level[i] > 0.8 else sharp
        layer.draw(rng, style, *places[i])
    away = cv2.GaussianBlur(far.image, (0, 0), rng.uniform(3, 7)) * rng.uniform(0.3, 1.0)
    near = cv2.GaussianBlur(soft.image, (0, 0), rng.uniform(0.8, 1.6)) * rng.uniform(0.5, 0.9)
    labels = np.where(
        sharp.labels > 0, sharp.labels, np.where(soft.labels > 0, soft.labels + sharp.number, 0)
    ).astype(np.int32)
    return away + np.maximum(sharp.image, near) + style.adds * np.minimum(sharp.image, near), tidy(
        labels, 20
    )


def epithelium(seed: int, size: int = FIELD_PX) -> tuple[Image, NDArray[np.int32]]:
    """Glands or folds of columnar, often pseudostratified epithelium with loose cells between: a
    function of the seed alone.
    """
    rng = np.random.default_rng([seed, 20261130])
    short = float(np.exp(rng.uniform(np.log(3.0), np.log(6.5))))
    rows, aspect = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])), float(rng.uniform(1.2, 3.0))
    parts = [palisade(rng, line, short, rows, aspect) for line in curves(rng, size)]
    places = np.empty((0, 5))
    gap = rng.uniform(0.45, 0.75)
    for part in parts:
        places = np.vstack([places, free_of(part, places, gap)])
    loose = scattered(
        rng, size, int(rng.integers(20, 500)), short * rng.uniform(1.0, 1.5), rng.uniform(0, 0.8)
    )
    places = np.vstack([places, free_of(loose, places, rng.uniform(0.75, 1.0))])
    image, labels = compose(rng, size, places, rng.choice([0.3, rng.uniform(0.4, 1.6)]))
    if rng.uniform() < 0.4:
        image = image + clutter_light(rng, size) * rng.uniform(0.05, 0.35)
    return finish(rng, image), labels


def section(seed: int, size: int = FIELD_PX) -> tuple[Image, NDArray[np.int32]]:
    """Sparse, mostly round nuclei (none at all in one field of eight) in bright fibres, smears and
    granular cytoplasm.
    """
    rng = np.random.default_rng([seed, 20261201])
    radius = float(np.exp(rng.uniform(np.log(5), np.log(13))))
    number = (
        0
        if rng.uniform() < 0.12
        else int(size * size / (np.pi * radius * radius) * rng.uniform(0.02, 0.4))
    )
    places = free_of(
        scattered(rng, size, number, radius, rng.choice([0.0, rng.uniform(0, 1)])),
        np.empty((0, 5)),
        rng.uniform(0.7, 1.1),
    )
    image, labels = compose(rng, size, places, rng.uniform(0.2, 1.6))
    light = bodies(rng, size) if rng.uniform() < 0.4 else clutter_light(rng, size)
    if rng.uniform() < 0.3:  # the cytoplasm ends where the nucleus begins
        light = light * (1 - 0.9 * cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1.0))
    image = image + light * np.exp(rng.uniform(np.log(0.25), np.log(1.5)))
    return finish(rng, image), labels


def clutter(seed: int, size: int = FIELD_PX) -> tuple[Image, NDArray[np.int32]]:
    """Only light that is no nucleus, to be added to other crops; no labels."""
    rng = np.random.default_rng([seed, 20261202])
    return finish(rng, clutter_light(rng, size)), np.zeros((size, size), np.int32)


def finish(rng: np.random.Generator, image: Image) -> Image:
    """Add the grey of an empty slide and the microscope's blur."""
    return cv2.GaussianBlur(
        (image + rng.uniform(0, 0.12)).astype(np.float32), (0, 0), rng.uniform(0.4, 1.2)
    )


def stretched_noise(rng: np.random.Generator, size: int, across: float, along: float) -> Image:
    """Smooth noise with structures of `across` x `along` px, turned at random: the grain of muscle
    and collagen.
    """
    big = int(1.5 * size)
    shape = (max(3, int(big / across)), max(3, int(big / along)))
    noise = cv2.resize(
        rng.standard_normal(shape).astype(np.float32), (big, big), interpolation=cv2.INTER_CUBIC
    )
    turn = cv2.getRotationMatrix2D((big / 2, big / 2), rng.uniform(0, 180), 1.0)
    turn[:, 2] -= (big - size) / 2
    noise = cv2.warpAffine(noise, turn, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def clutter_light(rng: np.random.Generator, size: int) -> Image:
    """One to three kinds of light that is no nucleus, about 1 at their brightest."""
    kinds = (muscle, granular, smears, threads, blurred_nuclei, edges, bodies)
    light = np.zeros((size, size), np.float32)
    for k in rng.choice(len(kinds), rng.integers(1, 4), replace=False):
        one = kinds[k](rng, size)
        light += one * rng.uniform(0.3, 1.0) / max(float(np.percentile(one, 99.5)), 1e-3)
    return light


def muscle(rng: np.random.Generator, size: int) -> Image:
    """Fibres side by side, striated or not."""
    fibres = np.clip(
        stretched_noise(rng, size, rng.uniform(3, 25), rng.uniform(80, 400)) + rng.uniform(-0.5, 1),
        0,
        None,
    )
    if rng.uniform() < 0.4:
        fibres = fibres * (1 + 0.4 * stretched_noise(rng, size, rng.uniform(1.5, 4), 40))
    return np.maximum(fibres, 0).astype(np.float32)


def granular(rng: np.random.Generator, size: int) -> Image:
    """Cells whose cytoplasm shines in grains, with dark seams between them (liver)."""
    cells = np.clip(np.abs(smooth_noise(rng, size, rng.uniform(12, 30))) * 3, 0, 1)
    grains = np.clip(smooth_noise(rng, size, rng.uniform(1.2, 3.5)) + rng.uniform(-1.2, 1), 0, 3)
    patches = np.clip(
        smooth_noise(rng, size, rng.uniform(30, 120)) + rng.uniform(-0.5, 1.5), 0, 1.5
    )
    return (cells * (rng.uniform(0.1, 0.8) + grains) * patches).astype(np.float32)


def smears(rng: np.random.Generator, size: int) -> Image:
    """Long streaks and shapeless lumps without a border: burst nuclei, folds, dirt."""
    light = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(2, 14)):
        y, x = rng.uniform(0, size, 2)
        streak = rng.uniform() < 0.6
        axes = (rng.uniform(4, 14), rng.uniform(50, 200)) if streak else rng.uniform(20, 80, 2)
        one = np.zeros_like(light)
        cv2.ellipse(
            one,
            ((x, y), (float(axes[0]), float(axes[1])), rng.uniform(0, 180)),
            float(rng.uniform(0.2, 1)),
            -1,
        )
        light += cv2.GaussianBlur(
            one, (0, 0), rng.uniform(1.0, 5) if streak else rng.uniform(5, 12)
        )
    return light * np.clip(
        1 + rng.uniform(0, 0.6) * smooth_noise(rng, size, rng.uniform(2, 10)), 0, 3
    )


def threads(rng: np.random.Generator, size: int) -> Image:
    """Bent threads of collagen or elastin, thin to thick."""
    light = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(2, 30)):
        turn, pace = (
            rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.05, 0.3), 60)),
            rng.uniform(4, 10),
        )
        path = rng.uniform(0, size, 2) + np.cumsum(
            pace * np.stack([np.cos(turn), np.sin(turn)], 1), 0
        )
        cv2.polylines(
            light,
            [path.astype(np.int32)],
            False,
            float(rng.uniform(0.2, 1)),
            int(rng.integers(1, 8)),
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(light, (0, 0), rng.uniform(0.6, 2.0))


def blurred_nuclei(rng: np.random.Generator, size: int) -> Image:
    """Many nuclei far from the focus."""
    light = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(20, 200)):
        y, x = rng.uniform(0, size, 2)
        axes = rng.uniform(8, 26, 2)
        cv2.ellipse(
            light,
            ((x, y), (float(axes[0]), float(axes[1])), rng.uniform(0, 180)),
            float(rng.uniform(0.3, 1)),
            -1,
        )
    return cv2.GaussianBlur(light, (0, 0), rng.uniform(3, 8))


def bodies(rng: np.random.Generator, size: int) -> Image:
    """Draw broad bands and lumps of even, grainy light with sharp borders, far larger than nuclei:
    muscle fibres cut along, folds.
    """
    light = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        centre, turn = rng.uniform(0, size, 2), rng.uniform(0, 180)
        axes = (
            (rng.uniform(70, 200), rng.uniform(400, 1200))
            if rng.uniform() < 0.6
            else rng.uniform(150, 500, 2)
        )
        one = np.zeros_like(light)
        cv2.ellipse(one, ((centre[0], centre[1]), (float(axes[0]), float(axes[1])), turn), 1.0, -1)
        shade = rng.uniform(0.3, 1) * np.clip(
            1 + rng.uniform(0, 0.4) * smooth_noise(rng, size, rng.uniform(20, 100)), 0.2, 2
        )
        light = np.maximum(light, cv2.GaussianBlur(one, (0, 0), rng.uniform(0.7, 3)) * shade)
    grain = rng.uniform(0, 0.3) * smooth_noise(rng, size, rng.uniform(1.0, 3)) + rng.uniform(
        0, 0.2
    ) * smooth_noise(rng, size, rng.uniform(3, 12))
    return light * np.clip(1 + grain, 0, 3)


def edges(rng: np.random.Generator, size: int) -> Image:
    """Bright bodies with sharp borders and cut-outs far larger than nuclei: the rim of the tissue,
    vessels, folds.
    """
    body = smooth_noise(rng, size, rng.uniform(120, 300))
    level = rng.uniform(-0.5, 1.0)
    light = (body > level).astype(np.float32) * np.clip(
        1 + rng.uniform(0, 0.5) * smooth_noise(rng, size, rng.uniform(2, 15)), 0, 2
    )
    rim = np.exp(-(((body - level) / rng.uniform(0.03, 0.15)) ** 2)) * rng.uniform(0, 1.5)
    return cv2.GaussianBlur(
        (light * rng.uniform(0.1, 1) + rim).astype(np.float32), (0, 0), rng.uniform(0.5, 2)
    )


FIELDS = {"epithelium": epithelium, "section": section, "clutter": clutter}
