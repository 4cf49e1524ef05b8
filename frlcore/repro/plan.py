"""Which runs each figure and table needs, as data.

An edition is the paper on one data set at one size. A plan is the name of a figure or table; it lists methods, and
a method on an edition is one run per fold and seed. A fine-tune names the run it starts from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from frlcore.errors import UserError
from frlcore.repro.config import Run
from frlcore.settings import Attack, Training


@dataclass(frozen=True)
class Edition:
    """One data set at one size: how the base models train, and how the fine-tunes do."""

    name: str
    title: str
    dataset: str
    model: str
    folds: int  # 1: the data set's own test split
    base: Training  # PGD adversarial training; natural and TRADES differ in the objective alone
    fine_tune: Training  # FRL, its control and Baseline Reweight, from the PGD model's last weights
    test: Attack
    max_margin: float  # cap of a class's radius, in units of eps
    unit: int  # radii are printed as k / unit
    rate: float = 0.05  # alpha of the multipliers and of the margin (Sec. 5.1: 0.05)


LINF8 = {"eps": 8 / 255, "step_size": 2 / 255}
DIGITS = {"eps": 0.3, "step_size": 0.075, "batch_size": 64}

EDITIONS = {
    edition.name: edition
    for edition in (
        Edition(
            name="digits",
            title="Handwritten digits",
            dataset="digits",
            model="preact_small",
            folds=5,
            base=Training("pgd", epochs=25, lr=0.1, milestones=(22,), **DIGITS),
            fine_tune=Training("trades", epochs=12, lr=0.02, beta=1.5, select="worst robust", **DIGITS),
            test=Attack(eps=0.3, step_size=0.075, steps=20),
            max_margin=1.5,
            unit=16,
        ),
        Edition(
            name="smoke",
            title="Handwritten digits (smoke size)",
            dataset="digits",
            model="preact_small",
            folds=2,
            base=Training("pgd", epochs=2, lr=0.1, steps=2, validation_steps=2, **DIGITS),
            fine_tune=Training(
                "trades", epochs=2, lr=0.02, beta=1.5, steps=2, validation_steps=2, select="worst robust", **DIGITS
            ),
            test=Attack(eps=0.3, step_size=0.075, steps=2),
            max_margin=1.5,
            unit=16,
        ),
        Edition(
            name="cifar10",
            title="CIFAR-10",
            dataset="cifar10",
            model="preact_resnet18",
            folds=1,
            base=Training("pgd", epochs=30, lr=0.1, milestones=(24, 28), **LINF8),
            fine_tune=Training(
                "trades", epochs=20, lr=1e-3, milestones=(14,), beta=1.0, select="worst robust", **LINF8
            ),
            test=Attack(steps=20, **LINF8),
            max_margin=2.0,
            unit=255,
        ),
        Edition(
            name="laptop",
            title="CIFAR-10 (laptop profile)",
            dataset="cifar10",
            model="preact_narrow",
            folds=1,
            base=Training("pgd", epochs=10, lr=0.1, milestones=(8,), **LINF8),
            fine_tune=Training("trades", epochs=4, lr=0.01, beta=1.0, select="worst robust", **LINF8),
            test=Attack(steps=20, **LINF8),
            max_margin=2.0,
            unit=255,
            rate=0.5,  # 4 epochs at 0.5 move a multiplier as far as the paper's 40 at 0.05
        ),
    )
}

BASES = {
    "natural": {"objective": "natural", "select": "average standard"},
    "pgd": {},
    "trades-1": {"objective": "trades", "beta": 1.0},
    "trades-6": {"objective": "trades", "beta": 6.0},
}
FRL = {
    f"frl-{variant}-{tau}{'-code' if rule == 'code' else ''}": {"variant": variant, "tau": tau, "rule": rule}
    for rule, variants in (("paper", ("reweight", "remargin", "reweight+remargin")), ("code", ("reweight+remargin",)))
    for tau in (0.05, 0.07)
    for variant in variants
}
METHODS = (*BASES, "baseline-reweight", "control", *FRL)

PLANS = {
    "figure1": ("natural", "pgd", "trades-1", "trades-6"),
    "table1": ("natural", "pgd"),
    "table2": METHODS[1:],
    "table4": ("natural", "pgd"),
    "algorithm1": ("control", *(name for name in FRL if "0.05" in name)),
    "all": METHODS,
}
BY_CLASS = ("figure1", "table1", "table4")  # plans whose numbers are those of single classes


def edition(name: str) -> Edition:
    """An edition by name; raises UserError for an unknown one."""
    if name not in EDITIONS:
        raise UserError(f"unknown edition '{name}'; known: {', '.join(EDITIONS)}")
    return EDITIONS[name]


def methods(plan: str) -> tuple[str, ...]:
    """The methods a plan needs; raises UserError for an unknown plan."""
    if plan not in PLANS:
        raise UserError(f"unknown plan '{plan}'; known: {', '.join(PLANS)}")
    return PLANS[plan]


def run(name: str, method: str, fold: int = 0, seed: int = 0) -> Run:
    """The run of one method on an edition, with the run it starts from; UserError for an unknown method."""
    ed = edition(name)
    if method not in METHODS:
        raise UserError(f"unknown method '{method}'; known: {', '.join(METHODS)}")
    where = {"dataset": ed.dataset, "model": ed.model, "test": ed.test, "seed": seed, "fold": fold, "folds": ed.folds}
    if method in BASES:
        changes: dict[str, Any] = BASES[method]
        return Run(training=replace(ed.base, **changes), **where)
    start = run(name, "pgd", fold, seed)
    if method == "control":
        return Run(training=ed.fine_tune, start=start, **where)
    if method == "baseline-reweight":
        alpha = {"alpha": ed.rate}
        return Run(training=ed.fine_tune, start=start, policy="baseline_reweight", policy_settings=alpha, **where)
    settings = FRL[method] | {"max_margin": ed.max_margin, "alpha": ed.rate, "alpha_margin": ed.rate}
    training = replace(ed.fine_tune, batch_normalised=settings["rule"] == "code")
    return Run(training=training, start=start, policy="frl", policy_settings=settings, **where)


def runs(plan: str, edition_name: str, seeds: int = 1) -> list[Run]:
    """Every run a plan needs, parents before children, each once."""
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    wanted: dict[str, Run] = {}
    for method in methods(plan):
        for seed in range(seeds):
            for fold in range(edition(edition_name).folds):
                one = run(edition_name, method, fold, seed)
                for needed in lineage(one):
                    wanted.setdefault(needed.key, needed)
    return list(wanted.values())


def titles(edition_name: str, seeds: int = 1) -> dict[str, str]:
    """What to call every run of an edition while it is under way, by key."""
    folds = edition(edition_name).folds
    return {
        run(edition_name, method, fold, seed).key: f"{label(method)}, fold {fold + 1} of {folds}, seed {seed}"
        for method in METHODS
        for seed in range(seeds)
        for fold in range(folds)
    }


def lineage(run: Run) -> Iterable[Run]:
    """A run and all it starts from, the oldest first."""
    if run.start:
        yield from lineage(run.start)
    yield run


def label(method: str) -> str:
    """How a method is called in tables: the paper's words, and ours for what the paper does not have."""
    if method in FRL:
        settings = FRL[method]
        variant = "+".join(word.capitalize() for word in str(settings["variant"]).split("+"))
        return f"FRL({variant}, {settings['tau']})" + " code" * (settings["rule"] == "code")
    return {
        "natural": "Natural Training",
        "pgd": "PGD Adv. Training",
        "trades-1": "TRADES(1/λ = 1)",
        "trades-6": "TRADES(1/λ = 6)",
        "baseline-reweight": "Baseline Reweight",
        "control": "Control (multipliers 0)",
    }[method]
