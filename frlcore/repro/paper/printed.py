"""The numbers printed in Xu et al. (2021), Tables 1 to 8, in percent, for setting beside our own."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import lru_cache

import pandas as pd

from frlcore.errors import UserError
from frlcore.repro import places

TABLES = range(1, 9)
# By kind of error: the block of the tables of classes (first cell of a header row, which the tables of algorithms leave
# empty); by statistic, too: the column of the tables of algorithms.
BLOCKS = {"standard": "Std. Error", "robust": "Rob. Error"}
COLUMNS = {("average", "standard"): "Avg. Std.", ("worst", "standard"): "Worst Std.",
           ("average", "boundary"): "Avg. Bndy.", ("worst", "boundary"): "Worst Bndy.",
           ("average", "robust"): "Avg. Rob.", ("worst", "robust"): "Worst Rob."}  # fmt: skip


def table(n: int) -> pd.DataFrame:
    """Table `n` as tidy rows: block, method, column (as printed) and value (float, percent).

    `block` is "Std. Error" or "Rob. Error" in Tables 1, 4, 5 and 6, and "" in the others. Two repairs of names, none
    of values: Table 6's second block is called "Rob. Error", and "TRADES (1/λ" of Tables 7 and 8 loses its space.
    Raises UserError when there is no such table or its file is missing.
    """
    return _tidy(_text(f"table{_number(n)}.csv")).copy()


def row(n: int, method: str, block: str = "") -> Mapping[str, float]:
    """What Table `n` prints for a method in a block, by column in the table's order; empty where it prints nothing.

    Raises UserError as `table` does.
    """
    return _rows(_text(f"table{_number(n)}.csv")).get((block, method), {})


@lru_cache
def _rows(text: str) -> dict[tuple[str, str], dict[str, float]]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for block, method, column, value in _tidy(text).itertuples(index=False):
        found.setdefault((block, method), {})[column] = value
    return found


@lru_cache
def _tidy(text: str) -> pd.DataFrame:
    rows: list[tuple[str, str, str, float]] = []
    blocks = iter(BLOCKS.values())
    for label, *cells in csv.reader(text.splitlines()):
        if label in ("", *BLOCKS.values()):
            block, columns = next(blocks) if label else "", cells
            continue
        method = label.replace("TRADES (", "TRADES(")
        rows.extend((block, method, column, float(cell)) for column, cell in zip(columns, cells, strict=True))
    return pd.DataFrame(rows, columns=["block", "method", "column", "value"])


def notes(n: int) -> tuple[str, ...]:
    """What is odd about Table `n` as printed, one sentence or two a note, from the folder's README."""
    heading, found = f"## Table {_number(n)}", []
    inside = False
    for line in _text("README.md").splitlines():
        if line.startswith("## "):
            inside = line.strip() == heading
        elif inside and line.startswith("- "):
            found.append(line[2:].strip())
    return tuple(found)


def _number(n: int) -> int:
    if n not in TABLES:
        raise UserError(f"the paper has Tables 1 to 8, not {n}")
    return n


def _text(name: str) -> str:
    path = places.checkout("comparing with the paper") / "data" / "paper" / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} is missing; run from a complete checkout of the repository") from error
