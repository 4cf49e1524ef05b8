"""Which runs each figure and table needs, as data.

A plan is the name of a figure or table; it lists methods, and a method on an edition is one run per fold and seed.
A fine-tune names the run it starts from. `METHOD+CHECK` is a stronger test of a finished run ("pgd+autoattack").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from frlcore.errors import UserError
from frlcore.repro.paper.editions import EDITIONS, Edition, edition
from frlcore.repro.runs.task import Check, Run, Task
from frlcore.settings import RELEASED, info

__all__ = ["EDITIONS", "Edition", "edition"]

BASES = {
    "natural": {"objective": "natural", "select": "average standard"},
    "pgd": {},
    "trades-1": {"objective": "trades", "beta": 1.0},
    "trades-6": {"objective": "trades", "beta": 6.0},
}
SIGMAS = {f"noise-{sigma}": sigma for sigma in (0.25, 0.5)}  # Gaussian-noise training; the paper does not state sigma
FRL = {
    f"frl-{variant}-{tau}{'-code' if rule == 'code' else ''}": {"variant": variant, "tau": tau, "rule": rule}
    for rule, variants in (("paper", ("reweight", "remargin", "reweight+remargin")), ("code", ("reweight+remargin",)))
    for tau in (0.05, 0.07)
    for variant in variants
}
METHODS = (*BASES, "baseline-reweight", "control", *FRL)
ABLATION = {  # one class's boundary loss weighed, or its radius enlarged, everything else fixed (Sec. 5.3)
    **{f"weight-{ratio}": {"weight": ratio} for ratio in (1.5, 3.0, 4.5)},
    **{f"margin-{ratio}": {"margin": ratio} for ratio in (1.5, 2.0, 2.5)},
}
CHECKS = ("+autoattack", "+certify")
ATTACKED = ("pgd", "control", *(name for name in FRL if name.endswith("0.05")))

IMPORTANCE = (  # what comes first where time is short: the paper's main comparison; then all that is not listed
    "pgd", "control", "frl-reweight+remargin-0.05", "frl-reweight-0.05", "frl-remargin-0.05", "natural", "trades-6",
    "baseline-reweight", "frl-reweight+remargin-0.05-code", "frl-reweight+remargin-0.07-code", "trades-1",
    "frl-reweight-0.07", "frl-remargin-0.07", "frl-reweight+remargin-0.07", *ABLATION,
    *(f"{name}+autoattack" for name in ATTACKED),
)  # fmt: skip

FIGURE_1 = ("natural", "pgd", "trades-1", "trades-6")
PAIR = ("natural", "pgd")
PLANS = {
    "overview": METHODS,
    "figure1": FIGURE_1,
    "table1": PAIR,
    "table2": METHODS[1:],
    "table4": PAIR,
    "algorithm1": ("control", *(name for name in FRL if "0.05" in name)),
    "figure3": ("control", *ABLATION),
    "figure4": tuple(f"{name}+certify" for name in SIGMAS),
    "figure5": FIGURE_1,
    "table5": PAIR,
    "table7": METHODS[1:12],
    "figure6": ("natural", "pgd", "trades-6"),
    "figure7": FIGURE_1,
    "table6": PAIR,
    "table3": METHODS[1:12],
    "table8": METHODS[1:12],
    "autoattack": tuple(f"{name}+autoattack" for name in ATTACKED),
}
VARIANT = {
    "figure5": "wide", "table5": "wide", "table7": "wide", "figure6": "l2",
    "figure7": "second", "table6": "second", "table3": "second", "table8": "second-wide",
}  # fmt: skip
ALL = "all"  # every plan that an edition has
NAMES = (*PLANS, ALL)
BY_CLASS = ("figure1", "table1", "table4", "figure5", "table5", "figure6", "figure7", "table6")


def methods(plan: str) -> tuple[str, ...]:
    """The methods a plan needs; "figure3:CLASS" is the ablation of another class. UserError for an unknown plan."""
    name, _, target = plan.partition(":")
    if name == "figure3" and target:
        return tuple(method if method == "control" else f"{method}:{target}" for method in PLANS[name])
    if plan not in PLANS:
        raise UserError(f"unknown plan '{plan}'; known: {', '.join(NAMES)}")
    return PLANS[plan]


def place(plan: str, edition_name: str) -> Edition:
    """The edition on which a plan runs: the named one, or its variant for what the appendix repeats.

    Raises UserError when the edition has no such variant.
    """
    ed, role = edition(edition_name), VARIANT.get(plan)
    if role and role not in ed.variants:
        having = ", ".join(name for name, one in EDITIONS.items() if role in one.variants)
        raise UserError(f"edition '{edition_name}' has no {plan}; these have: {having}")
    return edition(ed.variants[role]) if role else ed


def plans(edition_name: str) -> list[str]:
    """The plans that an edition has."""
    return [name for name in PLANS if name not in VARIANT or VARIANT[name] in edition(edition_name).variants]


def run(name: str, method: str, fold: int = 0, seed: int = 0) -> Task:
    """The run of one method on an edition, with the run it starts from; UserError for an unknown method."""
    ed = edition(name)
    base, _, check = method.rpartition("+") if method.endswith(CHECKS) else (method, "", "")
    trained = _run(ed, base, fold, seed)
    if not check:
        return trained
    if check == "autoattack":
        how = ed.autoattack
        images = {"per_class": how.per_class} if how.per_class else {"every": how.every}
        return Check(trained, check, {"eps": ed.test.eps, "norm": ed.test.norm, **images, "queries": how.queries})
    how = {name: value for name, value in asdict(ed.certification).items() if name != "folds"}
    return Check(trained, check, {"sigma": SIGMAS[base], **how})


def _run(ed: Edition, method: str, fold: int, seed: int) -> Run:
    where = {"dataset": ed.dataset, "model": ed.model, "test": ed.test, "seed": seed, "fold": fold, "folds": ed.folds}
    if method in BASES:
        changes: dict[str, Any] = BASES[method]
        natural = _run(ed, "natural", fold, seed) if ed.natural_start and method != "natural" else None
        return Run(training=replace(ed.base, **changes), start=natural, **where)
    if method in SIGMAS:
        noise = replace(ed.base, objective="noise", sigma=SIGMAS[method], select="average standard")
        return Run(training=noise, **where)
    start = _run(ed, "pgd", fold, seed)
    if method == "control":
        return Run(training=ed.fine_tune, start=start, **where)
    if method == "baseline-reweight":
        alpha = {"alpha": ed.rate}
        return Run(training=ed.fine_tune, start=start, policy="baseline_reweight", policy_settings=alpha, **where)
    ablation, _, name = method.partition(":")
    if ablation in ABLATION:
        settings: dict[str, Any] = ABLATION[ablation] | {"index": _class(ed, name or ed.ablation_class)}
        return Run(training=ed.fine_tune, start=start, policy="one_class", policy_settings=settings, **where)
    if method not in FRL:
        known = (*METHODS, *SIGMAS, *ABLATION)
        raise UserError(f"unknown method '{method}'; known: {', '.join(known)}")
    settings = FRL[method] | {"alpha": ed.rate, "alpha_margin": ed.rate}
    if settings["rule"] == "paper":
        settings["max_margin"] = ed.max_margin
    released: dict[str, Any] = RELEASED if settings["rule"] == "code" else {}
    training = replace(ed.fine_tune, **released)
    return Run(training=training, start=start, policy="frl", policy_settings=settings, **where)


def folds(ed: Edition, plan: str, method: str) -> int:
    """On how many folds, counted from the first, a plan needs a method."""
    few = {"autoattack": ed.autoattack.folds, "certify": ed.certification.folds}
    most = ed.ablation_folds if plan.partition(":")[0] == "figure3" else ed.tested
    return min(ed.tested, few.get(method.rpartition("+")[2], most))


def _class(ed: Edition, name: str) -> int:
    classes = info(ed.dataset).classes
    if name not in classes:
        raise UserError(f"{ed.title} has no class '{name}'; it has: {', '.join(classes)}")
    return classes.index(name)


def runs(plan: str, edition_name: str, seeds: int = 1) -> list[Task]:
    """Every run and check a plan needs, each once: by importance, seed by seed, and parents before children."""
    return [task for _, task in _entries(plan, edition_name, seeds)]


def titles(plan: str, edition_name: str, seeds: int = 1) -> dict[str, str]:
    """What to call every run of a plan while it is under way, by key."""
    return {task.key: title for title, task in _entries(plan, edition_name, seeds)}


def _entries(plan: str, edition_name: str, seeds: int) -> list[tuple[str, Task]]:
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")
    needed = [
        (name, method, seed)
        for name in (plans(edition_name) if plan == ALL else [plan])
        for method in methods(name)
        for seed in range(seeds)
    ]
    wanted: dict[str, tuple[str, Task]] = {}
    for name, method, seed in sorted(needed, key=_rank):
        ed = place(name, edition_name)
        for fold in range(folds(ed, name, method)):
            for title, task in _lineage(ed, method, fold, seed):
                wanted.setdefault(task.key, (title, task))
    return list(wanted.values())


def _rank(needed: tuple[str, str, int]) -> tuple[int, bool, int]:
    """Seed 0 before all others, the paper before its appendix, then by importance."""
    name, method, seed = needed
    plain = method.partition(":")[0]  # of another class's ablation
    return seed, name in VARIANT, IMPORTANCE.index(plain) if plain in IMPORTANCE else len(IMPORTANCE)


def _lineage(ed: Edition, method: str, fold: int, seed: int) -> Iterator[tuple[str, Task]]:
    """A run with its title after those of all it starts from."""
    task = run(ed.name, method, fold, seed)
    if isinstance(task, Check):
        yield from _lineage(ed, method.rpartition("+")[0], fold, seed)
    elif task.start:
        yield from _lineage(ed, "natural" if method in BASES else "pgd", fold, seed)
    yield f"{ed.title}: {label(method)}, fold {fold + 1} of {ed.folds}, seed {seed}", task


def alike(ed: Edition) -> list[Run]:
    """The first fold and seed of every method on all editions with the same data and network."""
    names = [one.name for one in EDITIONS.values() if (one.dataset, one.model) == (ed.dataset, ed.model)]
    return [_run(edition(name), method, 0, 0) for name in names for method in (*METHODS, *SIGMAS, *ABLATION)]


def lineage(task: Task) -> Iterable[Task]:
    """A run and all it starts from, the oldest first."""
    if task.start:
        yield from lineage(task.start)
    yield task


def label(method: str) -> str:
    """How a method is called in tables: the paper's words, and ours for what the paper does not have."""
    for check, words in (("+autoattack", ", AutoAttack"), ("+certify", ", certified")):
        if method.endswith(check):
            return label(method.removesuffix(check)) + words
    if method in FRL:
        settings = FRL[method]
        variant = "+".join(word.capitalize() for word in str(settings["variant"]).split("+"))
        return f"FRL({variant}, {settings['tau']})" + " code" * (settings["rule"] == "code")
    if method in SIGMAS:
        return f"Gaussian noise, σ = {SIGMAS[method]}"
    ablation, _, name = method.partition(":")
    if ablation in ABLATION:
        ((what, ratio),) = ABLATION[ablation].items()
        return f"{what} × {ratio:g}" + f" for {name}" * bool(name)
    return {
        "natural": "Natural Training",
        "pgd": "PGD Adv. Training",
        "trades-1": "TRADES(1/λ = 1)",
        "trades-6": "TRADES(1/λ = 6)",
        "baseline-reweight": "Baseline Reweight",
        "control": "Control (multipliers 0)",
    }[method]
