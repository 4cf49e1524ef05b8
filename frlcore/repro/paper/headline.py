"""What the book's first page says: three answers from the records there are, the paper's data first."""

from __future__ import annotations

from collections.abc import Iterable

from frlcore.repro.paper import conclusion, plan
from frlcore.repro.paper.again import trained_again
from frlcore.repro.paper.records import Results, results
from frlcore.repro.runs.store import Store
from frlcore.settings import info

PLAN = "overview"


def small(edition: str) -> bool:
    """Whether an edition is trained in minutes where the book is made: what is not the paper's data is that small."""
    return not info(plan.edition(edition).dataset).paper


def leading(editions: Iterable[str], store: Store | None = None) -> str:
    """The edition that the first page shows: the first on the paper's data that can hold a fair method against PGD
    training and against the control, else the one that is trained where the book is made."""
    names = list(editions)
    compared = (one for one in names if not small(one) and conclusion.complete(results(PLAN, one, store)))
    return next(compared, next(filter(small, names), names[-1]))


def answers(editions: Iterable[str], store: Store | None = None) -> tuple[list[str], list[str]]:
    """Three answers in sentences, each from the first edition whose records can give it, and what to know of them.

    That is how sure they are and, where the paper's data cannot give one yet and what stands in for them is judged,
    what the paper's data say so far. Without any adversarially trained model there is nothing to answer: empty lists.
    """
    names = list(editions)
    found = {name: results(PLAN, name, store) for name in names}
    trained = [name for name in names if "pgd" in found[name].present]
    if not trained:
        return [], []
    said, known = [conclusion.disparity(found[trained[0]])], []
    for name in [name for name in trained if conclusion.complete(found[name])][:1]:
        strong = results("autoattack", name, store) if "autoattack" in plan.plans(name) else None
        said += [conclusion.remedy(found[name], strong), conclusion.price(found[name])]
        known.append(conclusion.sureness(found[name], trained_again(found[name], "control")))
    waiting = [name for name in names if not small(name) and not conclusion.complete(found[name])]
    known += [_so_far(found[name], told=name == trained[0]) for name in waiting if found[name].present]
    return said, known


def _so_far(found: Results, told: bool) -> str:
    numbers = "" if told else f" {conclusion.so_far(found)}"
    return (
        f"**{found.edition.title}, so far.**{numbers} The answers need runs that are not made there yet; "
        f"`{found.command}` makes them. Until then each answer comes from the data that it names."
    )
