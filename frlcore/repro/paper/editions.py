"""Editions: the paper on one data set with one network at one size, as data.

An edition has `variants` for what the appendix repeats: "wide" for WRN-28 (Figure 5, Tables 5 and 7), "l2" (Figure 6),
"second" for SVHN (Figure 7, Tables 3 and 6) and "second-wide" for WRN-28 on SVHN (Table 8). Each names an edition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from frlcore.errors import UserError
from frlcore.settings import STANDARD_QUERIES, Attack, Training


@dataclass(frozen=True)
class Certification:
    """How randomized smoothing is certified (Cohen et al. 2019; App. A.1.3): folds, draws, level, every k-th image."""

    folds: int = 1
    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    every: int = 1


@dataclass(frozen=True)
class StrongAttack:
    """How AutoAttack is run: on how many folds, on which images, and with how many queries of its Square part.

    The images are every k-th one, or with `per_class` the first so many of each class.
    """

    folds: int = 1
    every: int = 1
    queries: int = STANDARD_QUERIES
    per_class: int | None = None


@dataclass(frozen=True)
class Edition:
    """One data set at one size: how the base models train, and how the fine-tunes do."""

    name: str
    title: str
    dataset: str
    model: str
    base: Training  # PGD adversarial training; natural and TRADES differ in the objective alone
    natural_start: bool = field(default=False, kw_only=True)  # PGD and TRADES go on from the natural model
    fine_tune: Training  # FRL, its control and Baseline Reweight, from the PGD model's last weights
    test: Attack
    unit: int  # radii are printed as k / unit
    folds: int = 1  # 1: the data set's own test split
    tested: int = 1  # of these folds, so many are run
    max_margin: float = 2.0  # cap of a class's radius, in units of eps
    rate: float = 0.05  # alpha of the multipliers and of the margin (Sec. 5.1: 0.05)
    ablation_class: str = "deer"  # whose boundary error Figure 3 weighs
    ablation_folds: int = 1  # of the folds that are run, so many for Figure 3
    certification: Certification = Certification(every=20)
    autoattack: StrongAttack = StrongAttack()
    fairness_table: int | None = 2  # the paper's table of methods to print beside ours, 2, 3, 7 or 8
    classwise_table: int | None = None  # the paper's table of classes on the same data, 4, 5 or 6
    variants: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """The title as it stands inside a sentence: "handwritten digits", but "CIFAR-10"."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]


def _smoke(edition: Edition) -> Edition:
    """The same with two epochs, two steps and large batches: does it all work?"""
    tiny: dict[str, Any] = {"epochs": 2, "milestones": (), "batch_size": 128, "steps": 2, "validation_steps": 2}
    return replace(
        edition,
        name=edition.name.replace("digits", "smoke"),
        title=f"{edition.title} (smoke size)",
        base=replace(edition.base, **tiny),
        fine_tune=replace(edition.fine_tune, **tiny),
        test=replace(edition.test, steps=2),
        folds=2,
        tested=min(edition.tested, 2),
        certification=replace(edition.certification, n0=10, n=100, every=9),
        autoattack=StrongAttack(folds=2, every=60, queries=10),
        variants={role: name.replace("digits", "smoke") for role, name in edition.variants.items()},
    )


_LINF: dict[str, Any] = {"eps": 0.3, "step_size": 0.075}
_L2: dict[str, Any] = {"eps": 0.75, "step_size": 0.1875, "norm": "l2"}
DIGITS = Edition(
    name="digits",
    title="Handwritten digits",
    dataset="digits",
    model="preact_small",
    base=Training("pgd", epochs=25, lr=0.1, milestones=(22,), batch_size=64, **_LINF),
    fine_tune=Training("trades", epochs=12, lr=0.02, beta=1.5, batch_size=64, select="worst robust", **_LINF),
    test=Attack(steps=20, **_LINF),
    unit=16,
    folds=5,
    tested=5,
    max_margin=1.5,
    ablation_class="8",
    ablation_folds=3,
    certification=Certification(folds=2, n=1000),
    autoattack=StrongAttack(folds=2, every=2, queries=1000),
    variants={
        "wide": "digits-wide", "l2": "digits-l2", "second": "digits-uneven", "second-wide": "digits-uneven-wide",
    },
)  # fmt: skip
# The appendix on digits: fewer folds and epochs, and half the batch, since fewer than some 350 updates leave PGD
# training at an error that says nothing (chosen on validation errors).
_SHORT = replace(
    DIGITS,
    base=replace(DIGITS.base, epochs=18, milestones=(16,), batch_size=32),
    fine_tune=replace(DIGITS.fine_tune, epochs=5, batch_size=32),
    rate=0.12,
    folds=2,
    tested=2,
    variants={},
)
_WIDE = replace(
    _SHORT, name="digits-wide", title="Digits, wider and deeper network", model="preact_wide", tested=1,
    fairness_table=7,
)  # fmt: skip
_UNEVEN = replace(
    _SHORT, name="digits-uneven", title="Digits with uneven classes", dataset="digits-uneven", fairness_table=3,
    base=replace(_SHORT.base, epochs=36, milestones=(32,)), tested=1,
)  # fmt: skip


_LINF8: dict[str, Any] = {"eps": 8 / 255, "step_size": 2 / 255}
# of training and validation; the test has 20 steps of 2 / 255
_LINF8_IN_5: dict[str, Any] = {"eps": 8 / 255, "step_size": 4 / 255, "steps": 5}
CIFAR10 = Edition(
    name="cifar10",
    title="CIFAR-10",
    dataset="cifar10",
    model="preact_resnet18",
    base=Training("pgd", epochs=30, lr=0.1, schedule="linear", **_LINF8),
    fine_tune=Training("trades", epochs=20, lr=1e-3, milestones=(14,), beta=1.0, select="worst robust", **_LINF8),
    test=Attack(steps=20, **_LINF8),
    unit=255,
    classwise_table=4,
    variants={"wide": "cifar10-wrn28", "l2": "cifar10-l2", "second": "svhn", "second-wide": "svhn-wrn28"},
)
_SVHN = replace(
    CIFAR10,
    name="svhn",
    title="SVHN",
    dataset="svhn",
    base=replace(CIFAR10.base, lr=0.01),
    ablation_class="3",
    fairness_table=3,
    classwise_table=6,
    variants={},
)
_CIFAR10_L2: dict[str, Any] = {"eps": 0.5, "step_size": 0.1, "norm": "l2"}

_DIGITS = (
    DIGITS,
    _WIDE,
    replace(
        _SHORT,
        name="digits-l2",
        title="Digits, l2 attacks",
        base=replace(_SHORT.base, **_L2),
        fine_tune=replace(_SHORT.fine_tune, **_L2),
        test=Attack(steps=20, **_L2),
        fairness_table=None,
    ),
    _UNEVEN,
    replace(
        _UNEVEN, name="digits-uneven-wide", title="Uneven digits, wider network", model="preact_wide",
        fairness_table=8,
    ),
)
EDITIONS = {
    edition.name: edition
    for edition in (
        *_DIGITS,
        *map(_smoke, _DIGITS),
        CIFAR10,
        replace(
            CIFAR10, name="cifar10-wrn28", title="CIFAR-10, WRN-28-10", model="wrn28_10", fairness_table=7,
            classwise_table=5, variants={},
        ),
        replace(
            CIFAR10, name="cifar10-l2", title="CIFAR-10, l2 attacks", base=replace(CIFAR10.base, **_CIFAR10_L2),
            fine_tune=replace(CIFAR10.fine_tune, **_CIFAR10_L2), test=Attack(steps=20, **_CIFAR10_L2),
            fairness_table=None, classwise_table=None, variants={},
        ),
        _SVHN,
        replace(
            _SVHN, name="svhn-wrn28", title="SVHN, WRN-28-10", model="wrn28_10", fairness_table=8, classwise_table=None,
        ),
        replace(
            CIFAR10,
            name="cifar10-paper",
            title="CIFAR-10 (the paper's schedule)",
            base=replace(CIFAR10.base, epochs=200, milestones=(100, 150), schedule="warm-up"),
            fine_tune=replace(CIFAR10.fine_tune, epochs=120, milestones=(40, 80)),
            variants={},
        ),
        replace(
            CIFAR10,
            name="laptop",
            title="CIFAR-10 on two cores",
            model="preact_resnet18_quarter",
            base=Training("pgd", epochs=12, lr=0.1, schedule="linear", **_LINF8_IN_5),
            natural_start=True,
            fine_tune=Training(
                "trades", epochs=3, lr=0.02, milestones=(2,), beta=1.0, select="worst robust", **_LINF8_IN_5
            ),
            rate=1 / 6,
            certification=Certification(n=1000, every=20),
            autoattack=StrongAttack(per_class=100, queries=1000),
            variants={},
        ),
    )
}  # fmt: skip


def edition(name: str) -> Edition:
    """An edition by name; raises UserError for an unknown one."""
    if name not in EDITIONS:
        raise UserError(f"unknown edition '{name}'; known: {', '.join(EDITIONS)}")
    return EDITIONS[name]
