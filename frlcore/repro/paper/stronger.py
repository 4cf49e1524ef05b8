"""What AutoAttack adds to PGD-20, on the same images: robust errors side by side, and the comparisons once more."""

from __future__ import annotations

import numpy as np
import pandas as pd

from frlcore.intervals import brackets, summary_interval
from frlcore.repro.paper import plan, remembered
from frlcore.repro.paper.records import Results
from frlcore.repro.paper.tables import cell
from frlcore.significance import holm

SUFFIX = "+autoattack"


def broken(base: Results, checks: Results, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels `(N,)`, and which images PGD-20 breaks and which either attack breaks `(S, N)`, where AutoAttack looked.

    `base` holds the method's runs, `checks` those of the plan "autoattack". PGD-20 breaks an image at any point of its
    path; the weights are those of the last epoch.
    """
    base = base.under()
    seeds = min(checks.seeds(method + SUFFIX), base.seeds(method))
    index = checks.predictions(method + SUFFIX, "index")[0]
    where = np.searchsorted(base.predictions(method, "index")[0], index)
    labels = checks.predictions(method + SUFFIX, "label")[0]
    pgd = base.wrong(method, "robust")[:seeds, where]
    return labels, pgd, pgd | (checks.predictions(method + SUFFIX, "autoattack")[:seeds] != labels)


def attacked(base: Results, checks: Results) -> pd.DataFrame:
    """Average and worst-class robust error under PGD-20 and under PGD-20 and AutoAttack together, in %."""
    rows = {}
    for method in _methods(base, checks):
        labels, pgd, both = broken(base, checks, method)
        rows[plan.label(method)] = {
            f"{statistic.capitalize()}, {name}": _cell(labels, wrong, statistic)
            for statistic in ("average", "worst")
            for name, wrong in (("PGD-20", pgd), ("with AutoAttack", both))
        }
    return pd.DataFrame(rows).T.rename_axis("Method")


def numbers(base: Results, checks: Results) -> pd.DataFrame:
    """The numbers of `attacked`, one row each: percent with 95% intervals."""
    rows = []
    for method in _methods(base, checks):
        labels, pgd, both = broken(base, checks, method)
        for attack, wrong in (("PGD-20", pgd), ("PGD-20 and AutoAttack", both)):
            for statistic in ("average", "worst"):
                value, low, high = (100 * number for number in _value(labels, wrong, statistic))
                rows.append({"method": plan.label(method), "attack": attack, "statistic": statistic,
                             "value": value, "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows)


def added_in_words(base: Results, checks: Results) -> str:
    """How much AutoAttack adds, smallest and largest over the methods, in a sentence."""
    added = {}
    for method in _methods(base, checks):
        labels, pgd, both = broken(base, checks, method)
        added[plan.label(method)] = 100 * float(_by_class(labels, both).mean() - _by_class(labels, pgd).mean())
    low, high = min(added, key=added.__getitem__), max(added, key=added.__getitem__)
    return (
        f"Beside PGD-20, AutoAttack adds between {added[low]:.1f} ({low}) and {added[high]:.1f} points ({high}) to the "
        f"average robust error: the robust errors under PGD-20 alone are too small by that much."
    )


def lowest_in_words(base: Results, checks: Results, reference: str) -> str:
    """The method whose worst class fares best under both attacks together, beside `reference`, in a sentence.

    Empty where AutoAttack has not looked at `reference` and another one.
    """
    worst, wrong = {}, {}
    for method in _methods(base, checks):
        labels, _, wrong[method] = broken(base, checks, method)
        worst[method] = [100 * number for number in _value(labels, wrong[method], "worst")]
    if reference not in worst or len(worst) < 2:
        return ""
    best = min(worst, key=lambda method: worst[method][0])
    told = {one: f"{worst[one][0]:.1f}% {brackets(worst[one][1], worst[one][2])}" for one in (best, reference)}
    images = f"Under PGD-20 and AutoAttack together, on {len(labels):,} of these images,"
    if best == reference:
        return f"{images} no method has a lower error of the worst class than {plan.label(best)}, {told[best]}."
    shared = min(len(wrong[best]), len(wrong[reference]))
    change = remembered.paired(labels, wrong[best][:shared], wrong[reference][:shared], "worst")
    chosen = f", an interval that takes no account of its being the best of {len(worst) - 1}" * (len(worst) > 2)
    return (f"{images} {plan.label(best)} has the lowest error of the worst class, {told[best]}; that of "
            f"{plan.label(reference)} is {told[reference]}, a difference of {100 * change.difference:+.1f} "
            f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]{chosen}.")  # fmt: skip


def differences(base: Results, checks: Results, reference: str) -> pd.DataFrame:
    """Every fair method minus `reference` under both attacks together: paired bootstrap, Holm over the table."""
    methods = [method for method in _methods(base, checks) if plan.METHODS[method].fair]
    labels, _, theirs = broken(base, checks, reference)
    changes, cells = [], []
    for method in methods:
        _, _, ours = broken(base, checks, method)
        seeds = min(len(ours), len(theirs))
        for statistic in ("average", "worst"):
            changes.append(remembered.paired(labels, ours[:seeds], theirs[:seeds], statistic))
            cells.append((plan.label(method), f"{statistic.capitalize()} robust"))
    shown: dict[str, dict[str, str]] = {}
    for (row, column), change, p in zip(cells, changes, holm([change.p for change in changes]), strict=True):
        text = f"{100 * change.difference:+.1f}"
        text = f"**{text}**" if p < 0.05 else text
        shown.setdefault(row, {})[column] = cell(text, 100 * change.low, 100 * change.high, form="+.1f")
    return pd.DataFrame(shown).T.rename_axis(f"minus {plan.label(reference)}")


def _methods(base: Results, checks: Results) -> list[str]:
    return [name for name in (m.removesuffix(SUFFIX) for m in checks.present) if name in base.present]


def _value(labels: np.ndarray, wrong: np.ndarray, statistic: str) -> tuple[float, float, float]:
    by_class = _by_class(labels, wrong)
    low, high = summary_interval(labels, wrong, statistic)
    return float(by_class.mean() if statistic == "average" else by_class.max()), float(low), float(high)


def _cell(labels: np.ndarray, wrong: np.ndarray, statistic: str) -> str:
    value, low, high = (100 * number for number in _value(labels, wrong, statistic))
    return cell(f"{value:.1f}", low, high)


def _by_class(labels: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    return np.array([wrong[:, labels == c].mean() for c in np.unique(labels)])
