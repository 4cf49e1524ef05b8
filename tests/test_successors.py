"""The successors of FRL: their formulas with numbers worked out by hand, FAAL's inner problem against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from frlcore import policies
from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.seam import Seen
from frlcore.settings import Training
from frlcore.successors import CFA, DAFA, FAAL, WAT, scaled, worst_distribution

ANY = ClassErrors(np.full(3, 10), *np.full((4, 3), 0.2))


def close(found: np.ndarray, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("policy", [CFA(3, start=3), DAFA(3, warm_up=3), WAT(3), FAAL(3)])
def test_without_evidence_every_class_is_alike(policy: policies.Policy) -> None:
    policy.update(ANY, 1.0)
    found = policy.settings()
    for values in (found.w_nat, found.w_bndy, found.margin):
        close(values, np.ones(3))
    assert found.beta is None


def test_cfa_by_hand() -> None:
    """beta 2, t = (0.5, 0, 0.25): beta_i = 2, 1, 1.5; b_i = 2/3, 1/2, 3/5; all times 1 + beta = 3."""
    policy = CFA(3, beta=2.0, start=2)
    policy.update(ANY, 1.0)
    policy.observe(Seen(robust=np.array([0.5, 0.0, 0.25])))
    assert policy.settings().beta is None  # epoch 1 of a start at 2
    policy.update(ANY, 1.0)
    found = policy.settings()
    close(found.margin, [0.8, 0.3, 0.55])
    close(found.w_nat, [1, 1.5, 1.2])
    close(found.beta, [2, 1.5, 1.8])


def test_cfa_keeps_what_it_knew_of_a_class_without_an_example() -> None:
    policy = CFA(3)
    policy.observe(Seen(robust=np.array([0.5, 0.1, 0.25])))
    policy.observe(Seen(robust=np.array([0.6, np.nan, 0.3])))
    close(policy.state["robust"], [0.6, 0.1, 0.3])


def test_cfa_starting_at_once_waits_for_a_first_epoch() -> None:
    policy = CFA(3, start=1)
    policy.update(ANY, 1.0)
    close(policy.settings().margin, np.ones(3))


def test_dafa_by_hand() -> None:
    """p_ii = 0.8, 0.4, 0.6. Class 1 gains 0.5 * 0.8 from 0 and 0.1 * 0.6 from 2; class 2 gains 0.3 * 0.8 from 0."""
    p = np.array([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.3, 0.1, 0.6]])
    policy = DAFA(3, warm_up=2)
    policy.update(ANY, 1.0)
    policy.observe(Seen(softmax=p))  # the first epoch: too early
    close(policy.settings().w_nat, np.ones(3))
    policy.update(ANY, 1.0)
    policy.observe(Seen(softmax=p))
    policy.update(ANY, 1.0)
    policy.observe(Seen(softmax=np.eye(3)))  # too late
    found = policy.settings()
    close(found.w_nat, [1 - 0.4 - 0.24, 1 + 0.4 + 0.06, 1 + 0.24 - 0.06])
    close(found.margin, found.w_nat)
    close(found.w_bndy, np.ones(3))
    assert found.w_nat.mean() == pytest.approx(1)


def test_dafa_keeps_every_radius_positive() -> None:
    policy = DAFA(3, warm_up=1, strength=5.0)
    policy.update(ANY, 1.0)
    policy.observe(Seen(softmax=np.array([[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.3, 0.1, 0.6]])))
    close(policy.settings().margin, [0.1, 1 + 5 * 0.46, 1 + 5 * 0.18])


def test_wat_by_hand() -> None:
    """eta log 2: the sums 2, 0, 1 and their mean 1 weigh as 4, 1, 2 and 2, so times 4 / 9, and classes as 6, 3, 4."""
    policy = WAT(3, beta=2.0, eta=float(np.log(2)))
    policy.observe(Seen(loss_nat=np.array([0.5, 0.0, 0.2]), loss_bndy=np.array([0.25, 0.0, 0.4])))
    close(policy.state["loss"], [1, 0, 1])
    policy.observe(Seen(loss_nat=np.array([1.0, 0.0, 0.0]), loss_bndy=np.zeros(3)))
    found = policy.settings()
    close(found.w_nat, np.array([6, 3, 4]) * 4 / 9 / 2)
    close(found.w_bndy, found.w_nat)


def test_wat_stays_finite_when_the_sums_are_large() -> None:
    policy = WAT(3, state={"loss": np.array([1e5, 0.0, 0.0])})
    close(policy.settings().w_nat, [2, 0, 0])


def solved(gain: np.ndarray, divergence: float) -> np.ndarray:
    """The same problem by a general solver, in the logarithms of p."""
    n = len(gain)
    constraints = [{"type": "eq", "fun": lambda z: np.exp(z).sum() - 1},
                   {"type": "ineq", "fun": lambda z: divergence + np.log(n) + z.mean()}]  # fmt: skip
    found = minimize(lambda z: -np.exp(z) @ gain, np.full(n, -np.log(n)), constraints=constraints, method="SLSQP",
                     options={"ftol": 1e-12, "maxiter": 1000})  # fmt: skip
    assert found.success
    return np.exp(found.x)


@pytest.mark.parametrize("divergence", [0.05, 0.5, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_faals_worst_distribution_is_that_of_a_general_solver(seed: int, divergence: float) -> None:
    gain = np.random.default_rng(seed).normal(size=10)
    found = worst_distribution(gain, divergence)
    np.testing.assert_allclose(found, solved(gain, divergence), atol=1e-5)
    assert found.sum() == pytest.approx(1) and -np.log(10 * found).mean() == pytest.approx(divergence)
    np.testing.assert_allclose(worst_distribution(1e-6 * gain + 7, divergence), found, rtol=1e-6)  # no scale or offset


def test_faal_weighs_the_class_that_fares_worst_and_alike_when_all_do() -> None:
    policy = FAAL(4)
    close(policy.weigh(np.full(4, -0.3), np.full(4, 8)), np.ones(4))
    found = policy.weigh(np.array([0.4, -0.2, -0.6, 0.0]), np.array([8, 8, 8, 0]))
    assert list(np.argsort(found)) == [3, 2, 1, 0]  # the absent class counts as the safest
    assert found.mean() == pytest.approx(1)
    close(found, 4 * worst_distribution(np.array([3.2, -1.6, -4.8, -6.0]), 0.5))


@pytest.mark.parametrize("divergence", [200.0, 1000.0, 1e30])
def test_a_ball_that_reaches_a_corner_leaves_the_worst_classes_alone(divergence: float) -> None:
    close(worst_distribution(np.array([0.1, 3.0, -2.0]), divergence), [0, 1, 0])
    close(worst_distribution(np.array([3.0, 3.0, -2.0]), divergence), [0.5, 0.5, 0])
    close(FAAL(3, divergence).weigh(np.array([0.4, -0.2, 0.1]), np.full(3, 8)), [3, 0, 0])


@pytest.mark.parametrize("divergence", [1e-9, 1e-14, 1e-30])
def test_a_ball_too_small_to_be_told_from_its_centre_weighs_alike(divergence: float) -> None:
    np.testing.assert_allclose(worst_distribution(np.array([0.1, 3.0, -2.0]), divergence), np.full(3, 1 / 3), rtol=1e-4)


def test_the_published_starts_are_whole_at_any_length_of_the_training() -> None:
    for epochs in range(1, 40):
        for name in ("cfa", "dafa"):
            policies.build(name, 3, **scaled(name, Training("trades", epochs, lr=0.1)))


def test_half_a_schedule_begins_half_as_late_at_twice_the_rate() -> None:
    def half(name: str, epochs: int) -> dict[str, Any]:
        return scaled(name, Training("trades", epochs, lr=0.1, beta=3.0))

    assert half("cfa", 100) == {"start": 5, "beta": 3.0} and half("dafa", 55) == {"warm_up": 35}
    assert half("wat", 50) == {"eta": 0.2, "beta": 3.0} and half("faal", 1) == half("frl", 1) == {}


def test_two_classes_have_a_closed_form() -> None:
    """KL(u || p) = r with p = 1/2 +- d: -log(1 - 4 d^2) / 2 = r."""
    d = np.sqrt(1 - np.exp(-1)) / 2
    close(worst_distribution(np.array([0.0, 3.0]), 0.5), [0.5 - d, 0.5 + d])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: CFA(3, lambda_1=0.0), "lambda_1 must be positive"),
        (lambda: DAFA(3, warm_up=0), "warm_up must be positive"),
        (lambda: WAT(3, eta=-1.0), "eta must be positive"),
        (lambda: FAAL(3, divergence=0.0), "divergence must be positive"),
        (lambda: FAAL(1), "at least 2, got 1"),
        (lambda: CFA(3, start=1.5), "start must be positive and whole, got 1.5"),
        (lambda: DAFA(3, warm_up=1.2), "warm_up must be positive and whole, got 1.2"),
        (lambda: DAFA(3, warm_up=True), "warm_up must be positive and whole, got True"),
        (lambda: CFA("3"), "classes must be positive and whole, got '3'"),
        (lambda: DAFA(0), "classes must be positive and whole, got 0"),
        (lambda: WAT(2.0), "classes must be positive and whole, got 2.0"),
        (lambda: FAAL("10"), "classes must be positive and whole, got '10'"),
    ],
)
def test_settings_that_cannot_be(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make()


def test_policies_are_built_by_name_and_what_they_need_is_no_setting() -> None:
    for name, kind in (("cfa", CFA), ("dafa", DAFA), ("wat", WAT), ("faal", FAAL)):
        assert isinstance(policies.build(name, 3), kind)
    assert policies.setting_names(CFA) == ["beta", "lambda_1", "lambda_2", "start"]
