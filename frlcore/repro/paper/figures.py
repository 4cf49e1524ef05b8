"""The paper's figures from our records: matplotlib, drawn as SVG, one idea each.

Every function returns a closed figure to end a cell with. Marks differ in shape as well as in colour, and each can say
its value, its interval and its run; panels are as wide as a phone, and each is complete.
"""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from frlcore.intervals import interval, summary_interval
from frlcore.repro.paper import plan, printed
from frlcore.repro.paper.drawing import closed, label_points, short, told
from frlcore.repro.paper.records import Results
from frlcore.repro.style import BAR, BLUE, FAINT, GREY, ORANGE, PANEL, RC, SHADE, SKY, VERMILLION, panels, tips


def style() -> None:
    """Draw all figures of this notebook as SVG in the book's style."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats  # only notebooks need it

    set_matplotlib_formats("svg", metadata={"Date": None}, bbox_inches=None)  # uncut, so that panels have one size
    mpl.rcParams.update(RC)


def classwise(found: Results, methods: tuple[str, ...] = ("natural", "pgd", "trades-6")) -> Figure:
    """Figure 1: standard and robust error of every class, Clopper-Pearson 95% intervals, one panel per method.

    The bar between the two marks is the boundary error; dotted lines are the averages over the classes. Classes
    stand in the order of their robust error after PGD training.
    """
    methods = tuple(method for method in methods if method in found.present)
    order = np.argsort(found.errors(methods[-1] if "pgd" not in methods else "pgd").robust)
    fig, axes = plt.subplots(1, len(methods), figsize=(PANEL * len(methods), 0.26 * len(order) + 1.2), squeeze=False)
    panels(fig, len(methods))
    names, y = [found.classes[c] for c in order], np.arange(len(order))
    for ax, method in zip(axes[0], methods, strict=True):
        errors = found.errors(method)
        ax.hlines(y, 100 * errors.standard[order], 100 * errors.robust[order], color=BAR, lw=5, zorder=1)
        for kind, color, marker, ha, apart in (
            ("standard", BLUE, "o", "right", -3), ("robust", VERMILLION, "D", "left", 3),
        ):  # fmt: skip
            values = getattr(errors, kind)
            low, high = interval(values * errors.n, errors.n)
            spread = 100 * np.abs(np.stack([low, high]) - values)[:, order]
            drawn = ax.errorbar(100 * values[order], y, xerr=spread, fmt=marker, ms=5, color=color, lw=1, zorder=2)
            said = [f"{kind} error of “{name}”" for name in found.classes]
            tips(drawn.lines[0], (told(found, method, said[c], values[c], low[c], high[c]) for c in order))
            ax.axvline(100 * values.mean(), color=color, ls=":", lw=1, zorder=0)
            place = np.clip(100 * values[order[-1]], 22, 80), y[-1] + 0.5
            ax.annotate(kind, place, (apart, 0), textcoords="offset points", color=color, ha=ha, fontsize="small")
        ax.set(title=plan.label(method), xlim=(-3, 103), ylim=(-0.6, len(y) + 0.2), xlabel="error, %", yticks=y)
        ax.set_yticklabels(names)
    return closed(fig)


def overview(found: Results) -> Figure:
    """Average against worst-class robust error of every method: down is safer on the whole, left is fairer."""
    fig, ax = plt.subplots(figsize=(4.9, 4.3))
    drawn = [(method, mark) for method in found.present if (mark := plan.METHODS[method].mark)]
    points = np.array([[100 * found.errors(m).worst("robust")[1], 100 * found.errors(m).average("robust")]
                       for m, _ in drawn])  # fmt: skip
    for (method, (color, marker)), (worst, average) in zip(drawn, points, strict=True):
        wide, tall = (summary_interval(found.labels, found.wrong(method, "robust"), s) for s in ("worst", "average"))
        ax.hlines(average, 100 * wide[0], 100 * wide[1], color=color, lw=0.8, alpha=0.6)
        ax.vlines(worst, 100 * tall[0], 100 * tall[1], color=color, lw=0.8, alpha=0.6)
        (point,) = ax.plot(worst, average, marker, ms=9, color=color)
        text = told(found, method, "robust error of the worst class", worst / 100, *wide)
        tips(point, [f"{text}; average {average:.1f}% [{100 * tall[0]:.1f}, {100 * tall[1]:.1f}]"])
    ax.set(xlabel="robust error of the worst class, %  (left is fairer)", ylabel="average robust error, %")
    label_points(ax, points, [short(method) for method, _ in drawn], [color for _, (color, _) in drawn])
    return closed(fig)


def worst_classes(found: Results) -> Figure:
    """Worst-class standard, boundary and robust error of every method (filled, ours, 95%) beside the paper (hollow)."""
    methods = [m for m in found.present if plan.METHODS[m].settings.get("tau") != 0.07][::-1]
    kinds = {"standard": BLUE, "boundary": ORANGE, "robust": VERMILLION}
    fig, axes = plt.subplots(1, 3, figsize=(3 * PANEL, 0.36 * len(methods) + 1.1))
    panels(fig, 3)
    for ax, (kind, color) in zip(axes, kinds.items(), strict=True):
        for y, method in enumerate(methods):
            worst, value = found.errors(method).worst(kind)
            low, high = summary_interval(found.labels, found.wrong(method, kind))
            ax.hlines(y, 100 * low, 100 * high, color=color, lw=1.5)
            (mark,) = ax.plot(100 * value, y, "o", color=color)
            tips(mark, [told(found, method, f"{kind} error of “{found.classes[worst]}”", value, low, high)])
            row = printed.row(found.edition.fairness_table or 2, plan.label(method))
            theirs = row.get(printed.COLUMNS["worst", kind])
            if theirs is not None:
                (mark,) = ax.plot(theirs, y, "o", mfc="none", mec=GREY, ms=6)
                tips(mark, [f"{plan.label(method)}, the paper's number: {theirs}%"])
        if "pgd" in methods:
            ax.axvline(100 * found.errors("pgd").worst(kind)[1], color=color, ls=":", lw=1, zorder=0)
        ax.set(title=f"worst {kind} error", xlabel="%", yticks=range(len(methods)))
        ax.set_yticklabels([short(m) for m in methods], fontsize="small")
        ax.grid(axis="y", color=SHADE, zorder=-1)
    return closed(fig)


def confusion(found: Results, methods: tuple[str, ...]) -> Figure:
    """What the images of each class are taken for under attack, in percent of the class (an addition to the paper)."""
    fig, axes = plt.subplots(1, len(methods), figsize=(1.1 * PANEL * len(methods), 3.9), squeeze=False)
    panels(fig, len(methods))
    ticks = np.arange(len(found.classes))
    for ax, method in zip(axes[0], methods, strict=True):
        table = np.zeros((len(ticks), len(ticks)))
        for row in found.predictions(method, found.broken):
            np.add.at(table, (found.labels, row), 1)
        for (true, taken), share in np.ndenumerate(table / table.sum(axis=1, keepdims=True)):
            if share >= 0.005:  # the rest would read 0
                color = BLUE if true == taken else VERMILLION
                ax.add_patch(Rectangle((taken - 0.5, true - 0.5), 1, 1, color=color, alpha=0.6 * share, lw=0))
                ax.text(taken, true, f"{100 * share:.0f}", ha="center", va="center", fontsize=8)
        ax.set(title=plan.label(method), xlabel="taken for", ylabel="class", xticks=ticks, yticks=ticks, aspect="equal",
               xlim=(-0.5, ticks[-1] + 0.5), ylim=(ticks[-1] + 0.5, -0.5))  # fmt: skip
        ax.set_xticklabels(found.classes, rotation=90 if max(map(len, found.classes)) > 2 else 0)
        ax.set_yticklabels(found.classes)
        ax.spines[["left", "bottom"]].set_visible(False)
        ax.tick_params(length=0)
    return closed(fig)


def trajectories(found: Results, method: str) -> Figure:
    """What Algorithm 1 does: validation errors, weights and radii of every class over the epochs.

    Means over folds and seeds. The two classes with the highest and the two with the lowest robust error at the
    start are in colour.
    """
    history = found.history(method)
    mean = history.groupby(["epoch", "class"], sort=False).mean(numeric_only=True).reset_index()
    start = mean[mean.epoch == 0].set_index("class").robust.sort_values()
    colors = dict(zip([*start.index[:2], *start.index[-2:]], (SKY, BLUE, ORANGE, VERMILLION), strict=True))
    shown = [("robust", "robust error on validation, %", 100.0), ("w_nat", "weight of the natural loss", 1.0),
             ("w_bndy", "weight of the boundary loss", 1.0), ("margin", "radius, in units of ε", 1.0)]  # fmt: skip
    fig, axes = plt.subplots(2, 2, figsize=(2 * PANEL, 5.2))
    panels(fig, 2, 2)
    for ax, (column, title, scale) in zip(axes.flat, shown, strict=True):
        _lines(ax, mean, column, scale, colors)
        ax.set(title=title, xlabel="epoch of fine-tuning")
    return closed(fig)


def ablation(numbers: pd.DataFrame) -> Figure:
    """Figure 3: errors of one class against the weight of its boundary loss (left) and its radius (right).

    `numbers` is `ablation.numbers(...)`; bars are 95% intervals, ratio 1 is the control in both panels.
    """
    kinds = {"standard": (BLUE, "o"), "boundary": (ORANGE, "s"), "robust": (VERMILLION, "D")}
    titles = {"weight": "weight of the boundary loss", "margin": "radius (margin)"}
    fig, axes = plt.subplots(1, 2, figsize=(2 * PANEL, 3.5))
    panels(fig, 2)
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        part = numbers[(numbers.group == group) & numbers.error.isin(list(kinds))]
        span, place = part.ratio.max() - 1, -np.inf
        ends = part[part.ratio == part.ratio.max()].set_index("error").value.sort_values()
        for i, (kind, end) in enumerate(ends.items()):
            color, marker = kinds[str(kind)]
            line = part[part.error == kind]
            x = line.ratio + 0.015 * span * (i - 1)  # bars beside, not upon each other
            spread = np.abs(line[["low", "high"]].to_numpy().T - line.value.to_numpy())
            drawn = ax.errorbar(x, line.value, yerr=spread, fmt=f"{marker}-", ms=6, lw=1.6, elinewidth=1, color=color)
            rows = line[["ratio", "value", "low", "high"]].to_numpy()
            said = f"{title} × {{:g}}, {kind} error: {{:.1f}}% [{{:.1f}}, {{:.1f}}]"
            tips(drawn.lines[0], (said.format(*row) for row in rows))
            place = max(float(end), place + 6)
            ax.text(part.ratio.max() + 0.06 * span, place, kind, color=color, va="center")
        ax.set(title=title, xlabel="times that of the others (1 = control)", ylim=(-3, 103),
               xlim=(1 - 0.08 * span, 1 + 1.36 * span), xticks=part.ratio.unique())  # fmt: skip
        ax.set_ylabel(f"error of class “{numbers['class'].iloc[0]}”, %")
    return closed(fig)


def _lines(ax: Axes, mean: object, column: str, scale: float, colors: dict[str, str]) -> None:
    """One line per class; coloured ones carry their class at the right end, moved apart where they meet."""
    table = scale * mean.pivot(index="epoch", columns="class", values=column).dropna()  # type: ignore[attr-defined]
    for name in table.columns.difference(list(colors)):
        ax.plot(table.index, table[name], color=FAINT, lw=1)
    ends = table.iloc[-1][list(colors)].sort_values()
    span = max(float(table.max().max() - table.min().min()), 1e-9)
    place = -np.inf
    for name, end in ends.items():
        place = max(float(end), place + 0.07 * span)
        (line,) = ax.plot(table.index, table[name], "o-", color=colors[str(name)], lw=2, ms=3)
        tips(line, (f"class “{name}”, epoch {epoch}: {value:.3g}" for epoch, value in table[name].items()))
        right = table.index[-1] + 0.03 * max(table.index[-1] - table.index[0], 1)
        ax.text(right, place, str(name), color=colors[str(name)], va="center", fontsize="small")

