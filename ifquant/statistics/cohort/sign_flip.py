"""The exact sign-flip test of a mean: every patient's effect could as well have had the other sign.

Valid when effects are symmetric about zero under the null (they are, where a slide's estimate has
no bias); needs no normality. All sign patterns are enumerated up to 20 patients, drawn with a seed
above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_ENUMERATED = 20
DRAWS = 99_999
_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class SignFlip:
    """Result of the test.

    Attributes
    ----------
    p
        Two-sided p-value.
    smallest_p
        The smallest p this number of patients can give.
    exact
        Whether all sign patterns were enumerated.
    null
        Means under the sign patterns (sorted; those enumerated or drawn).
    """

    p: float
    smallest_p: float
    exact: bool
    null: NDArray[np.float64]


def smallest_sign_flip_p(n: int) -> float:
    """Return the smallest two-sided p of `n` patients: 2 / 2^n where enumerated, 1 / (draws + 1)
    where drawn.
    """
    return 2.0 ** (1 - n) if 0 < n <= MOST_ENUMERATED else 1 / (DRAWS + 1) if n else 1.0


def sign_flip(values: ArrayLike, *, seed: int = 0) -> SignFlip:
    """Test whether the mean of `values` (n,) is zero. Source of the rule p = (b + 1) / (m + 1):
    Phipson and Smyth 2010.
    """
    x = np.asarray(values, np.float64)
    n = len(x)
    if n == 0:
        return SignFlip(1.0, 1.0, True, np.zeros(0))
    observed = abs(float(x.sum()))
    tolerance = 1e-12 * float(
        np.abs(x).sum()
    )  # sums of the same numbers in another order differ in the last digits
    if n <= MOST_ENUMERATED:
        half = np.full(1, x[0])  # the first sign is fixed: the other half mirrors it
        for value in x[1:]:
            half = np.concatenate([half + value, half - value])
        p = float(np.mean(np.abs(half) >= observed - tolerance))
        sums = np.concatenate([half, -half])
    else:
        rng = np.random.default_rng(seed)
        chunks = [
            rng.integers(0, 2, (min(_CHUNK, DRAWS - start), n)) @ (2 * x) - x.sum()
            for start in range(0, DRAWS, _CHUNK)
        ]
        sums = np.concatenate(chunks)
        p = (int(np.count_nonzero(np.abs(sums) >= observed - tolerance)) + 1) / (DRAWS + 1)
    return SignFlip(p, smallest_sign_flip_p(n), n <= MOST_ENUMERATED, np.sort(sums) / n)
