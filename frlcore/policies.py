"""Policies: class-wise validation errors in, what the next epoch uses for every class out (Sec. 4).

A policy is the whole difference between the fair methods. Once an epoch it sees the class-wise errors on the
validation split and answers with one natural-loss weight, one boundary-loss weight and one radius per class.

    weight    w^i = 1 + C phi^i - sum_j phi^j          C classes, mean over the classes is 1
    radius    eps^i = margin^i * eps                   margin^i = 1 before the first update

The weight is the coefficient of class i's error in the Lagrangian of Eq. 9, times C; the released code's
`0.1 + phi^i - 0.1 sum_j phi^j` is the same for ten classes. A negative weight is cut to 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.seam import ClassSettings, Policy, positive
from frlcore.settings import is_positive
from frlcore.successors import CFA, DAFA, FAAL, WAT

__all__ = ["FRL", "POLICIES", "BaselineReweight", "ClassSettings", "OneClass", "Policy", "Uniform", "build"]

VARIANTS = ("reweight", "remargin", "reweight+remargin")
RULES = ("paper", "code")
CAP = 2.0  # of a radius, in units of eps, under the paper's rule: 16/255 beside 8/255


class Released(NamedTuple):
    """What the released code sets by itself: `bound` of each kind's multipliers, `rate` and `cap` of the margin."""

    bound: float
    rate: float
    cap: float


RELEASED = {
    "reweight": Released(0.5, 0.2, 3.0),  # as in the file that has both; no margin moves
    "remargin": Released(0.3, 0.1, 2.5),
    "reweight+remargin": Released(0.5, 0.2, 3.0),
}


def class_weights(phi: np.ndarray) -> np.ndarray:
    """Loss weights `(C,)` from multipliers `(C,)`: `1 + C phi - sum(phi)`, not below 0."""
    return np.maximum(1 + len(phi) * phi - phi.sum(), 0.0)


@dataclass
class Uniform:
    """Every class alike: plain training, and the control of a fine-tune (all multipliers held at 0).

    Arguments:
    - `classes`: how many, C
    - `state`: empty, since nothing is remembered

    Raises: UserError for a number of classes that is not positive and whole.

    Source: the control is ours; plain training is Eq. 1.

    >>> from frlcore import Uniform
    >>> Uniform(classes=2).settings().margin
    array([1., 1.])
    """

    classes: int
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(classes=self.classes)

    def settings(self) -> ClassSettings:
        one = np.ones(self.classes)
        return ClassSettings(one, one, one)

    def update(self, errors: ClassErrors, decay: float) -> None:
        pass


@dataclass
class OneClass:
    """Weigh one class's boundary loss by `weight`, or multiply its radius by `margin`; all else is plain (Sec. 5.3)."""

    classes: int
    index: int
    weight: float = 1.0
    margin: float = 1.0
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(classes=self.classes, weight=self.weight, margin=self.margin)
        if isinstance(self.index, bool) or not (isinstance(self.index, Integral) and 0 <= self.index < self.classes):
            raise UserError(f"index must name one of {self.classes} classes, counted from 0, got {self.index}")

    def settings(self) -> ClassSettings:
        w_bndy, margin = np.ones(self.classes), np.ones(self.classes)
        w_bndy[self.index], margin[self.index] = self.weight, self.margin
        return ClassSettings(np.ones(self.classes), w_bndy, margin)

    def update(self, errors: ClassErrors, decay: float) -> None:
        pass


@dataclass
class BaselineReweight:
    """Upweight the whole cost of the class with the highest robust error (Agarwal et al. 2018; Sec. 5.1).

    The paper gives that sentence, and means errors on the training data. Ours, on validation as for FRL: each epoch
    that class gains `alpha` on one multiplier, which acts on both losses; the multipliers' sum is kept at or below
    `bound`, as Agarwal et al. bound theirs.
    """

    classes: int
    alpha: float = 0.05
    bound: float = 0.5
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(classes=self.classes, alpha=self.alpha, bound=self.bound)
        self.state.setdefault("phi", np.zeros(self.classes))

    def settings(self) -> ClassSettings:
        w = class_weights(self.state["phi"])
        return ClassSettings(w, w, np.ones(self.classes))

    def update(self, errors: ClassErrors, decay: float) -> None:
        phi = self.state["phi"].copy()
        phi[int(np.argmax(errors.robust))] += decay * self.alpha
        self.state["phi"] = _limit_sum(phi, self.bound)


@dataclass
class FRL:
    """Fair Robust Learning: what holds a class back is weighed more, or gets a larger radius.

    Arguments:
    - `classes`: how many, C
    - `variant`: what answers a large boundary error, a heavier loss ("reweight"), a larger radius ("remargin"), or both
      ("reweight+remargin"); all three reweight the natural error, "remargin" keeps the boundary multipliers at 0
    - `tau`: how far a class's error may lie above the average, a fraction
    - `rule`: "paper" or "code", see below
    - `alpha`, `alpha_margin`: rates of the multipliers and of the radii
    - `max_margin`: cap of a radius, in units of eps; None takes the rule's own
    - `state`: multipliers and the logarithms of the margins, each `(C,) float`

    `rule="paper"`: phi += alpha (R_i - R - tau), not below 0, and eps_i *= exp(alpha_margin (R_bndy,i - tau2)) as
    Eq. 11 stands, without subtracting the mean. Both rates decay with the learning rate. The radius stays at or below
    `max_margin` times eps (the paper: 16/255 = 2 x 8/255).

    `rule="code"`: the released code. Boundary rate 2 alpha, multipliers rescaled so that each kind sums to at most
    0.5, m_i += 0.2 (R_bndy,i - R_bndy - tau2), eps_i = eps clip(exp(2 m_i), 0.98, max_margin) with a `max_margin` of 3;
    for Remargin alone 0.3, 0.1 and 2.5. The multipliers' rate falls to half where `decay` falls to a tenth, the
    margin's never. What the rule changes outside of a policy are settings of the training (`settings.RELEASED`).

    Errors are fractions; `R` is the mean over the classes.

    Raises: UserError for an unknown variant or rule, and for a setting or number of classes that is not positive.

    Source: Algorithm 1 and Eq. 11; the released code for `rule="code"`.

    >>> from frlcore import FRL, ClassErrors
    >>> policy = FRL(classes=2, variant="reweight", tau=0.05, alpha=1.0)
    >>> errors = ClassErrors.from_predictions([0, 0, 1, 1], clean=[0, 0, 1, 0], adversarial=[0, 0, 1, 0], num_classes=2)
    >>> policy.update(errors, decay=1.0)  # class 1 errs in half of its images: 0.25 above the average, 0.2 above tau
    >>> policy.settings().w_nat.round(2)
    array([0.8, 1.2])
    """

    classes: int
    variant: str = "reweight"
    tau: float = 0.05
    rule: str = "paper"
    alpha: float = 0.05
    alpha_margin: float = 0.05
    max_margin: float | None = None
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise UserError(f"unknown FRL variant '{self.variant}'; known: {', '.join(VARIANTS)}")
        if self.rule not in RULES:
            raise UserError(f"unknown rule '{self.rule}'; known: {', '.join(RULES)}")
        positive(classes=self.classes, tau=self.tau, alpha=self.alpha, alpha_margin=self.alpha_margin)
        if self.max_margin is None:
            self.max_margin = CAP if self.rule == "paper" else RELEASED[self.variant].cap
        if not (is_positive(self.max_margin) and self.max_margin >= 1):
            raise UserError(f"max_margin is a multiple of eps and at least 1, got {self.max_margin}")
        for name in ("phi_nat", "phi_bndy", "log_margin"):
            self.state.setdefault(name, np.zeros(self.classes))

    def settings(self) -> ClassSettings:
        if self.rule == "paper":
            margin = np.exp(self.state["log_margin"])
        else:
            margin = np.clip(np.exp(2 * self.state["log_margin"]), 0.98, self.max_margin)
        return ClassSettings(class_weights(self.state["phi_nat"]), class_weights(self.state["phi_bndy"]), margin)

    def update(self, errors: ClassErrors, decay: float) -> None:
        paper = self.rule == "paper"
        reweight, remargin = "reweight" in self.variant, "remargin" in self.variant
        excess_nat = errors.standard - errors.average("standard") - self.tau  # (C,) > 0: constraint violated
        excess_bndy = errors.boundary - errors.average("boundary") - self.tau
        rate = self.alpha * (decay if paper else decay ** np.log10(2))
        self.state["phi_nat"] = self._phi(self.state["phi_nat"] + rate * excess_nat)
        if reweight:
            twice = 1 if paper else 2
            self.state["phi_bndy"] = self._phi(self.state["phi_bndy"] + twice * rate * excess_bndy)
        if remargin and paper:
            assert self.max_margin is not None  # not after __post_init__
            grown = self.state["log_margin"] + decay * self.alpha_margin * (errors.boundary - self.tau)  # Eq. 11
            self.state["log_margin"] = np.minimum(grown, np.log(self.max_margin))
        elif remargin:
            self.state["log_margin"] = self.state["log_margin"] + RELEASED[self.variant].rate * excess_bndy

    def _phi(self, phi: np.ndarray) -> np.ndarray:
        if self.rule == "paper":
            return np.maximum(phi, 0.0)
        return _limit_sum(np.maximum(phi, 0.0), RELEASED[self.variant].bound)


POLICIES: dict[str, Any] = {
    "uniform": Uniform, "one_class": OneClass, "baseline_reweight": BaselineReweight, "frl": FRL,
    "cfa": CFA, "dafa": DAFA, "wat": WAT, "faal": FAAL,
}  # fmt: skip


def build(name: str, classes: int, **settings: Any) -> Policy:
    """A policy by name; raises UserError for an unknown one or an unknown setting."""
    if name not in POLICIES:
        raise UserError(f"unknown policy '{name}'; known: {', '.join(POLICIES)}")
    known = setting_names(POLICIES[name])
    for setting in settings:
        if setting not in known:
            raise UserError(f"policy '{name}' has no setting '{setting}'; known: {', '.join(known) or 'none'}")
    return POLICIES[name](classes=classes, **settings)


def setting_names(policy: Any) -> list[str]:
    """What can be set on a policy or a policy's class, apart from the number of classes."""
    return [f.name for f in fields(policy) if f.name not in ("classes", "state")]


def _limit_sum(phi: np.ndarray, bound: float) -> np.ndarray:
    total = phi.sum()
    return phi * (bound / total) if total > bound else phi
