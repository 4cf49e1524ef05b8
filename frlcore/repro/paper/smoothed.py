"""Figure 4 of the appendix: what randomized smoothing certifies, class by class (App. A.1.3).

The smoothed classifier may abstain; that is an error here, and shown apart. Radii are l2, fractions of the pixel range.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frlcore.certificates import abstentions, certified_errors, certified_radius
from frlcore.intervals import interval, summary_interval
from frlcore.repro.paper import remembered
from frlcore.repro.paper.claims import outcome
from frlcore.repro.paper.drawing import closed
from frlcore.repro.paper.methods import parse
from frlcore.repro.paper.records import Results
from frlcore.repro.paper.tables import cell
from frlcore.repro.style import BLUE, FAINT, GREY, ORANGE, PANEL, SKY, VERMILLION, panels

STEPS = 61  # radii a curve is computed at
EXTREMES = ((BLUE, "-"), (SKY, "--"), (ORANGE, "--"), (VERMILLION, "-"))  # the two easiest and the two hardest classes


def sigma(method: str) -> float:
    """Standard deviation of the noise behind a method of Figure 4, a fraction of the pixel range."""
    return float(parse(method)[0].training["sigma"])


def reach(found: Results, method: str) -> float:
    """The largest radius that so many draws can certify: that of an image with every draw a hit."""
    how = found.edition.certification
    return float(certified_radius(np.array([how.n]), how.n, sigma=sigma(method), alpha=how.alpha)[0])


def how_certified(found: Results) -> str:
    """In words: which images, how many draws, and how far these can reach."""
    how = found.edition.certification
    images = "every test image" if how.every == 1 else f"one test image in {how.every}"
    if how.folds < found.edition.tested:
        images += f" of {how.folds} of the {found.edition.folds} folds"
    far = " and ".join(f"{reach(found, method):.2f} at σ = {sigma(method):g}" for method in found.records)
    return (f"We certify {images}: N0 = {how.n0:,} draws choose the class, N = {how.n:,} more certify it, and "
            f"α = {how.alpha:g}. No radius beyond {far} can be certified with so many draws.")  # fmt: skip


def errors_at(found: Results, method: str, radii: Sequence[float] | np.ndarray) -> np.ndarray:
    """Certified error `(C, len(radii))` of every class, fractions; at radius 0 the certified standard error."""
    answer, radius = (found.predictions(method, name) for name in ("certified", "radius"))
    return certified_errors(found.labels, answer, radius, radii, len(found.classes))


def uncertified(found: Results, method: str, radius: float) -> np.ndarray:
    """Which images are not right and certified to `radius`, `(S, N) bool`."""
    answer, reached = (found.predictions(method, name) for name in ("certified", "radius"))
    return ~((answer == found.labels) & (reached >= radius))


def certified(found: Results, radius: float = 0.5) -> Figure:
    """Figure 4: certified error of every class against the l2 radius, and below it what stands behind radius 0.

    One column per sigma. Coloured are the two classes with the highest and the two with the lowest certified error at
    `radius`. The bars split the certified standard error into wrong answers and abstentions.
    """
    fig, axes = plt.subplots(2, len(found.present), figsize=(PANEL * len(found.present), 5.6), squeeze=False,
                             height_ratios=(1.7, 1))  # fmt: skip
    panels(fig, len(found.present))
    far = max(reach(found, method) for method in found.present)
    for (above, below), method in zip(axes.T, found.present, strict=True):
        _curves(above, found, method, radius)
        above.set(title=f"σ = {sigma(method):g}", xlim=(0, 1.04 * far), ylim=(-2, 103), xlabel="l2 radius",
                  ylabel="certified error, %")  # fmt: skip
        _bars(below, found, method)
        below.set(ylabel="error at radius 0, %", ylim=(0, 100))
        below.legend(frameon=False, fontsize="small", ncols=2, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return closed(fig)


def _curves(ax: Axes, found: Results, method: str, radius: float) -> None:
    """One line per class as far as the draws reach; the extreme ones are named where they differ most."""
    radii = np.linspace(0, reach(found, method), STEPS)
    errors = 100 * errors_at(found, method, radii)
    order = np.argsort(errors_at(found, method, [radius])[:, 0], kind="stable")
    named = [*order[:2], *order[-2:]]
    for c in order[2:-2]:
        ax.plot(radii, errors[c], color=FAINT, lw=1)
    at = int(np.argmax(errors[named[-1]] - errors[named[0]]))
    place = -np.inf
    for c, (color, line) in zip(named, EXTREMES, strict=True):
        ax.plot(radii, errors[c], color=color, ls=line, lw=2)
    for c, (color, _) in sorted(zip(named, EXTREMES, strict=True), key=lambda pair: errors[pair[0], at]):
        place = max(errors[c, at], place + 8)
        ax.text(radii[at], place, found.classes[c], color=color, ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    ax.axvline(radius, color=GREY, ls=":", lw=1, zorder=0)


def _bars(ax: Axes, found: Results, method: str) -> None:
    """Wrong answers and, hatched upon them, abstentions of every class."""
    silent = 100 * abstentions(found.labels, found.predictions(method, "certified"), len(found.classes))
    wrong = 100 * errors_at(found, method, [0.0])[:, 0] - silent
    x = np.arange(len(silent))
    ax.bar(x, wrong, color=VERMILLION, label="wrong")
    ax.bar(x, silent, bottom=wrong, color="white", edgecolor=GREY, hatch="////", label="abstained")
    ax.set(xlabel="class", xticks=x)
    ax.set_xticklabels(found.classes, rotation=60 if max(map(len, found.classes)) > 2 else 0)


def numbers(found: Results, radius: float = 0.5) -> pd.DataFrame:
    """Certified standard error, abstentions and certified robust error in percent: one row per method, class and kind.

    Exact 95% intervals for a class, bootstrap intervals for the average over the classes (class "average").
    """
    rows = []
    for method in found.present:
        n = np.bincount(found.labels, minlength=len(found.classes))
        silent = abstentions(found.labels, found.predictions(method, "certified"), len(found.classes))
        both = errors_at(found, method, [0.0, radius])
        wrong = {
            "certified standard": (both[:, 0], uncertified(found, method, 0.0)),
            "abstained": (silent, found.predictions(method, "certified") < 0),
            f"certified robust at {radius:g}": (both[:, 1], uncertified(found, method, radius)),
        }
        for kind, (values, images) in wrong.items():
            lows, highs = interval(values * n, n)
            ends = (values.mean(), *summary_interval(found.labels, images, "average"))
            cells = [*zip(found.classes, values, lows, highs, strict=True), ("average", *ends)]
            rows += [{"sigma": sigma(method), "class": name, "error": kind, "value": 100 * value, "low": 100 * low,
                      "high": 100 * high} for name, value, low, high in cells]  # fmt: skip
    return pd.DataFrame(rows)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """`numbers` as a table for a page: a row per class, three columns per sigma."""
    rows: dict[str, dict[str, str]] = {}
    for row in frame.to_dict("records"):
        text = cell(f"{row['value']:.1f}", row["low"], row["high"])
        rows.setdefault(row["class"], {})[f"σ = {row['sigma']:g}: {row['error']}"] = text
    return pd.DataFrame(rows).T.rename_axis("Class")


def gaps(found: Results, reference: Results, radius: float = 0.5) -> pd.DataFrame:
    """The disparity as tests: is the worst class further behind the average than in natural training? (App. A.1.3)

    Gaps of the certified standard error and of the certified robust error at `radius`, each minus the gap of the
    standard error of the natural model in `reference`, on the same images: points, paired bootstrap 95% intervals.
    """
    tested, everything = found.predictions(found.present[0], "index")[0], reference.predictions("natural", "index")[0]
    natural = reference.wrong("natural", "standard")[:, np.isin(everything, tested)]
    rows = []
    for method in found.present:
        for name, at in (("standard error", 0.0), (f"robust error at {radius:g}", radius)):
            shared = min(len(natural), found.seeds(method))
            wrong = uncertified(found, method, at)[:shared]
            change = remembered.paired(found.labels, wrong, natural[:shared], "gap")
            low, high = 100 * change.low, 100 * change.high
            text = f"σ = {sigma(method):g}: smoothing widens the gap of the worst class, certified {name}"
            rows.append({"section": "A.1.3", "claim": text, "difference": 100 * change.difference, "low": low,
                         "high": high, "paper": float("nan"), "verdict": outcome(low > 0, high < 0)})  # fmt: skip
    return pd.DataFrame(rows)


def ranks(found: Results, reference: Results, radius: float = 0.5) -> pd.DataFrame:
    """Do the same classes suffer? Spearman's correlation of certified robust errors with those after PGD training."""
    from scipy.stats import spearmanr  # two seconds to import, and this page alone needs it

    theirs, rows = reference.under().errors("pgd").robust, {}
    for method in found.present:
        rho, p = spearmanr(errors_at(found, method, [radius])[:, 0], theirs)
        rows[f"σ = {sigma(method):g}"] = {"Rank correlation": rho, "p": f"{p:.2g}"}
    return pd.DataFrame(rows).T.rename_axis("Noise")
