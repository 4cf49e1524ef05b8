"""Why adversarial training is unfair: Section 3 and Appendix A.2 in closed form.

Two Gaussian classes at +theta and -theta, theta = (eta, ..., eta), with standard deviations K sigma for class +1
and sigma for class -1 (Eq. 2). A classifier is sign(<w, x> + b) with w = (1, ..., 1) unless said otherwise.
Errors are fractions. Everything broadcasts over arrays; K = 1 is the limit of equal classes. Radii are l-inf.

The paper's formulas lose digits as K -> 1, where A and B diverge. The code uses the same expressions with the
common factors cancelled, in terms of the margin r = sqrt(d) (eta - eps) / sigma; the tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr

from frlcore.errors import UserError

Array = np.ndarray
Numbers = float | Array


def require(holds: Numbers, message: str) -> None:
    """Raise UserError unless every entry of `holds` is true."""
    if not np.all(holds):
        raise UserError(message)


def normal_tail(z: Numbers, log: bool = False) -> Array:
    """Pr(N(0, 1) <= z), or its natural logarithm, which stays finite where the probability underflows."""
    return log_ndtr(z) if log else ndtr(z)


def per_class(y: Numbers, plus: Numbers, minus: Numbers) -> Array:
    """`plus` where `y` is +1 and `minus` where it is -1; raises UserError for other labels."""
    require(np.isin(y, (-1, 1)), "a class label is -1 or +1")
    return np.where(np.asarray(y) == 1, plus, minus)


def q(K: Numbers) -> Array:
    """q(K) = 2 log K / (K^2 - 1) of Theorem 1; K >= 1, and q(1) = 1 is the limit."""
    x = np.asarray(K, float) - 1
    require(x >= 0, "K must be 1 or more: class +1 is the wide one")
    return 2 / (x + 2) * np.where(x == 0, 1.0, np.log1p(x) / np.where(x == 0, 1.0, x))


def optimal_z(r: Numbers, K: Numbers, y: Numbers) -> Array:
    """The argument of the normal tail in Eq. 3: the z-score of class `y` at the optimal intercept.

    `r` > 0 is the margin in standard deviations of class -1, so A = 2 r / (K^2 - 1).
    """
    r, K = np.asarray(r, float), np.asarray(K, float)
    log_k = np.log(K)
    root = np.sqrt(4 * r**2 + 2 * (K**2 - 1) * log_k)
    minus = -(4 * r**2 + 2 * K**2 * log_k) / (2 * r + K * root)
    plus = (2 * log_k - 4 * r**2) / (root + 2 * K * r)
    return per_class(y, plus, minus)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """The mixture of Eq. 2: dimension `d` >= 1, mean `eta` > 0 per coordinate, `sigma` > 0 of class -1, ratio `K` >= 1.

    Every field may be an array. Raises UserError for values outside these ranges.
    """

    d: Numbers
    eta: Numbers
    sigma: Numbers
    K: Numbers

    def __post_init__(self) -> None:
        for name in ("d", "eta", "sigma", "K"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), float))
        require(np.isfinite(self.d) & (self.d >= 1), "d must be a dimension, 1 or more")
        require(np.isfinite(self.eta) & (self.eta > 0), "eta must be positive")
        require(np.isfinite(self.sigma) & (self.sigma > 0), "sigma must be positive")
        require(np.isfinite(self.K) & (self.K >= 1), "K must be 1 or more: class +1 is the wide one")

    def gap(self, eps: Numbers) -> Array:
        """eta - eps, the distance that a perturbation leaves; raises UserError for eps outside [0, eta)."""
        eps = np.asarray(eps, float)
        require((eps >= 0) & (eps < self.eta), "eps must lie in [0, eta)")
        return self.eta - eps

    def margin(self, eps: Numbers = 0.0) -> Array:
        """r = sqrt(d) (eta - eps) / sigma; the paper's A (eps = 0) and B are 2 r / (K^2 - 1)."""
        return np.sqrt(self.d) * self.gap(eps) / self.sigma

    def g(self, t: Numbers, weight: Numbers = 1.0) -> Array:
        """The optimal intercept g of Eq. 5 at t = eta or eta - eps (t > 0), in units of <1, x>.

        `weight` > 0 multiplies the error of class +1 in the objective (1 in the paper). For weight > K the
        stationary point may not exist (NaN).
        """
        require(np.asarray(t) > 0, "t stands for eta - eps and must be positive")
        require(np.asarray(weight) > 0, "a weight must be positive")
        r, K = np.sqrt(self.d) * np.asarray(t, float) / self.sigma, self.K
        excess = np.log(K / weight)
        with np.errstate(invalid="ignore"):
            root = np.sqrt(4 * r**2 + 2 * (K**2 - 1) * excess)
        scaled = ((K**2 - 1) * r**2 - 2 * K**2 * excess) / ((K**2 + 1) * r + K * root)
        return np.sqrt(self.d) * self.sigma * scaled

    def dg(self, t: Numbers) -> Array:
        """dg/dt at t > 0, always above d (K - 1) / (K + 1): the step that proves Corollary 1."""
        require(np.asarray(t) > 0, "t stands for eta - eps and must be positive")
        r, K, log_k = np.sqrt(self.d) * np.asarray(t, float) / self.sigma, self.K, np.log(self.K)
        root = np.sqrt(4 * r**2 + 2 * (K**2 - 1) * log_k)
        return self.d * ((K - 1) / (K + 1) + 4 * K * log_k / (root * (root + 2 * r)))

    def b_nat(self) -> Array:
        """The intercept that minimises the average standard error (Eq. 15)."""
        return self.g(self.eta)

    def b_rob(self, eps: Numbers, weight: Numbers = 1.0) -> Array:
        """The intercept that minimises the average robust error, g(eta - eps) (Eq. 18); eps in [0, eta)."""
        return self.g(self.gap(eps), weight)

    def z(self, b: Numbers, y: Numbers, eps: Numbers = 0.0) -> Array:
        """The z-score whose normal tail is the error of class `y` at radius `eps` (Eq. 14 and 17)."""
        scale = per_class(y, self.K, 1) * np.sqrt(self.d) * self.sigma
        return (-np.asarray(y) * np.asarray(b, float) - self.d * self.gap(eps)) / scale

    def standard_error(self, b: Numbers, y: Numbers) -> Array:
        """Pr(sign(<1, x> + b) != y | y), y in {-1, +1} (Eq. 14)."""
        return normal_tail(self.z(b, y))

    def robust_error(self, b: Numbers, eps: Numbers, y: Numbers) -> Array:
        """Pr(some |delta| <= eps changes the verdict to a wrong one | y), eps in [0, eta) (Eq. 17)."""
        return normal_tail(self.z(b, y, eps))

    def boundary_error(self, b: Numbers, eps: Numbers, y: Numbers) -> Array:
        """Pr(right, but wrong under some |delta| <= eps | y): robust minus standard error (Eq. 7, corrected)."""
        return self.robust_error(b, eps, y) - self.standard_error(b, y)

    def theorem1(self, y: Numbers, *, log: bool = False) -> Array:
        """Standard error of class `y` under f_nat (Eq. 3)."""
        return normal_tail(optimal_z(self.margin(), self.K, y), log)

    def theorem2(self, eps: Numbers, y: Numbers, *, log: bool = False) -> Array:
        """Standard error of class `y` under f_rob trained with radius eps in [0, eta) (Eq. 4 and 16)."""
        shift = np.sqrt(self.d) * np.asarray(eps, float) / (self.sigma * per_class(y, self.K, 1))
        return normal_tail(optimal_z(self.margin(eps), self.K, y) - shift, log)

    def chance_radius(self, kind: str = "robust") -> Array:
        """The eps from which f_rob errs on more than half of class +1: 0 if at once, NaN if for no eps < eta.

        `kind` is the error in question, "robust" or "standard". Raises UserError for another kind.
        """
        require(kind in ("robust", "standard"), "kind is 'robust' or 'standard'")
        K, k = self.K, self.K**2 - 1
        if kind == "robust":
            t = self.sigma * np.sqrt(np.log(K) / (2 * self.d))
        else:
            w = K**2 * self.sigma**2 * q(K) / self.d
            t = k * (w - self.eta**2) / ((K**2 + 1) * self.eta + np.sqrt(4 * (K * self.eta) ** 2 + k**2 * w))
        return np.where(t > 0, np.maximum(self.eta - t, 0.0), np.nan)

    # What an FRL-style policy can do here: move the intercept, by a class weight or by a class radius.

    def b_equal(self, eps: Numbers = 0.0) -> Array:
        """The one intercept at which both classes have the same robust error at `eps` (0: the same standard error)."""
        return self.d * self.gap(eps) * (self.K - 1) / (self.K + 1)

    def weight_for(self, b: Numbers, eps: Numbers) -> Array:
        """The weight of class +1 that makes `b` a stationary point of robust training at `eps`; K for b_equal(eps)."""
        return self.K * np.exp((self.z(b, 1, eps) ** 2 - self.z(b, -1, eps) ** 2) / 2)

    def weight_works(self, b: Numbers, eps: Numbers) -> Array:
        """Whether `b` is the global minimum of the objective weighted by `weight_for(b, eps)`, constants included."""
        weight = self.weight_for(b, eps)
        cost = self.robust_error(b, eps, -1) + weight * self.robust_error(b, eps, 1)
        return cost < np.minimum(1.0, weight)  # the stationary point that is a maximum costs more than 1

    def b_radii(self, eps_minus: Numbers, eps_plus: Numbers) -> Array:
        """The optimal intercept when class -1 trains with radius eps_minus and class +1 with eps_plus.

        Raises UserError unless the mean of the radii lies in [0, eta).
        """
        mean = (np.asarray(eps_minus, float) + np.asarray(eps_plus, float)) / 2
        return self.b_rob(mean) + self.d * (np.asarray(eps_plus, float) - eps_minus) / 2

    def radius_for(self, b: Numbers, eps: Numbers) -> Array:
        """The radius of class +1 that makes `b` optimal while class -1 trains with `eps`; NaN where there is none.

        Of two such radii, at one of which class +1 errs on more than half of its examples, it is the smaller.
        """
        minus = self.z(b, -1, eps)
        with np.errstate(invalid="ignore"):
            plus = np.sqrt(np.where(minus < 0, minus**2 - 2 * np.log(self.K), np.nan))  # both curves fall off alike
        middle, way = self.eta + np.asarray(b, float) / self.d, plus * self.K * self.sigma / np.sqrt(self.d)
        roots = middle - way, middle + way
        small, large = (np.where(np.abs(root) < 1e-9 * self.eta, 0.0, root) for root in roots)  # floats miss 0
        radius = np.where(small >= 0, small, large)
        return np.where(radius >= 0, radius, np.nan)
