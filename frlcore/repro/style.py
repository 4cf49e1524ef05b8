"""What all figures share: the colours of Okabe and Ito, which colour-blind readers tell apart, and matplotlib settings.

Imports nothing of ours, so that a page on own images can be drawn without what only the paper's figures need.
"""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#7F7F7F",
)  # fmt: skip
RC: dict[Any, Any] = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": "medium",
    "figure.constrained_layout.use": True, "font.size": 10, "svg.fonttype": "path", "svg.hashsalt": "frlcore",
}  # fmt: skip
