"""Run descriptions: everything that decides a result, and nothing else.

A `Run` trains and tests a model; a `Check` puts a finished run's last weights to a stronger test. `key` is the
sha256 of the canonical JSON of the description, which holds the data set's digest and the key of
the run whose weights it starts from. The same key means the same experiment, on any machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from frlcore import policies
from frlcore.errors import UserError
from frlcore.settings import MODELS, Attack, Training, info

CHECKS = ("autoattack", "certify")
PROTOCOL = 1  # raised whenever a change of the code changes results: older records are then another experiment


@dataclass(frozen=True)
class Run:
    """One training run and its test: a method on one fold with one seed.

    `start` is the run whose last weights it fine-tunes. Raises UserError for an unknown data set, model or policy.
    """

    dataset: str
    model: str
    training: Training
    test: Attack
    seed: int = 0
    fold: int = 0
    folds: int = 1
    policy: str = "uniform"
    policy_settings: Mapping[str, Any] = field(default_factory=dict)
    start: Run | None = None

    def __post_init__(self) -> None:
        self.build_policy()
        if self.model not in MODELS:
            raise UserError(f"unknown model '{self.model}'; known: {', '.join(MODELS)}")
        if not (type(self.seed) is int and 0 <= self.seed < 2**31):
            raise UserError(f"a seed is a whole number from 0 to 2^31 - 1, got {self.seed}")
        if not (type(self.fold) is type(self.folds) is int and 0 <= self.fold < self.folds):
            raise UserError(f"a fold is a number from 0 on and below that of folds, got {self.fold} of {self.folds}")

    def build_policy(self) -> policies.Policy:
        """The policy at its start."""
        return policies.build(self.policy, len(info(self.dataset).classes), **self.policy_settings)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the result, defaults included, ready for JSON."""
        policy = self.build_policy()
        settings = {name: getattr(policy, name) for name in policies.setting_names(policy)}
        return {
            "protocol": PROTOCOL,
            "dataset": self.dataset,
            "digest": info(self.dataset).digest,
            "fold": [self.fold, self.folds],
            "model": self.model,
            "training": {name: value for name, value in asdict(self.training).items() if value is not None},
            "policy": {"name": self.policy, **settings},
            "test": asdict(self.test),
            "seed": self.seed,
            "start": self.start.key if self.start else None,
        }

    @cached_property
    def key(self) -> str:
        """sha256 of the canonical description, 64 hexadecimal digits."""
        return hashlib.sha256(canonical(self.description)).hexdigest()

    @property
    def trained(self) -> Run:
        """The run whose weights this is about: itself."""
        return self

    @property
    def steps(self) -> int:
        """What progress is counted in: epochs."""
        return self.training.epochs

    @property
    def passes(self) -> int:
        """Forward passes that training takes for each image and epoch; a gradient by the input alone is one more."""
        steps = 2 * self.training.steps
        return {"natural": 3, "noise": 3, "pgd": 3 + steps, "trades": 7 + steps}[self.training.objective]

    @property
    def cost(self) -> float:
        """Forward passes of training images, in units of the training split: for the estimate of the time left."""
        return self.training.epochs * (self.passes + 0.3 * self.training.validation_steps)


@dataclass(frozen=True)
class Check:
    """A stronger test of the last weights of `start`: "autoattack", or "certify" by randomized smoothing."""

    start: Run
    kind: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in CHECKS:
            raise UserError(f"unknown check '{self.kind}'; known: {', '.join(CHECKS)}")

    @property
    def trained(self) -> Run:
        """The run whose weights this is about; a check has none of its own."""
        return self.start

    @property
    def seed(self) -> int:
        return self.start.seed

    @property
    def fold(self) -> int:
        return self.start.fold

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the result, ready for JSON."""
        return {"protocol": PROTOCOL, "check": self.kind, "of": self.start.key, "settings": dict(self.settings)}

    @cached_property
    def key(self) -> str:
        """sha256 of the canonical description, 64 hexadecimal digits."""
        return hashlib.sha256(canonical(self.description)).hexdigest()

    @property
    def steps(self) -> int:
        """What progress is counted in: hundredths of the images."""
        return 100

    @property
    def cost(self) -> float:
        """As `Run.cost`, from what the checks of the digits edition took beside its runs."""
        s = self.settings
        share = s["per_class"] / 1000 if "per_class" in s else 1 / s["every"]  # of a test split like CIFAR-10's
        return (800 + s["queries"] / 10 if self.kind == "autoattack" else s["n"] / 3) * share


Task = Run | Check


def canonical(value: Any) -> bytes:
    """JSON bytes that are the same for the same values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
