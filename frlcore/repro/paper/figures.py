"""The paper's figures from our records: matplotlib, drawn as SVG, one idea each.

Every function returns a closed figure to end a cell with. Marks differ in shape as well as in colour.
"""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frlcore.classwise import bootstrap, interval
from frlcore.repro.paper import plan
from frlcore.repro.paper import printed as paper
from frlcore.repro.paper.records import Results
from frlcore.repro.style import BLUE, GREY, ORANGE, RC, SKY, VERMILLION


def style() -> None:
    """Draw all figures of this notebook as SVG in the book's style."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats  # only notebooks need it

    set_matplotlib_formats("svg", metadata={"Date": None})
    mpl.rcParams.update(RC)


def classwise(found: Results, methods: tuple[str, ...] = ("natural", "pgd", "trades-6")) -> Figure:
    """Figure 1: standard and robust error of every class, Clopper-Pearson 95% intervals, one panel per method.

    The grey bar between the two marks is the boundary error; dotted lines are the averages over the classes.
    """
    methods = tuple(method for method in methods if method in found.present)
    order = np.argsort(found.errors(methods[-1] if "pgd" not in methods else "pgd").robust)
    fig, axes = plt.subplots(1, len(methods), figsize=(3.1 * len(methods), 3.6), sharey=True, squeeze=False)
    y = np.arange(len(order))
    for ax, method in zip(axes[0], methods, strict=True):
        errors = found.errors(method)
        ax.hlines(y, 100 * errors.standard[order], 100 * errors.robust[order], color="#DDDDDD", lw=5, zorder=1)
        for kind, color, marker in (("standard", BLUE, "o"), ("robust", VERMILLION, "D")):
            values = getattr(errors, kind)
            bounds = np.stack(interval(values * errors.n, errors.n))[:, order]
            spread = 100 * np.abs(bounds - values[order])
            ax.errorbar(100 * values[order], y, xerr=spread, fmt=marker, ms=5, color=color, lw=1, zorder=2, label=kind)
            ax.axvline(100 * values.mean(), color=color, ls=":", lw=1, zorder=0)
        ax.set(title=plan.label(method), xlim=(-3, 103), xlabel="error, %", yticks=y)
    axes[0, 0].set(yticklabels=[found.classes[c] for c in order], ylabel="class, by robust error after PGD training")
    handles = axes[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside upper right", ncols=2, frameon=False, handletextpad=0.2)
    return _closed(fig)


def overview(found: Results) -> Figure:
    """Average against worst-class robust error of every method: down is safer on the whole, left is fairer."""
    fig, ax = plt.subplots(figsize=(6.4, 4.4))
    marks = {method: plan.METHODS[method].mark for method in found.present}
    for method, (color, marker) in ((method, mark) for method, mark in marks.items() if mark):
        wrong = found.wrong(method, "robust")
        errors = found.errors(method)
        worst, average = 100 * errors.worst("robust")[1], 100 * errors.average("robust")
        wide, tall = (100 * np.array(bootstrap(found.labels, wrong, statistic)) for statistic in ("worst", "average"))
        ax.hlines(average, *wide, color=color, lw=0.8)
        ax.vlines(worst, *tall, color=color, lw=0.8)
        ax.plot(worst, average, marker, ms=9, color=color, label=plan.label(method).replace(", 0.05", ""))
    ax.set(xlabel="robust error of the worst class, %  (left is fairer)", ylabel="average robust error, %")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _closed(fig)


def worst_classes(found: Results) -> Figure:
    """Worst-class standard, boundary and robust error of every method (filled, ours, 95%) beside the paper (hollow)."""
    methods = [m for m in found.present if plan.METHODS[m].settings.get("tau") != 0.07][::-1]
    kinds = {"standard": BLUE, "boundary": ORANGE, "robust": VERMILLION}
    fig, axes = plt.subplots(1, 3, figsize=(9.3, 0.36 * len(methods) + 1.1), sharey=True)
    printed = paper.table(found.edition.fairness_table or 2)
    for ax, (kind, color) in zip(axes, kinds.items(), strict=True):
        for y, method in enumerate(methods):
            value = 100 * found.errors(method).worst(kind)[1]
            low, high = (100 * v for v in bootstrap(found.labels, found.wrong(method, kind)))
            ax.hlines(y, low, high, color=color, lw=1.5)
            ax.plot(value, y, "o", color=color)
            column = {"standard": "Worst Std.", "boundary": "Worst Bndy.", "robust": "Worst Rob."}[kind]
            theirs = printed.value[(printed.method == plan.label(method)) & (printed.column == column)]
            ax.plot(theirs, [y] * len(theirs), "o", mfc="none", mec=GREY, ms=6)
        if "pgd" in methods:
            ax.axvline(100 * found.errors("pgd").worst(kind)[1], color=color, ls=":", lw=1, zorder=0)
        ax.set(title=f"worst {kind} error", xlabel="%", yticks=range(len(methods)))
        ax.grid(axis="y", color="#EEEEEE", zorder=-1)
    axes[0].set_yticklabels([plan.label(m) for m in methods])
    return _closed(fig)


def confusion(found: Results, methods: tuple[str, ...]) -> Figure:
    """What the images of each class are taken for under attack, in percent of the class (an addition to the paper)."""
    fig, axes = plt.subplots(1, len(methods), figsize=(4.6 * len(methods), 4.2), sharey=True, squeeze=False)
    for ax, method in zip(axes[0], methods, strict=True):
        table = np.zeros((len(found.classes), len(found.classes)))
        for row in found.predictions(method, found.broken):
            np.add.at(table, (found.labels, row), 1)
        share = 100 * table / table.sum(axis=1, keepdims=True)
        sns.heatmap(share, ax=ax, vmin=0, vmax=100, cmap="Blues", square=True, cbar=False, annot=True, fmt=".0f",
                    annot_kws={"size": 8}, xticklabels=found.classes, yticklabels=found.classes)  # fmt: skip
        ax.set(title=plan.label(method), xlabel="taken for")
        ax.tick_params(axis="y", rotation=0)
    axes[0, 0].set_ylabel("class")
    return _closed(fig)


def trajectories(found: Results, method: str) -> Figure:
    """What Algorithm 1 does: validation errors, multipliers, weights and radii of every class over the epochs.

    Means over folds and seeds. The two classes with the highest and the two with the lowest robust error at the
    start are in colour.
    """
    history = found.history(method)
    mean = history.groupby(["epoch", "class"], sort=False).mean(numeric_only=True).reset_index()
    start = mean[mean.epoch == 0].set_index("class").robust.sort_values()
    colors = dict(zip([*start.index[:2], *start.index[-2:]], (SKY, BLUE, ORANGE, VERMILLION), strict=True))
    panels = [("robust", "robust error on validation, %", 100.0), ("w_nat", "weight of the natural loss", 1.0),
              ("w_bndy", "weight of the boundary loss", 1.0), ("margin", "radius, in units of ε", 1.0)]  # fmt: skip
    fig, axes = plt.subplots(2, 2, figsize=(8.4, 5.6), sharex=True)
    for ax, (column, title, scale) in zip(axes.flat, panels, strict=True):
        _lines(ax, mean, column, scale, colors)
        ax.set(title=title)
    for ax in axes[1]:
        ax.set_xlabel("epoch of fine-tuning")
    return _closed(fig)


def ablation(numbers: pd.DataFrame) -> Figure:
    """Figure 3: errors of one class against the weight of its boundary loss (left) and its radius (right).

    `numbers` is `ablation.numbers(...)`; bars are 95% intervals, ratio 1 is the control in both panels.
    """
    kinds = {"standard": (BLUE, "o"), "boundary": (ORANGE, "s"), "robust": (VERMILLION, "D")}
    titles = {"weight": "weight of the boundary loss", "margin": "radius (margin)"}
    fig, axes = plt.subplots(1, 2, figsize=(8.4, 3.9), sharey=True)
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        part = numbers[(numbers.group == group) & numbers.error.isin(list(kinds))]
        span, place = part.ratio.max() - 1, -np.inf
        ends = part[part.ratio == part.ratio.max()].set_index("error").value.sort_values()
        for i, (kind, end) in enumerate(ends.items()):
            color, marker = kinds[str(kind)]
            line = part[part.error == kind]
            x = line.ratio + 0.015 * span * (i - 1)  # bars beside, not upon each other
            spread = np.abs(line[["low", "high"]].to_numpy().T - line.value.to_numpy())
            ax.errorbar(x, line.value, yerr=spread, fmt=f"{marker}-", ms=6, lw=1.6, elinewidth=1, color=color)
            place = max(float(end), place + 6)
            ax.text(part.ratio.max() + 0.06 * span, place, kind, color=color, va="center")
        ax.set(title=title, xlabel="times that of the other classes (1 = control)", ylim=(-3, 103),
               xlim=(1 - 0.08 * span, 1 + 1.36 * span), xticks=part.ratio.unique())  # fmt: skip
    axes[0].set_ylabel(f"error of class “{numbers['class'].iloc[0]}”, %")
    return _closed(fig)


def _lines(ax: Axes, mean: object, column: str, scale: float, colors: dict[str, str]) -> None:
    """One line per class; coloured ones carry their class at the right end, moved apart where they meet."""
    table = scale * mean.pivot(index="epoch", columns="class", values=column).dropna()  # type: ignore[attr-defined]
    for name in table.columns.difference(list(colors)):
        ax.plot(table.index, table[name], color="#CCCCCC", lw=1)
    ends = table.iloc[-1][list(colors)].sort_values()
    span = max(float(table.max().max() - table.min().min()), 1e-9)
    place = -np.inf
    for name, end in ends.items():
        place = max(float(end), place + 0.07 * span)
        ax.plot(table.index, table[name], color=colors[str(name)], lw=2)
        ax.annotate(str(name), (table.index[-1], end), (table.index[-1] + 0.25, place), color=colors[str(name)],
                    va="center", fontsize="small")  # fmt: skip


def _closed(fig: Figure) -> Figure:
    plt.close(fig)
    return fig
