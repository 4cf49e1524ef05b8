"""What all figures share: the colours of Okabe and Ito, which colour-blind readers tell apart, and matplotlib settings.

Imports nothing of ours, so that a page on own images can be drawn without what only the paper's figures need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#7F7F7F",
)  # fmt: skip
FAINT, BAR, SHADE = "#CCCCCC", "#DDDDDD", "#F4F4F4"  # what stands behind: lines, bars and areas
# What the book's style sheet calls each colour, so that figures follow the reader's theme (`repro/book/inline.py`).
NAMES = {
    BLUE: "--frl-blue", ORANGE: "--frl-orange", GREEN: "--frl-green", VERMILLION: "--frl-vermillion", SKY: "--frl-sky",
    PURPLE: "--frl-purple", GREY: "--frl-grey", FAINT: "--frl-faint", BAR: "--frl-bar", SHADE: "--frl-shade",
    "#FFFFFF": "--frl-paper",
}  # fmt: skip
PANEL = 3.4  # inches: a panel's width, at which its words can be read on a phone
RC: dict[Any, Any] = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": "medium",
    "figure.constrained_layout.use": True, "font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "frlcore",
}  # fmt: skip
_TIPS, _PANELS = "tips:", "panels:"  # an artist's id carries them into the SVG, the one way through matplotlib


def tips(artist: Any, texts: Iterable[str]) -> None:
    """What a reader is told at each mark of a line: one text per mark, in their order."""
    artist.set_gid(_TIPS + "|".join(text.replace("|", "/") for text in texts))


def panels(figure: Any, columns: int, rows: int = 1) -> None:
    """Let the page break a figure into `columns` times `rows` panels of one size, one below the other on a phone.

    Of axes in the order of a grid, the k-th belongs to the panel k modulo their number.
    """
    figure.set_gid(f"{_PANELS}{columns}x{rows}")


def texts_of(gid: str) -> list[str]:
    """The texts that `tips` gave an artist, none for another one's id."""
    return gid.removeprefix(_TIPS).split("|") if gid.startswith(_TIPS) else []


def grid_of(gid: str) -> tuple[int, int]:
    """Columns and rows that `panels` gave a figure; one of each for another one's id."""
    if not gid.startswith(_PANELS):
        return 1, 1
    columns, rows = gid.removeprefix(_PANELS).split("x")
    return int(columns), int(rows)
