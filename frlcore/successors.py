"""The successors of FRL as policies: CFA, DAFA, WAT and FAAL, each in its paper's form for TRADES.

Every one of them came with a schedule, a selection and a learning rate of its own. Here they are what they add to the
one loop of `training.train`: weights, radii and boundary weights. So that a method is not taken for another learning
rate, its weights are scaled to be 1 where all classes fare alike; where this changes a published formula, "Deviates" in
the docstring says so. C classes, `K` in these papers; a class's robust accuracy or probability is a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.seam import ClassSettings, Seen, positive
from frlcore.settings import Training

LEAST = 0.1  # of DAFA's weights: a radius has to be positive


@dataclass
class CFA:
    """Class-wise calibrated fair adversarial training: larger radius and beta for classes that are robust already.

    From epoch `start` on, with t_i the robust accuracy of class i on the last epoch's own training examples,

        eps_i = (lambda_1 + t_i) eps,    beta_i = (lambda_2 + t_i) beta,    b_i = beta_i / (1 + beta_i),

    and an example costs (1 - b_i) CE + b_i KL. Its weight average: `Training.average` with a `gate`, `Fitted.average`.

    Source: Wei, Wang, Guo, Wang (CVPR 2023), the form for TRADES with its 0.3, 0.5 and 10th epoch of 200.
    Deviates: the loss is multiplied by 1 + beta, so that beta_i = beta is TRADES as the loop has it; the attack's steps
    grow with eps_i, as in the whole loop.

    Raises UserError for a setting that is not positive.
    """

    classes: int
    beta: float = 6.0  # the training's
    lambda_1: float = 0.3
    lambda_2: float = 0.5
    start: int = 10
    state: dict[str, np.ndarray] = field(default_factory=dict)
    needs: ClassVar[frozenset[str]] = frozenset({"robust"})

    def __post_init__(self) -> None:
        positive(classes=self.classes, beta=self.beta, start=self.start, lambda_1=self.lambda_1, lambda_2=self.lambda_2)
        self.state.setdefault("epoch", np.zeros(self.classes))  # the coming one, counted from 1
        self.state.setdefault("robust", np.zeros(self.classes))

    def settings(self) -> ClassSettings:
        one = np.ones(self.classes)
        if self.state["epoch"][0] < max(self.start, 2):  # the first epoch has none before it
            return ClassSettings(one, one, one)
        t = self.state["robust"]
        beta = (self.lambda_2 + t) * self.beta
        share = (1 + self.beta) / (1 + beta)
        return ClassSettings(share, one, self.lambda_1 + t, share * beta)

    def update(self, errors: ClassErrors, decay: float) -> None:
        self.state["epoch"] = self.state["epoch"] + 1

    def observe(self, seen: Seen) -> None:
        if seen.robust is not None:
            self.state["robust"] = np.where(np.isnan(seen.robust), self.state["robust"], seen.robust)


@dataclass
class DAFA:
    """Distance-aware fair adversarial training: one set of weights after a warm-up, from which classes look alike.

    After `warm_up` epochs, with p_ij the mean probability of class j on attacked training images of class i, W_i = 1 +
    `strength` times the sum over j != i of p_ij p_jj where p_ii < p_jj, and of -p_ji p_ii elsewhere: of two classes the
    easier one gives weight to the harder, and the more, the more the harder is taken for it. W_i multiplies the radius,
    the step and the cross-entropy of class i, not its KL.

    Source: Lee, Lee, Jang, Park, Bae, Yoon (ICLR 2024); strength 1, warm-up 70 of 110 epochs.
    Deviates: p_ij comes from the last warm-up epoch's own examples, not from another pass; W_i is not below 0.1.

    Raises UserError for a setting that is not positive.
    """

    classes: int
    warm_up: int = 70
    strength: float = 1.0
    state: dict[str, np.ndarray] = field(default_factory=dict)
    needs: ClassVar[frozenset[str]] = frozenset({"softmax"})

    def __post_init__(self) -> None:
        positive(classes=self.classes, warm_up=self.warm_up, strength=self.strength)
        self.state.setdefault("epoch", np.zeros(self.classes))  # under way, counted from 1
        self.state.setdefault("weight", np.ones(self.classes))

    def settings(self) -> ClassSettings:
        weight = self.state["weight"]
        return ClassSettings(weight, np.ones(self.classes), weight)

    def update(self, errors: ClassErrors, decay: float) -> None:
        self.state["epoch"] = self.state["epoch"] + 1

    def observe(self, seen: Seen) -> None:
        if seen.softmax is None or self.state["epoch"][0] != self.warm_up:
            return
        p = np.nan_to_num(seen.softmax)
        own = np.diag(p)
        harder = own[:, None] < own[None, :]  # (C, C): row harder than column
        moved = np.where(harder, p * own[None, :], -p.T * own[:, None])
        np.fill_diagonal(moved, 0.0)
        self.state["weight"] = np.maximum(1 + self.strength * moved.sum(1), LEAST)


@dataclass
class WAT:
    """Worst-class adversarial training: Hedge over the classes and their mean, by the losses on validation.

    Expert i has the sum of class i's validation losses CE + beta KL so far, one more expert that of the mean over the
    classes; their weights are proportional to exp(`eta` sum) and sum to C + 1. A class's weight, on both losses, is
    its own plus that of the mean.

    Source: Li, Liu (AAAI 2023); eta 0.1 over 100 epochs.
    Deviates: half of that sum, so that equal experts are plain training, not one of twice the learning rate.

    Raises UserError for a setting that is not positive.
    """

    classes: int
    beta: float = 6.0  # the training's
    eta: float = 0.1
    state: dict[str, np.ndarray] = field(default_factory=dict)
    needs: ClassVar[frozenset[str]] = frozenset({"loss_nat", "loss_bndy"})

    def __post_init__(self) -> None:
        positive(classes=self.classes, beta=self.beta, eta=self.eta)
        self.state.setdefault("loss", np.zeros(self.classes))

    def settings(self) -> ClassSettings:
        sums = np.append(self.state["loss"], self.state["loss"].mean())
        expert = np.exp(self.eta * (sums - sums.max()))
        expert *= (self.classes + 1) / expert.sum()
        weight = (expert[:-1] + expert[-1]) / 2
        return ClassSettings(weight, weight, np.ones(self.classes))

    def update(self, errors: ClassErrors, decay: float) -> None:
        pass

    def observe(self, seen: Seen) -> None:
        if seen.loss_nat is not None and seen.loss_bndy is not None:
            self.state["loss"] = self.state["loss"] + seen.loss_nat + self.beta * seen.loss_bndy


@dataclass
class FAAL:
    """Fairness-aware adversarial learning: every batch meets its worst distribution of classes near the uniform one.

    With m_i the mean margin of class i's examples in the batch, the largest other probability minus the label's under
    attack, p maximises the sum of p_y m_y over the batch with KL(u || p) <= `divergence` around the uniform u. An
    example weighs C p_y on both losses.

    Source: Zhang, Zhang, Mu, Huang, Ruan (CVPR 2024); divergence 0.5.
    Deviates: a class that is not in the batch counts as one of average size with the lowest margin, -1.

    Raises UserError for a divergence that is not positive.
    """

    classes: int
    divergence: float = 0.5
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(classes=self.classes, divergence=self.divergence)
        if self.classes < 2:
            raise UserError(f"FAAL weighs classes against each other and needs at least 2, got {self.classes}")

    def settings(self) -> ClassSettings:
        one = np.ones(self.classes)
        return ClassSettings(one, one, one)

    def update(self, errors: ClassErrors, decay: float) -> None:
        pass

    def weigh(self, margin: np.ndarray, count: np.ndarray) -> np.ndarray:
        gain = np.where(count > 0, count * margin, -count.sum() / self.classes)
        return self.classes * worst_distribution(gain, self.divergence)


def worst_distribution(gain: np.ndarray, divergence: float) -> np.ndarray:
    """The distribution p `(C,)` that maximises sum p_i gain_i with KL(u || p) <= `divergence`, u uniform.

    Stationarity gives p_i proportional to 1 / (v - gain_i) with v above every gain. KL(u || p) falls in v; the one v
    where it is `divergence` is found in the logarithm of its distance from the largest gain.
    """
    below = gain.max() - gain  # (C,) >= 0
    span = below.max()
    if span < 1e-12:
        return np.full(len(gain), 1 / len(gain))

    from scipy.optimize import brentq  # a third of a second to import, and every command imports this module

    def excess(log_distance: float) -> float:
        distance = below / span + np.exp(log_distance)
        return float(np.log(distance).mean() + np.log((1 / distance).mean()) - divergence)

    ends = -200.0, 200.0  # at a corner of the simplex, and in its middle, as far as numbers can tell
    found = ends[0] if excess(ends[0]) <= 0 else ends[1] if excess(ends[1]) >= 0 else brentq(excess, *ends)
    p = 1 / (below / span + np.exp(found))
    return p / p.sum()


@dataclass(frozen=True)
class Published:
    """What a paper sets by the epoch, and for how many `epochs`; one rule takes it to a schedule of another length.

    What begins at an epoch begins after the same share of the schedule (`starts`); what is added up every epoch comes
    to the same sum (`rates`); a weight average remembers the same share (`MEMORY`). All else is as published.
    """

    epochs: int
    starts: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    def at(self, epochs: int) -> dict[str, Any]:
        """The policy's settings for a schedule of so many epochs."""
        share = epochs / self.epochs
        starts = {name: max(1, round(share * start)) for name, start in self.starts.items()}
        return starts | {name: round(rate / share, 6) for name, rate in self.rates.items()}


PUBLISHED = {
    "cfa": Published(200, starts={"start": 10}),
    "dafa": Published(110, starts={"warm_up": 70}),
    "wat": Published(100, rates={"eta": 0.1}),
    "faal": Published(2),
}
MEMORY = -1 / math.log(0.85) / 200  # of a weight average, as a share: CFA's decay is 0.85 an epoch, over 200 epochs


def scaled(policy: str, training: Training) -> dict[str, Any]:
    """What a successor is set to in a training: as published, by the rule of `Published`, and the training's beta.

    Nothing for any other policy.
    """
    if policy not in PUBLISHED:
        return {}
    beta = {"beta": training.beta} if policy in ("cfa", "wat") else {}
    return PUBLISHED[policy].at(training.epochs) | beta
