"""Where this book makes what again: figures and tables by page, the pages an edition can fill, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from frlcore.repro.paper import plan
from frlcore.repro.runs.pace import recorded
from frlcore.repro.runs.store import Store, default_store
from frlcore.repro.runs.task import Task
from frlcore.settings import info

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
    Item("Figure 2", "Linear and MLP classifiers on two Gaussian classes", "03_theoretical_analysis", "fig-2"),
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
PAIR = ("natural", "pgd")
# What a page of an edition has to have before there is something on it: for any one of these plans, these methods.
OPENED_BY: dict[str, dict[str, tuple[str, ...]]] = {
    "01_introduction": {"overview": ("pgd",)},
    _2: {"figure1": PAIR},
    "04_fair_robust_learning": {"algorithm1": ("frl-reweight+remargin-0.05",)},
    _5: {"table2": ("pgd",), "table3": ("pgd",)},
    "06_ablation": {"figure3": plan.methods("figure3")},
    _A1: {"figure4": plan.methods("figure4"), "figure5": PAIR, "figure6": PAIR, "figure7": PAIR},
    _A4: {"table7": ("pgd",), "table8": ("pgd",)},
    "09_successors": {"successors": ("control", "cfa")},
    "12_see_the_attack": {"overview": ("natural",)},
}
FRONT = "00_front_page"  # the notebook that is the book's first page
MISSING = "A6_missing"  # the page of an edition that says what the others wait for
NAMES = {item.plan: item.name for item in ITEMS if item.plan} | {
    "autoattack": "AutoAttack", "successors": "Successors", "successors-autoattack": "Successors under AutoAttack",
}  # fmt: skip


def is_open(page: str, edition: str, store: Store | None = None) -> bool:
    """Whether an edition has something to show on a page: one trained where the book is made has, others need records.

    The page `MISSING` is open as long as another one is not.
    """
    if not info(plan.edition(edition).dataset).paper:
        return page != MISSING
    if page == MISSING:
        return not all(is_open(one, edition, store) for one in OPENED_BY if _opened_by(one, edition))
    if page not in OPENED_BY:
        return True
    store = store or default_store()
    return any(all(store.done(run.key) for run in runs) for runs in _opened_by(page, edition))


def _opened_by(page: str, edition: str) -> list[list[Task]]:
    """The runs of seed 0 that open a page, any one list of them; none for a page that is not for this edition."""
    groups = []
    for name in set(OPENED_BY[page]) & set(plan.plans(edition)):
        ed, methods = plan.place(name, edition), OPENED_BY[page][name]
        groups.append([plan.run(ed.name, m, fold) for m in methods for fold in range(plan.folds(ed, name, m))])
    return groups


def runs_behind(page: str, edition: str, store: Store | None = None) -> list[str]:
    """The commands that make what a page shows of an edition, with the hours their finished runs took, seed 0.

    Runs that several plans need are counted with the first.
    """
    store, seen, lines = store or default_store(), set[str](), []
    named = [item.plan for item in ITEMS if item.page == page and item.plan] + [*OPENED_BY.get(page, ())]
    named += ["autoattack"] if page == _5 else []
    for name in [one for one in dict.fromkeys(named) if one in plan.plans(edition)]:
        new = {task.key for task in plan.runs(name, edition) if store.done(task.key)} - seen
        hours = sum(store.provenance(key).get("seconds") or 0 for key in new) / 3600
        took = f"  # {hours:.1f} h taken so far" if hours >= 0.05 else f"  # {60 * hours:.1f} min taken so far"
        lines.append(f"frl run {name} --edition {edition}" + took * bool(new))
        seen |= new
    return lines


def rerun(page: str, edition: str = "", explained: bool = True, store: Store | None = None) -> str:
    """The end of a page in MyST: its notebook's command, those of the runs behind it, and where more is `explained`."""
    if page in (FRONT, MISSING):
        return ""
    words = ["frl notebook", page.partition("_")[0]] + ([f"-p edition {edition}"] if edition else [])
    lines = [" ".join(words), *(runs_behind(page, edition, store) if edition else [])]
    more = "; {doc}`/rerun` says more" if explained else ""
    said = f"The parameters stand at the top of the page and are changed with `-p NAME VALUE`{more}."
    return "\n".join(["## Rerun this page\n\n```bash", *lines, f"```\n\n{said}"])


def missing(edition: str, store: Store | None = None) -> pd.DataFrame:
    """What an edition lacks, one row per command: the runs it makes, seed 0, and how much work they are.

    That is forward passes over the training images, and hours at the pace of the newest record of the same network,
    with the machine that made it; NaN where there is no such record.
    Every run counts once, for the first plan that needs it; plans that add none to those before are named with them.
    """
    store, seen = store or default_store(), set[str]()
    rows: dict[str, dict[str, Any]] = {}
    for name in [one for one in NAMES if one in plan.plans(edition)]:
        ed = plan.place(name, edition)
        left = {task.key: task for task in plan.runs(name, edition) if not store.done(task.key)}
        new = [task for key, task in left.items() if key not in seen]
        if left and not new:  # nothing of its own: it comes with the first plan whose runs are these
            next(row for row in rows.values() if row["keys"] & set(left))["items"].append(name)
            continue
        if new:
            passes, pace = sum(task.cost for task in new), recorded(plan.alike(ed), store)
            rows[name] = {"items": [name], "keys": set(left), "runs": len(new), "data": ed.title,
                          "passes": round(passes),
                          "hours": passes * pace.seconds / 3600 if pace else float("nan"),
                          "on": pace.device if pace else "", "command": f"frl run {name} --edition {edition}"}
            seen |= set(left)
    for row in rows.values():
        row["items"] = ", ".join(NAMES[name] for name in row["items"] if name in NAMES)
    return pd.DataFrame(rows.values(), columns=["items", "data", "runs", "passes", "hours", "on", "command"])


def counts(editions: Iterable[str], store: Store | None = None) -> pd.DataFrame:
    """Finished and needed runs of every item on every edition, seed 0; an edition without the item has needed 0.

    What an item's runs start from counts as needed, too, as in `frl status`.
    """
    store, rows = store or default_store(), []
    for edition in editions:
        there = plan.plans(edition)
        for item in ITEMS:
            tasks = plan.runs(item.plan, edition) if item.plan in there else []
            done = sum(store.done(task.key) for task in tasks)
            place = plan.place(item.plan, edition).title if tasks else ""
            rows.append({"item": item.name, "plan": item.plan, "edition": edition, "made on": place,
                         "finished": done, "needed": len(tasks)})  # fmt: skip
    return pd.DataFrame(rows)


def shown(counted: pd.DataFrame, parts: Mapping[str, str]) -> pd.DataFrame:
    """`counts` for a page, one row per item: links into each edition's part of the book (`parts`), and the command.

    The links are relative addresses of built pages, as seen from a page of any part.
    """
    rows = []
    for item in ITEMS:
        row = {"In the paper": f"**{item.name}**", "What it shows": item.content}
        for cell in counted[counted["item"] == item.name].to_dict("records"):
            title = plan.edition(cell["edition"]).title
            row[title] = _cell(item, cell, parts.get(cell["edition"], cell["edition"]))
        methods = f"{len(plan.methods(item.plan))} methods: `frl run {item.plan}`" if item.plan else "none needed"
        rows.append(row | {"Runs": methods})
    return pd.DataFrame(rows)


def counts_in_words(counted: pd.DataFrame) -> str:
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
    whole = cell["finished"] == cell["needed"]  # else the page may have no such figure yet
    return link(many, part, item.page, f"{item.label}-{part}" if whole else "")
