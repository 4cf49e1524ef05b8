"""The seam between training and the fair methods: what a policy is shown, and what it answers with.

Everything here is numpy, so that whoever only plans runs loads no torch. What a policy does not ask for in `needs` is
not computed, and what it does not have of the optional parts costs nothing.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.settings import is_positive


@dataclass(frozen=True)
class ClassSettings:
    """What one epoch uses for every class, each `(C,) float`: loss weights around 1, radius as a multiple of eps.

    With a `beta` the boundary loss of class i weighs `beta[i]`, whatever `Training.beta` and `w_bndy` are.
    """

    w_nat: np.ndarray
    w_bndy: np.ndarray
    margin: np.ndarray
    beta: np.ndarray | None = None


@dataclass(frozen=True)
class Seen:
    """Evidence beside the validation errors, one number per class `(C,)` where nothing else is said.

    - `loss_nat`, `loss_bndy`: mean cross-entropy and mean KL(clean || attacked) on validation, under TRADES' attack
      with the steps of the training
    - `robust`: fraction of the last epoch's own attacked training examples that were classified rightly
    - `softmax`: `(C, C)`, row the true class: mean prediction on the last epoch's own attacked training examples

    The last two are of the network as it was at each batch, in train mode. A class without an example has NaN there.
    """

    loss_nat: np.ndarray | None = None
    loss_bndy: np.ndarray | None = None
    robust: np.ndarray | None = None
    softmax: np.ndarray | None = None


VALIDATION = frozenset({"loss_nat", "loss_bndy"})  # seen before an epoch's `update`
TRAINING = frozenset({"robust", "softmax"})  # seen at the end of the epoch

WHOLE = frozenset({"classes", "start", "warm_up"})  # settings of policies that count something


class Policy(Protocol):
    """The seam: what a fair method is to `fit`. Any class with this attribute and these two methods will do.

    Arguments:
    - `state`: all that a policy remembers, by name, each entry `(C,) float`; training saves and restores it

    A policy that also has `needs` and `observe` is shown more (`seam.Observing`), one with `weigh` answers once a batch
    (`seam.Weighing`).

    Raises: what an own policy raises ends the training.

    Source: Algorithm 1, steps 7 and 8.

    >>> import numpy as np
    >>> from frlcore import Policy, Uniform
    >>> policy: Policy = Uniform(3)
    >>> policy.settings().w_nat
    array([1., 1., 1.])
    """

    state: dict[str, np.ndarray]

    def settings(self) -> ClassSettings:
        """What the next epoch uses."""

    def update(self, errors: ClassErrors, decay: float) -> None:
        """See the validation errors; `decay` is the learning rate of the model relative to its first value
        (`Training.policy_decay`)."""


class Observing(Policy, Protocol):
    """A policy that asks for more: the names in `needs` are fields of `Seen`."""

    needs: ClassVar[frozenset[str]]

    def observe(self, seen: Seen) -> None:
        """See what validation showed, just before `update`, or what the epoch showed, at its end; the rest is None."""


class Weighing(Policy, Protocol):
    """A policy that weighs the classes of every batch by how that batch fares."""

    def weigh(self, margin: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Factors `(C,) float` of both losses of a batch with `count` examples of every class, `(C,) int`.

        `margin`, `(C,) float`, is their mean of the largest other probability minus the label's, under attack; 0 for a
        class that is not in the batch.
        """


def positive(**settings: object) -> None:
    """Raise UserError for a setting that is not positive, or that counts classes or epochs and is not whole."""
    for name, value in settings.items():
        if not is_positive(value, whole=name in WHOLE):
            raise UserError(f"{name} must be positive{' and whole' if name in WHOLE else ''}, got {value!r}")


def class_settings(policy: Policy, classes: int) -> ClassSettings:
    """What `policy` answers with; raises UserError unless training can use it and records can hold its state.

    That is a state of arrays `(n,)`, and for each of `classes` finite weights from 0 on and a radius above 0.
    """
    name = policy.__name__ if isinstance(policy, type) else type(policy).__name__
    if isinstance(policy, type):
        raise UserError(f"the policy is the class {name}, not one of its objects; write {name}({classes})")
    if missing := [part for part in ("state", "settings", "update") if not hasattr(policy, part)]:
        raise UserError(f"the policy {name} has no {missing[0]}; a policy has state, settings() and update()")
    if not isinstance(policy.state, MutableMapping):
        raise UserError(f"{name}'s state must be a dict of arrays, by name, got a {type(policy.state).__name__}")
    for key, values in policy.state.items():
        if not (isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf"):
            raise UserError(f"{name}'s state '{key}' must be a numpy array of numbers (C,), got {_kind(values)}")
    found = policy.settings()
    if not isinstance(found, ClassSettings):
        raise UserError(f"{name}'s settings() must give ClassSettings, got {_kind(found)}")
    if np.ndim(found.w_nat) == 1 and len(found.w_nat) != classes:
        raise UserError(f"the policy is made for {len(found.w_nat)} classes, the data have {classes}")
    for key, values in vars(found).items():
        if key != "beta" or values is not None:
            per_class(values, classes, f"{name}'s {key}", above=key == "margin")
    return found


def per_class(values: object, classes: int, what: str, *, above: bool = False) -> np.ndarray:
    """`values` as `(classes,) float`; raises UserError unless they are finite, and from 0 on or `above` it."""
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        found = np.empty(0)  # no numbers, or rows of different lengths
    if found.shape != (classes,):
        raise UserError(f"{what} must be an array of {classes} numbers, one for each class, got {_kind(values)}")
    sound = np.isfinite(found) & ((found > 0) | (found == 0) & (not above))
    if not sound.all():
        worst = int(np.argmin(sound))
        bound = "above 0" if above else "not below 0"
        raise UserError(f"{what} must be finite and {bound}, got {found[worst]} for class {worst}")
    return found


def _kind(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
