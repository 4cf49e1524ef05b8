"""What `frl show` prints of a plan: errors of finished runs, also under AutoAttack and with certificates."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table

from frlcore.classwise import KINDS
from frlcore.intervals import brackets, interval, summary_interval
from frlcore.repro.paper import claims, plan, tables
from frlcore.repro.paper.methods import parse
from frlcore.repro.paper.records import STATISTICS, Record, Results
from frlcore.repro.paper.records import tidy as plain

ERRORS = {"autoattack": ("autoattack",), "certify": ("certified 0", "certified 0.5")}  # of a check, by its name


def tidy(found: Results) -> pd.DataFrame:
    """The rows of `records.tidy`, and such rows for every check: percent with a 95% interval, on its own images.

    The error of a check is "autoattack" or "certified R": not certified, to the l2 radius R, to be of its class.
    """
    simple, checks = _split(found)
    asked = [(method, error) for method in checks.present for error in ERRORS[parse(method)[2]]]
    rows = [row for method, error in asked for row in _rows(checks, method, error)]
    frames = [frame for frame in (plain(simple), pd.DataFrame(rows)) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _rows(found: Results, method: str, error: str) -> list[dict[str, object]]:
    labels, wrong = found.predictions(method, "label")[0], claims.wrong(found, method, error)
    by_class = {name: wrong[:, labels == c] for c, name in enumerate(found.classes) if (labels == c).any()}
    values = {name: float(part.mean()) for name, part in by_class.items()}
    worst = max(values, key=values.__getitem__)
    summaries = {"average": ("", sum(values.values()) / len(values)), "worst": (worst, values[worst])}
    cells = [(statistic, *shown, *summary_interval(labels, wrong, statistic), len(labels))
             for statistic, shown in summaries.items()]  # fmt: skip
    for name, part in by_class.items():
        low, high = interval(values[name] * part.shape[1], part.shape[1])
        cells.append(("class", name, values[name], float(low), float(high), part.shape[1]))
    shared = {"method": method, "label": plan.label(method), "seeds": found.seeds(method), "error": error}
    return [shared | {"statistic": statistic, "class": name, "n": n, "value": 100 * value, "low": 100 * low,
                      "high": 100 * high, "paper": float("nan")}
            for statistic, name, value, low, high, n in cells]  # fmt: skip


def terminal(found: Results, frame: pd.DataFrame) -> Group:
    """The plan for a terminal, `frame` being `tidy(found)`: the errors of its runs, then those of their checks."""
    simple, checks = _split(found)
    blocks = []
    if simple.records:
        by_class = found.plan in plan.BY_CLASS and found.present
        blocks.append((classwise if by_class else methods)(simple, frame))
    for error in dict.fromkeys(error for method in checks.records for error in ERRORS[parse(method)[2]]):
        words = "robust error under AutoAttack" if error == "autoattack" else f"error {error}, l2 radius"
        table = Table(title=f"{found.edition.title}: {words}, %", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("method")
        for statistic in STATISTICS:
            table.add_column(f"{statistic} [95%]", justify="right", no_wrap=True)
        for method in [m for m in checks.records if error in ERRORS[parse(m)[2]]]:
            mine = frame[(frame.method == method) & (frame.error == error)] if method in checks.present else frame[:0]
            cells = [f"{row['value']:.1f} \\{brackets(row['low'], row['high'])}"
                     for row in mine[mine.statistic.isin(STATISTICS)].to_dict("records")]  # fmt: skip
            table.add_row(plan.label(parse(method)[0].name), *(cells or [tables.PENDING]))
        blocks.append(Group(table))
    return Group(*blocks)


def _split(found: Results) -> tuple[Results, Results]:
    """The runs themselves, and the checks of runs, which hold other predictions."""
    sides: tuple[dict[str, list[list[Record]]], ...] = ({}, {})
    for method, seeds in found.records.items():
        sides[parse(method)[2] in ERRORS][method] = seeds  # averaged weights are the run itself
    return replace(found, records=sides[0]), replace(found, records=sides[1])


def classwise(found: Results, frame: pd.DataFrame) -> Group:
    """Errors of every class for a terminal, one block per kind, one column per method (Figure 1, Tables 1 and 4)."""
    blocks = []
    for kind in KINDS:
        table = Table(title=f"{found.edition.title}: {kind} error, % [95%]", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("class")
        for method in found.records:
            table.add_column(plan.label(method), justify="right")
        for name in found.classes:
            cells = []
            for method in found.records:
                rows = _where(frame, method, "class", kind)
                cells += [
                    f"{row['value']:.1f} \\{brackets(row['low'], row['high'])}"
                    for row in rows[rows["class"] == name].to_dict("records")
                ] or [tables.PENDING]
            table.add_row(name, *cells)
        blocks.append(table)
    return Group(*blocks)


def methods(found: Results, frame: pd.DataFrame, kinds: tuple[str, ...] = KINDS) -> Group:
    """Table 2 for a terminal of 80 columns, beside the paper's numbers; `frame` is `tidy(found)`."""
    blocks = []
    for kind in kinds:
        table = Table(title=f"{found.edition.title}: {kind} error, %", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("method")
        for statistic in STATISTICS:
            table.add_column(f"{statistic} [95%]", justify="right", no_wrap=True)
            table.add_column("paper", justify="right", style="dim")
        for method in found.records:
            cells = []
            for statistic in STATISTICS if method in found.present else ():
                (row,) = _where(frame, method, statistic, kind).to_dict("records")
                cells.append(f"{row['value']:.1f} \\{brackets(row['low'], row['high'])}")
                cells.append("" if math.isnan(row["paper"]) else f"{row['paper']:.1f}")
            table.add_row(plan.label(method), *(cells or [tables.PENDING]))
        blocks.append(table)
    return Group(*blocks)


def _where(frame: pd.DataFrame, method: str, statistic: str, kind: str) -> pd.DataFrame:
    return frame[(frame.method == method) & (frame.statistic == statistic) & (frame.error == kind)]
