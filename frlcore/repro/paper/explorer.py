"""Every run as data for the page that explores them: errors, paired tests and trajectories, computed beforehand.

The page holds them as JSON and draws them with `book/_static/explorer.js`, without a network. Errors are percent here.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from IPython.display import HTML

from frlcore.classwise import KINDS
from frlcore.intervals import interval, summary_interval
from frlcore.repro.paper import plan
from frlcore.repro.paper.methods import breakable, parse
from frlcore.repro.paper.records import Results, results
from frlcore.repro.runs.store import Store
from frlcore.significance import holm, mcnemar

# What validation said and the policy answered, as a page calls it; a record has some of them.
COURSES = {
    "robust": "robust error on validation, %", "standard": "standard error on validation, %",
    "phi_nat": "multiplier of the natural constraint", "phi_bndy": "multiplier of the boundary constraint",
    "phi": "multiplier", "w_nat": "weight of the natural loss", "w_bndy": "weight of the boundary loss",
    "margin": "radius, in units of ε",
}  # fmt: skip


def payload(editions: Sequence[str], store: Store | None = None, *, broken: str = "any") -> dict[str, Any]:
    """All finished runs of these editions and of their variants; `broken` as in `results`.

    "runs" has a row per edition, method and seed, its folds pooled; "pairs" what two methods of an edition get wrong
    alone, class by class, with exact McNemar tests (seed 0) and Holm's correction over the classes; "courses" a class's
    means over folds and seeds by epoch.
    """
    found: dict[str, Any] = {"runs": [], "classes": {}, "pairs": {}, "courses": {}, "quantities": COURSES}
    for everything in _editions(editions, store, broken):
        title = everything.edition.title
        found["classes"][title] = everything.classes
        found["runs"] += [_row(everything, m, seed) for m in everything.present for seed in range(everything.seeds(m))]
        found["pairs"][title] = {
            f"{a}|{b}": {kind: _pair(everything, a, b, kind) for kind in KINDS}
            for a, b in combinations(everything.present, 2)
        }
        found["courses"][title] = {
            method: course for method in everything.present if len(course := _course(everything, method)) > 0
        }
    return found


def page(editions: Sequence[str]) -> HTML:
    """The explorer as part of a page: the data, and the place where the script draws."""
    found = payload(editions)
    if not found["runs"]:
        return HTML("<p>No run is finished yet; <code>frl run overview --edition digits</code> makes the first.</p>")
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    return HTML(
        f'<div class="frl-runs" data-about="{html.escape(_about(found))}">'
        "<p>This page draws with a script, which the browser does not run.</p>"
        f'<script type="application/json">{text}</script></div>'
    )


def _about(found: dict[str, Any]) -> str:
    return f"{len(found['runs'])} rows, of {sum(row['count'] for row in found['runs'])} runs in all"


def _editions(editions: Sequence[str], store: Store | None, broken: str) -> Iterator[Results]:
    """The finished runs of every edition that a plan of these is carried out on, all its plans together."""
    places: dict[str, list[Results]] = {}
    for edition in editions:
        for name in plan.plans(edition):
            found = results(name, edition, store, broken=broken)
            places.setdefault(found.edition.name, []).append(found)
    for parts in places.values():
        records: dict[str, Any] = {}
        for part in parts:
            for method, seeds in part.records.items():
                whole = seeds and len(seeds[0]) == part.edition.tested  # an ablation on fewer folds has other images
                if whole and not parse(method)[2] and len(seeds) > len(records.get(method, ())):
                    records[method] = seeds
        if records:
            first = parts[0]
            yield Results(first.plan, first.asked, first.edition, records, first.checkpoint, broken)


def _row(found: Results, method: str, seed: int) -> dict[str, Any]:
    """One method and seed: what to filter by, and average, worst and class-wise errors with 95% intervals."""
    one, ed = parse(method)[0], found.edition
    keys = [record.run.key[:12] for record in found.records[method][seed]]
    row = {
        "edition": ed.title, "data": ed.dataset, "model": ed.model, "method": method,
        "label": breakable(plan.label(method)), "family": one.family,
        "tau": one.settings.get("tau"), "seed": seed, "run": keys[0], "count": len(keys),
    }  # fmt: skip
    for kind in KINDS:
        wrong = found.wrong(method, kind)[seed]
        n = np.bincount(found.labels, minlength=len(found.classes))
        errors = np.bincount(found.labels, weights=wrong, minlength=len(n)) / n
        bounds = np.stack([errors, *interval(errors * n, n)])
        row[kind] = {
            "average": _percent([errors.mean(), *summary_interval(found.labels, wrong, "average")]),
            "worst": _percent([errors.max(), *summary_interval(found.labels, wrong, "worst")]),
            "name": found.classes[int(errors.argmax())],
            "classes": [_percent(column) for column in bounds.T],
        }
    return row


def _pair(found: Results, a: str, b: str, kind: str) -> list[list[float]]:
    """For every class: images that only `a` gets wrong, that only `b` does, and p after Holm (seed 0)."""
    first, second = (found.wrong(method, kind)[0] for method in (a, b))
    rows, p = [], []
    for c in range(len(found.classes)):
        one, other = first[found.labels == c], second[found.labels == c]
        rows.append([int((one & ~other).sum()), int((other & ~one).sum())])
        p.append(mcnemar(one, other))
    return [[*row, float(f"{value:.2g}")] for row, value in zip(rows, holm(p), strict=True)]


def _course(found: Results, method: str) -> dict[str, list[list[float | None]]]:
    """By quantity a row of values for every class, one per epoch from the start on; {} where no policy did anything."""
    mean = found.history(method).groupby(["epoch", "class"], sort=False).mean(numeric_only=True)
    courses = {}
    for name in [one for one in COURSES if one in mean]:
        table = mean[name].unstack("class")[found.classes].T.to_numpy()
        if np.nanmax(table) > np.nanmin(table):
            scale = 100 if name in KINDS else 1
            courses[name] = [[None if np.isnan(v) else float(f"{scale * v:.4g}") for v in line] for line in table]
    return courses if set(courses) - set(KINDS) else {}


def _percent(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(100 * float(value), 1) for value in values]
