"""Intervals against scipy, and what the resampling may and may not claim."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.intervals import brackets, interval, paired_bootstrap, selection_bias, summary, summary_interval


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (1, 1), (3, 17), (75, 300), (750, 1000), (999, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_interval_is_scipys_exact_one(k: int, n: int, level: float) -> None:
    expected = stats.binomtest(k, n).proportion_ci(level, method="exact")
    assert interval(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_takes_arrays_and_real_counts() -> None:
    low, high = interval([0, 2.5, 5], 5)
    assert low.shape == high.shape == (3,)
    assert low[0] == 0 and high[2] == 1
    beta = stats.beta.ppf([0.025, 0.975], [2.5, 3.5], [3.5, 2.5])
    assert (low[1], high[1]) == pytest.approx(tuple(beta))
    assert (np.diff(low) > 0).all() and (np.diff(high) > 0).all()


def test_interval_of_no_example_is_everything() -> None:
    assert interval(0, 0) == (0, 1)


def test_half_widths_that_the_text_quotes() -> None:
    for k, n, expected in ((750, 1000, 2.7), (225, 300, 4.9)):
        low, high = interval(k, n)
        assert 50 * (high - low) == pytest.approx(expected, abs=0.2)


def test_brackets_round_no_end_by_much_of_their_width() -> None:
    assert brackets(12.34, 17.9) == "[12, 18]" and brackets(64.7, 66.38) == "[64.7, 66.4]"


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 10, 0.95), (11, 10, 0.95), (5, 10, 1.0), (5, 10, 95),
                                              (np.nan, 5, 0.95), (1, np.nan, 0.95), (1, np.inf, 0.95)])  # fmt: skip
def test_bad_intervals(k: float, n: int, level: float) -> None:
    with pytest.raises(UserError, match="must"):
        interval(k, n, level)


def outcomes(rates: list[float], n: int, rng: np.random.Generator, seeds: int = 0) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(rates)), n)
    shape = (seeds, len(labels)) if seeds else len(labels)
    return labels, rng.random(shape) < np.asarray(rates)[labels]


def test_bootstrap_of_the_average_is_the_textbook_interval() -> None:
    labels, wrong = outcomes([0.1, 0.3, 0.6], 400, np.random.default_rng(0))
    p = np.array([wrong[labels == c].mean() for c in range(3)])
    centre, error = p.mean(), np.sqrt((p * (1 - p) / 400).sum()) / 3
    low, high = summary_interval(labels, wrong, "average", draws=20000)
    assert (low, high) == pytest.approx((centre - 1.96 * error, centre + 1.96 * error), abs=0.15 * error)


def test_bootstrap_is_the_plain_loop() -> None:
    labels, wrong = outcomes([0.2, 0.5], 30, np.random.default_rng(1), seeds=3)
    rng = np.random.default_rng(2)
    sample = []
    for _ in range(4000):
        chosen = [rng.choice(np.flatnonzero(labels == c), 30) for c in range(2)]
        sample.append(np.mean([wrong[:, index].mean() for index in chosen]))
    found = summary_interval(labels, wrong, "average", draws=4000)
    assert found == pytest.approx(np.quantile(sample, [0.025, 0.975]), abs=0.02)


def test_bootstrap_keeps_the_seeds_of_an_example_together() -> None:
    labels, wrong = outcomes([0.5], 100, np.random.default_rng(3))
    for statistic in ("average", "worst"):
        one = summary_interval(labels, wrong, statistic)
        seeds = np.stack([wrong] * 20)  # equal seeds add no information
        assert summary_interval(labels, seeds, statistic) == pytest.approx(one)


def test_bootstrap_repeats_and_is_fast() -> None:
    labels, wrong = outcomes([0.1 * c for c in range(10)], 180, np.random.default_rng(4))
    start = time.perf_counter()
    first = summary_interval(labels, wrong, "average")
    assert time.perf_counter() - start < 1
    assert first == summary_interval(labels, wrong, "average") != summary_interval(labels, wrong, "average", seed=1)
    assert first[0] < 0.45 < first[1]


def test_the_interval_of_the_worst_class_is_exact_below_for_any_of_them() -> None:
    labels = np.repeat([0, 1], [40, 10])
    wrong = np.concatenate([np.arange(40) < 20, np.arange(10) < 4])  # 20 of 40, and 4 of 10
    below = stats.binomtest(20, 40).proportion_ci(0.975, method="exact").low  # a tail of 0.025 / 2, for two classes
    above = stats.binomtest(4, 10).proportion_ci(0.95, method="exact").high  # the smaller class may be worse by far
    assert summary_interval(labels, wrong, "worst") == pytest.approx((below, above))


def test_an_interval_has_a_width_even_where_every_resample_is_the_same() -> None:
    labels = np.repeat([0, 1], 8)
    none, all_, one_class = np.zeros(16), np.ones(16), labels.astype(float)
    edge = 1 - 0.025 ** (1 / 16)  # Clopper and Pearson: 0 of 16
    assert summary_interval(labels, none, "average") == pytest.approx((0, edge))
    assert summary_interval(labels, all_, "average") == pytest.approx((1 - edge, 1))
    assert summary_interval(labels, none, "worst") == pytest.approx((0, 1 - 0.025 ** (1 / 8)))  # rests on one class
    assert summary_interval(labels, one_class, "worst") == pytest.approx((0.0125 ** (1 / 8), 1))
    low, high = summary_interval(labels, one_class, "average")
    exact = stats.binomtest(8, 16).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    uneven = np.repeat([0, 1], [4, 12])  # of two classes as bad, the smaller one says less
    assert summary_interval(uneven, np.zeros(16), "worst")[1] == pytest.approx(1 - 0.025 ** (1 / 4))


def test_no_difference_in_a_few_examples_is_no_proof_of_none() -> None:
    labels, wrong = np.repeat([0, 1], 8), np.tile([0.0, 1.0], 8)
    found = paired_bootstrap(labels, wrong, wrong, "average")
    edge = 1 - 0.025 ** (1 / 16)
    assert found[:3] == pytest.approx((0, -edge, edge)) and found.p == 1
    found = paired_bootstrap(labels, np.ones(16), np.zeros(16), "worst")  # 8 of 8, by the sign test
    assert found == pytest.approx((1, 2 * 0.025 ** (1 / 8) - 1, 1, 2 / 2**8))


@pytest.mark.parametrize("statistic", ["average", "worst"])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 9])
def test_where_no_resample_differs_the_sign_test_says_what_the_interval_does(n: int, statistic: str) -> None:
    found = paired_bootstrap(np.zeros(n, int), np.ones(n), np.zeros(n), statistic)
    assert found.p == pytest.approx(stats.binomtest(n, n).pvalue)
    assert (found.p < 0.05) == (found.low > 0) == (n > 5)


def test_the_sign_test_counts_examples_of_either_sign() -> None:
    labels = np.arange(10)  # one example a class
    a, b = np.repeat([1.0, 0.0], [8, 2]), np.repeat([0.0, 1.0], [7, 3])
    found = paired_bootstrap(labels, a, b, "average")  # 7 for a alone, 2 for b alone, one for both
    assert found.p == pytest.approx(stats.binomtest(7, 9).pvalue) and found.low < 0 < found.high


def test_where_no_resample_differs_p_agrees_with_the_interval() -> None:
    labels = np.repeat([0, 1], 50)
    found = paired_bootstrap(labels, labels == 0, labels == 1, "worst")  # each has a class that is always wrong
    assert found.difference == 0 and found.low < 0 < found.high and found.p == 1
    for n, clear in ((50, False), (100, False), (200, True)):  # nothing differs, but for a threshold of 5 points
        found = paired_bootstrap(np.zeros(n, int), np.ones(n) + 0.05, np.ones(n), "worst")
        assert (found.p < 0.05) == (found.low > 0) == clear
        assert found.p == pytest.approx(min(1, 2 * 0.975**n))


def test_coverage_of_single_intervals_however_close_the_classes_are() -> None:
    rng = np.random.default_rng(5)
    clear, tied, average = [], [], []
    for trial in range(300):
        labels, wrong = outcomes([0.2, 0.3, 0.7], 200, rng)
        low, high = summary_interval(labels, wrong)
        clear.append(low <= 0.7 <= high)
        low, high = summary_interval(labels, wrong, "average", draws=500, seed=trial)
        average.append(low <= 0.4 <= high)
        labels, wrong = outcomes([0.5] * 10, 200, rng)
        low, high = summary_interval(labels, wrong)
        tied.append(low <= 0.5 <= high)
    assert np.mean(clear) > 0.94 and np.mean(average) > 0.9 and np.mean(tied) > 0.94


@pytest.mark.parametrize("statistic", ["gap", "range", "std", "gini"])
@pytest.mark.parametrize("rates", [[0.3] * 10, list(np.linspace(0.2, 0.6, 10)), [0.01] * 9 + [0.2]])
def test_coverage_of_how_far_classes_lie_apart(rates: list[float], statistic: str) -> None:
    """Equal classes too, of which the bootstrap alone says in half of the samples that they are not."""
    rng, truth, inside = np.random.default_rng(11), summary(np.array(rates), statistic, np.ones(10)), []
    for trial in range(60):
        labels, wrong = outcomes(rates, 50, rng)
        low, high = summary_interval(labels, wrong, statistic, draws=300, seed=trial)
        inside.append(low <= truth + 1e-9 and truth <= high)
    assert np.mean(inside) > 0.88


def test_how_far_classes_lie_apart_is_clear_where_it_is() -> None:
    labels, wrong = outcomes([0.1] * 5 + [0.8] * 5, 200, np.random.default_rng(12))
    low, high = summary_interval(labels, wrong, "gap")
    assert 0.27 < low < 0.35 < high < 0.45


@pytest.mark.parametrize("statistic", ["worst", "gap"])
@pytest.mark.parametrize(("rates", "least"), [([0.2, 0.3, 0.7], 0.93), ([0.65] * 4 + [0.3] * 6, 0.87)])
def test_coverage_of_a_difference_of_worst_classes(rates: list[float], least: float, statistic: str) -> None:
    """Of a method whose classes are as given, minus one with a single worst class at the same error."""
    rng, errors = np.random.default_rng(10), np.array(rates)
    other = np.where(np.arange(len(rates)) == np.argmax(errors), errors.max(), 0.2)
    truth = 0.0 if statistic == "worst" else other.mean() - errors.mean()
    hits = []
    for trial in range(200):
        labels, a = outcomes(rates, 180, rng)
        found = paired_bootstrap(labels, a, outcomes(list(other), 180, rng)[1], statistic, draws=500, seed=trial)
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) > least


def test_paired_bootstrap_sees_what_two_intervals_hide() -> None:
    labels, a = outcomes([0.4, 0.6], 200, np.random.default_rng(6))
    b = a.copy()
    b[np.flatnonzero(a & (labels == 1))[:12]] = False  # b repairs 12 of the worst class's examples and breaks none
    result = paired_bootstrap(labels, a, b)
    assert result.difference == pytest.approx(12 / 200)
    assert 0 < result.low < result.difference < result.high
    assert result.p < 0.01
    assert summary_interval(labels, b)[1] > summary_interval(labels, a)[0]  # taken singly, they overlap
    back = paired_bootstrap(labels, b, a)
    assert (back.difference, back.p) == (-result.difference, result.p)


def test_p_and_interval_of_worst_classes_agree() -> None:
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(10), 50)
    for trial in range(60):
        a, b = rng.random(500) < 0.5, rng.random(500) < np.where(labels == 0, 0.5, 0.2)
        found = paired_bootstrap(labels, a, b, "worst", draws=500, seed=trial)
        assert found.p <= 0.06 if found.low > 0 or found.high < 0 else found.p >= 0.045


def test_p_is_never_0_and_no_gap_is_below_0() -> None:
    a = np.arange(100) < 90
    assert paired_bootstrap(np.zeros(100, int), a, np.zeros(100), "average", draws=99).p == pytest.approx(0.02)
    assert summary_interval(np.repeat(np.arange(10), 20), np.tile(np.arange(20) < 10, 10), "gap")[0] == 0


def test_paired_bootstrap_of_the_same_thing_shows_nothing() -> None:
    labels, a = outcomes([0.4, 0.6], 50, np.random.default_rng(7), seeds=3)
    tensors = torch.tensor(labels), torch.tensor(a), torch.tensor(a)
    for found in (paired_bootstrap(labels, a, a, "average"), paired_bootstrap(*tensors)):
        assert found.difference == 0 and found.p == 1 and found.low == -found.high < 0


def test_averages_that_differ_by_rounding_alone_are_equal() -> None:
    rng, labels, ends = np.random.default_rng(0), np.repeat(np.arange(3), 10), []
    for trial in range(89):  # of the last one the upper end was 1e-16
        a, others = rng.random(30) < 0.5, rng.choice(30, 5, replace=False)
        b = np.where(np.isin(np.arange(30), others), ~a, a)
        if trial > 80:
            ends += paired_bootstrap(labels, a, b, "average", draws=2000, seed=trial)[1:3]
    assert 0 in ends and min(abs(end) for end in ends if end) > 0.01


def test_p_values_of_the_paired_bootstrap_are_honest_without_a_difference() -> None:
    rng = np.random.default_rng(8)
    p = []
    for trial in range(300):
        labels, wrong = outcomes([0.2, 0.4], 150, rng, seeds=2)
        p.append(paired_bootstrap(labels, wrong[0], wrong[1], "average", draws=300, seed=trial).p)
    assert np.mean(np.array(p) < 0.05) < 0.1


def test_bad_resampling() -> None:
    labels, wrong = outcomes([0.4, 0.6], 5, np.random.default_rng(0))
    with pytest.raises(UserError, match='unknown statistic "median"; choose one of: worst, average'):
        summary_interval(labels, wrong, "median")
    with pytest.raises(UserError, match="do not fit"):
        summary_interval(labels[:9], wrong)
    with pytest.raises(UserError, match="do not fit"):
        paired_bootstrap(labels, wrong, wrong[:9])
    with pytest.raises(UserError, match="level must be"):
        summary_interval(labels, wrong, level=95)


@pytest.mark.parametrize("draws", [0, -1, 100.0])
def test_a_bootstrap_draws_at_least_once(draws: int) -> None:
    labels, wrong = outcomes([0.4, 0.6], 5, np.random.default_rng(0))
    for act in (lambda: summary_interval(labels, wrong, "gap", draws=draws),
                lambda: selection_bias(labels, wrong, draws=draws),
                lambda: paired_bootstrap(labels, wrong, ~wrong, draws=draws)):  # fmt: skip
        with pytest.raises(UserError, match=f"draws must be at least 1, a whole number, got {draws}"):
            act()


def test_predicted_classes_and_nan_are_no_outcomes() -> None:
    labels, wrong = outcomes([0.4, 0.6, 0.5], 5, np.random.default_rng(0))
    for bad in (labels, np.where(wrong, np.nan, 0), np.stack([labels, labels])):
        for act in (summary_interval, selection_bias):
            with pytest.raises(UserError, match="0 or 1, or a boolean; of predictions it is predicted != label"):
                act(labels, bad)
    with pytest.raises(UserError, match="not finite"):
        paired_bootstrap(labels, wrong, np.where(wrong, np.nan, 0))
    weighted = paired_bootstrap(labels, 1.5 * wrong - 0.2, 0.0 * wrong, "average", draws=50)  # as a claim has them
    assert weighted.difference == pytest.approx(1.5 * wrong.mean() - 0.2)


def test_the_gap_is_the_worst_class_minus_the_average() -> None:
    labels = np.repeat([0, 1], 50)
    wrong_a, wrong_b = np.zeros(100), np.zeros(100)
    wrong_a[:20] = 1  # class errors 0.4 and 0: gap 0.2
    wrong_b[45:55] = 1  # 0.1 and 0.1: gap 0
    found = paired_bootstrap(labels, wrong_a, wrong_b, "gap")
    assert found.difference == pytest.approx(0.2) and 0 < found.low < found.high


def test_the_average_over_examples_weights_classes_by_their_size() -> None:
    labels = np.repeat([0, 1], [900, 100])
    wrong = np.zeros(1000)
    wrong[:90], wrong[900:950] = 1, 1  # class errors 0.1 and 0.5: 0.3 over classes, 0.14 over examples
    low, high = summary_interval(labels, wrong, "average_examples", draws=20000)
    error = np.sqrt(900 * 0.1 * 0.9 + 100 * 0.5 * 0.5) / 1000  # stratified: the sizes of the classes stand still
    assert (low, high) == pytest.approx((0.14 - 1.96 * error, 0.14 + 1.96 * error), abs=0.1 * error)
    low, high = summary_interval(labels, wrong, "average")
    assert low < 0.3 < high and low > 0.2
    found = paired_bootstrap(labels, wrong, np.zeros(1000), "average_examples")
    assert found.difference == pytest.approx(0.14) and found.low > 0


def test_both_averages_agree_when_classes_are_of_one_size() -> None:
    labels, wrong = outcomes([0.2, 0.5, 0.7], 60, np.random.default_rng(9), seeds=2)
    over_classes = summary_interval(labels, wrong, "average")
    assert summary_interval(labels, wrong, "average_examples") == pytest.approx(over_classes)


def test_the_average_over_examples_takes_labels_as_they_come() -> None:
    labels, wrong = np.array([7, 2, 7, 7]), np.array([1, 0, 1, 1])  # classes 2 and 7, out of order
    exact = stats.binomtest(3, 4).proportion_ci(method="exact")
    assert summary_interval(labels, wrong, "average_examples") == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("statistic", ["range", "std", "gini"])
def test_intervals_of_spreads_hold_the_truth_and_never_have_no_width(statistic: str) -> None:
    truth, zero = np.array([0.1, 0.3, 0.7]), np.zeros(3)
    exact = ClassErrors(np.ones(3, int), zero, zero, zero, truth).summary("robust", statistic)
    hits = 0
    for trial in range(60):
        labels, wrong = outcomes(list(truth), 100, np.random.default_rng(trial))
        low, high = summary_interval(labels, wrong, statistic, draws=300, seed=trial)
        hits += low <= exact <= high
    assert hits >= 52
    labels = np.repeat(np.arange(4), 20)
    for wrong in (np.zeros(80), np.ones(80), labels == 2):  # no resample differs from these
        low, high = summary_interval(labels, wrong, statistic)
        means = np.array([wrong[labels == c].mean() for c in range(4)])
        value = ClassErrors(np.full(4, 20), *[means] * 4).summary("robust", statistic)
        assert low <= value <= high and low < high
    assert summary_interval(labels, np.zeros(80), "range")[1] < 0.25  # 20 images without an error leave little room


def test_selection_bias_is_what_resampling_adds_to_the_worst_class() -> None:
    labels = np.repeat(np.arange(10), 50)
    equal = np.tile(np.arange(50) < 20, 10)  # ten classes that all err in 0.4: pure luck which looks worst
    spread = np.sqrt(0.4 * 0.6 / 50)
    assert selection_bias(labels, equal, draws=4000) == pytest.approx(1.539 * spread, rel=0.05)  # E max of 10 normals
    apart = (labels == 3) & (np.tile(np.arange(50), 10) < 25)
    assert selection_bias(labels, apart) < 0.005
