"""Why adversarial training is unfair, in closed form: two classes (Section 3), and any linear classifier (App. A.3)."""

from frlcore.theory.features import FeatureMixture, best_linear, linear_errors, sample
from frlcore.theory.mixture import GaussianMixture, normal_tail, optimal_z, q

__all__ = [
    "FeatureMixture", "GaussianMixture", "best_linear", "linear_errors", "normal_tail", "optimal_z", "q", "sample",
]  # fmt: skip
