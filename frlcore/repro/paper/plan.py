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
from frlcore.repro.paper.methods import AVERAGE, METHODS, Method, checked, label, names, parse
from frlcore.repro.runs.task import Check, Run, Task
from frlcore.settings import info
from frlcore.successors import MEMORY, scaled

__all__ = ["EDITIONS", "METHODS", "Edition", "edition", "label"]

IMPORTANCE = (  # what comes first where time is short: the paper's main comparison; then all that is not listed
    "pgd", "control", "frl-reweight+remargin-0.05", "frl-reweight-0.05", "frl-remargin-0.05", "natural", "trades-6",
    "baseline-reweight", *names("ours"), "trades-1", *names("frl", tau=0.07), *names("weight", "margin"),
    *checked("autoattack"),
)  # fmt: skip

FIGURE_1 = names("natural", "vanilla")
PAIR = ("natural", "pgd")
PRINTED = names("vanilla", "baseline", "control", "frl")  # what Tables 3, 7 and 8 print, and the control
PLANS = {
    "overview": (*names("natural"), *PRINTED, *names("ours")),
    "figure1": FIGURE_1,
    "table1": PAIR,
    "table2": (*PRINTED, *names("ours")),
    "table4": PAIR,
    "algorithm1": ("control", *names("frl", "ours", tau=0.05)),
    "figure3": ("control", *names("weight", "margin")),
    "figure4": checked("certify"),
    "figure5": FIGURE_1,
    "table5": PAIR,
    "table7": PRINTED,
    "figure6": ("natural", "pgd", "trades-6"),
    "figure7": FIGURE_1,
    "table6": PAIR,
    "table3": PRINTED,
    "table8": PRINTED,
    "autoattack": checked("autoattack"),
    "successors": ("control", *names("frl", tau=0.05), *names("average"),
                   *(name + of for name in names("successor") for of in ("", f"+{AVERAGE}"))),
    "successors-autoattack": tuple(
        f"{name}+autoattack" for name in ("control", *names("frl", tau=0.05)[2:], *names("successor"))
    ),
}
VARIANT = {
    "figure5": "wide", "table5": "wide", "table7": "wide", "figure6": "l2",
    "figure7": "second", "table6": "second", "table3": "second", "table8": "second-wide",
}  # fmt: skip
ALL = "all"  # every plan that an edition has
MOST_SEEDS = 1000
NAMES = (*PLANS, ALL)
BY_CLASS = ("figure1", "table1", "table4", "figure5", "table5", "figure6", "figure7", "table6")


def methods(plan: str) -> tuple[str, ...]:
    """The methods a plan needs; "figure3:CLASS" is the ablation of another class. UserError for an unknown plan."""
    name, _, target = plan.partition(":")
    if name == "figure3" and target:
        return tuple(method if method == "control" else f"{method}:{target}" for method in PLANS[name])
    if plan == ALL:
        raise UserError(f"'{ALL}' is every plan at once; name one of: {', '.join(PLANS)}")
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
    one, target, check = parse(method)
    trained = _run(ed, one, target, fold, seed)
    if check in ("", AVERAGE):
        return trained
    if check == "autoattack":
        how = ed.autoattack
        images = {"per_class": how.per_class} if how.per_class else {"every": how.every}
        return Check(trained, check, {"eps": ed.test.eps, "norm": ed.test.norm, **images, "queries": how.queries})
    draws = {name: value for name, value in asdict(ed.certification).items() if name != "folds"}
    return Check(trained, check, {"sigma": trained.training.sigma, **draws})


def _run(ed: Edition, method: Method, target: str, fold: int, seed: int) -> Run:
    base = ed.fine_tune if method.start else ed.base
    settings = dict(method.settings) | {name: getattr(ed, field) for name, field in method.of_edition.items()}
    settings |= scaled(method.policy, base)
    if method.policy == "one_class":
        settings["index"] = _class(ed, target or ed.ablation_class)
    average: dict[str, Any] = {"average": round(MEMORY * base.epochs, 3)} if method.averaged else {}
    training = replace(base, **method.training, **average)
    before = _before(ed, method)
    start = _run(ed, before, "", fold, seed) if before else None
    return Run(ed.dataset, ed.model, training, ed.test, seed, fold, ed.folds, method.policy, settings, start)


def _before(ed: Edition, method: Method) -> Method | None:
    """The method whose last weights this one starts from."""
    if method.family == "vanilla" and ed.natural_start:
        return METHODS["natural"]
    return METHODS[method.start] if method.start else None


def folds(ed: Edition, plan: str, method: str) -> int:
    """On how many folds, counted from the first, a plan needs a method."""
    few = {"autoattack": ed.autoattack.folds, "certify": ed.certification.folds}
    most = ed.ablation_folds if plan.partition(":")[0] == "figure3" else ed.tested
    return min(ed.tested, few.get(parse(method)[2], most))


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
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"seeds must be from 1 to {MOST_SEEDS}, got {seeds}")
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
    one, _, check = parse(method)
    if check:
        yield from _lineage(ed, method.removesuffix(f"+{check}"), fold, seed)
    elif before := _before(ed, one):
        yield from _lineage(ed, before.name, fold, seed)
    yield f"{ed.title}: {label(method)}, fold {fold + 1} of {ed.folds}, seed {seed}", task


def alike(ed: Edition) -> list[Run]:
    """The first fold and seed of every method on all editions with the same data and network."""
    same = [one for one in EDITIONS.values() if (one.dataset, one.model) == (ed.dataset, ed.model)]
    return [_run(one, method, "", 0, 0) for one in same for method in METHODS.values()]


def lineage(task: Task) -> Iterable[Task]:
    """A run and all it starts from, the oldest first."""
    if task.start:
        yield from lineage(task.start)
    yield task
