"""Labels find room beside their marks, and long names break."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from frlcore.repro.paper.drawing import label_points, short


def test_labels_of_marks_side_by_side_do_not_meet() -> None:
    fig, ax = plt.subplots(figsize=(4, 3))
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 10.0]])
    ax.plot(*points.T, "o")
    label_points(ax, points, ["first", "second", "third"], ["k", "k", "k"])
    boxes = [text.get_window_extent() for text in ax.texts]
    plt.close(fig)
    assert [text.get_text() for text in ax.texts] == ["first", "second", "third"]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    inside = ax.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)


def test_short_names_keep_what_tells_methods_apart() -> None:
    assert [short(method) for method in ("pgd", "natural", "control", "frl-reweight-0.05", "frl-reweight-0.07")] == [
        "PGD", "Natural", "Control", "FRL(Reweight)", "FRL(Reweight, 0.07)",
    ]  # fmt: skip
    assert short("frl-reweight+remargin-0.05") == "FRL(Reweight+\nRemargin)"
