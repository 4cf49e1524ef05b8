"""Tests of paired outcomes by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from frlcore.errors import UserError
from frlcore.significance import holm, mcnemar


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 6), (3, 12), (7, 7), (40, 22)])
def test_mcnemar_is_the_binomial_by_hand(only_a: int, only_b: int) -> None:
    a = np.r_[np.ones(only_a), np.zeros(only_b), np.ones(9), np.zeros(30)]
    b = np.r_[np.zeros(only_a), np.ones(only_b), np.ones(9), np.zeros(30)]
    n, k = only_a + only_b, min(only_a, only_b)
    coefficient, tail = 1.0, 0.0
    for i in range(k + 1):
        tail += coefficient / 2**n
        coefficient *= (n - i) / (i + 1)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(min(1.0, 2 * tail))
    if n:
        assert mcnemar(a, b) == pytest.approx(stats.binomtest(only_a, n).pvalue)


def test_mcnemar_refuses_seeds() -> None:
    with pytest.raises(UserError, match="same examples"):
        mcnemar(np.zeros((2, 5)), np.zeros((2, 5)))


@pytest.mark.parametrize("bad", [[0, 1, 2], [0.5, 0, 1], [np.nan, 0, 1], ["a", "b", "c"]])
def test_mcnemar_refuses_what_is_no_outcome(bad: list[object]) -> None:
    with pytest.raises(UserError, match="whether an example is wrong is 0 or 1"):
        mcnemar([0, 1, 1], bad)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    assert holm([0.03]).tolist() == [0.03] and holm([]).tolist() == []
