"""FRL and its successors on one loop: what their papers claim as tests, the figures, the paired tests, what each costs.

Everything here follows from the records of the plan "successors"; thresholds stand as data, to be read before them.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from frlcore.classwise import paired_bootstrap
from frlcore.repro.paper import plan
from frlcore.repro.paper.claims import FAIR, Claim
from frlcore.repro.paper.methods import averaged, parse
from frlcore.repro.paper.records import DRAWS, Results
from frlcore.repro.paper.statements import Statement
from frlcore.significance import holm

PLAN = "successors"
CONTROL, FRL = "control", FAIR[2]
REFERENCES = (CONTROL, FRL)
COLUMNS = (("average", "robust"), ("worst", "robust"), ("worst", "standard"))
ALPHA = 0.05


def _statement(section: str, text: str, *tests: tuple[str, str, str, float]) -> Statement:
    """A claim on robust errors; a test is: this method, that one, the statistic, by more than so many points."""
    return Statement(section, text, PLAN, tuple(
        Claim("", "", first, second, statistic, "robust", beyond=beyond) for first, second, statistic, beyond in tests
    ))  # fmt: skip


STATEMENTS = (
    _statement("CFA", "CFA with its average improves both the worst class's and the average robustness over TRADES "
               "training.", ("cfa+average", CONTROL, "worst", 0), ("cfa+average", CONTROL, "average", 0)),
    _statement("CFA", "Without its average, too, CFA improves the worst class's robustness.",
               ("cfa", CONTROL, "worst", 0)),
    _statement("CFA", "CFA is more robust on average than FRL, and its worst class is no less robust (by a point).",
               ("cfa+average", FRL, "average", 0), ("cfa+average", FRL, "worst", -1)),
    _statement("DAFA", "DAFA improves the worst class's robustness, at an average that is no worse (by a point).",
               ("dafa", CONTROL, "worst", 0), ("dafa", CONTROL, "average", -1)),
    _statement("WAT", "WAT improves the worst class's robustness.", ("wat", CONTROL, "worst", 0)),
    _statement("WAT", "It does so by more than FRL.", ("wat", FRL, "worst", 0)),
    _statement("FAAL", "Fine-tuning with FAAL improves a robust model's worst class, at an average no worse (by a "
               "point).", ("faal", CONTROL, "worst", 0), ("faal", CONTROL, "average", -1)),
    _statement("FAAL", "It does so by more than FRL.", ("faal", FRL, "worst", 0)),
    _statement("ours", "An average of the weights alone makes the control more robust, on average and in its worst "
               "class.",
               ("control-average", CONTROL, "average", 0), ("control-average", CONTROL, "worst", 0)),
    _statement("ours", "It does so for FRL(Reweight+Remargin).", (f"{FRL}-average", FRL, "average", 0),
               (f"{FRL}-average", FRL, "worst", 0)),
)  # fmt: skip
SECTIONS = tuple(dict.fromkeys(one.section for one in STATEMENTS))


def differences(found: Results) -> pd.DataFrame:
    """Every method minus each of REFERENCES on the same test images, in points: one row a pair and statistic.

    Paired bootstrap over images within classes; p-values adjusted over all rows (Holm).
    """
    rows = []
    for reference in [one for one in REFERENCES if one in found.present]:
        for method in [one for one in found.present if one != reference]:
            shared = found.seeds(method, reference)
            for statistic, kind in COLUMNS:
                a, b = (found.wrong(one, kind)[:shared] for one in (method, reference))
                change = paired_bootstrap(found.labels, a, b, statistic, draws=DRAWS)
                rows.append({"method": method, "reference": reference, "statistic": statistic, "error": kind,
                             "difference": 100 * change.difference, "low": 100 * change.low,
                             "high": 100 * change.high, "p": change.p})  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame.p)) if len(frame) else frame


def shown(tested: pd.DataFrame, reference: str) -> pd.DataFrame:
    """`differences` from one reference for a page; bold where the adjusted p-value is below 0.05."""
    cells: dict[str, dict[str, str]] = {}
    for row in tested[tested.reference == reference].to_dict("records"):
        text = f"{row['difference']:+.1f}"
        text = f"**{text}**" if row["p_holm"] < ALPHA else text
        head = f"{row['statistic'].capitalize()} {row['error']}"
        line = cells.setdefault(_breakable(plan.label(row["method"])), {})
        line[head] = f"{text}<small><br>[{row['low']:+.1f}, {row['high']:+.1f}]</small>"
    return pd.DataFrame(cells).T.rename_axis(f"minus {plan.label(reference)}")


def seconds(found: Results) -> pd.DataFrame:
    """Seconds of an epoch with its validation: each method's median over epochs and folds, also over the control's.

    Averaged rows that share their run with another are left out; so are runs whose machine did not note its epochs.
    """
    medians = {}
    for method in [one for one in found.present if parse(one)[2] == ""]:
        noted = [s for folds in found.records[method] for one in folds for s in one.provenance.get("epoch_seconds", [])]
        if noted:
            medians[method] = float(np.median(noted))
    rows = {
        plan.label(method): {"Seconds an epoch": f"{value:.2f}", "Times the control's": value / medians[CONTROL]}
        for method, value in medians.items()
        if CONTROL in medians
    }
    return pd.DataFrame(rows).T.rename_axis("Method")


def overview(found: Results) -> Figure:
    """Average against worst-class robust error; an arrow leads from the control to every method, hollow if averaged."""
    fig, ax = plt.subplots(figsize=(6.6, 4.6))
    at = {method: (100 * errors.worst("robust")[1], 100 * errors.average("robust"))
          for method in found.present for errors in [found.errors(method)]}  # fmt: skip
    for method, point in at.items():
        color, marker = parse(method)[0].mark or ("black", "o")
        if method != CONTROL and CONTROL in at:
            arrow = {"arrowstyle": "->", "color": color, "lw": 0.8, "alpha": 0.6}
            ax.annotate("", point, at[CONTROL], arrowprops=arrow)
        ax.plot(*point, marker, ms=9, color=color, mfc="white" if averaged(method) else color,
                label=plan.label(method).replace(", 0.05", ""))  # fmt: skip
    ax.set(xlabel="robust error of the worst class, %  (left is fairer)", ylabel="average robust error, %")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.close(fig)
    return fig


def heat(found: Results) -> Figure:
    """Robust error of every class minus the control's, in points; classes in the order of the latter."""
    base = 100 * found.errors(CONTROL).robust
    order = np.argsort(-base, kind="stable")
    methods = [one for one in found.present if one != CONTROL]
    change = np.array([(100 * found.errors(one).robust - base)[order] for one in methods])
    span = max(float(np.abs(change).max()), 1.0)
    fig, ax = plt.subplots(figsize=(8.4, 0.38 * len(methods) + 1.3))
    heads = [f"{found.classes[c]}\n{base[c]:.0f}%" for c in order]
    sns.heatmap(change, ax=ax, cmap="RdBu_r", center=0, vmin=-span, vmax=span, annot=True, fmt="+.0f", cbar=False,
                annot_kws={"size": 8}, xticklabels=heads, yticklabels=[plan.label(one) for one in methods])  # fmt: skip
    ax.set_xlabel("class, and its robust error under the control")
    ax.tick_params(axis="both", rotation=0, length=0)
    plt.close(fig)
    return fig


def advice(found: Results, tested: pd.DataFrame) -> str:
    """Which method these records speak for, in Markdown: the fairest one, and what cannot be told from it."""
    if not {CONTROL, FRL} <= set(found.present) or not len(tested):
        return "The records for an answer are not there yet."
    worst, average = ({one: 100 * found.errors(one).summary("robust", name) for one in found.present}
                      for name in ("worst", "average"))  # fmt: skip
    best = min(worst, key=worst.__getitem__)
    if best == CONTROL:
        return "No method has a lower robust error of the worst class than the control: these records speak for none."
    gain = _row(tested, best, CONTROL)
    lines = [f"The lowest robust error of the worst class has **{plan.label(best)}**: {worst[best]:.1f}%, where the "
             f"control has {worst[CONTROL]:.1f}% ({_between(gain)}); its average robust error is {average[best]:.1f}%, "
             f"the control's {average[CONTROL]:.1f}%."]  # fmt: skip
    if gain["p_holm"] >= ALPHA:
        return " ".join([*lines, "Corrected for all tests that gain is not clear: these records speak for no method."])
    tied = [one for one in found.present if one not in (best, CONTROL) and _tied(found, one, best)]
    if tied:
        names = ", ".join(f"{plan.label(one)} ({worst[one]:.1f}%, average {average[one]:.1f}%)" for one in tied)
        lines.append(f"Not told apart from it by the 95% interval of the paired difference: {names}.")
        pick = min([best, *tied], key=average.__getitem__)
        lines.append(f"Of these **{plan.label(pick)}** has the lowest average robust error: on these data, use it.")
    else:
        lines.append("The 95% interval of the paired difference tells every other method apart from it: on these data, "
                     "use it where the worst class is what counts.")  # fmt: skip
    if best != FRL:
        over = _row(tested, best, FRL)
        clear = "clear" if over["p_holm"] < ALPHA else "not clear"
        lines.append(f"What it gains over {plan.label(FRL)} ({_between(over)}) is {clear} after correction.")
    lowest = min(average, key=average.__getitem__)
    lines.append(f"If the average is what counts: {plan.label(lowest)} has the lowest, {average[lowest]:.1f}%.")
    return " ".join(lines)


def _tied(found: Results, one: str, best: str) -> bool:
    shared = found.seeds(one, best)
    a, b = (found.wrong(method, "robust")[:shared] for method in (one, best))
    return paired_bootstrap(found.labels, a, b, "worst").low <= 0


def _row(tested: pd.DataFrame, method: str, reference: str) -> dict[str, Any]:
    chosen = (tested.method == method) & (tested.reference == reference)
    (row,) = tested[chosen & (tested.statistic == "worst") & (tested.error == "robust")].to_dict("records")
    return {str(name): value for name, value in row.items()}


def _between(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.1f} points, 95% [{row['low']:+.1f}, {row['high']:+.1f}]"


def _breakable(label: str) -> str:
    return label.replace("+", "+\u200b")
