"""What the figures share beyond colours: what a mark is told to stand for, labels beside their marks, short names."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frlcore.repro.paper import plan
from frlcore.repro.paper.records import Results

# Where a label may stand: points to the right and upwards from its mark, and how it is aligned there. None is level
# with the mark or straight above it, where its intervals run.
PLACES = [(6, 2, "left", "bottom"), (6, -3, "left", "top"), (-6, 2, "right", "bottom"), (-6, -3, "right", "top"),
          (8, 14, "left", "bottom"), (8, -15, "left", "top"), (-8, 14, "right", "bottom"),
          (-8, -15, "right", "top")]  # fmt: skip


def short(method: str) -> str:
    """A method's label without what all its neighbours share, broken where it is long."""
    label = plan.label(method)
    for words in (" Adv. Training", " Training", " (multipliers 0)", ", 0.05"):
        label = label.replace(words, "")
    return label.replace("+", "+\n") if len(label) > 20 else label


def told(found: Results, method: str, what: str, value: float, low: float, high: float) -> str:
    """What hovering shows: method, error and interval in percent (given as fractions), and the first run behind it."""
    runs = [record.run.key[:8] for folds in found.records[method] for record in folds]
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{plan.label(method)}, {what}: {100 * value:.1f}% [{100 * low:.1f}, {100 * high:.1f}], run {runs[0]}{more}"


def label_points(ax: Axes, points: np.ndarray, texts: Sequence[str], colors: Sequence[str]) -> None:
    """Write each text beside its point `(N, 2)`, where it meets the fewest marks, other texts and borders."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # or nothing has a size yet
    scale, marks = figure.dpi / 72, ax.transData.transform(points)
    taken = [np.array([*mark - 4 * scale, *mark + 4 * scale]) for mark in marks]
    inside = ax.get_window_extent()
    for mark, point, text, color in zip(marks, points, texts, colors, strict=True):
        best, least = PLACES[0], np.inf
        for place in PLACES:
            x, y, ha, va = place
            note = ax.annotate(text, tuple(point), (x, y), textcoords="offset points", ha=ha, va=va, fontsize="small")
            box = note.get_window_extent()
            note.remove()
            edges = np.array([box.x0, box.y0, box.x1, box.y1])
            cost = sum(_shared(edges, other) for other in taken if not _is_at(other, mark))
            out = max(inside.x0 - box.x0, 0) + max(box.x1 - inside.x1, 0) + max(box.y1 - inside.y1, 0)
            cost += 50 * (out + max(inside.y0 - box.y0, 0)) + 0.2 * float(np.hypot(x, y))
            if cost < least:
                best, least, chosen = place, cost, edges
        taken.append(chosen)
        x, y, ha, va = best
        ax.annotate(text, tuple(point), (x, y), textcoords="offset points", ha=ha, va=va, fontsize="small", color=color)


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Area that two boxes (x0, y0, x1, y1) share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def _is_at(box: np.ndarray, mark: np.ndarray) -> bool:
    return bool(np.allclose((box[:2] + box[2:]) / 2, mark))


def closed(fig: Figure) -> Figure:
    """The figure, closed, to end a cell with."""
    plt.close(fig)
    return fig
