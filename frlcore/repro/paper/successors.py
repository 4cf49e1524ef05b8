"""FRL and its successors on one loop: what their papers claim as tests, the figures, the paired tests, what each costs.

Everything here follows from the records of the plan "successors"; thresholds stand as data, to be read before them.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from frlcore.intervals import summary_interval
from frlcore.repro.paper import plan, remembered
from frlcore.repro.paper.claims import FAIR, Claim
from frlcore.repro.paper.drawing import closed, label_points, short, told
from frlcore.repro.paper.methods import averaged, breakable, parse
from frlcore.repro.paper.records import Results
from frlcore.repro.paper.statements import Statement
from frlcore.repro.paper.tables import cell
from frlcore.repro.runs.task import Run
from frlcore.repro.style import BLUE, VERMILLION, tips
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
                change = remembered.paired(found.labels, a, b, statistic)
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
        line = cells.setdefault(breakable(plan.label(row["method"])), {})
        line[head] = cell(text, row["low"], row["high"], form="+.1f")
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


def gate_in_words(found: Results) -> str:
    """After how many epochs CFA's gate let its average move, in a sentence; "" where CFA has not been run."""
    moved, epochs = [], 0
    for record in [one for folds in found.records.get("cfa", []) for one in folds]:
        assert isinstance(record.run, Run) and record.run.training.gate is not None
        least, epochs = record.run.training.gate, record.run.training.epochs
        worst = [max(entry["validation"]["robust"]) for entry in record.result["history"] if entry["epoch"]]
        moved.append(sum(error <= 1 - least for error in worst))
    if not moved:
        return ""
    often = f"{min(moved)}" if min(moved) == max(moved) else f"{min(moved)} to {max(moved)}"
    never = (
        f" In {moved.count(0)} of {len(moved)} runs it never moved: their average is the model that they started from, "
        "not a result of CFA." * (0 in moved)
    )
    return f"CFA's gate let its average move after {often} of {epochs} epochs.{never}"


def overview(found: Results) -> Figure:
    """Average against worst-class robust error: an arrow from the control to every method, and on to its average."""
    fig, ax = plt.subplots(figsize=(5.6, 4.6))
    points = {}
    for method in found.present:
        errors, color = found.errors(method), _color(method)
        worst, average = 100 * errors.worst("robust")[1], 100 * errors.average("robust")
        wide, tall = (summary_interval(found.labels, found.wrong(method, "robust"), s) for s in ("worst", "average"))
        points[method] = worst, average
        origin = method.removesuffix("+average").removesuffix("-average") if averaged(method) else CONTROL
        if method != CONTROL and origin in points:  # what an arrow starts from stands before in the plan
            ax.annotate("", points[method], points[origin], zorder=0,
                        arrowprops={"arrowstyle": "->", "color": color, "lw": 0.8, "alpha": 0.5})  # fmt: skip
        (mark,) = ax.plot(worst, average, (parse(method)[0].mark or ("", "o"))[1], ms=8, color=color,
                          mfc="#FFFFFF" if averaged(method) else color)  # fmt: skip
        text = told(found, method, "robust error of the worst class", worst / 100, *wide)
        tips(mark, [f"{text}; average {average:.1f}% [{100 * tall[0]:.1f}, {100 * tall[1]:.1f}]"])
    ax.set(xlabel="robust error of the worst class, %  (left is fairer)", ylabel="average robust error, %")
    ax.margins(0.12)
    names = ["" if averaged(one) else short(one) for one in points]
    label_points(ax, np.array(list(points.values())), names, [_color(one) for one in points])
    return closed(fig)


def heat(found: Results) -> Figure:
    """Robust error of every class minus the control's, in points; classes in the order of the latter."""
    base = 100 * found.errors(CONTROL).robust
    order = np.argsort(-base, kind="stable")
    methods = [one for one in found.present if one != CONTROL]
    change = np.array([(100 * found.errors(one).robust - base)[order] for one in methods])
    span = max(float(np.abs(change).max()), 1.0)
    fig, ax = plt.subplots(figsize=(6.8, 0.34 * len(methods) + 1.1))
    for (y, x), points in np.ndenumerate(change):
        color = VERMILLION if points > 0 else BLUE
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=color, alpha=0.6 * abs(points) / span, lw=0))
        text = f"{points:+.0f}".replace("-", "−") if round(points) else "0"
        ax.text(x, y, text, ha="center", va="center", fontsize=8)
    ax.set(xlabel="class, and its robust error under the control", xlim=(-0.5, len(order) - 0.5),
           ylim=(len(methods) - 0.5, -0.5), xticks=range(len(order)), yticks=range(len(methods)))  # fmt: skip
    ax.set_xticklabels([f"{found.classes[c]}\n{base[c]:.0f}%" for c in order], fontsize="small")
    ax.set_yticklabels([short(one).replace("\n", "") for one in methods])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    return closed(fig)


def _color(method: str) -> str:
    return (parse(method)[0].mark or ("black", ""))[0]


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
    lines = [f"**{plan.label(best)}** has the lowest robust error of the worst class: {worst[best]:.1f}%, where the "
             f"control has {worst[CONTROL]:.1f}% ({_between(gain)}); its average robust error is {average[best]:.1f}%, "
             f"the control's {average[CONTROL]:.1f}%."]  # fmt: skip
    if gain["p_holm"] >= ALPHA:
        return " ".join([*lines, "Corrected for all tests that gain is not clear: these records speak for no method."])
    tied = [one for one in found.present if one not in (best, CONTROL) and _tied(found, one, best)]
    if tied:
        names = ", ".join(f"{plan.label(one)} ({worst[one]:.1f}%, average {average[one]:.1f}%)" for one in tied)
        lines.append(f"The 95% interval of the paired difference does not tell it apart from: {names}.")
        sure = [one for one in (best, *tied) if _row(tested, one, CONTROL)["p_holm"] < ALPHA]
        pick = min(sure, key=average.__getitem__)
        lines.append(f"Of those whose gain over the control is clear after correction **{plan.label(pick)}** has the "
                     "lowest average robust error: on these data, use it.")  # fmt: skip
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
    return remembered.paired(found.labels, a, b, "worst").low <= 0


def _row(tested: pd.DataFrame, method: str, reference: str) -> dict[str, Any]:
    chosen = (tested.method == method) & (tested.reference == reference)
    (row,) = tested[chosen & (tested.statistic == "worst") & (tested.error == "robust")].to_dict("records")
    return {str(name): value for name, value in row.items()}


def _between(row: dict[str, Any]) -> str:
    return f"{row['difference']:+.1f} points, 95% [{row['low']:+.1f}, {row['high']:+.1f}]"

