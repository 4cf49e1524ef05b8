"""Tests of paired outcomes, and what testing many at once costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from frlcore.errors import UserError


def zero_or_one(wrong: ArrayLike) -> np.ndarray:
    """Whether examples are wrong, of any shape; raises UserError for anything but 0, 1 and booleans, as for classes."""
    values = np.asarray(wrong)
    if not np.all((values == 0) | (values == 1)):
        raise UserError("whether an example is wrong is 0 or 1, or a boolean; of predictions it is predicted != label")
    return values


def mcnemar(wrong_a: ArrayLike, wrong_b: ArrayLike) -> float:
    """Exact two-sided p-value that two methods (one seed each, shape (N,)) err equally often. McNemar (1947).

    Raises UserError for outcomes other than 0 and 1, and for shapes that differ.
    """
    a, b = (zero_or_one(wrong).astype(bool) for wrong in (wrong_a, wrong_b))
    if a.ndim != 1 or a.shape != b.shape:
        raise UserError(f"McNemar's test compares two (N,) arrays of the same examples, not {a.shape} and {b.shape}")
    only_a, only_b = np.count_nonzero(a & ~b), np.count_nonzero(b & ~a)
    if only_a == only_b:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values adjusted for testing all of them at once, in the order given. Holm (1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    return adjusted
