"""Section 3: closed form against the printed formulas, simulation and direct minimisation."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from frlcore.errors import UserError
from frlcore.theory.features import best_linear, sample
from frlcore.theory.mixture import GaussianMixture, optimal_z, q

WORLDS = [  # d, eta, sigma, K, eps
    (2, 2.0, 1.0, 2**0.5, 0.5),  # Figure 2
    (1, 1.0, 1.0, 2.0, 0.3),
    (3, 0.8, 1.5, 3.0, 0.4),
    (2, 1.0, 1.0, 1.0, 0.2),  # equal classes
    (1, 0.5, 1.0, 4.0, 0.45),  # both intercepts negative
]
worlds = pytest.mark.parametrize("d, eta, sigma, K, eps", WORLDS)
random_world = st.tuples(
    st.integers(1, 1000), st.floats(0.01, 10), st.floats(0.1, 10), st.floats(1.001, 20), st.floats(0.01, 0.99)
)


def paper_b(d, t, sigma, K):
    """Eq. 15 and 18 as printed, with d sigma^2 inside the root of Eq. 18."""
    k = K**2 - 1
    return (K**2 + 1) / k * d * t - K * np.sqrt(4 * d**2 * t**2 / k**2 + 2 * np.log(K) / k * d * sigma**2)


@given(random_world)
def test_agrees_with_the_printed_formulas(world):
    d, eta, sigma, K, part = world
    eps = part * eta
    mixture = GaussianMixture(d, eta, sigma, K)
    scale = d * eta * K**2 / (K**2 - 1) + d**0.5 * sigma * K  # the size of the terms that cancel in the print
    assert mixture.b_nat() == pytest.approx(paper_b(d, eta, sigma, K), abs=1e-12 * scale)
    assert mixture.b_rob(eps) == pytest.approx(paper_b(d, eta - eps, sigma, K), abs=1e-12 * scale)
    A, B = (2 / (K**2 - 1) * d**0.5 * t / sigma for t in (eta, eta - eps))
    small = 1e-11 * (1 + K * A)
    assert mixture.theorem1(-1) == pytest.approx(norm.cdf(A - K * np.sqrt(A**2 + q(K))), abs=small)
    assert mixture.theorem1(+1) == pytest.approx(norm.cdf(-K * A + np.sqrt(A**2 + q(K))), abs=small)
    shift = d**0.5 * eps / sigma
    assert mixture.theorem2(eps, -1) == pytest.approx(norm.cdf(B - K * np.sqrt(B**2 + q(K)) - shift), abs=small)
    assert mixture.theorem2(eps, 1) == pytest.approx(norm.cdf(-K * B + np.sqrt(B**2 + q(K)) - shift / K), abs=small)


@worlds
def test_theorems_are_the_errors_at_the_intercepts(d, eta, sigma, K, eps):
    mixture, y = GaussianMixture(d, eta, sigma, K), np.array([-1, 1])
    np.testing.assert_allclose(mixture.theorem1(y), mixture.standard_error(mixture.b_nat(), y), rtol=1e-12)
    np.testing.assert_allclose(mixture.theorem2(eps, y), mixture.standard_error(mixture.b_rob(eps), y), rtol=1e-12)
    at_optimum = norm.cdf(optimal_z(mixture.margin(eps), K, y))
    np.testing.assert_allclose(mixture.robust_error(mixture.b_rob(eps), eps, y), at_optimum, rtol=1e-12)


@worlds
def test_simulation_agrees(d, eta, sigma, K, eps):
    mixture, n = GaussianMixture(d, eta, sigma, K), 200_000
    x, y = sample(np.full(d, eta), sigma, K, n, seed=1)
    for b in (mixture.b_nat(), mixture.b_rob(eps)):
        for label in (-1, 1):
            own = x[y == label]
            for radius in (0.0, eps):
                wrong = int(np.sum(label * ((own - label * radius).sum(1) + b) < 0))
                low, high = binomtest(wrong, n).proportion_ci(0.9999)
                assert low < mixture.robust_error(b, radius, label) < high


@worlds
def test_direct_minimisation_over_w_and_b_agrees(d, eta, sigma, K, eps):
    mixture = GaussianMixture(d, eta, sigma, K)
    for radius in (0.0, eps):
        w, b, error = best_linear(np.full(d, eta), sigma, K, radius, starts=2)
        optimum = mixture.b_rob(radius)
        assert error == pytest.approx(np.mean(mixture.robust_error(optimum, radius, [-1, 1])), abs=1e-10)
        np.testing.assert_allclose(w, d**-0.5, atol=1e-4)
        assert b == pytest.approx(optimum / d**0.5, abs=1e-4)


@given(random_world)
def test_corollary_1(world):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    assert mixture.b_rob(eps) < mixture.b_nat()
    assert mixture.theorem1(-1, log=True) < mixture.theorem1(+1, log=True)
    assert mixture.theorem2(eps, -1, log=True) < mixture.theorem1(-1, log=True)
    assert mixture.theorem2(eps, +1, log=True) > mixture.theorem1(+1, log=True)


@given(random_world)
def test_slope_of_g(world):
    d, eta, sigma, K, part = world
    mixture, t = GaussianMixture(d, eta, sigma, K), part * eta
    h = 1e-5 * t
    numeric = (mixture.g(t + h) - mixture.g(t - h)) / (2 * h)
    assert mixture.dg(t) == pytest.approx(numeric, rel=1e-5, abs=1e-8 * d**0.5 * sigma * K / t)
    assert mixture.dg(t) > d * (K - 1) / (K + 1)


@given(random_world)
def test_the_intercept_is_a_global_minimum(world):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    reach = np.linspace(-3, 3, 601) * (d * eta + 5 * K * d**0.5 * sigma)
    errors = np.mean(mixture.robust_error(reach[:, None], eps, [-1, 1]), axis=1)
    best = np.mean(mixture.robust_error(mixture.b_rob(eps), eps, [-1, 1]))
    assert best <= errors.min() + 1e-15 and best < 0.5


def test_the_robust_intercept_can_be_negative():
    assert GaussianMixture(2, 2, 1, 2**0.5).b_rob(1.5) < 0 < GaussianMixture(2, 2, 1, 2**0.5).b_rob(0.5)
    d, sigma, K = 4, 0.7, 3.0
    root = K * sigma * np.sqrt(q(K) / d)  # the intercept changes its sign here
    assert GaussianMixture(d, 5.0, sigma, K).g(root) == pytest.approx(0, abs=1e-12)
    assert GaussianMixture(d, 0.9 * root, sigma, K).b_nat() < 0 < GaussianMixture(d, 1.1 * root, sigma, K).b_nat()


def test_equal_classes_are_the_limit():
    equal, near = GaussianMixture(3, 1, 1, 1), GaussianMixture(3, 1, 1, 1 + 1e-9)
    assert equal.b_nat() == 0 and equal.b_rob(0.5) == 0 and q(1) == 1
    assert equal.theorem1(-1) == equal.theorem1(1) == norm.cdf(-(3**0.5))
    for y in (-1, 1):
        assert near.theorem2(0.4, y) == pytest.approx(equal.theorem2(0.4, y), rel=1e-8)
    assert q(1 + 1e-9) == pytest.approx(1, rel=1e-8) and np.isnan(equal.chance_radius())


def test_log_errors_survive_large_dimensions():
    mixture = GaussianMixture(10.0 ** np.arange(13), 1, 1, 2)
    logs = mixture.theorem2(0.5, 1, log=True)
    assert np.all(np.isfinite(logs)) and np.all(np.diff(logs) < 0) and mixture.theorem2(0.5, 1)[-1] == 0
    np.testing.assert_allclose(logs[:3], np.log(mixture.theorem2(0.5, 1)[:3]), rtol=1e-12)
    leading = -(optimal_z(mixture.margin(0.5), 2, 1) - mixture.d**0.5 * 0.5 / 2) ** 2 / 2
    np.testing.assert_allclose(logs[-3:], leading[-3:], rtol=1e-6)


def test_chance_radius():
    mixture = GaussianMixture(1, 1, 1, 3)
    eps = mixture.chance_radius()
    assert mixture.robust_error(mixture.b_rob(eps), eps, 1) == pytest.approx(0.5, abs=1e-12)
    assert mixture.theorem2(mixture.chance_radius("standard"), 1) == pytest.approx(0.5, abs=1e-12)
    assert GaussianMixture(1, 0.1, 1, 3).chance_radius() == 0 == GaussianMixture(1, 0.1, 1, 3).chance_radius("standard")
    far = GaussianMixture(2, 2, 1, 2**0.5)
    assert np.isnan(far.chance_radius("standard")) and far.theorem2(1.999, 1) < 0.5
    with pytest.raises(UserError, match="robust"):
        mixture.chance_radius("boundary")


def test_everything_broadcasts():
    mixture = GaussianMixture([[1], [4]], 1, 1, [1, 2, 3])
    assert mixture.b_nat().shape == (2, 3) and mixture.theorem2(0.5, [1, -1, 1]).shape == (2, 3)
    assert mixture.robust_error(np.zeros((5, 1, 1)), 0.5, 1).shape == (5, 2, 3)
    assert mixture.b_nat()[1, 2] == GaussianMixture(4, 1, 1, 3).b_nat()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GaussianMixture(0, 1, 1, 2), "d must"),
        (lambda: GaussianMixture(1, -1, 1, 2), "eta must"),
        (lambda: GaussianMixture(1, 1, 0, 2), "sigma must"),
        (lambda: GaussianMixture(1, 1, [1, np.nan], 2), "sigma must"),
        (lambda: GaussianMixture(1, 1, 1, 0.9), "K must"),
        (lambda: GaussianMixture(1, 1, 1, 2).b_rob(1.0), "eps must"),
        (lambda: GaussianMixture(1, 1, 1, 2).theorem2(-0.1, 1), "eps must"),
        (lambda: GaussianMixture(1, 1, 1, 2).dg(0.0), "t stands for eta - eps and must be positive"),
        (lambda: GaussianMixture(1, 1, 1, 2).standard_error(0.0, 0), "class label"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_million_evaluations_take_less_than_a_second():
    n, rng = 1_000_000, np.random.default_rng(0)
    d, K, eps = rng.integers(1, 1000, n), rng.uniform(1, 4, n), rng.uniform(0, 1, n)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        GaussianMixture(d, 1.0, 1.0, K).theorem2(eps, 1)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1
