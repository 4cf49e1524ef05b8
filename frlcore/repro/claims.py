"""Claims of the paper as tests on our records, each stated before looking: what is compared, and which way it goes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from frlcore.classwise import paired_bootstrap
from frlcore.repro import plan
from frlcore.repro.report import Results


@dataclass(frozen=True)
class Claim:
    """`first` has a lower (or higher) `statistic` of an error than `second`, in percentage points `beyond` and more."""

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
    Claim("2", "PGD training raises the worst class's standard error", "pgd", "natural", "worst", "standard", "higher"),
    Claim("2", "so does TRADES", "trades-6", "natural", "worst", "standard", "higher"),
]
SECTION_5 = [
    *(Claim("5.2", f"{plan.label(m)} lowers the worst standard error", m, "pgd", "worst", "standard") for m in FAIR),
    *(Claim("5.2", f"{plan.label(m)} lowers the worst robust error", m, "pgd", "worst", "robust") for m in FAIR),
    Claim("5.2", "Reweight+Remargin: by 10 points or more", FAIR[2], "pgd", "worst", "robust", beyond=10),
    Claim("5.2", "Remargin beats Reweight on the worst boundary error", FAIR[1], FAIR[0], "worst", "boundary"),
    Claim("5.2", "Reweight+Remargin beats Remargin on the worst robust error", FAIR[2], FAIR[1], "worst", "robust"),
    Claim("5.2", "Reweight beats Reweight+Remargin on the worst standard error", FAIR[0], FAIR[2], "worst", "standard"),
    Claim("5.2", "Baseline Reweight lowers the worst standard error", "baseline-reweight", "pgd", "worst", "standard"),
    Claim("5.2", "Remargin costs average standard error", FAIR[1], "pgd", "average", "standard", "higher"),
    *(Claim("ours", f"{plan.label(m)} beats the control: worst robust error", m, "control", "worst", "robust")
      for m in FAIR),
]  # fmt: skip


def judge(found: Results, claims: list[Claim]) -> pd.DataFrame:
    """Each claim with our difference (percentage points), its 95% interval and a verdict.

    "holds" when the whole interval lies on the claimed side, "contradicted" when it lies on the other, else
    "cannot tell at this resolution". Claims about methods that were not run are "not yet run".
    """
    rows = []
    for claim in claims:
        row = {"section": claim.section, "claim": claim.text}
        if {claim.first, claim.second} & set(found.missing):
            rows.append(row | {"verdict": "not yet run"})
            continue
        shared = found.seeds(claim.first, claim.second)
        a, b = (found.wrong(method, claim.error)[:shared] for method in (claim.first, claim.second))
        change = paired_bootstrap(found.labels, a, b, claim.statistic)
        sign = 1 if claim.direction == "higher" else -1
        claimed, other = sorted(sign * 100 * bound - claim.beyond for bound in (change.low, change.high))
        verdict = "holds" if claimed > 0 else "contradicted" if other < 0 else "cannot tell at this resolution"
        rows.append(row | {"difference": 100 * change.difference, "low": 100 * change.low, "high": 100 * change.high,
                           "verdict": verdict})  # fmt: skip
    return pd.DataFrame(rows, columns=["section", "claim", "difference", "low", "high", "verdict"])


def in_words(judged: pd.DataFrame) -> str:
    """How many claims fared how, and which are contradicted, as a Markdown paragraph."""
    counts = judged.verdict.value_counts()
    text = f"Of {len(judged)} claims, " + ", ".join(f"{n} “{verdict}”" for verdict, n in counts.items()) + "."
    against = judged[judged.verdict == "contradicted"]
    if len(against):
        text += " Contradicted here: " + "; ".join(
            f"{row.claim} ({row.difference:+.1f} points, 95% [{row.low:+.1f}, {row.high:+.1f}])"
            for row in against.itertuples()
        ) + "."  # fmt: skip
    return text


def shown(judged: pd.DataFrame) -> pd.DataFrame:
    """The verdicts for a page: difference and interval in one column."""
    texts = [
        "–" if pd.isna(d) else f"{d:+.1f} [{low:+.1f}, {high:+.1f}]"
        for d, low, high in zip(judged.difference, judged.low, judged.high, strict=True)
    ]
    columns = {"Sec.": judged.section, "Claim": judged.claim, "Difference, points": texts, "Verdict": judged.verdict}
    return pd.DataFrame(columns)
