"""Every figure and table of the paper: where this book makes it again, from how many runs, and with which command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from frlcore.repro import plan
from frlcore.repro.store import Store, default_store

THEORY = "theory"


@dataclass(frozen=True)
class Item:
    """A numbered figure or table of the paper, the page that regenerates it and the label it has there.

    Without a plan it is computed when the page is made, from no runs.
    """

    name: str
    content: str
    page: str
    label: str
    plan: str = ""


_2, _5, _A1, _A4 = "02_preliminary_studies", "05_experiments", "A1_more_preliminary_studies", "A4_wrn28"
ITEMS = (
    Item("Figure 1", "Class-wise errors of natural and adversarial training", _2, "fig-1", "figure1"),
    Item("Figure 2", "Linear and MLP classifiers on two Gaussian classes", "03_theoretical_analysis", "fig-toy"),
    Item("Figure 3", "One class's boundary loss weighed, its margin enlarged", "06_ablation", "fig-3", "figure3"),
    Item("Figure 4", "Randomized smoothing", _A1, "fig-4", "figure4"),
    Item("Figure 5", "Figure 1 with WRN-28", _A1, "fig-5", "figure5"),
    Item("Figure 6", "Figure 1 against l2 attacks", _A1, "fig-6", "figure6"),
    Item("Figure 7", "Figure 1 on SVHN", _A1, "fig-7", "figure7"),
    Item("Table 1", "The two hardest and the two easiest classes", _2, "tbl-1-standard", "table1"),
    Item("Table 2", "Fairness of all methods", _5, "tbl-2", "table2"),
    Item("Table 3", "Table 2 on SVHN", _5, "tbl-3", "table3"),
    Item("Table 4", "All classes, natural and PGD training", _2, "tbl-4-standard", "table4"),
    Item("Table 5", "Table 4 with WRN-28", _A1, "tbl-5-standard", "table5"),
    Item("Table 6", "Table 4 on SVHN", _A1, "tbl-6-standard", "table6"),
    Item("Table 7", "Table 2 with WRN-28", _A4, "tbl-7", "table7"),
    Item("Table 8", "Table 2 on SVHN with WRN-28", _A4, "tbl-8", "table8"),
)


def counts(editions: Iterable[str], items: Iterable[Item] = ITEMS, store: Store | None = None) -> pd.DataFrame:
    """Finished and needed runs of every item on every edition, seed 0; an edition without the item has needed 0.

    What an item's runs start from counts as needed, too, as in `frl status`.
    """
    store, rows = store or default_store(), []
    for edition in editions:
        there = plan.plans(edition)
        for item in items:
            tasks = plan.runs(item.plan, edition) if item.plan in there else []
            done = sum(store.done(task.key) for task in tasks)
            place = plan.place(item.plan, edition).title if tasks else ""
            rows.append({"item": item.name, "plan": item.plan, "edition": edition, "made on": place,
                         "finished": done, "needed": len(tasks)})  # fmt: skip
    return pd.DataFrame(rows)


def shown(counted: pd.DataFrame, parts: Mapping[str, str], items: Iterable[Item] = ITEMS) -> pd.DataFrame:
    """`counts` for a page, one row per item: links into each edition's part of the book (`parts`), and the command.

    The links are relative addresses of built pages, as seen from a page of any part.
    """
    rows = []
    for item in items:
        row = {"In the paper": f"**{item.name}**", "What it shows": item.content}
        for cell in counted[counted["item"] == item.name].to_dict("records"):
            title = plan.edition(cell["edition"]).title
            row[title] = _cell(item, cell, parts.get(cell["edition"], cell["edition"]))
        methods = f"{len(plan.methods(item.plan))} methods: `frl run {item.plan}`" if item.plan else "none needed"
        rows.append(row | {"Runs": methods})
    return pd.DataFrame(rows)


def in_words(counted: pd.DataFrame) -> str:
    """How many items each edition has complete, begun and not at all, and where they are made, as a Markdown list."""
    lines = []
    for edition, part in counted[counted.needed > 0].groupby("edition", sort=False):
        whole, none = int((part.finished == part.needed).sum()), int((part.finished == 0).sum())
        state = f"{whole} of {len(part)} complete, {len(part) - whole - none} begun, {none} not yet run"
        places = "; ".join(part["made on"].unique())
        lines.append(f"* **{plan.edition(str(edition)).title}**: {state}. Made on: {places}.")
    return "\n".join(lines)


def link(text: str, part: str, page: str, label: str = "") -> str:
    """A link to a page of this book that a build without that page turns into its text."""
    return f"<a href='../{part}/{page}.html{'#' + label if label else ''}'>{text}</a>"


def _cell(item: Item, cell: Mapping[str, object], part: str) -> str:
    if not item.plan:
        return link("computed on the page", THEORY, item.page, item.label)
    if not cell["needed"]:
        return "not in this edition"
    many = f"{cell['finished']} of {cell['needed']} runs"
    return link(many, part, item.page, f"{item.label}-{part}")
