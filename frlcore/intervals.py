"""Intervals of class-wise errors and of what summarises them: exact, and bootstraps of one method or of a pair.

An error is a fraction. `wrong` arrays are 0/1, shape (N,), or (S, N) for S seeds judged on the same N examples:
seeds are averaged, and the number of distinct examples stays the sample size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from frlcore.errors import UserError

SPREADS = ("range", "std", "gini")  # how far the classes lie apart, 0 where they are all alike
STATISTICS = ("worst", "average", "gap", "average_examples", *SPREADS)  # gap: the worst class minus the average


class Difference(NamedTuple):
    """A difference a - b with its interval and a two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


def summary(errors: np.ndarray, statistic: str, sizes: np.ndarray) -> np.ndarray:
    """A statistic over the classes, the last axis; `sizes` (C,) says how many examples each class has."""
    if statistic not in STATISTICS:
        raise UserError(f'unknown statistic "{statistic}"; choose one of: {", ".join(STATISTICS)}')
    if statistic == "average_examples":
        return np.average(errors, axis=-1, weights=sizes)
    if statistic == "gini":
        right, c = np.sort(1 - errors, axis=-1), errors.shape[-1]
        total = right.sum(axis=-1)
        return (right @ (2 * np.arange(c) - c + 1)) / (c * np.where(total > 0, total, 1))
    worst, average = errors.max(axis=-1), errors.mean(axis=-1)
    found = {"worst": worst, "average": average, "gap": worst - average, "range": worst - errors.min(axis=-1)}
    return errors.std(axis=-1) if statistic == "std" else found[statistic]


def interval(errors: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson interval (low, high) of an error rate from `errors` out of `n`, element by element.

    Counts may be real numbers: with several seeds `errors` is the mean count and `n` the number of distinct examples,
    which treats the seeds as one and is therefore on the wide side. Clopper and Pearson (1934).
    """
    _check_level(level)
    wrong, of = np.asarray(errors, dtype=float), np.asarray(n, dtype=float)
    if (wrong < 0).any() or (wrong > of + 1e-6).any():
        raise UserError("the number of errors must lie between 0 and the number of examples")
    wrong = np.minimum(wrong, of)
    tail = (1 - level) / 2
    with np.errstate(invalid="ignore"):  # the two closed ends have no beta quantile
        low = np.where(wrong > 0, betaincinv(wrong, of - wrong + 1, tail), 0.0)
        high = np.where(wrong < of, betaincinv(wrong + 1, of - wrong, 1 - tail), 1.0)
    return low, high


def bootstrap(
    labels: ArrayLike,
    wrong: ArrayLike,
    statistic: str = "worst",
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the average or worst class's error, resampling examples within classes.

    The "average" is over classes, each counting the same; "average_examples" is over examples.
    All seeds of an example are drawn together, so the interval speaks of other test examples, not of other seeds.
    Where no resample differs, as when nothing is wrong, the exact interval of as many examples stands in: a bootstrap
    of a constant has no width, and 8 images without an error do not show that there are none.
    The maximum over noisy classes lies above the true maximum on average, in the data and again in each resample:
    the "worst" interval is biased upward, the more so the closer the leading classes are, and so are those of "gap",
    "range", "std" and "gini": noise alone sets equal classes apart. Efron and Tibshirani (1993).
    """
    _check_level(level)
    truth, values = _matched(labels, wrong)
    sizes = np.unique(truth, return_counts=True)[1]
    sample = summary(_resampled(truth, values, draws, seed), statistic, sizes)[:, 0]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(sample, tails)
    if low == high and statistic in SPREADS:  # errors that as many examples allow, drawn under Jeffreys' prior
        errors = np.array([values[truth == c].sum() for c in np.unique(truth)])
        drawn = np.random.default_rng(seed).beta(errors + 0.5, sizes - errors + 0.5, size=(draws, len(sizes)))
        allowed = np.quantile(summary(drawn, statistic, sizes), tails)
        low, high = min(low, allowed[0]), max(high, allowed[1])
    elif low == high:
        n = _examples(truth, values[:, 0], statistic)
        low, high = interval(low * n, n, level)
    return float(low), float(high)


def paired_bootstrap(
    labels: ArrayLike,
    wrong_a: ArrayLike,
    wrong_b: ArrayLike,
    statistic: str = "worst",
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Difference a - b of a statistic of two methods on the same examples: (difference, low, high, two-sided p).

    Both methods see the same resamples, within classes. The p-value is the level at which the percentile interval
    starts to hold 0 (with one added to each count, so it is never 0); the smallest possible is 2 / (draws + 1).
    Each method's worst class may be another one, in the data and in a resample. Where no resample differs, the interval
    is as wide as that of no difference in as many examples. Efron and Tibshirani (1993).
    """
    _check_level(level)
    truth, values = _matched(labels, wrong_a, wrong_b)
    errors = np.stack([values[truth == c].mean(axis=0) for c in np.unique(truth)], axis=-1)  # (2, classes)
    sizes = np.unique(truth, return_counts=True)[1]
    observed = summary(errors, statistic, sizes)
    sample = summary(_resampled(truth, values, draws, seed), statistic, sizes)  # (draws, 2)
    change = sample[:, 0] - sample[:, 1]
    low, high = np.quantile(change, [(1 - level) / 2, (1 + level) / 2])
    if low == high:
        n = min(_examples(truth, column, statistic) for column in values.T)
        (_, width), most = interval(0, n, level), max(1.0, abs(low))
        low, high = max(-most, low - width), min(most, high + width)
    side = min(int((change <= 0).sum()), int((change >= 0).sum()))
    p = min(1.0, 2 * (1 + side) / (draws + 1))
    return Difference(float(observed[0] - observed[1]), float(low), float(high), p)


def selection_bias(labels: ArrayLike, wrong: ArrayLike, *, draws: int = 2000, seed: int = 0) -> float:
    """By how much the worst class's error lies too high for being the largest of noisy ones, a fraction >= 0.

    The bootstrap's estimate: the mean worst error of the resamples minus the observed one. Efron and Tibshirani (1993).
    """
    truth, values = _matched(labels, wrong)
    worst = max(values[truth == c].mean() for c in np.unique(truth))
    return max(0.0, float(_resampled(truth, values, draws, seed).max(axis=-1).mean() - worst))


def per_example(wrong: ArrayLike) -> np.ndarray:
    """Share of seeds that are wrong, (N,)."""
    values = np.asarray(wrong, dtype=float)
    return values.mean(axis=0) if values.ndim == 2 else values


def _matched(labels: ArrayLike, *wrongs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and the share of wrong seeds of every example and method, (N, methods)."""
    truth, columns = np.asarray(labels), [per_example(wrong) for wrong in wrongs]
    if truth.ndim != 1 or len(truth) == 0 or any(column.shape != truth.shape for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise UserError(f"labels {truth.shape} and outcomes of examples {shapes} do not fit together")
    return truth, np.stack(columns, axis=1)


def _resampled(truth: np.ndarray, values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Errors of resampled examples, (draws, methods, classes); the classes are those present, in order.

    Drawing n examples with replacement is a multinomial draw over the distinct outcomes, which is far less work. The
    same draw serves the next statistic of the same examples: it is most of a bootstrap's time.
    """
    classes = np.unique(truth, return_inverse=True)[1].astype(np.int64)
    return _drawn(classes.tobytes(), values.tobytes(), values.shape[1], draws, seed)


@lru_cache(maxsize=48)  # a table's methods and kinds of error; 1.6 MB each at 10,000 draws of a pair
def _drawn(labels: bytes, outcomes: bytes, methods: int, draws: int, seed: int) -> np.ndarray:
    truth, values = np.frombuffer(labels, np.int64), np.frombuffer(outcomes).reshape(-1, methods)
    rng = np.random.default_rng(seed)
    means = []
    for c in np.unique(truth):
        distinct, counts = np.unique(values[truth == c], axis=0, return_counts=True)
        n = counts.sum()
        means.append(rng.multinomial(n, counts / n, size=draws) @ distinct / n)  # (draws, methods)
    together = np.stack(means, axis=-1)
    together.setflags(write=False)
    return together


def _examples(truth: np.ndarray, values: np.ndarray, statistic: str) -> int:
    """How many examples a statistic of one method rests on: all, or those of its worst class."""
    if statistic.startswith("average"):
        return len(truth)
    errors = [(values[truth == c].mean(), -np.count_nonzero(truth == c)) for c in np.unique(truth)]
    return int(-max(errors)[1])  # of equally bad classes the smallest


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level must be between 0 and 1, not {level}")
