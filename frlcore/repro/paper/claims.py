"""Claims of the paper as tests on our records: what is compared, and which way it is said to go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from frlcore.classwise import KINDS
from frlcore.errors import UserError
from frlcore.intervals import Difference
from frlcore.repro.paper import plan, remembered, theirs
from frlcore.repro.paper.methods import names
from frlcore.repro.paper.records import Results, results
from frlcore.repro.paper.tables import cell
from frlcore.repro.paper.theirs import NAMED
from frlcore.repro.runs.store import Store

# Differences between classes, and by which error of which training validation ranks the classes for them
CONTRASTS = {"spread": ("pgd", "robust", 1), "hard": ("natural", "standard", 2)}
ALONE = {"hardest": ("spread", (1, 0)), "easiest": ("spread", (0, 1))}  # one side of a contrast by itself
HOLDS, AGAINST, OPEN = "holds", "contradicted", "cannot tell at this resolution"  # what a test can say
NEAR = 5.0  # points: a number agrees within the smaller tolerance of the paper's own methods


@dataclass(frozen=True)
class Claim:
    """`first` has a lower (or higher) `statistic` of an error than `second`, by more than `beyond` percentage points.

    A negative `beyond` allows the difference to go the other way by that much. Without a `second` the statistic itself
    is compared with `beyond`. Statistics: "worst", "average", "gap" (worst minus average), and the differences between
    classes "spread" (the hardest class minus the easiest) and "hard" (the two hardest minus the two easiest). Errors:
    "standard", "boundary", "robust", and of checks "autoattack" and "certified R" (not certified to the l2 radius R).
    Raises UserError for a "gap" with a `beyond`.
    """

    section: str
    text: str
    first: str
    second: str
    statistic: str
    error: str
    direction: str = "lower"
    beyond: float = 0.0

    def __post_init__(self) -> None:
        if self.statistic == "gap" and self.beyond:
            raise UserError("a gap is compared with another gap alone: leave out `beyond`")


@dataclass(frozen=True)
class Number:
    """A number or a range that the paper gives: a statistic of an error of `first` (minus that of `second`).

    Statistics and errors are those of `Claim`, and "hardest" and "easiest", the error of the one or the other class of
    "spread". `paper` holds the ends of the range in percent or points; ours is near when at most `reach` off it.
    """

    first: str
    second: str
    statistic: str
    error: str
    paper: tuple[float, float]
    reach: float = NEAR


FAIR = names("frl", tau=0.05)
SECTION_2 = [
    Claim("2", "PGD training widens the gap between the worst class and the average: standard error",
          "pgd", "natural", "gap", "standard", "higher"),
    Claim("2", "TRADES(1/λ = 6) widens it too", "trades-6", "natural", "gap", "standard", "higher"),
    Claim("2", "PGD training opens such a gap in robust error", "pgd", "natural", "gap", "robust", "higher"),
]  # fmt: skip
SECTION_5 = [
    *(Claim("5.2", f"{plan.label(m)} lowers the worst standard error", m, "pgd", "worst", "standard") for m in FAIR),
    *(Claim("5.2", f"{plan.label(m)} lowers the worst robust error", m, "pgd", "worst", "robust") for m in FAIR),
    *(Claim("5.2", f"{plan.label(m)}: also below TRADES(1/λ = 6)", m, "trades-6", "worst", "robust") for m in FAIR),
    Claim("5.2", "Reweight+Remargin: by 10 points or more below PGD", FAIR[2], "pgd", "worst", "robust", beyond=10),
    Claim("5.2", "Remargin beats Reweight on the worst boundary error", FAIR[1], FAIR[0], "worst", "boundary"),
    Claim("5.2", "Reweight+Remargin beats Remargin on the worst robust error", FAIR[2], FAIR[1], "worst", "robust"),
    Claim("5.2", "Reweight beats Reweight+Remargin on the worst standard error", FAIR[0], FAIR[2], "worst", "standard"),
    Claim("5.2", "Baseline Reweight lowers the worst standard error", "baseline-reweight", "pgd", "worst", "standard"),
    Claim("5.2", "Baseline Reweight does not lower the worst robust error by 5 points",
          "baseline-reweight", "pgd", "worst", "robust", "higher", beyond=-5),
    Claim("5.2", "Remargin costs at least 1 point of average standard error", FAIR[1], "pgd", "average", "standard",
          "higher", beyond=1),
    Claim("5.2", "Remargin has a smaller average boundary error", FAIR[1], "pgd", "average", "boundary"),
    Claim("5.2", "Reweight+Remargin has a smaller average boundary error", FAIR[2], "pgd", "average", "boundary"),
    Claim("5.2", "Reweight+Remargin has an average robust error no more than 1 point higher",
          FAIR[2], "pgd", "average", "robust", beyond=-1),
    *(Claim("ours", f"{plan.label(m)} beats the control: worst robust error", m, "control", "worst", "robust")
      for m in FAIR),
]  # fmt: skip


def outcome(good: bool, bad: bool) -> str:
    """What a test says whose evidence is all for it, or all against it, or neither."""
    return HOLDS if good else AGAINST if bad else OPEN


def compare(found: Results, claims: list[Claim], store: Store | None = None) -> pd.DataFrame:
    """Each claim with our difference (percentage points), its 95% interval, p-value and outcome (column `verdict`).

    "holds" when the whole interval lies on the claimed side of the threshold, "contradicted" when it lies on the other,
    else "cannot tell at this resolution". Claims about methods that were not run are "not yet run". The intervals and
    the p-values (two-sided, against the threshold) are not corrected for the number of claims. `paper` is the same
    difference from the paper's tables.
    """
    rows = []
    for claim in claims:
        printed = theirs.difference(found.edition, claim.first, claim.second, claim.statistic, claim.error)
        row = {"section": claim.section, "claim": claim.text, "paper": printed}
        threshold = claim.beyond if claim.direction == "higher" else -claim.beyond
        change = _measured(found, claim, threshold / 100, store)
        if change is None:
            rows.append(row | {"verdict": "not yet run"})
            continue
        sign = 1 if claim.direction == "higher" else -1
        low, high = sorted(sign * bound for bound in (change.low, change.high))
        word = outcome(low > 0, high < 0)
        numbers = {name: 100 * getattr(change, name) + threshold for name in ("difference", "low", "high")}
        rows.append(row | numbers | {"p": change.p, "verdict": word})
    return pd.DataFrame(rows, columns=["section", "claim", "difference", "low", "high", "paper", "p", "verdict"])


def beside(found: Results, stated: Iterable[Number], store: Store | None = None) -> pd.DataFrame:
    """Each number with ours (column `difference`), its 95% interval and whether ours is near the paper's.

    "near" when ours lies in the band (the paper's number or range, and `reach` more on both sides), "far" when the
    whole interval lies outside of it, else "near or far". Numbers of methods that were not run are "not yet run".
    """
    rows = []
    for number in stated:
        change = _measured(found, number, 0.0, store)
        if change is None:
            rows.append({"verdict": "not yet run"})
            continue
        value, low, high = (100 * getattr(change, name) for name in ("difference", "low", "high"))
        bottom, top = number.paper[0] - number.reach, number.paper[1] + number.reach
        outside = high < bottom or low > top
        word = "near" if bottom <= value <= top else "far" if outside else "near or far"
        rows.append({"difference": value, "low": low, "high": high, "verdict": word})
    return pd.DataFrame(rows, columns=["difference", "low", "high", "verdict"])


def classes(
    found: Results, statistic: str, store: Store | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The hard and the easy classes of a contrast: those that the paper names, else those that validation ranks so.

    No network ranks them by images that it is tested on. Where several folds are tested, though, the images that one
    fold validates are those that another tests. None while the training that ranks them has not been run.
    """
    known = NAMED.get((found.edition.dataset, statistic))
    if known:
        return known
    method, kind, many = CONTRASTS[statistic]
    ranking = results("figure1", found.edition.name, store)
    if method not in ranking.present:
        return None
    history = ranking.history(method)
    ends = history[history.epoch == history.groupby(["seed", "fold"]).epoch.transform("max")]
    order = ends.groupby("class")[kind].mean().reindex(ranking.classes).sort_values(kind="stable").index
    return tuple(order[: -many - 1 : -1]), tuple(order[:many])


def _sides(found: Results, statistic: str, store: Store | None) -> np.ndarray | None:
    """The weight (C,) of every class in a statistic where that is a contrast, else none (0,); None: not known."""
    contrast, (up, down) = ALONE.get(statistic, (statistic, (1, -1)))
    if contrast not in CONTRASTS:
        return np.zeros(0)
    groups = classes(found, contrast, store)
    if groups is None:
        return None
    hard, easy = groups
    return np.array([up * (c in hard) / len(hard) + down * (c in easy) / len(easy) for c in found.classes])


def _measured(found: Results, claim: Claim | Number, threshold: float, store: Store | None) -> Difference | None:
    """The statistic of `first` minus that of `second`, minus the threshold (fractions), on the seeds both have.

    None while a run that it needs is missing.
    """
    if not found.present or {claim.first, claim.second} & set(found.missing):
        return None
    sides = _sides(found, claim.statistic, store)
    if sides is None:
        return None
    shared = found.seeds(*(method for method in (claim.first, claim.second) if method))
    a = wrong(found, claim.first, claim.error)[:shared].astype(float)
    b = np.zeros_like(a)
    if claim.second:
        b = wrong(found, claim.second, claim.error)[:shared].astype(float)
    if not len(sides):
        change = remembered.paired(found.labels, a - threshold, b, claim.statistic)
        if claim.second:
            return change
        return change._replace(low=max(change.low, -threshold), high=min(change.high, 1 - threshold))  # from 0 to 100%
    weight = len(sides) * sides[found.labels]  # a contrast is the average over classes of weighted errors
    return remembered.paired(found.labels, weight * a - threshold, weight * b, "average")


def wrong(found: Results, method: str, error: str) -> np.ndarray:
    """Which examples count as an error, `(S, N) bool`; checks are made of the last weights alone."""
    if error in KINDS:
        return found.wrong(method, error)
    found = found.under()
    if error == "autoattack":
        return found.predictions(method, error) != found.labels
    radius = float(error.removeprefix("certified "))
    beyond_reach = found.predictions(method, "radius") < radius
    return (found.predictions(method, "certified") != found.labels) | beyond_reach


def tests_in_words(judged: pd.DataFrame) -> str:
    """How many claims fared how, the paper's and ours apart, and which are contradicted, as a Markdown paragraph."""
    parts = []
    mine = judged.section == "ours"
    for whose, part in (("of the paper", judged[~mine]), ("of ours", judged[mine])):
        counts = ", ".join(f"{n} “{verdict}”" for verdict, n in part.verdict.value_counts().items())
        if len(part):
            parts.append(f"{len(part)} claims {whose}: {counts}.")
    against = judged[judged.verdict == AGAINST]
    if len(against):
        parts.append("Contradicted here: " + "; ".join(
            f"{row.claim} ({row.difference:+.1f} points, 95% [{row.low:+.1f}, {row.high:+.1f}])"
            for row in against.itertuples()
        ) + ".")  # fmt: skip
    return " ".join(parts)


def shown(judged: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Verdicts for a page: one pair of columns, difference and verdict, for each named judgement of the same claims."""
    first = next(iter(judged.values()))
    columns = {"Sec.": first.section, "Claim": first.claim}
    for name, frame in judged.items():
        columns[name] = [
            row.verdict if pd.isna(row.difference)
            else cell(f"{row.difference:+.1f}", row.low, row.high, row.paper, form="+.1f") + f"<br>{row.verdict}"
            for row in frame.itertuples()
        ]  # fmt: skip
    return pd.DataFrame(columns)
