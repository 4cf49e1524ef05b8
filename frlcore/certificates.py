"""What the votes of a smoothed classifier prove, image by image and class by class (Cohen et al. 2019; App. A.1.3).

Counts in, classes' errors out; it imports no torch, so that whoever only reads records needs none. The votes
themselves are cast in `smoothing.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, ndtri

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.intervals import interval

ABSTAIN = -1  # what a smoothed classifier answers when its votes cannot tell


def leads(first: ArrayLike, second: ArrayLike, alpha: float) -> np.ndarray:
    """Whether `first` votes against `second` are too uneven for a fair coin, (N,) bool.

    The exact two-sided binomial test with probability 1/2 at level `alpha`, on the two most frequent classes
    (Cohen et al. 2019, PREDICT; Hung and Fithian 2019 on why two are enough).
    """
    a, b = np.asarray(first), np.asarray(second)
    return np.minimum(1.0, 2 * bdtr(np.minimum(a, b), a + b, 0.5)) <= alpha


def certified_radius(hits: ArrayLike, n: int, *, sigma: float, alpha: float) -> np.ndarray:
    """Radius (N,) within which a class holds that won `hits` (N,) of `n` votes: sigma Phi^-1(p), in units of sigma's.

    p is the one-sided Clopper-Pearson lower bound, which lies above the true share of votes with probability at
    most `alpha`. 0 where p is at most 1/2: nothing is certified. Cohen et al. (2019), Theorem 1 and CERTIFY.
    """
    if alpha > 0 and not 1 - 2 * alpha < 1:
        raise UserError(f"alpha = {alpha:g} is too small to compute a certificate with; take 1e-15 or more")
    low, _ = interval(hits, n, 1 - 2 * alpha)  # the lower end of a two-sided interval errs with half its probability
    return np.where(low > 0.5, sigma * ndtri(low), 0.0)


def certified_errors(
    labels: ArrayLike, predicted: ArrayLike, radius: ArrayLike, at: ArrayLike, num_classes: int
) -> np.ndarray:
    """Share of every class that is not (right and certified to radius r), for each r in `at`: (C, len(at)).

    `predicted` and `radius` (N,) come from `smoothing.certify`. To abstain is an error; r = 0 gives the certified
    standard error, larger r the certified robust error. Fig. 4. Raises UserError for a negative r, shapes that do
    not fit together, and a class without an example.
    """
    answer, reach, radii = np.asarray(predicted), np.asarray(radius), np.asarray(at, dtype=float)
    if reach.shape != answer.shape:
        raise UserError(f"predictions {answer.shape} and radii {reach.shape} do not fit together")
    if radii.ndim != 1 or not (radii >= 0).all():
        raise UserError(f"the radii to report at must be a list of numbers from 0 upward, got {radii.tolist()}")
    standing = [np.where(reach >= r, answer, ABSTAIN) for r in radii]
    found = [ClassErrors.from_predictions(labels, answer, s, num_classes).robust for s in standing]
    return np.reshape(found, (len(radii), num_classes)).T


def abstentions(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> np.ndarray:
    """Share of every class on which the classifier abstains, (C,): a part of every certified error."""
    silent = np.where(np.asarray(predicted) == ABSTAIN, ABSTAIN, labels)
    return ClassErrors.from_predictions(labels, silent, silent, num_classes).standard
