"""Evidence that this project did not make: how 17 public models of others rank the classes of CIFAR-10."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.paper import printed
from frlcore.repro.paper.drawing import closed
from frlcore.repro.paper.records import Results
from frlcore.repro.style import BLUE, GREY, SHADE, VERMILLION, tips

FILE = "gf_score_cifar10.csv"
NAMES = {"plane": "airplane", "car": "automobile"}  # the paper's words for two classes


def scores() -> pd.DataFrame:
    """GF-Score's robustness scores, a row a model, a column a class; high is robust. Raises UserError without the file.

    No PGD robust errors: mean certified margins, see data/outside/README.md. Shah et al. (2026).
    """
    path = places.checkout("evidence from outside") / "data" / "outside" / FILE
    try:
        frame = pd.read_csv(path, index_col="Model").drop(columns="GREAT_aggregate")
    except OSError as error:
        raise UserError(f"{path} is missing; run from a complete checkout of the repository") from error
    return frame.rename(columns=lambda name: name.removeprefix("GREAT_"))


def paper_errors() -> pd.Series:
    """Robust error in percent of every class after PGD training, Table 4 as printed, by CIFAR-10's names."""
    return pd.Series(printed.row(4, "PGD Adv. Training", printed.BLOCKS["robust"])).rename(index=NAMES)


def ranks(found: Results | None = None) -> pd.DataFrame:
    """Rank of every class, 1 the weakest, a row a source: the 17 models, Table 4, and ours where they are CIFAR-10's.

    Columns in the order of Table 4, the weakest class first; the source's kind stands in the index.
    """
    errors = {("the paper", "Table 4"): paper_errors()}
    errors |= {("GF-Score", str(name)): -row for name, row in scores().iterrows()}
    if found is not None and "pgd" in found.present and set(found.classes) == set(paper_errors().index):
        errors["ours", found.edition.title] = pd.Series(found.errors("pgd").robust, index=list(found.classes))
    order = paper_errors().sort_values(ascending=False).index
    frame = pd.DataFrame(errors).T.rank(axis=1, ascending=False)[order]
    return frame.rename_axis(index=["source", "model"])


def agreement() -> pd.Series:
    """Spearman's rank correlation of every model's class order with that of Table 4's robust errors."""
    reference = paper_errors()
    frame = -scores()[reference.index]
    return frame.rank(axis=1).corrwith(reference.rank(), axis=1)


def sentences() -> str:
    """What the 17 models say, in numbers."""
    frame, rho = scores(), agreement()
    weakest = frame.idxmin(axis=1).value_counts()
    fours = {frozenset(row.nsmallest(4).index) for _, row in frame.iterrows()}
    same = f"In all {len(frame)} the four weakest classes are {_listed(sorted(*fours))}" if len(fours) == 1 else ""
    counted = ", ".join(f"{name} in {count}" for name, count in weakest.items())
    return (
        f"{same}; the weakest is {counted}. The rank correlation of their class order with the paper's Table 4 "
        f"(PGD training, robust error) has the median {rho.median():.2f}, from {rho.min():.2f} to {rho.max():.2f}."
    )


def among_four(names: Iterable[str], weakest: bool) -> int:
    """In how many of the models all classes `names` are among the four weakest, or the four strongest."""
    frame = scores() if weakest else -scores()
    return sum(set(names) <= set(row.nsmallest(4).index) for _, row in frame.iterrows())


def figure(found: Results | None = None) -> Figure:
    """Rank of every class among the ten: grey the 17 models of others, diamonds the paper, circles our PGD model."""
    frame = ranks(found)
    marks = {
        "GF-Score": (GREY, "", 1.0, "17 public models, GF-Score"), "ours": (BLUE, "o", 2.0, "ours, PGD"),
        "the paper": (VERMILLION, "D", 2.0, "the paper, Table 4"),
    }  # fmt: skip
    fig, ax = plt.subplots(figsize=(4.9, 4.4))
    x = np.arange(frame.shape[1])
    for source, (color, marker, width, label) in marks.items():
        rows = frame[frame.index.get_level_values("source") == source].to_numpy()
        for i, row in enumerate(rows):
            shift = 0.18 * (i / (len(rows) - 1) - 0.5) if len(rows) > 1 else 0  # lines beside, not upon each other
            (line,) = ax.plot(x, row + shift, color=color, marker=marker, lw=width, alpha=0.55 if not marker else 1,
                              label=label if not i else None)  # fmt: skip
            if marker:
                tips(line, (f"{label}, {name}: rank {rank:g}" for name, rank in zip(frame.columns, row, strict=True)))
    ax.axhspan(0.5, 4.5, color=SHADE, zorder=0)  # the four weakest
    ax.set(xticks=x, yticks=range(1, 11), ylabel="rank of the class, 1 the weakest", ylim=(10.5, 0.5))
    ax.set_xticklabels(frame.columns, rotation=30, ha="right")
    ax.legend(frameon=False, fontsize="small", loc="lower left")
    return closed(fig)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
