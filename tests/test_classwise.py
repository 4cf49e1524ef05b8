"""Class-wise errors by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from frlcore.classwise import KINDS, ClassErrors
from frlcore.errors import UserError
from frlcore.intervals import interval

LABELS = np.array([0, 0, 0, 0, 1, 1])
CLEAN = np.array([0, 0, 1, 1, 1, 1])
ATTACKED = np.array([0, 1, 1, 0, 0, 1])  # the fourth example goes from wrong to right


def by_hand() -> ClassErrors:
    return ClassErrors.from_predictions(LABELS, CLEAN, ATTACKED, 2)


def test_errors_of_six_examples_by_hand() -> None:
    errors = by_hand()
    assert errors.n.tolist() == [4, 2]
    assert errors.standard.tolist() == [0.5, 0.0]
    assert errors.robust.tolist() == [0.5, 0.5]
    assert errors.boundary.tolist() == [0.25, 0.5]
    assert errors.boundary_difference.tolist() == [0.0, 0.5]  # wrong to right cancels right to wrong


def test_summaries_by_hand() -> None:
    errors = by_hand()
    assert errors.average("standard") == 0.25
    assert errors.average_examples("standard") == pytest.approx(2 / 6)
    assert errors.worst("boundary") == (1, 0.5)
    assert errors.worst("robust") == (0, 0.5)  # the first of equals
    assert errors.summary("boundary", "std") == 0.125 and errors.summary("boundary", "worst") == 0.5
    assert errors.summary("standard", "average_examples") == errors.average_examples("standard")
    for call in (errors.average, errors.average_examples, errors.worst, errors.interval):
        with pytest.raises(UserError, match='unknown error "clean"; choose one of: standard, boundary'):
            call("clean")


def test_definitions_agree_when_a_clean_mistake_counts_as_robust_error() -> None:
    rng = np.random.default_rng(0)
    labels, clean, attacked = rng.integers(0, 5, (3, 400))
    any_verdict = np.where(clean != labels, clean, attacked)
    errors = ClassErrors.from_predictions(labels, clean, any_verdict, 5)
    np.testing.assert_allclose(errors.boundary, errors.boundary_difference)
    np.testing.assert_allclose(errors.robust, errors.standard + errors.boundary)
    last = ClassErrors.from_predictions(labels, clean, attacked, 5)
    assert (last.boundary_difference <= last.boundary).all() and (last.robust <= errors.robust).all()
    assert (last.boundary_difference < last.boundary).any()


def test_seeds_are_averaged_and_examples_stay_distinct() -> None:
    seeds = [ClassErrors.from_predictions(LABELS, CLEAN, attacked, 2) for attacked in (ATTACKED, CLEAN)]
    both = ClassErrors.from_predictions(LABELS, np.stack([CLEAN, CLEAN]), np.stack([ATTACKED, CLEAN]), 2)
    assert both.n.tolist() == [4, 2]
    for kind in KINDS:
        mean = (getattr(seeds[0], kind) + getattr(seeds[1], kind)) / 2
        np.testing.assert_allclose(getattr(both, kind), mean, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_torch_and_numpy_integers_are_alike(dtype: torch.dtype) -> None:
    tensors = [torch.tensor(values, dtype=dtype) for values in (LABELS, CLEAN, ATTACKED)]
    assert ClassErrors.from_predictions(*tensors, 2).to_dict() == by_hand().to_dict()
    bytes_ = [values.astype(np.uint8) for values in (LABELS, CLEAN, ATTACKED)]
    assert ClassErrors.from_predictions(*bytes_, 2).to_dict() == by_hand().to_dict()


def test_errors_survive_json() -> None:
    text = json.dumps(by_hand().to_dict())
    again = ClassErrors.from_dict(json.loads(text))
    assert again.to_dict() == by_hand().to_dict()
    assert again.n.dtype == np.int64 and again.robust.dtype == float


@pytest.mark.parametrize(
    ("labels", "clean", "attacked", "classes", "message"),
    [
        (LABELS, CLEAN[:5], ATTACKED, 2, "do not fit"),
        (LABELS, CLEAN, np.stack([ATTACKED, ATTACKED]), 2, "do not fit"),
        (LABELS[:5], CLEAN, ATTACKED, 2, "do not fit"),
        (LABELS, CLEAN, ATTACKED, 1, "between 0 and 0"),
        (LABELS - 1, CLEAN, ATTACKED, 2, "between 0 and 1"),
        (LABELS + 0.5, CLEAN, ATTACKED, 2, "labels must be whole numbers"),
        (LABELS * np.nan, CLEAN, ATTACKED, 2, "labels must be whole numbers"),
        (LABELS.astype(str), CLEAN, ATTACKED, 2, "labels must be whole numbers"),
        (LABELS, CLEAN * 0.9, ATTACKED, 2, "clean predictions must be whole numbers"),
        (LABELS, CLEAN, ATTACKED, 4, "class 2 has no example"),
        (LABELS, CLEAN, ATTACKED, 2.0, "num_classes must be at least 1, a whole number, got 2.0"),
        (LABELS[:0], CLEAN[:0], ATTACKED[:0], 0, "num_classes must be at least 1"),
    ],
)
def test_bad_predictions(
    labels: np.ndarray, clean: np.ndarray, attacked: np.ndarray, classes: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ClassErrors.from_predictions(labels, clean, attacked, classes)


def test_intervals_of_classes() -> None:
    low, high = by_hand().interval("standard")
    np.testing.assert_allclose((low, high), interval([2, 0], [4, 2]))
    with pytest.raises(UserError, match="not a proportion"):
        by_hand().interval("boundary_difference")


def test_spreads_over_classes_by_hand() -> None:
    zero = np.zeros(3)
    errors = ClassErrors(np.array([10, 10, 10]), zero, zero, zero, np.array([0.2, 0.5, 0.8]))
    assert errors.summary("robust", "range") == pytest.approx(0.6)
    assert errors.summary("robust", "std") == pytest.approx(0.06**0.5)  # (0.09 + 0 + 0.09) / 3
    assert errors.summary("robust", "gap") == pytest.approx(0.3)
    # right: 0.8, 0.5, 0.2; the pairs differ by 0, 0.3 (four times) and 0.6 (twice): 2.4 / 9 over twice 0.5
    assert errors.summary("robust", "gini") == pytest.approx(2.4 / 9)
    assert all(errors.summary("standard", name) == 0 for name in ("range", "std", "gini", "gap"))
    one = ClassErrors(np.array([9, 9, 9]), zero, zero, zero, np.array([1.0, 1.0, 0.5]))
    assert one.summary("robust", "gini") == pytest.approx(2 / 3)  # one class has all that is right: 1 - 1 / C
    assert ClassErrors(one.n, zero, zero, zero, np.ones(3)).summary("robust", "gini") == 0
