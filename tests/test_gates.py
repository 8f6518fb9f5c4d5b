"""Gates: called only on two populations, and then where the two part. Rates are measured over many
drawn samples, with fixed seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ifquant.errors import RequestError
from ifquant.phenotypes import mixture as bimodality
from ifquant.phenotypes.gates import fit_gate
from ifquant.phenotypes.valley import find_valley
from ifquant.recipe.model import Gate

Draw = Callable[[np.random.Generator, int], np.ndarray]


def skewed(random: np.random.Generator, n: int, shape: float = 5.0) -> np.ndarray:
    """Skew-normal with mean 0 and standard deviation 1 (Azzalini 1985)."""
    delta = shape / np.hypot(1, shape)
    raw = delta * np.abs(random.normal(size=n)) + np.sqrt(1 - delta**2) * random.normal(size=n)
    return (raw - delta * np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 * delta**2 / np.pi)


def with_spill(
    random: np.random.Generator, n: int, fraction: float, spill: float = 0.0175
) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and truth as in tissue: a narrow peak of negative cells, some with light of their
    neighbours, and wide positives.
    """
    positive = random.random(n) < fraction
    lit = random.random(n) < spill
    dim = np.where(
        lit, 5.2 + np.minimum(random.exponential(0.13, n), 0.4), random.normal(5, 0.07, n)
    )
    return np.exp(np.where(positive, random.normal(6.05, 0.3, n), dim)), positive


ONE_POPULATION: dict[str, Draw] = {
    "log-normal": lambda r, n: r.lognormal(5, 0.4, n),
    "log-normal, wide": lambda r, n: r.lognormal(5, 1.2, n),
    "normal": lambda r, n: r.normal(1000, 150, n),
    "exponential": lambda r, n: r.exponential(100, n),
    "exponential on a background": lambda r, n: 100 + r.exponential(100, n),
    "gamma 0.5 with noise": lambda r, n: r.gamma(0.5, 50, n) + r.normal(0, 3, n),
    "log skewed right": lambda r, n: np.exp(5 + 0.5 * skewed(r, n)),
    "log skewed left": lambda r, n: np.exp(5 - 0.5 * skewed(r, n)),
    "log heavy-tailed": lambda r, n: np.exp(5 + 0.3 * r.standard_t(3, n)),
    "log flat": lambda r, n: np.exp(r.uniform(3, 6, n)),
    "noise around zero": lambda r, n: r.normal(0, 5, n),
    "noise clipped at zero": lambda r, n: np.maximum(r.normal(0, 5, n), 0),
    "half zeros, half exponential": lambda r, n: np.where(
        r.random(n) < 0.5, 0, r.exponential(100, n)
    ),
    "sparse counts": lambda r, n: r.poisson(0.3, n),
    "counts": lambda r, n: r.poisson(20, n),
    "shoulder": lambda r, n: np.exp(5 + 0.5 * (r.normal(size=n) + 2.5 * (r.random(n) < 0.1))),
    "peak with a tail of spill-over": lambda r, n: np.exp(
        r.normal(5, 0.07, n) + np.where(r.random(n) < 0.2, r.exponential(0.3, n), 0)
    ),
    "two that overlap (D = 1.5)": lambda r, n: np.exp(
        5 + 0.5 * (r.normal(size=n) + 1.5 * (r.random(n) < 0.5))
    ),
}


def test_one_population_is_not_called() -> None:
    """Less than 1 % over all shapes; the flat density, least favourable of all, at most 3 of 56
    (expected: 1 % at most).
    """
    random = np.random.default_rng(20)
    called = {
        name: sum(
            fit_gate(draw(random, n), Gate(), "m").callable
            for n in (60, 300, 1500, 6000)
            for _ in range(14)
        )
        for name, draw in ONE_POPULATION.items()
    }
    assert max(called.values()) <= 3, called
    assert sum(called.values()) / (56 * len(called)) < 0.01, called


@pytest.mark.parametrize("n", [1000, 4000])
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("shape", [0.0, 3.0])
def test_two_populations_are_called_in_the_right_place(
    n: int, fraction: float, shape: float
) -> None:
    """6 standard deviations apart: at least 6 of 8 samples called (with a small population of 50
    cells: 2), gate within 2 % of truth.
    """
    random = np.random.default_rng(int(n * fraction) + 7)
    called, errors = 0, []
    for _ in range(8):
        positive = random.random(n) < fraction
        values = np.exp(4 + 0.4 * (skewed(random, n, shape) + 6 * positive))
        gate = fit_gate(values, Gate(), "m")
        called += gate.callable
        if gate.value is not None:
            errors.append(np.mean((values > gate.value) != positive))
    hard = n == 1000 and fraction in (0.05, 0.95)
    assert called >= (2 if hard else 6), called
    assert max(errors) < 0.02, errors


def test_rare_and_wide_positives_beside_a_narrow_peak() -> None:
    """9 % positive among 1200 cells: 19 of 20 called; among 700: most. The gate lies in the valley,
    not on the flank of the peak.
    """
    random = np.random.default_rng(8)
    for n, least in ((1200, 19), (700, 12)):
        gates = []
        for _ in range(20):
            values, positive = with_spill(random, n, 0.09)
            gate = fit_gate(values, Gate(), "CD11c")
            if gate.value is not None:
                gates.append(
                    (gate.value, np.sum((values > gate.value) != positive) / positive.sum())
                )
        assert len(gates) >= least, n
        value, wrong = np.median(gates, axis=0)
        assert np.exp(5.25) < value < np.exp(5.65)
        assert wrong < 0.15


def test_gate_leaves_spill_over_negative() -> None:
    """Two Gaussians cross at the foot of the narrow one and would call the spill-over of 25 % of
    the negative cells positive.
    """
    random = np.random.default_rng(12)
    values, positive = with_spill(random, 3000, 0.4, spill=0.1)
    gate = fit_gate(values, Gate(), "PanCK")
    histogram = bimodality.log_histogram(values)
    assert histogram is not None
    crossing = bimodality.fit_mixture(histogram).crossing()
    assert crossing is not None
    assert gate.value is not None
    assert "lowest point of the valley" in gate.origin
    wrong, wrong_crossing = (
        np.mean((values > at) != positive) for at in (gate.value, histogram.raw(crossing))
    )
    assert wrong < 0.04
    assert wrong < 0.6 * wrong_crossing


def test_scan_reads_either_way() -> None:
    """But for the grid on which valleys start."""
    random = np.random.default_rng(5)
    for fraction in (0.09, 0.5):
        counts = bimodality.log_histogram(with_spill(random, 1200, fraction)[0]).counts  # type: ignore[union-attr]
        there, back = find_valley(counts), find_valley(counts[::-1].copy())
        assert there is not None
        assert back is not None
        assert back.score == pytest.approx(there.score, rel=0.15)
        assert back.left_mode == pytest.approx(511 - there.right_mode, abs=60)
        assert back.bin == pytest.approx(511 - there.bin, abs=20)
    assert find_valley(np.ones(512)) is None
    assert find_valley(np.zeros(512)) is None
    assert find_valley(np.ones(5)) is None


def test_close_populations_are_called_with_many_cells() -> None:
    random = np.random.default_rng(3)
    positive = random.random(20_000) < 0.4
    values = np.exp(4 + 0.4 * (random.normal(size=20_000) + 3.2 * positive))
    gate = fit_gate(values, Gate(), "m")
    assert gate.callable
    assert gate.value == pytest.approx(np.exp(4 + 0.4 * 1.75), rel=0.1)
    assert gate.positive_fraction == pytest.approx(
        0.4, abs=0.03
    )  # the lowest point lies towards the lesser mode
    assert gate.components[1][0] == pytest.approx(0.4, abs=0.03)
    assert gate.components[0][1] == pytest.approx(np.exp(4), rel=0.05)


def two(n: int = 3000, seed: int = 0, fraction: float = 0.3) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(
        random.random(n) < fraction, random.lognormal(6.5, 0.4, n), random.lognormal(4, 0.4, n)
    )


@pytest.mark.parametrize("method", ["mixture", "otsu"])
def test_scale_offset_order_and_gaps_do_not_matter(method: str) -> None:
    values = two()
    gate = fit_gate(values, Gate(method=method), "m")
    assert gate.callable
    assert gate.value is not None
    assert 80 < gate.value < 300
    assert fit_gate(np.random.default_rng(1).permutation(values), Gate(method=method), "m") == gate
    assert (
        fit_gate(np.concatenate([values, [np.nan, np.inf, -np.inf]]), Gate(method=method), "m")
        == gate
    )
    assert fit_gate(values * 1000, Gate(method=method), "m").value == pytest.approx(
        gate.value * 1000, rel=5e-3
    )  # the iteration may stop one step apart
    assert fit_gate(values.astype(np.float32), Gate(method=method), "m").value == pytest.approx(
        gate.value, rel=1e-3
    )


def test_values_at_and_below_zero() -> None:
    random = np.random.default_rng(2)
    positive = random.random(3000) < 0.1
    values = np.where(positive, random.lognormal(np.log(100), 0.4, 3000), random.normal(0, 5, 3000))
    gate = fit_gate(values, Gate(), "m")
    assert gate.value is not None
    assert gate.offset > 0
    assert np.mean((values > gate.value) != positive) < 0.005
    clipped = fit_gate(np.maximum(values, 0), Gate(), "m")
    assert clipped.value is not None
    assert np.mean((values > clipped.value) != positive) < 0.01


def test_tied_integers() -> None:
    random = np.random.default_rng(4)
    positive = random.random(3000) < 0.2
    gate = fit_gate(
        np.where(positive, random.poisson(30, 3000), random.poisson(1, 3000)), Gate(), "m"
    )
    assert gate.value is not None
    assert 3 < gate.value < 18


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], "0 cells of this slide, 50 are needed"),
        ([1.0] * 49, "49 cells of this slide, 50 are needed"),
        ([np.nan] * 100, "0 cells"),
        ([7.0] * 100, "the same value"),
        ([0.0] * 100, "the same value"),
        ([-3.0] * 60 + [-2.0] * 60, "do not show two populations"),
        (list(range(100)), "do not show two populations"),
        ([1.0] * 99 + [1e9], "do not show two populations"),
        ([1e-30] * 50 + [1e30] * 2, "do not show two populations"),
    ],
)
def test_not_callable(values: list[float], why: str) -> None:
    for method in ("mixture", "otsu"):
        gate = fit_gate(values, Gate(method=method), "IL1B")
        assert not gate.callable
        assert gate.value is None
        assert gate.positive_fraction is None
        assert why in gate.origin
        assert gate.warning is not None
        assert "IL1B" in gate.warning


def test_value() -> None:
    gate = fit_gate(two(), Gate(method="value", value=200), "m", column="m_cell_mean")
    assert (gate.value, gate.callable, gate.origin, gate.column, gate.warning) == (
        200,
        True,
        "given in the recipe",
        "m_cell_mean",
        None,
    )
    assert sum(gate.counts) > 2900
    assert "no cell is positive" in str(
        fit_gate([1.0, 2.0], Gate(method="value", value=5), "m").warning
    )
    assert "all cells are positive" in str(
        fit_gate([1.0, 2.0], Gate(method="value", value=0), "m").warning
    )
    empty = fit_gate([], Gate(method="value", value=5), "m")
    assert (empty.callable, empty.positive_fraction, empty.edges) == (True, None, ())
    with pytest.raises(RequestError, match="needs value"):
        fit_gate([], Gate(method="value"), "m")


def test_control() -> None:
    control = np.random.default_rng(0).lognormal(4, 0.3, 2000)
    recipe = Gate(method="control", control_region="isotype")
    gate = fit_gate(two(), recipe, "m", control=control)
    assert gate.value == pytest.approx(np.quantile(control, 0.99))
    assert "control region 'isotype'" in gate.origin
    assert gate.warning is None
    few = fit_gate(two(), recipe, "m", control=control[:100])
    assert few.callable
    assert "rests on 1.0 cells" in str(few.warning)
    assert not fit_gate(two(), recipe, "m", control=control[:49]).callable
    with pytest.raises(RequestError, match="isotype"):
        fit_gate(two(), recipe, "m")


def test_cohort() -> None:
    """One slide has hardly any positive cells: alone no gate, pooled the gate of the others."""
    slides = {"a": two(seed=1), "b": two(seed=2), "poor": two(seed=3, fraction=0.0)}
    assert not fit_gate(slides["poor"], Gate(), "m").callable
    gate = fit_gate(slides, Gate(shared=True), "m")
    assert gate.callable
    assert gate.scope == "cohort"
    assert gate.n_cells == 9000
    assert "3 slides" in gate.origin
    assert not fit_gate({}, Gate(), "m").callable


def test_three_populations_are_warned_about() -> None:
    random = np.random.default_rng(0)
    values = np.exp(4 + 0.3 * (random.normal(size=6000) + 6 * random.integers(0, 3, 6000)))
    gate = fit_gate(values, Gate(), "m")
    assert gate.callable
    assert "three or more" in str(gate.warning)


def test_for_the_report() -> None:
    gate = fit_gate(two(), Gate(), "PanCK", column="PanCK_cytoplasm_mean")
    assert len(gate.edges) == len(gate.counts) + 1
    assert all(np.diff(gate.edges) > 0)
    assert 0.97 * gate.n_cells < sum(gate.counts) <= gate.n_cells
    assert gate.valley is not None
    assert gate.value is not None
    assert (
        gate.edges[0] < gate.components[0][1] < gate.value < gate.components[1][1] < gate.edges[-1]
    )
    assert json.loads(json.dumps(gate.to_dict(), allow_nan=False))["origin"] == gate.origin


def test_mixture_agrees_with_its_truth() -> None:
    histogram = bimodality.log_histogram(two(50_000, 9, 0.3))
    assert histogram is not None
    mixture = bimodality.fit_mixture(histogram)
    np.testing.assert_allclose(mixture.means, (4, 6.5), atol=0.02)
    np.testing.assert_allclose(mixture.sds, (0.4, 0.4), atol=0.02)
    np.testing.assert_allclose(mixture.weights, (0.7, 0.3), atol=0.01)
    assert mixture.separation == pytest.approx(2.5 / 0.4, rel=0.05)
    assert mixture.crossing() == pytest.approx(5.25 + 0.4**2 / 2.5 * np.log(0.7 / 0.3), abs=0.02)


@given(
    values=arrays(
        np.float64,
        st.integers(0, 120),
        elements=st.floats(allow_nan=True, allow_infinity=True, width=64),
    ),
    method=st.sampled_from(["mixture", "otsu"]),
)
@settings(deadline=None, max_examples=60)
def test_any_values(values: np.ndarray, method: str) -> None:
    gate = fit_gate(values, Gate(method=method), "m", min_cells=2)
    assert gate.callable == (gate.value is not None)
    if gate.value is not None:
        finite = values[np.abs(values) < 1e100]
        assert finite.min() <= gate.value <= finite.max()
