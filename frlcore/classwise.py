"""Class-wise standard, boundary and robust error. An error is a fraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from frlcore.errors import UserError
from frlcore.intervals import interval, summary
from frlcore.resampling import per_example
from frlcore.settings import counted

KINDS = ("standard", "boundary", "robust")  # of errors that an example has or has not; see `wrong`
FIELDS = ("standard", "boundary", "boundary_difference", "robust")  # of `ClassErrors`


@dataclass(frozen=True)
class Outcomes:
    """Predictions per example, all `(N,)` in the order of the split: uint8, or uint16 where a class is above 255.

    `adversarial` is the first wrong prediction met on the attack's path, the clean one included, or the right class
    if there is none. `last` is the prediction at the attack's last point, None if it was not asked for.
    """

    label: np.ndarray
    clean: np.ndarray
    adversarial: np.ndarray
    last: np.ndarray | None = None

    def wrong(self, kind: str) -> np.ndarray:
        """Which examples count as an error of one of KINDS, `(N,) bool`; UserError for another kind."""
        return wrong(self.label, self.clean, self.adversarial, kind)


def wrong(label: np.ndarray, clean: np.ndarray, adversarial: np.ndarray, kind: str) -> np.ndarray:
    """Which predictions `(..., N)` count as an error of one of KINDS; UserError for another kind (Eq. 7)."""
    standard, attacked = clean != label, adversarial != label
    known = {"standard": standard, "boundary": ~standard & attacked, "robust": attacked}
    if kind not in known:
        raise UserError(f'unknown error "{kind}"; choose one of: {", ".join(known)}')
    return known[kind]


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Errors of every class, as fractions.

    Arguments:
    - `n`: how many distinct examples each class has, `(C,) int`
    - the errors, each `(C,) float`, one per class

    With "right" for a prediction that equals the label, and the one perturbation found for each example (Eq. 7):

    - `standard`: Pr(clean prediction wrong).
    - `robust`: Pr(adversarial prediction wrong). Where any perturbation counts, clean mistakes count, too, and
      the clean prediction of an example that is wrong without an attack must be handed over.
    - `boundary`: Pr(clean right and adversarial wrong).
    - `boundary_difference`: robust - standard, the released code's definition; an example that the attack moves
      from wrong to right is subtracted, so it is never above `boundary`; the two agree where any perturbation counts.

    Raises: UserError, from its methods, for an unknown kind of error, shapes that do not fit, and a class without an
    example.

    Source: Sec. 2 and Eq. 7.

    >>> from frlcore import ClassErrors
    >>> errors = ClassErrors.from_predictions([0, 0, 1, 1], clean=[0, 0, 1, 0], adversarial=[0, 1, 0, 0], num_classes=2)
    >>> errors.worst("robust"), errors.average("standard")
    ((1, 1.0), 0.25)
    """

    n: np.ndarray
    standard: np.ndarray
    boundary: np.ndarray
    boundary_difference: np.ndarray
    robust: np.ndarray

    @classmethod
    def from_predictions(
        cls, labels: ArrayLike, clean: ArrayLike, adversarial: ArrayLike, num_classes: int
    ) -> ClassErrors:
        """Count the errors of integer predictions, `labels` (N,), `clean` and `adversarial` (N,) or (S, N).

        Raises UserError when shapes differ, for what is no whole number or a label outside the classes, and for a class
        without an example.
        """
        num_classes = counted("num_classes", num_classes)
        truth, first, second = np.asarray(labels), np.asarray(clean), np.asarray(adversarial)
        if truth.ndim != 1 or first.shape != second.shape or first.ndim not in (1, 2) or first.shape[-1] != len(truth):
            shapes = f"labels {truth.shape}, clean {first.shape} and adversarial {second.shape}"
            raise UserError(f"{shapes} do not fit together; give (N,) labels and (N,) or (S, N) predictions")
        for name, values in (("labels", truth), ("clean predictions", first), ("adversarial predictions", second)):
            if values.dtype.kind not in "iub" and not (values.dtype.kind == "f" and (values == np.floor(values)).all()):
                raise UserError(f"{name} must be whole numbers, the places of the classes")
        if len(truth) and not 0 <= truth.min() <= truth.max() < num_classes:
            raise UserError(f"labels must be between 0 and {num_classes - 1}")
        n = np.bincount(truth.astype(np.int64), minlength=num_classes)
        if (n == 0).any():
            raise UserError(f"class {int(np.argmin(n))} has no example, so it has no error")

        def rate(wrong: np.ndarray) -> np.ndarray:
            return np.bincount(truth.astype(np.int64), weights=per_example(wrong), minlength=num_classes) / n

        standard, robust = rate(first != truth), rate(second != truth)
        boundary = rate((first == truth) & (second != truth))
        return cls(n, standard, boundary, robust - standard, robust)

    def average(self, kind: str) -> float:
        """Mean over classes, each class counting the same."""
        return float(self._get(kind).mean())

    def average_examples(self, kind: str) -> float:
        """Mean over examples; differs from `average` when the classes differ in size."""
        return float(np.average(self._get(kind), weights=self.n))

    def worst(self, kind: str) -> tuple[int, float]:
        """The class with the largest error (the first of equals) and that error."""
        values = self._get(kind)
        return int(values.argmax()), float(values.max())

    def summary(self, kind: str, statistic: str) -> float:
        """One number for all classes: a name of `intervals.STATISTICS`, as `summary_interval` gives an interval of.

        "range" is the largest minus the smallest error, the robustness disparity index of Shah et al. (2026); "std" the
        standard deviation over the classes, which are all there are (divisor C); "gini" the Gini coefficient of the
        classes' shares without the error, their mean absolute difference over twice their mean, 0 if all shares are 0.
        """
        return float(summary(self._get(kind), statistic, self.n))

    def interval(self, kind: str, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Exact interval of every class, (low, high); raises UserError for a difference, which is no proportion."""
        if kind == "boundary_difference":
            raise UserError('"boundary_difference" is a difference of two errors, not a proportion; use "boundary"')
        return interval(self._get(kind) * self.n, self.n, level)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for JSON."""
        return {name: getattr(self, name).tolist() for name in ("n", *FIELDS)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassErrors:
        """The inverse of `to_dict`."""
        return cls(np.asarray(values["n"], dtype=np.int64), *(np.asarray(values[kind], dtype=float) for kind in FIELDS))

    def _get(self, kind: str) -> np.ndarray:
        if kind not in FIELDS:
            raise UserError(f'unknown error "{kind}"; choose one of: {", ".join(FIELDS)}')
        return getattr(self, kind)
