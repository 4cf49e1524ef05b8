"""Outcomes of examples as arrays that fit together, and what a bootstrap of them within classes draws."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from frlcore.errors import UserError
from frlcore.significance import zero_or_one

KEPT = 10_000  # of more draws than these none are kept for the next statistic


def per_example(wrong: ArrayLike) -> np.ndarray:
    """Share of seeds that are wrong, (N,)."""
    values = np.asarray(wrong, dtype=float)
    return values.mean(axis=0) if values.ndim == 2 else values


def matched(labels: ArrayLike, *wrongs: ArrayLike, weighted: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and the share of wrong seeds of every example and method, (N, methods).

    Raises UserError for shapes that differ, for outcomes other than 0 and 1, and for `weighted` ones not finite.
    """
    for wrong in () if weighted else wrongs:
        zero_or_one(wrong)
    truth, columns = np.asarray(labels), [per_example(wrong) for wrong in wrongs]
    if truth.ndim != 1 or len(truth) == 0 or any(column.shape != truth.shape for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise UserError(f"labels {truth.shape} and outcomes of examples {shapes} do not fit together")
    values = np.stack(columns, axis=1)
    if not np.isfinite(values).all():
        raise UserError("there are outcomes of examples that are not finite (NaN or infinite)")
    return truth, values


def resampled(truth: np.ndarray, values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Errors of resampled examples, (draws, methods, classes); the classes are those present, in order.

    Drawing n examples with replacement is a multinomial draw over the distinct outcomes, which is far less work. The
    same draw serves the next statistic of the same examples: it is most of a bootstrap's time.
    """
    if not isinstance(draws, Integral) or draws < 1:
        raise UserError(f"draws must be at least 1, a whole number, got {draws!r}")
    classes = np.unique(truth, return_inverse=True)[1].astype(np.int64)
    draw: Callable[..., np.ndarray] = _drawn if draws <= KEPT else _drawn.__wrapped__
    return draw(classes.tobytes(), values.tobytes(), values.shape[1], draws, seed)


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
