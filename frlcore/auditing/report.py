"""An audit as one HTML page: in words, in tables with intervals, as a plot, and in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from frlcore import page as pages
from frlcore.classwise import KINDS
from frlcore.intervals import brackets

NOTE = (
    "Errors in percent. Standard: wrong without an attack. Boundary: right without, wrong under the attack. Robust: "
    "wrong at any point of the attack's path; an attack that fails proves nothing, so the true error is at least as "
    "large. Brackets hold 95% intervals: exact ones for a class and for the worst one, bootstrap for the others. "
)
SPREAD = (
    "Range: the largest minus the smallest error. Gini coefficient: of the classes' shares without the error, in "
    "percent. Noise alone sets equal classes apart, so on few images the worst class, range, deviation and Gini "
    "coefficient come out too large; their intervals reach down to what could have been lifted so by noise."
)
TESTED = (
    "Changes in points, this model minus the other, with a 95% interval each for itself. p: McNemar's exact test of a "
    "class, bootstrap for average, worst class and gap, both groups adjusted by Holm; below 0.05 it is called better "
    "or worse."
)
SQUARE = 100  # classes: with more the square of what each is taken for is megabytes that nobody reads
NAMED = 10  # classes in a sentence
WORDS = {"average": "average", "worst": "worst class", "gap": "worst class minus average"}


def page(
    title: str,
    frame: pd.DataFrame,
    statistics: Mapping[str, str],
    confusion: pd.DataFrame,
    *,
    bias: float,
    compared: Mapping[str, pd.DataFrame],
    notes: Sequence[str],
    examples: Sequence[Any],
    facts: Mapping[str, str],
) -> str:
    """The whole page; `frame` is `Audit.frame()`, `compared` holds `Audit.compare` by error, `bias` is a fraction."""
    parts = [f"<p>{pages.text(verdict(frame, bias))}</p>"]
    parts += [f"<p><strong>{pages.text(note)}</strong></p>" for note in notes]
    cells = pages.grid(["error", *statistics.values()], summary(frame, statistics))
    parts += [f'<div class="wide">{cells}</div>']
    for kind, table in compared.items():
        parts += [f"<h2>Against the other model: {kind} error</h2>", f"<p>{pages.text(in_words(table))}</p>",
                  pages.grid(["class", "this", "other", "change", "p", "this model is"], changes(table), bold=3),
                  ]  # fmt: skip
    parts += [f"<p><small>{TESTED}</small></p>"] * bool(compared)
    names = list(confusion.index)
    parts += ["<h2>Class by class</h2>", _plot(frame), pages.grid(["class", "images", *KINDS], classwise(frame)),
              f"<p><small>{NOTE}{SPREAD}</small></p>",
              "<h2>What attacked images are taken for</h2>", _taken(confusion)]  # fmt: skip
    if examples:
        parts += ["<h2>The least and the most robust class</h2>", "<p>Before the attack and after PGD; below, what the "
                  "model takes the image for.</p>", *(_pair(one, names) for one in examples)]  # fmt: skip
    settings = [list(item) for item in facts.items()]
    parts += ["<h2>Settings</h2>", f'<div class="settings">{pages.grid(["setting", "value"], settings)}</div>']
    return pages.page(title, *parts)


def verdict(frame: pd.DataFrame, bias: float) -> str:
    """The robust error of the worst class beside the average, and how much of it is selection, in two sentences."""
    rows = frame[frame.error == "robust"].set_index("statistic")
    worst, average = rows.loc["worst"], rows.loc["average"]
    alike = int((rows.loc["class"].value == worst["value"]).sum()) - 1
    if alike + 1 == len(rows.loc["class"]):
        return f"The robust error is {cell(average)}%, the same for every class."
    name = f"“{worst['class']}”" + (f" and {alike} more alike" if alike else "")
    return (
        f"The robust error is {cell(average)}% on average and {cell(worst)}% for the worst class, "
        f"{name}: {cell(rows.loc['gap'])} points more. Being chosen as the largest of "
        f"several noisy errors lifts the worst class's by about {100 * bias:.1f} points."
    )


def in_words(table: pd.DataFrame) -> str:
    """One sentence: for which classes the model is better, worse, not distinguishable."""
    classes = table[table.statistic == "class"]
    found = {word: list(classes["class"][classes.verdict == word]) for word in ("better", "worse")}
    said = [f"{word} on {_listed(names)}" for word, names in found.items() if names]
    rest = len(classes) - sum(map(len, found.values()))
    if rest:
        said.append(f"not distinguishable from the other on {rest} of {len(classes)} classes")
    return f"This model is {'; '.join(said)}."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"“{name}”" for name in names[:NAMED]) + more


def summary(frame: pd.DataFrame, statistics: Mapping[str, str]) -> list[list[str]]:
    """A row a kind of error, a column a statistic."""
    cells = {(row["error"], row["statistic"]): cell(row) for row in frame.to_dict("records")}
    return [[kind, *(cells[kind, statistic] for statistic in statistics)] for kind in KINDS]


def classwise(frame: pd.DataFrame) -> list[list[str]]:
    """A row a class: its images, and each kind of error with its interval."""
    parts = [frame[(frame.error == kind) & (frame.statistic == "class")].to_dict("records") for kind in KINDS]
    return [[rows[0]["class"], str(rows[0]["n"]), *map(cell, rows)] for rows in zip(*parts, strict=True)]


def changes(table: pd.DataFrame) -> list[list[str]]:
    """A row a class, then average, worst class and gap: both errors, the change, its p-value and the verdict."""
    return [
        [row["class"] if row["statistic"] == "class" else WORDS[row["statistic"]],
         f"{row['this']:.1f}", f"{row['other']:.1f}",
         f"{row['difference']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]", f"{row['p']:.2g}", row["verdict"]]
        for row in table.to_dict("records")
    ]  # fmt: skip


def cell(row: Any) -> str:
    """A value with its interval, in percent."""
    return f"{row['value']:.1f} {brackets(row['low'], row['high'])}"


def _taken(confusion: pd.DataFrame) -> str:
    """The whole square of classes, or of many classes the most frequent mistakes."""
    names, counts = list(confusion.index), confusion.to_numpy()
    if len(names) <= SQUARE:
        return f'<div class="wide">{pages.heat(counts, names)}</div>'
    wrong = counts * (1 - np.eye(len(names), dtype=counts.dtype))
    worst = [divmod(int(at), len(names)) for at in np.argsort(-wrong, axis=None, kind="stable")[:SQUARE]]
    rows = [[names[i], names[j], f"{counts[i, j]} of {counts[i].sum()}"] for i, j in worst if wrong[i, j]]
    told = f"The most frequent mistakes, at most {SQUARE}; all are in Audit.confusion() and in report.json."
    return f"<p>{told}</p>" + pages.grid(["class", "taken for", "images"], rows)


def _plot(frame: pd.DataFrame) -> str:
    rows = frame[frame.statistic == "class"]
    order = rows[rows.error == "robust"].reset_index(drop=True).value.sort_values(ascending=False, kind="stable").index
    parts = {kind: rows[rows.error == kind].reset_index(drop=True).loc[order] for kind in ("standard", "robust")}
    errors = {kind: tuple(part[name].to_numpy() / 100 for name in ("value", "low", "high"))
              for kind, part in parts.items()}  # fmt: skip
    return pages.dots(list(parts["robust"]["class"]), errors)


def _pair(one: Any, names: Sequence[str]) -> str:
    """One image before and after, each over what it is taken for."""
    shown = ""
    for pixels, answer in ((one.before, one.clean), (one.after, one.adversarial)):
        image = pages.picture(pages.png(pixels), f"{names[one.label]}, taken for {names[answer]}", "png")
        shown += f"<figure>{image}<figcaption>{pages.text(names[answer])}</figcaption></figure>"
    return shown
