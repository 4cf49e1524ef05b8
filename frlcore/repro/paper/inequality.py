"""How unequal a method leaves the classes: the figures that `frl audit` and `frl fit` give too, for a page."""

from __future__ import annotations

import pandas as pd

from frlcore.auditing.result import STATISTICS
from frlcore.intervals import summary_interval
from frlcore.repro.paper import plan
from frlcore.repro.paper.records import Results


def tidy(found: Results, kind: str = "robust") -> pd.DataFrame:
    """Every statistic over the classes in percent with its 95% interval, one row a method and statistic.

    The glossary defines them. Seeds are averaged; noise alone sets equal classes apart, so all but the average come out
    too large rather than too small, and more so on few images.
    """
    rows = []
    for method in found.present:
        errors, wrong = found.errors(method), found.wrong(method, kind)
        for statistic in STATISTICS:
            low, high = summary_interval(found.labels, wrong, statistic)
            rows.append({"method": method, "label": plan.label(method), "seeds": found.seeds(method), "error": kind,
                         "statistic": statistic, "value": 100 * errors.summary(kind, statistic), "low": 100 * low,
                         "high": 100 * high})  # fmt: skip
    return pd.DataFrame(rows)


def shown(found: Results, kind: str = "robust") -> pd.DataFrame:
    """`tidy` for a page: a row a method, a column a statistic."""
    cells: dict[str, dict[str, str]] = {}
    for row in tidy(found, kind).to_dict("records"):
        text = f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"
        cells.setdefault(row["label"], {})[STATISTICS[row["statistic"]].capitalize()] = text
    return pd.DataFrame(cells).T.rename_axis("Method")
