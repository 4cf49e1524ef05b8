"""Appendix A.3: robust and non-robust features, and the tools for any linear classifier."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from frlcore.errors import UserError
from frlcore.theory.features import FeatureMixture, best_linear, linear_errors, sample
from frlcore.theory.mixture import GaussianMixture

random_world = st.tuples(
    st.integers(1, 50), st.floats(0.1, 5), st.integers(0, 100_000), st.floats(0, 1), st.floats(0.2, 5),
    st.floats(1.001, 20), st.floats(0.01, 0.99),
)  # fmt: skip


def build(world):
    d, eta, m, part, sigma, K, radius = world
    eps = radius * eta
    return FeatureMixture(d, eta, m, part * eps, sigma, K), eps  # gamma <= eps < eta


def test_without_other_features_it_is_the_mixture_of_section_3():
    plain, mixture = FeatureMixture(3, 1.2, 0, 0, 1, 2), GaussianMixture(3, 1.2, 1, 2)
    for y in (-1, 1):
        assert plain.standard_error(0, y) == pytest.approx(mixture.theorem1(y), rel=1e-12)
        assert plain.standard_error(0.5, y) == pytest.approx(mixture.theorem2(0.5, y), rel=1e-12)
        robust = mixture.robust_error(mixture.b_rob(0.5), 0.5, y)
        assert plain.robust_error(0.5, 0.5, y) == pytest.approx(robust, rel=1e-12)


@pytest.mark.parametrize("eps, gamma", [(0.0, 0.3), (0.5, 0.3), (0.2, 0.3)])
def test_direct_minimisation_finds_the_weights(eps, gamma):
    mixture, theta = FeatureMixture(1, 1.0, 2, gamma, 1, 2.0), np.array([1.0, gamma, gamma])
    w, b, error = best_linear(theta, 1.0, 2.0, eps, starts=3)
    robust, other = mixture.weights(eps)
    expected = np.array([robust, other, other])
    np.testing.assert_allclose(w, expected / np.linalg.norm(expected), atol=2e-4)
    closed = [mixture.robust_error(eps, eps, y) for y in (-1, 1)]
    assert error == pytest.approx(np.mean(closed), abs=1e-9)
    np.testing.assert_allclose(linear_errors(theta, 1.0, 2.0, w, b, eps), closed, atol=1e-4)
    standard = [mixture.standard_error(eps, y) for y in (-1, 1)]
    np.testing.assert_allclose(linear_errors(theta, 1.0, 2.0, w, b), standard, atol=1e-4)


def test_errors_of_any_classifier_against_simulated_attacks():
    theta, w, b, eps, n = np.array([1.0, 0.5, -0.2]), np.array([1.0, -0.3, 0.4]), 0.2, 0.25, 200_000
    x, y = sample(theta, 0.9, 1.7, n, seed=5)
    attacked = x - eps * y[:, None] * np.sign(w)
    for position, label in enumerate((-1, 1)):
        wrong = int(np.sum(label * (attacked[y == label] @ w + b) < 0))
        low, high = binomtest(wrong, n).proportion_ci(0.9999)
        assert low < linear_errors(theta, 0.9, 1.7, w, b, eps)[position] < high


@given(random_world)
def test_theorem_3(world):
    mixture, eps = build(world)
    assert mixture.gap(eps) >= mixture.gap(0.0)
    assert mixture.gap(eps) > mixture.gap(0.0) or mixture.gap(eps) < 1e-15  # strict, or both underflow


@given(random_world, st.floats(0, 0.999))
def test_theorem_3_needs_no_weak_features(world, part):
    """Any gamma below eta will do, also one above eps that f_rob keeps using."""
    d, eta, m, _, sigma, K, radius = world
    mixture = FeatureMixture(d, eta, m, part * eta, sigma, K)
    assert mixture.gap(radius * eta) >= mixture.gap(0.0)


@given(random_world)
def test_the_steps_of_our_proof(world):
    """The optimal gap falls with the margin, and the error of class +1 always rises under adversarial training."""
    mixture, eps = build(world)
    d, eta, _, _, sigma, K, _ = world
    alone = GaussianMixture(d, eta, sigma, K)  # the robust features by themselves
    assert mixture.margin() >= alone.margin() * (1 - 1e-12)
    assert mixture.gap(0.0) <= alone.theorem1(1) - alone.theorem1(-1) + 1e-15
    assert mixture.gap(eps) >= alone.theorem1(1) - alone.theorem1(-1) - 1e-15
    assert mixture.standard_error(eps, 1, log=True) > mixture.standard_error(0.0, 1, log=True)


@given(random_world)
def test_the_inequality_in_the_papers_proof_fails(world):
    mixture, eps = build(world)
    z = {(e, y): mixture.z(e, y) for e in (0.0, eps) for y in (-1, 1)}
    d, sigma, K = world[0], world[4], world[5]
    rise = d**0.5 / sigma * eps * (1 - 1 / K)
    z_scores = z[eps, 1] - z[0.0, 1] - z[eps, -1] + z[0.0, -1] - rise  # (K + 1)((A - B) + (S_B - S_A))
    assert z_scores >= -1e-9
    assert mixture.gap(eps) - mixture.gap(0.0) <= z_scores + 1e-9  # the proof claims ">"


def test_the_easy_class_need_not_get_worse():
    few, many = (FeatureMixture(1, 1.0, m, 0.1, 1, 2.0) for m in (1, 1000))
    assert few.standard_error(0.5, -1) < few.standard_error(0, -1)
    assert many.standard_error(0.5, -1) > many.standard_error(0, -1)


def test_sampling():
    x, y = sample([1.0, 2.0], 1.0, 3.0, 50_000, seed=0)
    assert x.shape == (100_000, 2) and np.sum(y == 1) == 50_000
    np.testing.assert_allclose(x[y == 1].std(0), 3.0, rtol=0.02)
    np.testing.assert_allclose(x[y == -1].mean(0), [-1, -2], atol=0.03)
    assert np.array_equal(x, sample([1.0, 2.0], 1.0, 3.0, 50_000, seed=0)[0])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FeatureMixture(1, 1, -1, 0.1, 1, 2), "m must"),
        (lambda: FeatureMixture(0, 1, 1, 0.1, 1, 2), "d must"),
        (lambda: FeatureMixture(1, 1, np.inf, 0.1, 1, 2), "m must"),
        (lambda: FeatureMixture(np.inf, 1, 1, 0.1, 1, 2), "d must"),
        (lambda: FeatureMixture(1, np.inf, 1, 0.1, 1, 2), "eta must"),
        (lambda: FeatureMixture(1, 1, 1, 1.0, 1, 2), "gamma must"),
        (lambda: FeatureMixture(1, 1, 1, 0.1, 0, 2), "sigma must"),
        (lambda: FeatureMixture(1, 1, 1, 0.1, 1, 0.5), "K must"),
        (lambda: FeatureMixture(1, 1, 1, 0.1, 1, 2).weights(1.0), "eps must"),
        (lambda: FeatureMixture(1, 1, 1, 0.1, 1, 2).robust_error(0.1, -0.1, 1), "radius"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
