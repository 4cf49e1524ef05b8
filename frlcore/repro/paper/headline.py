"""What the book's first page says: which edition leads, its table in short, and what it shows in two sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from frlcore.repro.paper import claims, plan, tables
from frlcore.repro.paper.claims import FAIR, Claim
from frlcore.repro.paper.records import STATISTICS, Results, results
from frlcore.repro.runs.store import Store
from frlcore.settings import info

PLAN = "overview"
COMPARED = ("pgd", "control")  # without these two there is nothing to hold a fair method against
KINDS = ("standard", "robust")
REMEDY = {"holds": "which speaks for the paper", "contradicted": "which speaks against the paper"}
OWN = {"holds": "so the method adds something of its own", "contradicted": "so the method itself does harm"}
OPEN = "which is too close to call"


def leading(editions: Iterable[str], store: Store | None = None) -> str:
    """The edition that the first page shows: the first on the paper's data that can hold a fair method against PGD
    training and against the control, else the one that is trained where the book is made."""
    names = list(editions)
    for name in (name for name in names if not small(name)):
        present = set(results(PLAN, name, store).present)
        if present >= set(COMPARED) and present & set(FAIR):
            return name
    return next(filter(small, names))


def small(edition: str) -> bool:
    """Whether an edition is trained in minutes where the book is made: what is not the paper's data is that small."""
    return not info(plan.edition(edition).dataset).paper


def fairness(found: Results) -> pd.DataFrame:
    """Table 2 in short: average and worst standard and robust error of the methods that have been run."""
    columns = [tables.HEADS[statistic, kind] for kind in KINDS for statistic in STATISTICS]
    frame = tables.fairness(found)[columns]
    return frame[frame[columns[0]] != tables.PENDING]


def sentences(found: Results) -> list[str]:
    """What the records say to the paper's two main claims: that training is unequal, and that FRL mends it.

    Needs PGD training; what is said of a fair method needs the control, too. Outcomes are those of `claims.compare`.
    """
    said = [_disparity(found)]
    fair = next((method for method in FAIR[::-1] if method in found.present), None)
    return said + ([_remedy(found, fair)] if fair and "control" in found.present else [])


def _disparity(found: Results) -> str:
    errors, parts = found.errors("pgd"), []
    for kind in KINDS:
        worst, value = errors.worst(kind)
        average = 100 * errors.average(kind)
        parts.append(f"{100 * value:.1f}% {kind} error (“{found.classes[worst]}”; average {average:.1f}%)")
    said = f"After PGD training the worst class has {' and '.join(parts)}"
    if "natural" not in found.present:
        return f"{said}."
    tests = [Claim("", "", "pgd", "natural", "gap", kind, "higher") for kind in KINDS]
    standard, robust = claims.compare(found, tests).to_dict("records")
    agrees = standard["verdict"] == robust["verdict"] == "holds"
    theirs = ", as in the paper" if agrees else " (in the paper both grow)"
    return (
        f"{said}; against natural training its distance to the average differs by {_points(standard)} in standard and "
        f"by {_points(robust)} in robust error{theirs}."
    )


def _remedy(found: Results, fair: str) -> str:
    tests = [Claim("", "", fair, other, "worst", "robust") for other in COMPARED]
    tests.append(Claim("", "", fair, "pgd", "average", "robust"))
    pgd, control, average = claims.compare(found, tests).to_dict("records")
    return (
        f"{plan.label(fair)} moves the worst class's robust error by {_points(pgd)} against PGD training, "
        f"{REMEDY.get(pgd['verdict'], OPEN)}, and by {_points(control)} against the same fine-tuning without it (the "
        f"control), {OWN.get(control['verdict'], OPEN)}; on average it moves the robust error by {_points(average)} "
        "against PGD training."
    )


def _points(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.1f} points [{row['low']:+.1f}, {row['high']:+.1f}]".replace("-", "−")
