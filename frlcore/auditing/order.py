"""In which order an audit attacks images: every class its fair share, and looks at the errors fixed beforehand.

The images of a class are shuffled once, and the classes take turns, so that an attack cut short has spent as much on
each. With a wanted precision a class may stop early. An interval at which one stops because it happens to be narrow
holds less often than it says. So the looks are fixed before the first attack, after 50, 100, 200, 400 ... images of a
class, and all intervals have the level 1 - 0.05 / looks: with a probability of 95% a class's error lies in its interval
at every look, and so at the one where it stopped (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from frlcore.auditing.kept import Kept
from frlcore.data.splits import shuffled_classes
from frlcore.intervals import interval

FIRST = 50  # images of a class before the first look
TAIL = 0.05


def looks(labels: np.ndarray, precision: float | None) -> list[int]:
    """After how many images of a class one looks; without a wanted precision only at the end."""
    most = int(np.bincount(labels).max())
    found = [] if precision is None else [FIRST]
    while found and found[-1] < most:
        found.append(2 * found[-1])
    return [n for n in found if n < most] + [most]


def level(labels: np.ndarray, precision: float | None) -> float:
    """Of every class's interval, so that it holds with 95% whenever the class stops."""
    return 1 - TAIL / len(looks(labels, precision))


def batches(
    labels: np.ndarray, size: int, seed: int, precision: float | None, kept: Kept
) -> Iterator[tuple[np.ndarray, int]]:
    """Positions of the images to be attacked next, at most `size`, and how many may still follow them.

    Ends when every class is done or known to `precision`, a fraction to either side of its robust error; the outcomes
    are read from `kept`.
    """
    rank = np.empty(len(labels), dtype=np.int64)
    for order in shuffled_classes(labels, seed):
        rank[order] = np.arange(len(order))
    in_turn = np.lexsort((labels, rank))
    going = np.ones(int(labels.max()) + 1, dtype=bool)
    for first, last in pairwise([0, *looks(labels, precision)]):
        part = in_turn[(rank[in_turn] >= first) & (rank[in_turn] < last) & going[labels[in_turn]]]
        later = int(((rank >= last) & going[labels]).sum())
        for start in range(0, len(part), size):
            batch = part[start : start + size]
            yield batch, later + len(part) - start - len(batch)
        if precision is not None:
            going &= ~_narrow(labels, kept, precision, rank < last)


def _narrow(labels: np.ndarray, kept: Kept, precision: float, seen: np.ndarray) -> np.ndarray:
    """Which classes have an interval that reaches at most `precision` to either side, `(C,) bool`.

    Only images `seen (N,)` by this look count: a call that goes on has those of later looks already.
    """
    done, count = kept.done & seen, int(labels.max()) + 1
    n = np.bincount(labels[done], minlength=count)
    wrong = np.bincount(labels[done & (kept.adversarial != labels)], minlength=count)
    low, high = interval(wrong, n, level(labels, precision))
    return np.maximum(wrong / n - low, high - wrong / n) <= precision


def sentence(labels: np.ndarray, precision: float, done: np.ndarray) -> str:
    """How the classes were stopped, and which intervals that leaves."""
    fixed, count = looks(labels, precision), int(labels.max()) + 1
    spared = int((np.bincount(labels[done], minlength=count) < np.bincount(labels, minlength=count)).sum())
    return (
        f"{spared} of {count} classes stopped early, known to {100 * precision:g} points to either side. One looked at "
        f"it after {', '.join(map(str, fixed))} images of a class, fixed beforehand, with exact intervals of "
        f"{100 * level(labels, precision):.1f}%, as all of a class are here: so each holds with 95% whenever the class "
        "stopped. The intervals of average, worst class and the like do not know of it."
    )
