"""FRL in the closed-form world: class weights and class radii that equalise the errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm

from frlcore.errors import UserError
from frlcore.theory.features import sample
from frlcore.theory.mixture import GaussianMixture

world = st.tuples(st.integers(1, 20), st.floats(0.2, 3), st.floats(0.5, 2), st.floats(1.05, 6), st.floats(0, 0.9))


def cost(mixture, b, eps, weight):
    """The weighted objective R(-1) + weight R(+1) at radius eps."""
    return mixture.robust_error(b, eps, -1) + weight * mixture.robust_error(b, eps, 1)


@given(world)
def test_one_intercept_equalises_and_its_weight_is_K(world):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    b = mixture.b_equal(eps)
    expected = norm.cdf(-2 * mixture.margin(eps) / (K + 1))
    for y in (-1, 1):
        assert mixture.robust_error(b, eps, y) == pytest.approx(expected, rel=1e-9)
    assert mixture.weight_for(b, eps) == pytest.approx(K)
    assert mixture.b_rob(eps, weight=K) == pytest.approx(b)


@given(world, st.floats(0.2, 8))
def test_the_weighted_minimum_against_a_grid(world, weight):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    b = mixture.b_rob(eps, weight)
    grid = np.linspace(-4, 4, 2001) * (d * eta + 8 * K * d**0.5 * sigma)
    lowest = min(cost(mixture, grid, eps, weight).min(), 1.0, weight)
    if np.isnan(b):  # no stationary point: the constant classifier +1 is best
        assert weight > K and lowest == pytest.approx(1.0, abs=1e-9)
        return
    assert mixture.weight_for(b, eps) == pytest.approx(weight, rel=1e-6)
    assume(abs(cost(mixture, b, eps, weight) - min(1.0, weight)) > 1e-6)
    assert mixture.weight_works(b, eps) == (cost(mixture, b, eps, weight) <= lowest + 1e-12)


@given(world)
def test_one_radius_equalises_where_it_exists(world):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    b = mixture.b_equal(eps)
    x = 2 * mixture.margin(eps) / (K + 1)
    assume(abs(x**2 - 2 * np.log(K)) > 1e-6)
    radius = mixture.radius_for(b, eps)
    assert np.isfinite(radius) == (x**2 > 2 * np.log(K))
    if np.isfinite(radius):
        assert radius > eps
        assert mixture.b_radii(eps, radius) == pytest.approx(b, rel=1e-6, abs=1e-6)


@given(world, st.floats(0, 0.99))
def test_every_intercept_that_a_radius_makes_optimal_has_a_radius(world, way):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    trained = way * (2 * eta - eps)  # of class +1; the mean of the radii stays below eta
    b = mixture.b_radii(eps, trained)
    assume(mixture.z(b, -1, eps) ** 2 - 2 * np.log(K) > 1e-6)  # else the two radii are one, but for rounding
    radius = float(mixture.radius_for(b, eps))
    assert 0 <= radius <= trained + 1e-6 * eta
    assert mixture.b_radii(eps, radius) == pytest.approx(b, rel=1e-5, abs=1e-5)


@given(world, st.floats(0, 0.95))
def test_a_larger_radius_helps_exactly_while_the_error_at_it_is_below_one_half(world, way):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    trained = eps + way * 2 * mixture.gap(eps)  # of class +1; the mean of the radii stays below eta
    b = mixture.b_radii(eps, trained)
    error = norm.cdf(-(d * (eta - trained) + b) / (K * sigma * d**0.5))  # of class +1 at that radius
    assume(abs(error - 0.5) > 1e-2)
    helps = mixture.b_radii(eps, trained + 1e-5 * mixture.gap(eps)) > b
    assert helps == (error < 0.5)


def test_a_larger_radius_can_harm_a_class_whose_error_at_the_test_radius_is_small():
    mixture, eps = GaussianMixture(2, 2, 1, 2), 0.5  # the setting of Section 3's page
    before, after = (mixture.robust_error(mixture.b_radii(eps, trained), eps, 1) for trained in (2.8, 3.4))
    assert 0.06 < before < after < 0.075


@given(world)
def test_weights_reach_further_than_radii(world):
    d, eta, sigma, K, part = world
    mixture, eps = GaussianMixture(d, eta, sigma, K), part * eta
    b = mixture.b_equal(eps)
    if np.isfinite(mixture.radius_for(b, eps)):
        assert mixture.weight_works(b, eps)
    works = norm.cdf(-2 * mixture.margin(eps) / (K + 1)) < 1 / (K + 1)
    assert mixture.weight_works(b, eps) == works


def test_equal_accuracy_and_equal_robustness_exclude_each_other():
    mixture, eps = GaussianMixture(2, 2, 1, 2), 0.5
    standard, robust = mixture.b_equal(), mixture.b_equal(eps)
    assert mixture.standard_error(standard, 1) == pytest.approx(mixture.standard_error(standard, -1))
    assert mixture.robust_error(standard, eps, 1) < mixture.robust_error(standard, eps, -1)
    assert mixture.standard_error(robust, 1) > mixture.standard_error(robust, -1)
    # Raising the weight until the standard errors agree overshoots K.
    assert mixture.weight_for(standard, eps) > mixture.K


@pytest.mark.parametrize("weight", [1.0, 2.0, 3.0])
def test_weighted_minimum_on_samples(weight):
    """Minimise the weighted robust 0-1 error of 400,000 examples over every threshold."""
    mixture, eps, n = GaussianMixture(2, 1.0, 1.0, 2.0), 0.3, 200_000
    x, y = sample(np.full(2, 1.0), 1.0, 2.0, n, seed=3)
    score = x.sum(1) - 2 * y * eps  # the worst perturbation
    order = np.argsort(score)
    minus_above = np.sum(y == -1) - np.cumsum(y[order] == -1)  # threshold just above the k-th score
    plus_below = np.cumsum(y[order] == 1)
    lowest = np.min(minus_above + weight * plus_below) / n
    b = mixture.b_rob(eps, weight)
    at_b = (np.sum(score[y == -1] + b > 0) + weight * np.sum(score[y == 1] + b < 0)) / n
    assert at_b == pytest.approx(cost(mixture, b, eps, weight), abs=5 * (1 + weight) * 0.5 / n**0.5)
    assert 0 <= at_b - lowest < 0.002


def test_radii_that_leave_no_margin_are_refused():
    with pytest.raises(UserError, match="eps must"):
        GaussianMixture(1, 1, 1, 2).b_radii(0.9, 1.2)
