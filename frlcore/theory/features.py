"""Any mean vector, any linear classifier: Appendix A.3 in closed form, and what checks Section 3 independently.

Class +1 is N(theta, (K sigma)^2 I), class -1 is N(-theta, sigma^2 I) with equal priors; radii are l-inf, errors are
fractions. Eq. 2 is theta = (eta, ..., eta); Eq. 19 appends m coordinates of a smaller scale gamma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from frlcore.theory.mixture import Array, Numbers, normal_tail, optimal_z, per_class, require


def linear_errors(
    theta: Numbers, sigma: float, K: float, w: Numbers, b: Numbers, eps: float = 0.0
) -> tuple[Array, Array]:
    """Robust errors at `eps` of classes -1 and +1 under sign(<w, x> + b), for any w (Eq. 12, 13, 17).

    `theta: (D,)`, `w: (..., D)` not all zero, `b: (...)`. The worst perturbation moves <w, x> by eps |w|_1.
    Raises UserError unless sigma > 0 and K >= 1, as do the other functions here.
    """
    _spreads(sigma, K)
    w = np.asarray(w, float)
    length = np.linalg.norm(w, axis=-1)
    center = w @ np.asarray(theta, float) - eps * np.abs(w).sum(-1)
    return normal_tail((b - center) / (sigma * length)), normal_tail((-b - center) / (K * sigma * length))


def best_linear(
    theta: Numbers, sigma: float, K: float, eps: float = 0.0, *, starts: int = 8, seed: int = 0
) -> tuple[Array, float, float]:
    """Minimise the average robust error over w and b numerically, from random starts: (w with |w|_2 = 1, b, error).

    Uses no result of the paper, only `linear_errors`; slow, for few dimensions.
    """
    theta = np.asarray(theta, float)
    rng = np.random.default_rng(seed)

    def error(p: Array) -> float:
        return float(np.mean(linear_errors(theta, sigma, K, p[:-1], p[-1], eps)))

    options = {"xtol": 1e-9, "ftol": 1e-15, "maxiter": 20_000, "maxfev": 20_000}
    points = [theta + 0.5 * np.linalg.norm(theta) * rng.standard_normal(theta.size) for _ in range(starts)]
    fits = [optimize.minimize(error, np.append(w, 0.0), method="Powell", options=options) for w in points]
    p = min(fits, key=lambda fit: fit.fun).x
    length = np.linalg.norm(p[:-1])
    return p[:-1] / length, float(p[-1] / length), error(p)


def sample(theta: Numbers, sigma: float, K: float, n: int, *, seed: int) -> tuple[Array, Array]:
    """`n` examples of each class (Eq. 2, 19): x (2n, D) float, y (2n,) in {-1, +1}, class -1 first."""
    _spreads(sigma, K)
    theta = np.asarray(theta, float)
    y = np.repeat([-1, 1], n)
    noise = np.random.default_rng(seed).standard_normal((2 * n, theta.size))
    return y[:, None] * theta + sigma * per_class(y, K, 1)[:, None] * noise, y


def _spreads(sigma: Numbers, K: Numbers) -> None:
    require(np.isfinite(sigma) & (np.asarray(sigma) > 0), "sigma must be positive")
    require(np.isfinite(K) & (np.asarray(K) >= 1), "K must be 1 or more: class +1 is the wide one")


@dataclass(frozen=True, eq=False)
class FeatureMixture:
    """The mixture of Eq. 19: `d` >= 1 robust coordinates of mean `eta` > 0 and `m` >= 0 of mean `gamma` in [0, eta).

    `sigma` > 0 and `K` >= 1 as in Eq. 2. The paper takes gamma < eps < eta; nothing here needs eps > gamma. Every
    field may be an array. Raises UserError for values outside these ranges.
    """

    d: Numbers
    eta: Numbers
    m: Numbers
    gamma: Numbers
    sigma: Numbers
    K: Numbers

    def __post_init__(self) -> None:
        for name in ("d", "eta", "m", "gamma", "sigma", "K"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), float))
        require(np.isfinite(self.d) & (self.d >= 1), "d must be a dimension, 1 or more")
        require(np.isfinite(self.m) & (self.m >= 0), "m must be a dimension, 0 or more")
        require(np.isfinite(self.eta) & (self.eta > 0), "eta must be positive")
        require((self.gamma >= 0) & (self.gamma < self.eta), "gamma must lie in [0, eta)")
        _spreads(self.sigma, self.K)

    def weights(self, eps: Numbers = 0.0) -> tuple[Array, Array]:
        """The optimal weight of a robust and of a non-robust coordinate: soft thresholding at `eps` in [0, eta).

        eps = 0 is f_nat with w = theta; gamma <= eps switches the non-robust features off.
        """
        eps = np.asarray(eps, float)
        require((eps >= 0) & (eps < self.eta), "eps must lie in [0, eta)")
        return self.eta - eps, np.maximum(self.gamma - eps, 0.0)

    def margin(self, eps: Numbers = 0.0) -> Array:
        """r = |w|_2 / sigma at the optimal weights; the A (eps = 0) and B of Theorem 3 are 2 r / (K^2 - 1)."""
        robust, other = self.weights(eps)
        return np.sqrt(self.d * robust**2 + self.m * other**2) / self.sigma

    def relief(self, eps: Numbers, radius: Numbers) -> Array:
        """By how many sigmas perturbations of `radius` move f_rob's score: radius |w|_1 / (|w|_2 sigma)."""
        robust, other = self.weights(eps)
        return radius * (self.d * robust + self.m * other) / (self.margin(eps) * self.sigma**2)

    def z(self, eps: Numbers, y: Numbers) -> Array:
        """The z-score of the standard error of class `y` under the classifier trained with radius `eps` (A.3)."""
        return optimal_z(self.margin(eps), self.K, y) - self.relief(eps, eps) / per_class(y, self.K, 1)

    def standard_error(self, eps: Numbers, y: Numbers, *, log: bool = False) -> Array:
        """Standard error of class `y` when trained with radius `eps` in [0, eta); eps = 0 is f_nat (A.3)."""
        return normal_tail(self.z(eps, y), log)

    def robust_error(self, eps: Numbers, radius: Numbers, y: Numbers) -> Array:
        """Robust error of class `y` at `radius` >= 0 when trained with radius `eps` in [0, eta)."""
        require(np.asarray(radius) >= 0, "a radius is not negative")
        return normal_tail(self.z(eps, y) + self.relief(eps, radius) / per_class(y, self.K, 1))

    def gap(self, eps: Numbers) -> Array:
        """Standard error of class +1 minus that of class -1 when trained with radius `eps`; Eq. 20: it grows."""
        return self.standard_error(eps, 1) - self.standard_error(eps, -1)
