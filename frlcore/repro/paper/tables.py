"""The paper's tables from our records, each cell with its interval and, beside it, the number the paper prints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from frlcore.classwise import KINDS
from frlcore.intervals import Difference, brackets, summary_interval
from frlcore.repro.paper import plan, remembered, theirs
from frlcore.repro.paper.methods import breakable
from frlcore.repro.paper.records import STATISTICS, Results, tidy
from frlcore.repro.runs.pace import recorded
from frlcore.repro.runs.store import default_store
from frlcore.settings import info
from frlcore.significance import holm, mcnemar

COLUMNS = [(statistic, kind) for kind in KINDS for statistic in STATISTICS]
HEADS = {column: f"{column[0].capitalize()} {column[1]}" for column in COLUMNS}
PENDING = "not yet run"
_TOLD: set[tuple[str, str]] = set()  # of which plans and editions this page has said what makes them


def note(found: Results) -> Any:
    """What a page shows in place of runs that nobody has made: the command that makes them."""
    return _markdown(
        f":::{{admonition}} Not yet run on {found.edition.named}\n:class: note\n"
        f"Records of {len(found.missing)} of {len(found.records)} methods are missing. They are made by\n\n"
        f"```bash\n{found.command}\n```\n{_duration(found)}\n:::\n"
    )


def _duration(found: Results) -> str:
    """How long the missing runs take at the pace of the newest record of this network, else how much work they are."""
    ed, store = found.edition, default_store()
    needed = [run for method in found.missing for run in plan.lineage(plan.run(ed.name, method))]
    work = {run.key: run.cost for run in needed if not store.done(run.key)}
    passes, pace = sum(work.values()), recorded(plan.alike(ed), store)
    if pace is None:
        return (
            f"\nA seed takes {passes:,.0f} more forward passes over the training images, missing models that its runs "
            f"start from included; no record of `{ed.model}` says yet how long one pass takes."
        )
    return (
        f"\nAbout {passes * pace.seconds / 3600:.1f} hours more for a seed, missing models that its runs start from "
        f"included, at the pace of the newest record of `{ed.model}` ({pace.device})."
    )


def when_run(found: Results | None, methods: Iterable[str], make: Callable[[], Any], quiet: bool = False) -> Any:
    """What `make` returns if these methods have records, else once a page the note that says how to get them.

    Nothing where `found` is None: the edition has no such plan by design, as `banner` says.
    """
    if found is None:
        return None
    if set(methods) <= set(found.present):
        return make()
    key = (found.plan, found.edition.name)
    if quiet or key in _TOLD:  # once a page: every page has a process of its own
        return None
    _TOLD.add(key)
    return note(found)


def banner(found: Results | None) -> Any:
    """Which data and how many runs a page shows."""
    if found is None:
        return _markdown("Not in this edition; the digits edition has it.")
    ed = found.edition
    if not found.present:
        _TOLD.add((found.plan, found.edition.name))
        return note(found)
    runs = sum(len(folds) for seeds in found.records.values() for folds in seeds)
    counts = sorted({found.seeds(method) for method in found.present})
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seed{'s' * (counts[0] > 1)}"
    tested = "its own test split"
    if ed.folds > 1:
        whole = f"{ed.folds}-fold cross-validation, every image tested once"
        run = len(found.records[found.present[0]][0])
        tested = whole if run == ed.folds else f"{run} of {ed.folds} folds"
    waiting = f" Not yet run: {len(found.missing)} of {len(found.records)} methods." if found.missing else ""
    theirs = "the paper's data set" if info(ed.dataset).paper else "**not** the paper's data"
    k = f"{ed.test.eps * ed.unit:.3g}/{ed.unit}"
    radius = f"l2 radius {ed.test.eps:g}" if ed.test.norm == "l2" else f"l-inf radius {k}"
    return _markdown(
        f"**{ed.title}** ({theirs}): {len(found.labels):,} test images ({tested}), {runs} runs, {seeds} a "
        f"method, model `{ed.model}`, {radius}.{waiting}"
    )


def fairness(found: Results, statistic: str = "worst") -> pd.DataFrame:
    """Table 2: worst-class (or average) standard, boundary and robust error of every method (Sec. 5.2).

    Bold are the lowest error of a column and those that a paired test cannot tell from it (see `lowest`).
    """
    frame, rows = tidy(found), dict[str, dict[str, str]]()
    best = {kind: lowest(found, statistic, kind) for kind in KINDS}
    for method in found.records:
        cells = rows.setdefault(breakable(plan.label(method)), {})
        for kind in KINDS:
            if method in found.missing:
                cells[kind.capitalize()] = PENDING
                continue
            (row,) = _rows(frame, method, statistic, kind).to_dict("records")
            value = f"**{row['value']:.1f}**" if method in best[kind] else f"{row['value']:.1f}"
            which = f" “{row['class']}”" if statistic == "worst" else ""
            cells[kind.capitalize()] = cell(value + which, row["low"], row["high"], row["paper"])
    return pd.DataFrame(rows).T.rename_axis(f"{statistic.capitalize()}, %")


def lowest(found: Results, statistic: str, kind: str) -> set[str]:
    """The method with the lowest error and those not distinguishable from it; none where that would be all of them.

    Paired bootstrap against the lowest, Holm over the other methods, 5%. Which one is the lowest is read off the same
    images, and that is not corrected for: with thirteen equal methods some would go unmarked in one column of six.
    """
    methods = found.present
    errors = {method: found.errors(method).summary(kind, statistic) for method in methods}
    if len(methods) < 2:
        return set()
    best = min(methods, key=errors.__getitem__)
    others = [method for method in methods if method != best]
    tests = []
    for method in others:
        shared = found.seeds(method, best)
        a, b = (found.wrong(one, kind)[:shared] for one in (method, best))
        tests.append(remembered.paired(found.labels, a, b, statistic).p)
    equal = {best, *(method for method, p in zip(others, holm(tests), strict=True) if p >= 0.05)}
    return equal if len(equal) < len(methods) else set()


def averages(found: Results) -> pd.DataFrame:
    """Average errors with every class counting the same, as in every other table, and with every image doing so."""
    frame: dict[str, dict[str, str]] = {}
    for method in found.records:
        cells = frame.setdefault(breakable(plan.label(method)), {})
        for kind in KINDS:
            for statistic, over in (("average", "classes"), ("average_examples", "images")):
                head = f"{kind.capitalize()}, over {over}"
                if method in found.missing:
                    cells[head] = PENDING
                    continue
                errors = found.errors(method)
                value = getattr(errors, statistic)(kind)
                low, high = summary_interval(found.labels, found.wrong(method, kind), statistic)
                cells[head] = cell(f"{100 * value:.1f}", 100 * low, 100 * high)
    return pd.DataFrame(frame).T.rename_axis("Method")


def classwise(found: Results, kind: str) -> pd.DataFrame:
    """Table 4, one block: a class's error after natural and after PGD training, and the difference (App. A.1.1)."""
    frame = tidy(found)
    rows = {}
    for method in ("natural", "pgd"):
        part = frame[(frame.method == method) & (frame.error == kind) & (frame.statistic == "class")]
        rows[plan.label(method)] = {
            row["class"]: cell(f"{row['value']:.1f}", row["low"], row["high"], row["paper"])
            for row in part.to_dict("records")
        }
    wrong = [found.wrong(method, kind) for method in ("pgd", "natural")]
    printed = frame[(frame.error == kind) & (frame.statistic == "class")].pivot(
        index="class", columns="method", values="paper"
    )
    rows["Diff. (Adv. - Nat.)"] = {}
    for c, name in enumerate(found.classes):
        mine = found.labels == c
        change = remembered.paired(found.labels[mine], wrong[0][:, mine], wrong[1][:, mine], "average", draws=2000)
        difference = printed.pgd[name] - printed.natural[name]
        rows["Diff. (Adv. - Nat.)"][name] = _change(change, difference)
    return pd.DataFrame(rows).T.rename_axis(f"{kind.capitalize()} error")


def extremes(found: Results) -> list[str]:
    """The two classes with the highest and the two with the lowest standard error in natural training (Table 1)."""
    order = np.argsort(-found.errors("natural").standard, kind="stable")
    return [found.classes[c] for c in (*order[:2], *order[-2:])]


def differences(found: Results, reference: str) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Every fair method minus `reference` on the same test examples: tables by statistic, and the numbers of both.

    Paired bootstrap over examples within classes; p-values are adjusted over both tables (Holm). Bold: adjusted
    p below 0.05. A dagger marks a difference that is clear in this sense and of the opposite sign to the paper's.
    """
    methods = [m for m in found.present if plan.METHODS[m].fair]
    rows = []
    for method in methods:
        shared = found.seeds(method, reference)
        for statistic, kind in COLUMNS:
            a, b = (found.wrong(m, kind)[:shared] for m in (method, reference))
            change = remembered.paired(found.labels, a, b, statistic)
            printed = theirs.difference(found.edition, method, reference, statistic, kind)
            rows.append({"method": plan.label(method), "statistic": statistic, "error": kind,
                         "difference": 100 * change.difference, "low": 100 * change.low, "high": 100 * change.high,
                         "p": change.p, "paper": printed})  # fmt: skip
    numbers = pd.DataFrame(rows)
    numbers["p_holm"] = holm(numbers["p"])
    shown: dict[str, dict[str, dict[str, str]]] = {statistic: {} for statistic in STATISTICS}
    for row in numbers.to_dict("records"):
        clear = row["p_holm"] < 0.05
        text = f"**{row['difference']:+.1f}**" if clear else f"{row['difference']:+.1f}"
        opposite = clear and not math.isnan(row["paper"]) and row["difference"] * row["paper"] < 0
        cells = shown[row["statistic"]].setdefault(breakable(row["method"]), {})
        cells[row["error"].capitalize()] = cell(
            text + " †" * opposite, row["low"], row["high"], row["paper"], form="+.1f"
        )
    tables = {name: pd.DataFrame(of).T.rename_axis(f"{name.capitalize()}, minus {plan.label(reference)}")
              for name, of in shown.items()}  # fmt: skip
    return tables, numbers


def discordant(found: Results, reference: str) -> pd.DataFrame:
    """Images that only a method or only `reference` gets wrong under attack, with McNemar's exact test (seed 0).

    The p-values are adjusted for all methods of the table (Holm).
    """
    theirs = found.wrong(reference, "robust")[0]
    rows = {}
    for method in [m for m in found.present if plan.METHODS[m].fair]:
        ours = found.wrong(method, "robust")[0]
        rows[plan.label(method)] = {
            "broken only under this method": int((ours & ~theirs).sum()),
            f"broken only under {plan.label(reference)}": int((theirs & ~ours).sum()),
            "p (Holm)": mcnemar(ours, theirs),
        }
    frame = pd.DataFrame(rows).T.rename_axis("Method").convert_dtypes()
    frame["p (Holm)"] = [f"{p:.2g}" for p in holm(frame["p (Holm)"].astype(float))]
    return frame


def last_moves(found: Results) -> pd.DataFrame:
    """How far a class's standard error on validation moved in the last epoch, in points.

    That is what an epoch more or less would change: the mean over classes, folds and seeds, and the largest with its
    class.
    """
    rows = {}
    for method in found.present:
        moves = []
        for _, run in found.history(method).groupby(["seed", "fold"]):
            before, after = (run[run.epoch == run.epoch.max() - k].set_index("class").standard for k in (1, 0))
            moves.append(100 * (after - before).abs())
        together = pd.concat(moves, axis=1)
        rows[plan.label(method)] = {
            "Mean, points": f"{together.to_numpy().mean():.1f}",
            "Largest, points": f"{together.max(axis=1).max():.1f} “{together.max(axis=1).idxmax()}”",
        }
    return pd.DataFrame(rows).T.rename_axis("Method")


def _markdown(text: str) -> Any:
    from IPython.display import Markdown  # only notebooks need it; `frl show` runs where IPython is not installed

    return Markdown(text)


def _rows(frame: pd.DataFrame, method: str, statistic: str, kind: str) -> pd.DataFrame:
    return frame[(frame.method == method) & (frame.statistic == statistic) & (frame.error == kind)]


def _change(change: Difference, printed: float) -> str:
    if change.low == change.high == 0:
        return f"{100 * change.difference:+.1f} <small>no image differs</small>"
    return cell(f"{100 * change.difference:+.1f}", 100 * change.low, 100 * change.high, printed, form="+.1f")


def cell(value: str, low: float, high: float, printed: float = math.nan, form: str = "") -> str:
    """One line of a table: the value, its interval, and what the paper prints where it does."""
    beside = "" if math.isnan(printed) else f" · paper {printed:{'+' if '+' in form else ''}.1f}"
    limits = f"[{low:{form}}, {high:{form}}]" if form else brackets(low, high)
    return f"{value} <small>{limits}{beside}</small>"
