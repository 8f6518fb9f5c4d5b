"""Print CRITICAL of ifquant/valley.py: how large the comparison of a valley with one side gets by
chance in a uniform sample.

    python tools/calibrate_valley.py [samples] [seed]

The 99.5 % quantile, so that both flanks of one mode together give at most 1 % false calls. Every
sample counts twice, read from either end. Also: the same quantile where the tail falls as a
straight line (the least favourable convex one) under the test for convex tails, and the 99 %
quantile of the whole scan (both sides) over the uniform density. About a minute on one core with
4000 samples.
"""

from __future__ import annotations

import sys

import numpy as np

from ifquant.phenotypes.mixture import N_BINS
from ifquant.phenotypes.valley import CRITICAL_N, find_valley, rises


def main(samples: int = 4000, seed: int = 0) -> None:
    random = np.random.default_rng(seed)
    print(
        f"{samples} samples each\n    n  falling 99.5 %  convex 99.5 %  whole scan on the uniform"
        " density 99 %"
    )
    for n in CRITICAL_N:
        falling, convex, whole = [], [], []
        for i in range(samples):
            flat = np.bincount(random.integers(0, N_BINS, n), minlength=N_BINS).astype(np.float64)
            falling += [rises(counts)[0].max() for counts in (flat, flat[::-1])]
            if i % 4 == 0:
                straight = np.bincount(
                    (N_BINS * (1 - np.sqrt(1 - random.random(n)))).astype(np.int64),
                    minlength=N_BINS,
                )
                convex.append(rises(straight.astype(np.float64), convex=True)[0].max())
                valley = find_valley(flat)
                whole.append(valley.score if valley is not None else -np.inf)
        print(
            f"{n:5d}  {np.quantile(falling, 0.995):14.2f} {np.quantile(convex, 0.995):14.2f}"
            f" {np.quantile(whole, 0.99):39.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
