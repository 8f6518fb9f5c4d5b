"""Third opinion: surrogate ligand fields with the observed variogram, same regression and contacts.

Each surrogate is a Gaussian field on the sources with the covariance fitted to the ligand's rank
scores (nugget and Gaussians), drawn by circulant embedding (Wood and Chan 1994). Unlike surrogates
that match the residuals' variogram (Viladomat et al. 2014), these match the field's before
regression and are then regressed themselves, so what regression does to the real field happens to
them too. They meet one response only, and one response can happen to vary little at the ligand's
scale: where their spread falls below that of two independent fields it is widened to it (without, a
true null of range 50 um was rejected in 8 to 9 % of 470 data sets).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from ifquant.statistics.priming.covariance import Kernels, ProjectedKernels
from ifquant.statistics.priming.exposure import Contacts
from ifquant.statistics.priming.primary_association import Primary
from ifquant.statistics.priming.slide_effect import TestResult
from ifquant.statistics.priming.structure import normal_scores, residual

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

FIT_POINTS = 400
GRID_UM = 15.0
MAX_GRID = 512
PAD_RANGES = 2.5
CHUNK = 64


def surrogate_test(primary: Primary, n: int, rng: np.random.Generator) -> TestResult:
    """Test the primary association against `n` surrogates of the sources' ligand."""
    cells, model, found = primary.structure.cells, primary.model, primary.association
    sources, basis = primary.sources, primary.source_basis
    x, y = cells.x[sources], cells.y[sources]
    kernels = Kernels.at(x, y, FIT_POINTS)
    scores = normal_scores(primary.ligand[sources])
    weights = ProjectedKernels.of(kernels, basis).weights(scores)
    mean = _mean_matrix(primary.near, sources, len(cells))
    strengths: list[Floats] = []
    for start in range(0, n, CHUNK):
        drawn = gaussian_surrogates(rng, x, y, weights, kernels.ranges_um, min(CHUNK, n - start))
        exposure = residual(mean @ residual(drawn, basis), model.basis)
        norm = np.maximum(np.linalg.norm(exposure, axis=0), 1e-300)
        strengths.append(np.abs(found.response @ exposure) / norm)
    null = np.concatenate(strengths) / np.sqrt(found.n)
    expected = model.kernels.correlation_variance(found.response_weights, found.exposure_weights)
    null *= max(1.0, float(np.sqrt(expected / np.mean(null**2))))
    return TestResult((1 + int(np.count_nonzero(null >= abs(found.r)))) / (1 + n), "", n)


def gaussian_surrogates(
    rng: np.random.Generator, x: Floats, y: Floats, weights: Floats, ranges_um: Floats, n: int
) -> Floats:
    """Draw `n` fields at points, (points, n).

    Their covariance is ``weights[0] * nugget + sum of weights[l] * Gaussian of ranges_um[l - 1]``.
    """
    extent = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    step = max(GRID_UM, extent / MAX_GRID)
    components = list(zip(ranges_um, weights[1:], strict=True))
    pad = PAD_RANGES * max((reach for reach, weight in components if weight > 0), default=0.0)
    shape = [fft.next_fast_len(int((np.ptp(axis) + pad) / step) + 2) for axis in (y, x)]
    lag = [np.minimum(np.arange(size), size - np.arange(size)) * step for size in shape]
    squared = lag[0][:, None] ** 2 + lag[1][None, :] ** 2
    kernel = np.zeros(squared.shape)
    for reach, weight in components:
        kernel += weight * np.exp(-squared / (2 * reach**2))
    amplitude = np.sqrt(np.maximum(fft.fft2(kernel).real, 0.0) * squared.size).astype(np.float32)
    half = (n + 1) // 2
    white = rng.standard_normal((2, half, *shape), dtype=np.float32)
    # real and imaginary part are two independent fields
    both = fft.ifft2((white[0] + 1j * white[1]) * amplitude, axes=(1, 2))
    row, column = ((y - y.min()) / step).astype(np.int64), ((x - x.min()) / step).astype(np.int64)
    at = both[:, row, column]
    smooth = np.concatenate([at.real, at.imag])[:n].T.astype(np.float64)
    return np.asarray(smooth + np.sqrt(weights[0]) * rng.standard_normal((len(x), n)))


def _mean_matrix(near: Contacts, sources: Ids, n_cells: int) -> sparse.csr_array:
    """Sparse matrix (responders, sources) of the weighted mean over each responder's sources."""
    place = np.full(n_cells, -1, np.int64)
    place[sources] = np.arange(len(sources))
    total = np.add.reduceat(near.weight, near.offsets[:-1])
    share = near.weight / np.repeat(total, np.diff(near.offsets))
    entries = share, place[near.sources], near.offsets
    return sparse.csr_array(entries, shape=(len(near), len(sources)))
