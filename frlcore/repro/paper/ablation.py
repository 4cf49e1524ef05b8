"""Section 5.3: what weighing one class's boundary loss does to it, and what enlarging its radius does (Figure 3).

Every point is a fine-tuning of the same PGD model and differs from the control in one number of one class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from frlcore.classwise import KINDS
from frlcore.errors import UserError
from frlcore.intervals import Difference, interval, summary_interval
from frlcore.repro.paper import claims, plan, remembered
from frlcore.repro.paper.claims import AGAINST, HOLDS, outcome
from frlcore.repro.paper.methods import names
from frlcore.repro.paper.records import Results, results
from frlcore.repro.paper.tables import cell
from frlcore.repro.runs.store import Store
from frlcore.significance import holm

GROUPS = ("weight", "margin")
OTHERS = "robust, other classes"
TOLERANCE = 5.0  # points: "does not rise" means by less than the smallest tolerance of the paper's methods
CLEAR = 0.05


@dataclass(frozen=True)
class Effect:
    """What Section 5.3 says about one error of the class at a group's largest ratio, against the control.

    `change` is "falls", "rises", "does not rise" or "does not fall".
    """

    group: str
    error: str
    change: str


EFFECTS = (
    Effect("weight", "boundary", "falls"),
    Effect("weight", "standard", "rises"),
    Effect("weight", "robust", "does not fall"),
    Effect("margin", "boundary", "falls"),
    Effect("margin", "robust", "falls"),
    Effect("margin", "standard", "does not rise"),
)


def gather(
    edition: str, target: str = "", store: Store | None = None, *, broken: str = "any"
) -> tuple[Results, str]:
    """The runs of Figure 3 and the class they are about, the edition's own where none is named.

    Raises UserError for a class that the data set does not have.
    """
    own = plan.edition(edition).ablation_class
    name = "figure3" if target in ("", own) else f"figure3:{target}"
    return results(name, edition, store, broken=broken), target or own


def ratios(found: Results, group: str) -> dict[float, str]:
    """The group's methods by ratio, from the control (ratio 1) on."""
    steps = {plan.METHODS[name].settings[group]: name for name in names(group)}
    return {1.0: "control"} | {
        ratio: method
        for ratio, name in sorted(steps.items())
        for method in found.records
        if method.split(":")[0] == name
    }


def numbers(found: Results, target: str) -> pd.DataFrame:
    """Errors of the class in percent with 95% intervals, and the average robust error of all other classes.

    One row per group, ratio and error; the control is the first of both groups. Intervals of the class are exact,
    those of the average over the others are bootstrap intervals.
    """
    index, rows = _index(found, target), []
    others = found.labels != index
    for group in GROUPS:
        for ratio, method in ratios(found, group).items():
            errors = found.errors(method)
            wrong = found.wrong(method, "robust")[:, others]
            spread = summary_interval(found.labels[others], wrong, "average")
            cells = [(OTHERS, np.delete(errors.robust, index).mean(), *spread)]
            for kind in reversed(KINDS):
                value, n = getattr(errors, kind)[index], errors.n[index]
                cells.insert(0, (kind, value, *map(float, interval(value * n, n))))
            for kind, value, low, high in cells:
                rows.append({"group": group, "ratio": ratio, "class": target, "error": kind,
                             "value": 100 * value, "low": 100 * low, "high": 100 * high})  # fmt: skip
    return pd.DataFrame(rows)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """`numbers` as a table for a page, the control once."""
    rows: dict[str, dict[str, str]] = {}
    for row in frame.to_dict("records"):
        name = "Control (ratio 1)" if row["ratio"] == 1 else f"{row['group'].capitalize()} × {row['ratio']:g}"
        rows.setdefault(name, {})[row["error"].capitalize()] = cell(f"{row['value']:.1f}", row["low"], row["high"])
    return pd.DataFrame(rows).T.rename_axis("Run")


def effects(found: Results, target: str) -> pd.DataFrame:
    """Each claim of Section 5.3 with our difference in points, its 95% interval, adjusted p-value and outcome.

    Paired bootstrap over the images of the class, largest ratio minus control. A claim that an error falls or rises is
    decided by a clear difference from 0. A claim that it does not is contradicted by a clear difference that way, and
    holds where the difference is clearly smaller than TOLERANCE. p-values are adjusted over all these tests (Holm).
    """
    tests: list[tuple[Difference, Difference | None, int]] = []
    rows: list[dict[str, Any]] = []
    for claim in EFFECTS:
        ratio, method = max(ratios(found, claim.group).items())
        sign = 1 if "rise" in claim.change else -1
        asked = (found, target, method, claim.error)
        change, beyond = _change(*asked), None
        if claim.change.startswith("does not"):
            beyond = _change(*asked, beyond=sign * TOLERANCE / 100)
        tests.append((change, beyond, sign))
        text = f"{claim.group.capitalize()} × {ratio:g}: the {claim.error} error {claim.change}"
        rows.append({"section": "5.3", "claim": text, "difference": 100 * change.difference,
                     "low": 100 * change.low, "high": 100 * change.high})  # fmt: skip
    adjusted = iter(holm([test.p for change, beyond, _ in tests for test in (change, beyond) if test]))
    for row, (change, beyond, sign) in zip(rows, tests, strict=True):
        row["p"] = next(adjusted)
        moved = sign * change.difference if row["p"] < CLEAR else 0.0
        within = beyond is not None and next(adjusted) < CLEAR and sign * beyond.difference < 0
        good, bad = (moved > 0, moved < 0) if beyond is None else (within and moved <= 0, moved > 0)
        row["verdict"] = outcome(good, bad)
    return pd.DataFrame(rows)


def trend(found: Results, target: str) -> pd.DataFrame:
    """Slope of each error of the class over all ratios, in points per unit of ratio (least squares), by group.

    Intervals and p-values by bootstrap over the images of the class; p-values adjusted over the six slopes (Holm).
    """
    mine, rows = found.labels == _index(found, target), []
    for group in GROUPS:
        methods = ratios(found, group)
        x = np.array(list(methods)) - np.mean(list(methods))
        shared = found.seeds(*methods.values())
        for kind in KINDS:
            wrong = [found.wrong(m, kind)[:shared, mine] for m in methods.values()]
            slopes = np.tensordot(x / (x**2).sum(), np.stack(wrong).astype(float), 1).round(12)  # (S, n): one an image
            change = remembered.paired(found.labels[mine], slopes, np.zeros_like(slopes), "average")
            rows.append({"group": group, "error": kind, "slope": 100 * change.difference, "low": 100 * change.low,
                         "high": 100 * change.high, "p": change.p})  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["p"] = holm(frame["p"])
    return frame


def shown_tests(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """`effects` or `trend` for a page: numbers in column `value` with their intervals, and p-values as text."""
    number = [cell(f"{row[value]:+.1f}", row["low"], row["high"], form="+.1f") for row in frame.to_dict("records")]
    texts = frame.assign(**{value: number, "p": [f"{p:.2g}" for p in frame["p"]]})
    texts = texts.drop(columns=["section", "low", "high"], errors="ignore")
    return texts.rename(columns=lambda head: "p (Holm)" if head == "p" else head.capitalize())


def effects_in_words(judged: pd.DataFrame) -> str:
    """Whether the two halves of the paper's claim hold on these runs, in words that follow from `effects`."""
    halves = []
    for group, text in (
        ("weight", "Upweighting trades boundary against standard error without making the class more robust"),
        ("margin", "Enlarging the margin makes it more robust at no such price"),
    ):
        verdicts = judged.verdict[[claim.group == group for claim in EFFECTS]].tolist()
        fate = "holds here" if set(verdicts) == {HOLDS} else "cannot be decided here"
        if AGAINST in verdicts:
            fate = "is contradicted here in " + ("one part" if verdicts.count(AGAINST) == 1 else "several parts")
        halves.append(f"“{text}” {fate}.")
    return " ".join([*halves, claims.tests_in_words(judged)])


def others_in_words(frame: pd.DataFrame) -> str:
    """What the change of one class does to the average robust error of the others, from `numbers`."""
    part = frame[frame.error == OTHERS].set_index(["group", "ratio"]).value
    last = {group: part[group].index.max() for group in GROUPS}
    ends = " and ".join(f"{part[group, ratio]:.1f}% at {group} × {ratio:g}" for group, ratio in last.items())
    return f"The average robust error of the other classes is {part[GROUPS[0], 1.0]:.1f}% in the control, {ends}."


def hardest(found: Results) -> pd.Series:
    """Validation robust error of every class after PGD training, a fraction, the hardest first.

    Mean over folds and seeds of what validation said after the last epoch. The images that one fold validates are those
    that another tests.
    """
    history = found.history("pgd")
    end = history[history.epoch == history.groupby(["seed", "fold"]).epoch.transform("max")]
    return end.groupby("class", sort=False).robust.mean().sort_values(ascending=False, kind="stable")


def choice_in_words(ranked: pd.Series, target: str) -> str:
    """How the class of this page stands among all classes on validation."""
    worst, place = ranked.index[0], list(ranked.index).index(target) + 1
    errors = 100 * ranked
    if place == 1:
        return f"“{target}” has the highest robust error of all classes on validation: {errors[target]:.1f}%."
    return (f"“{target}” is number {place} of {len(ranked)} by robust error on validation ({errors[target]:.1f}%); "
            f"the hardest class is “{worst}” ({errors[worst]:.1f}%).")  # fmt: skip


def _index(found: Results, target: str) -> int:
    if target not in found.classes:
        raise UserError(f"{found.edition.title} has no class '{target}'; it has: {', '.join(found.classes)}")
    return found.classes.index(target)


def _change(found: Results, target: str, method: str, kind: str, beyond: float = 0.0) -> Difference:
    """Method minus control, minus `beyond`, on the images of the class and the seeds that both have."""
    mine, shared = found.labels == _index(found, target), found.seeds(method, "control")
    a, b = (found.wrong(m, kind)[:shared, mine] for m in (method, "control"))
    return remembered.paired(found.labels[mine], a - beyond, b, "average")
