"""Claims of the paper as tests on our records: what is compared, and which way it is said to go."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from frlcore.classwise import paired_bootstrap
from frlcore.repro import plan
from frlcore.repro.report import Results
from frlcore.repro.tables import DRAWS


@dataclass(frozen=True)
class Claim:
    """`first` has a lower (or higher) `statistic` of an error than `second`, by more than `beyond` percentage points.

    A negative `beyond` allows the difference to go the other way by that much.
    """

    section: str
    text: str
    first: str
    second: str
    statistic: str
    error: str
    direction: str = "lower"
    beyond: float = 0.0


FAIR = ("frl-reweight-0.05", "frl-remargin-0.05", "frl-reweight+remargin-0.05")
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
    Claim("5.2", "Remargin costs average standard error", FAIR[1], "pgd", "average", "standard", "higher"),
    Claim("5.2", "Remargin has a smaller average boundary error", FAIR[1], "pgd", "average", "boundary"),
    Claim("5.2", "Reweight+Remargin has a smaller average boundary error", FAIR[2], "pgd", "average", "boundary"),
    Claim("5.2", "Reweight+Remargin has an average robust error no more than 1 point higher",
          FAIR[2], "pgd", "average", "robust", beyond=-1),
    *(Claim("ours", f"{plan.label(m)} beats the control: worst robust error", m, "control", "worst", "robust")
      for m in FAIR),
]  # fmt: skip


def judge(found: Results, claims: list[Claim], checkpoint: str = "last", verdict: str = "any") -> pd.DataFrame:
    """Each claim with our difference (percentage points), its 95% interval and a verdict.

    "holds" when the whole interval lies on the claimed side, "contradicted" when it lies on the other, else
    "cannot tell at this resolution". Claims about methods that were not run are "not yet run". The intervals are not
    corrected for the number of claims.
    """
    rows = []
    for claim in claims:
        row = {"section": claim.section, "claim": claim.text}
        if {claim.first, claim.second} & set(found.missing):
            rows.append(row | {"verdict": "not yet run"})
            continue
        shared = found.seeds(claim.first, claim.second)
        a, b = (found.wrong(m, claim.error, checkpoint, verdict)[:shared] for m in (claim.first, claim.second))
        change = paired_bootstrap(found.labels, a, b, claim.statistic, draws=DRAWS)
        sign = 1 if claim.direction == "higher" else -1
        low, high = sorted(sign * 100 * bound - claim.beyond for bound in (change.low, change.high))
        word = "holds" if low > 0 else "contradicted" if high < 0 else "cannot tell at this resolution"
        rows.append(row | {"difference": 100 * change.difference, "low": 100 * change.low, "high": 100 * change.high,
                           "verdict": word})  # fmt: skip
    return pd.DataFrame(rows, columns=["section", "claim", "difference", "low", "high", "verdict"])


def in_words(judged: pd.DataFrame) -> str:
    """How many claims fared how, the paper's and ours apart, and which are contradicted, as a Markdown paragraph."""
    parts = []
    mine = judged.section == "ours"
    for whose, part in (("of the paper", judged[~mine]), ("of ours", judged[mine])):
        counts = ", ".join(f"{n} “{verdict}”" for verdict, n in part.verdict.value_counts().items())
        if len(part):
            parts.append(f"{len(part)} claims {whose}: {counts}.")
    against = judged[judged.verdict == "contradicted"]
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
            else f"{row.difference:+.1f}<small><br>[{row.low:+.1f}, {row.high:+.1f}]</small><br>{row.verdict}"
            for row in frame.itertuples()
        ]  # fmt: skip
    return pd.DataFrame(columns)
