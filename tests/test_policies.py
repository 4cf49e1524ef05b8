"""Policies: Equations 7 to 11 and the weight formula with numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frlcore import policies
from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.policies import FRL, BaselineReweight, OneClass, Policy, Uniform, class_weights

STANDARD = np.array([0.10, 0.02, 0.30, 0.06])  # mean 0.12
BOUNDARY = np.array([0.20, 0.40, 0.50, 0.10])  # mean 0.30
ROBUST = STANDARD + BOUNDARY  # Eq. 7
EVEN = np.full(4, 0.2)


def seen(standard: Any = STANDARD, boundary: Any = BOUNDARY, classes: int = 4) -> ClassErrors:
    standard, boundary = (np.broadcast_to(np.asarray(v, dtype=float), classes) for v in (standard, boundary))
    return ClassErrors(np.full(classes, 50), standard, boundary, boundary, standard + boundary)


def answered(policy: Policy) -> dict[str, np.ndarray]:
    """What a policy sets, by name; it may leave beta to the training."""
    return {name: values for name, values in vars(policy.settings()).items() if values is not None}


def close(found: np.ndarray, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


def test_equation_7_splits_the_robust_error() -> None:
    labels = [0, 0, 0, 0, 1, 1]
    clean = [0, 0, 1, 0, 1, 1]
    attacked = [0, 1, 1, 0, 1, 0]  # the clean mistake stays one
    errors = ClassErrors.from_predictions(labels, clean, attacked, 2)
    close(errors.standard, [0.25, 0.0])
    close(errors.boundary, [0.25, 0.5])
    close(errors.standard + errors.boundary, errors.robust)


# Weights: w^i = 1 + C phi^i - sum_j phi^j


def test_class_weights_by_hand() -> None:
    close(class_weights(np.array([0.1, 0.0, 0.3, 0.0])), [1.0, 0.6, 1.8, 0.6])
    close(class_weights(np.zeros(10)), np.ones(10))


def test_weights_are_the_coefficients_in_the_lagrangian() -> None:
    """Eq. 9 without hinges, C L = sum_i w^i R_i - const: the change of C L when class i's error grows by h."""
    phi = np.array([0.1, 0.0, 0.25, 0.05])

    def lagrangian(errors: np.ndarray) -> float:
        return errors.mean() + (phi * (errors - errors.mean() - 0.05)).sum()

    h = 1e-3
    slopes = [4 * (lagrangian(STANDARD + h * np.eye(4)[i]) - lagrangian(STANDARD)) / h for i in range(4)]
    np.testing.assert_allclose(class_weights(phi), slopes, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_ten_classes_give_ten_times_the_released_formula(seed: int) -> None:
    phi = np.random.default_rng(seed).dirichlet(np.ones(10)) * 0.5
    close(class_weights(phi), 10 * (0.1 + phi - 0.1 * phi.sum()))


def test_weights_lie_between_a_half_and_five_and_a_half_when_the_sum_is_a_half() -> None:
    phi = np.zeros(10)
    phi[3] = 0.5
    w = class_weights(phi)
    close(w[3], 5.5)
    close(np.delete(w, 3), np.full(9, 0.5))


@pytest.mark.parametrize("classes", [2, 10])
def test_mean_weight_is_one_until_a_weight_is_cut(classes: int) -> None:
    phi = np.random.default_rng(0).dirichlet(np.ones(classes)) * 0.9
    close(class_weights(phi).mean(), 1.0)
    heavy = np.zeros(classes)
    heavy[0] = 1.5  # the others would get 1 - 1.5
    assert (class_weights(heavy)[1:] == 0).all() and class_weights(heavy).mean() > 1


# The multipliers: steps 7 and 8 of Algorithm 1, the gradient of Eq. 9 in phi


def test_one_update_under_the_paper_rule() -> None:
    policy = FRL(4, "reweight", tau=0.05, alpha=0.1)
    policy.update(seen(), decay=1.0)
    # natural excess over mean + tau = 0.17: -0.07, -0.15, 0.13, -0.11; boundary over 0.35: -0.15, 0.05, 0.15, -0.25
    close(policy.state["phi_nat"], [0, 0, 0.013, 0])
    close(policy.state["phi_bndy"], [0, 0.005, 0.015, 0])
    close(policy.state["log_margin"], np.zeros(4))
    settings = policy.settings()
    close(settings.w_nat, [0.987, 0.987, 1.039, 0.987])  # 1 + 4 phi - 0.013
    close(settings.w_bndy, [0.98, 1.0, 1.04, 0.98])  # 1 + 4 phi - 0.02
    close(settings.margin, np.ones(4))


def test_multipliers_follow_the_violation_both_ways() -> None:
    """No hinge: a multiplier shrinks while its constraint holds, and stops at 0 (Algorithm 1; phi >= 0, Eq. 10)."""
    policy = FRL(4, "reweight", tau=0.05, alpha=0.1)
    policy.update(seen(), 1.0)
    policy.update(seen(EVEN, EVEN), 1.0)  # every class 0.05 below mean + tau: each multiplier loses 0.005
    close(policy.state["phi_nat"], [0, 0, 0.008, 0])
    close(policy.state["phi_bndy"], [0, 0, 0.010, 0])
    policy.update(seen(EVEN, EVEN), 1.0)
    policy.update(seen(EVEN, EVEN), 1.0)
    close(policy.state["phi_nat"], np.zeros(4))


def test_the_mean_that_a_class_exceeds_is_over_classes_whatever_their_sizes() -> None:
    standard, none = np.array([0.1, 0.5]), np.zeros(2)
    policy = FRL(2, "reweight", tau=0.05, alpha=1.0)
    policy.update(ClassErrors(np.array([90, 10]), standard, none, none, standard), decay=1.0)
    close(policy.state["phi_nat"], [0, 0.15])


def test_the_constraint_of_equation_8_is_on_the_excess_over_the_mean() -> None:
    policy = FRL(4, "reweight", tau=0.05, alpha=0.1)
    policy.update(seen(0.9, 0.9), 1.0)  # all classes equally bad: nothing is violated
    close(policy.settings().w_nat, np.ones(4))
    close(policy.settings().w_bndy, np.ones(4))


def test_one_update_under_the_code_rule() -> None:
    policy = FRL(4, "reweight", tau=0.05, rule="code")
    policy.update(seen(), 1.0)
    close(policy.state["phi_nat"], [0, 0, 0.05 * 0.13, 0])
    close(policy.state["phi_bndy"], [0, 0.10 * 0.05, 0.10 * 0.15, 0])  # twice the natural rate


def test_the_code_rule_rescales_the_sum_to_a_half() -> None:
    policy = FRL(4, "reweight", tau=0.05, rule="code", alpha=10.0)
    policy.update(seen(), 1.0)  # natural: one class at 1.3; boundary: 1.0 and 3.0
    close(policy.state["phi_nat"], [0, 0, 0.5, 0])
    close(policy.state["phi_bndy"], [0, 0.125, 0.375, 0])
    below = FRL(4, "reweight", tau=0.05, rule="code", alpha=3.0)
    below.update(seen(), 1.0)
    close(below.state["phi_nat"], [0, 0, 0.39, 0])  # not scaled up to the bound


def test_remargin_alone_is_bounded_by_three_tenths_under_the_code_rule() -> None:
    policy = FRL(4, "remargin", tau=0.05, rule="code", alpha=10.0)
    policy.update(seen(), 1.0)
    close(policy.state["phi_nat"], [0, 0, 0.3, 0])
    both = FRL(4, "reweight+remargin", tau=0.05, rule="code", alpha=10.0)
    both.update(seen(), 1.0)
    close(both.state["phi_nat"], [0, 0, 0.5, 0])


def test_the_paper_rule_does_not_rescale() -> None:
    policy = FRL(4, "reweight", tau=0.05, alpha=10.0)
    policy.update(seen(), 1.0)
    close(policy.state["phi_bndy"], [0, 0.5, 1.5, 0])
    close(policy.settings().w_bndy, [0, 1, 5, 0])  # 1 + 4 phi - 2, cut at 0


# The margin, Eq. 11


def test_large_classes_count_no_more_and_the_boundary_error_is_that_of_equation_7() -> None:
    uneven = ClassErrors(np.array([10, 50, 90, 400]), STANDARD, BOUNDARY, BOUNDARY / 2, ROBUST)
    for variant in policies.VARIANTS:
        for rule in policies.RULES:
            policy, wanted = (FRL(4, variant, rule=rule) for _ in range(2))
            policy.update(uneven, 1.0)
            wanted.update(seen(), 1.0)
            assert all(np.array_equal(policy.state[key], values) for key, values in wanted.state.items())


def test_equation_11_as_printed() -> None:
    policy = FRL(4, "remargin", tau=0.1, alpha_margin=0.5, max_margin=2.0)
    policy.update(seen(), 1.0)
    close(policy.settings().margin, np.exp([0.05, 0.15, 0.20, 0.0]))  # 0.5 (R_bndy,i - 0.1): the mean plays no part
    policy.update(seen(boundary=0.0), 1.0)
    close(policy.settings().margin, np.exp([0.0, 0.10, 0.15, -0.05]))  # products of exponentials; it can shrink
    assert (policy.state["phi_bndy"] == 0).all() and policy.state["phi_nat"].any()


def test_the_margin_stops_at_its_cap_and_comes_back_from_it() -> None:
    policy = FRL(4, "remargin", tau=0.1, alpha_margin=5.0, max_margin=2.0)
    policy.update(seen(), 1.0)  # exponents 0.5, 1.5, 2.0, 0
    close(policy.settings().margin, [np.exp(0.5), 2, 2, 1])
    policy.update(seen(boundary=0.0), 1.0)  # minus 0.5 each, from the cap and not from what was cut away
    close(policy.settings().margin, [1, 2 * np.exp(-0.5), 2 * np.exp(-0.5), np.exp(-0.5)])


def test_the_margin_of_the_released_code() -> None:
    policy = FRL(4, "reweight+remargin", tau=0.05, rule="code", max_margin=1.05)
    close(policy.settings().margin, np.ones(4))
    policy.update(seen(), 1.0)
    m = 0.2 * np.array([-0.15, 0.05, 0.15, -0.25])  # the mean is subtracted here
    close(policy.state["log_margin"], m)
    close(policy.settings().margin, [0.98, np.exp(0.02), 1.05, 0.98])  # clip(exp(2 m), 0.98, cap)
    policy.update(seen(), 1.0)
    close(policy.state["log_margin"], 2 * m)  # m itself is not clipped: it winds up


def test_remargin_alone_moves_margins_half_as_fast_in_the_released_code() -> None:
    policy = FRL(4, "remargin", tau=0.05, rule="code")
    policy.update(seen(), 1.0)
    close(policy.state["log_margin"], [-0.015, 0.005, 0.015, -0.025])  # 0.1 times -0.15, 0.05, 0.15, -0.25


@pytest.mark.parametrize("variant, updates, cap", [("reweight+remargin", 20, 3.0), ("remargin", 40, 2.5)])
def test_the_caps_of_the_released_code(variant: str, updates: int, cap: float) -> None:
    """24/255 and 20/255 beside 8/255. Both ways m = (-0.6, 0.2, 0.6, -1.0), and exp(1.2) = 3.32 lies above either."""
    policy = FRL(4, variant, tau=0.05, rule="code")
    for _ in range(updates):
        policy.update(seen(), 1.0)
    close(policy.settings().margin, [0.98, np.exp(0.4), cap, 0.98])


def test_a_cap_of_ones_own_goes_before_the_rules() -> None:
    assert FRL(4, "remargin").max_margin == FRL(4, "reweight").max_margin == 2.0
    assert FRL(4, "remargin", rule="code", max_margin=1.5).max_margin == 1.5


@pytest.mark.parametrize("rule", ["paper", "code"])
@pytest.mark.parametrize(
    "variant, moves",
    [
        ("reweight", {"phi_nat", "phi_bndy"}),
        ("remargin", {"phi_nat", "log_margin"}),
        ("reweight+remargin", {"phi_nat", "phi_bndy", "log_margin"}),
    ],
)
def test_what_each_variant_moves(variant: str, moves: set[str], rule: str) -> None:
    policy = FRL(4, variant, rule=rule)
    policy.update(seen(), 1.0)
    assert {name for name, values in policy.state.items() if values.any()} == moves


# Rates over the epochs


def test_under_the_paper_rule_all_rates_fall_with_the_learning_rate() -> None:
    full, late = (FRL(4, "reweight+remargin", tau=0.05) for _ in range(2))
    full.update(seen(), 1.0)
    late.update(seen(), 0.1)
    for name in full.state:
        assert full.state[name].any()
        close(late.state[name], 0.1 * full.state[name])


@pytest.mark.parametrize("decay, rate", [(1.0, 1.0), (0.1, 0.5), (0.01, 0.25)])
def test_under_the_code_rule_the_rate_halves_and_the_margin_rate_stays(decay: float, rate: float) -> None:
    full, late = (FRL(4, "reweight+remargin", tau=0.05, rule="code") for _ in range(2))
    full.update(seen(), 1.0)
    late.update(seen(), decay)
    close(late.state["phi_nat"], rate * full.state["phi_nat"])
    close(late.state["phi_bndy"], rate * full.state["phi_bndy"])
    close(late.state["log_margin"], full.state["log_margin"])


# The other policies


def test_baseline_reweight_lifts_the_class_with_the_highest_robust_error() -> None:
    policy = BaselineReweight(4, alpha=0.1)
    policy.update(seen(standard=[0.5, 0.1, 0.1, 0.1], boundary=[0.1, 0.6, 0.2, 0.2]), 1.0)  # robust .6 .7 .3 .3
    close(policy.state["phi"], [0, 0.1, 0, 0])
    settings = policy.settings()
    close(settings.w_nat, [0.9, 1.3, 0.9, 0.9])
    close(settings.w_bndy, settings.w_nat)  # the whole cost of the class
    close(settings.margin, np.ones(4))
    policy.update(seen(standard=[0.9, 0, 0, 0], boundary=0.0), 0.1)
    close(policy.state["phi"], [0.01, 0.1, 0, 0])


def test_baseline_reweight_keeps_the_sum_of_its_multipliers_bounded() -> None:
    policy = BaselineReweight(4, alpha=0.3, bound=0.5)
    for worst in (0, 1):
        policy.update(seen(standard=np.eye(4)[worst], boundary=0.0), 1.0)
    close(policy.state["phi"], [0.25, 0.25, 0, 0])  # 0.3 and 0.3, scaled down to sum 0.5


def test_uniform_never_moves() -> None:
    policy = Uniform(4)
    policy.update(seen(), 1.0)
    assert policy.state == {}
    for values in answered(policy).values():
        close(values, np.ones(4))


def test_one_class_changes_one_class_only() -> None:
    policy = OneClass(4, index=2, weight=3.0)
    close(policy.settings().w_bndy, np.array([1, 1, 3.0, 1]))
    close(policy.settings().w_nat, np.ones(4))
    close(policy.settings().margin, np.ones(4))
    policy = OneClass(4, index=0, margin=2.5)
    close(policy.settings().margin, np.array([2.5, 1, 1, 1]))
    close(policy.settings().w_bndy, np.ones(4))
    policy.update(seen(), 1.0)
    assert policy.state == {} and policy.settings().margin[0] == 2.5


EVERY = [
    ("one_class", {"index": 1}),
    ("uniform", {}),
    ("baseline_reweight", {}),
    *(("frl", {"variant": v, "rule": r}) for v in policies.VARIANTS for r in policies.RULES),
]


@pytest.mark.parametrize("name, settings", EVERY)
def test_the_state_is_all_that_a_policy_remembers(name: str, settings: dict[str, Any]) -> None:
    def fresh() -> Policy:
        return policies.build(name, 4, **settings)

    random = np.random.default_rng(1)
    history = [seen(random.random(4) / 3, random.random(4) / 2) for _ in range(5)]
    whole, first, second = fresh(), fresh(), fresh()
    for errors in history:
        whole.update(errors, 1.0)
    for errors in history[:2]:
        first.update(errors, 1.0)
    second.state.update({key: values.copy() for key, values in first.state.items()})
    for errors in history[2:]:
        second.update(errors, 1.0)
    assert whole.state.keys() == second.state.keys()
    for key, values in whole.state.items():
        assert values.shape == (4,) and np.array_equal(values, second.state[key])
    for key, values in answered(whole).items():
        assert values.shape == (4,) and np.array_equal(values, answered(second)[key])


@pytest.mark.parametrize("name, settings", EVERY)
def test_an_update_leaves_earlier_settings_and_states_alone(name: str, settings: dict[str, Any]) -> None:
    policy = policies.build(name, 4, **settings)
    policy.update(seen(), 1.0)
    kept, answer = dict(policy.state), answered(policy)
    copies = {key: v.copy() for key, v in kept.items()}, {key: v.copy() for key, v in answer.items()}
    policy.update(seen(BOUNDARY, STANDARD), 1.0)
    assert all(np.array_equal(kept[key], v) for key, v in copies[0].items())
    assert all(np.array_equal(answer[key], v) for key, v in copies[1].items())


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("one_class", {"index": 4}, "index must name one of 4 classes, counted from 0, got 4"),
        ("one_class", {"index": True}, "index must name one of 4 classes, counted from 0, got True"),
        ("one_class", {"index": 1.0}, "index must name one of 4 classes, counted from 0, got 1.0"),
        ("one_class", {"index": 0, "weight": 0.0}, "weight must be positive, got 0.0"),
        ("fair", {}, "unknown policy 'fair'; known: uniform, one_class, baseline_reweight, frl"),
        ("frl", {"variant": "margin"}, r"unknown FRL variant 'margin'; known: reweight, remargin, reweight\+remargin"),
        ("frl", {"rule": "book"}, "unknown rule 'book'; known: paper, code"),
        ("frl", {"tau": 0.0}, "tau must be positive, got 0.0"),
        ("frl", {"tau": -0.05}, "tau must be positive"),
        ("frl", {"alpha": -1}, "alpha must be positive"),
        ("frl", {"alpha_margin": 0}, "alpha_margin must be positive"),
        ("frl", {"max_margin": -2}, "max_margin is a multiple"),
        ("frl", {"alpha": float("nan")}, "alpha must be positive"),
        ("baseline_reweight", {"alpha": -0.1}, "alpha must be positive"),
        ("baseline_reweight", {"bound": 0}, "bound must be positive"),
    ],
)
def test_bad_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        policies.build(name, 4, **settings)


@pytest.mark.parametrize("classes", ["10", 2.0, -1, 0, True, None])
@pytest.mark.parametrize("name, settings", EVERY)
def test_a_number_of_classes_that_is_none(name: str, settings: dict[str, Any], classes: Any) -> None:
    with pytest.raises(UserError, match=f"classes must be positive and whole, got {classes!r}"):
        policies.build(name, classes, **settings)


def test_numpys_whole_numbers_will_do() -> None:
    policy = OneClass(np.int64(4), index=np.argmax([0, 0, 1]), weight=2.0)
    close(policy.settings().w_bndy, [1, 1, 2, 1])
    close(FRL(np.int64(3)).settings().w_nat, np.ones(3))
