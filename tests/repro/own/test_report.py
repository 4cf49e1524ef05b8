"""The picture of `frl fit`, beside what the command's own tests look at."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from frlcore.classwise import Outcomes
from frlcore.repro.own import report


@pytest.mark.parametrize("name", ["great white shark, man-eater, man-eating shark, carcharodon", "鮫" * 40, "$x"])
def test_a_long_name_leaves_room_for_the_picture(name: str) -> None:
    labels = np.repeat([0, 1], 4)
    found = Outcomes(labels, labels, 1 - labels)
    comparison = report.Comparison((name, "b"), found, found)
    assert report.svg(comparison)  # without a warning that names leave no room
    fig = report.picture(comparison)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        fig.draw_without_rendering()
    (shown,) = [text.get_text() for text in fig.axes[0].get_yticklabels() if text.get_text() != "b"]
    assert len(shown) < 26 and fig.axes[0].get_position().width > 0.2
