"""From records to numbers: what the notebooks and `frl show` ask for. Nothing here trains.

`results(plan, edition)` gathers the finished runs of a figure or table. The folds of a method are pooled, so that
every example of the data set is tested once a seed; seeds are averaged. Errors are fractions here and percent in
`tidy` and in every table.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from frlcore import classwise
from frlcore.classwise import KINDS, ClassErrors
from frlcore.errors import UserError
from frlcore.intervals import interval, summary_interval
from frlcore.repro.paper import plan, printed
from frlcore.repro.paper.editions import Edition
from frlcore.repro.paper.methods import AVERAGE, averaged
from frlcore.repro.runs.store import Store, default_store
from frlcore.repro.runs.task import Task

STATISTICS = ("average", "worst")
UNEQUAL = 1.2  # from this ratio of the largest class to the smallest on, `tidy` also averages over images
DRAWS = 10_000  # of a test: its smallest p-value, 2 / DRAWS, must survive a correction for some sixty comparisons
BROKEN = {"any": "wrong at any point of the attack's path", "last": "wrong at the attack's last point"}
CHECKPOINTS = {"last": "after the last epoch", "selected": "chosen on validation"}


@dataclass(frozen=True)
class Record:
    """One finished run with its result and its provenance."""

    run: Task
    result: dict[str, Any]
    provenance: dict[str, Any]


def results(
    plan_name: str,
    edition: str = "digits",
    store: Store | None = None,
    *,
    checkpoint: str = "last",
    broken: str = "any",
) -> Results:
    """The finished runs of a plan: for every method all seeds, from 0 on, of which every fold is done.

    `checkpoint` says which weights count (CHECKPOINTS), `broken` which images do under attack (BROKEN); both hold for
    all that is asked of the results. Raises UserError for an unknown plan, edition, checkpoint or `broken`, and for a
    damaged record.
    """
    store = store or default_store()
    place = plan.place(plan_name, edition)
    records: dict[str, list[list[Record]]] = {}
    for method in plan.methods(plan_name):
        records[method] = []
        while True:
            runs = _runs(place, plan_name, method, seed=len(records[method]))
            if not all(store.done(run.key) for run in runs):
                break
            folds = [Record(run, store.result(run.key) or {}, store.provenance(run.key)) for run in runs]
            records[method].append(folds)
    return Results(plan_name, edition, place, records, checkpoint, broken)


def results_if_any(plan_name: str, edition: str, store: Store | None = None, *, broken: str = "any") -> Results | None:
    """`results`, or None where the edition does not have the plan by design."""
    return results(plan_name, edition, store, broken=broken) if plan_name in plan.plans(edition) else None


def fingerprint(editions: list[str], store: Store | None = None) -> str:
    """A hash over all records of these editions: changes when one comes, goes or is made again."""
    store = store or default_store()
    found = hashlib.sha256()
    for edition in editions:
        seen, seeds = 0, 0
        while seeds == 0 or seen:
            seeds, seen = seeds + 1, 0
            for run in plan.runs(plan.ALL, edition, seeds):
                if run.seed == seeds - 1 and store.done(run.key):
                    seen += 1
                    for name in ("result.json", "provenance.json"):
                        path = store.find(run.key, name)
                        found.update(path.read_bytes() if path else b"")
    return found.hexdigest()


def _runs(edition: Edition, plan_name: str, method: str, seed: int) -> list[Task]:
    return [plan.run(edition.name, method, fold, seed) for fold in range(plan.folds(edition, plan_name, method))]


@dataclass(frozen=True, eq=False)
class Results:
    """The records of a plan, by method; each entry holds the seeds, each seed its folds.

    `edition` is where the plan runs: the one asked for, or its variant for what the appendix repeats.
    """

    plan: str
    asked: str
    edition: Edition
    records: dict[str, list[list[Record]]]
    checkpoint: str = "last"
    broken: str = "any"

    def __post_init__(self) -> None:
        for name, value, known in (("checkpoint", self.checkpoint, CHECKPOINTS), ("verdict", self.broken, BROKEN)):
            if value not in known:  # `broken` is what the command line calls the verdict
                raise UserError(f"unknown {name} '{value}'; known: {', '.join(known)}")

    def under(self, checkpoint: str = "last", broken: str = "any") -> Results:
        """The same records, read with other weights or another meaning of broken."""
        return replace(self, checkpoint=checkpoint, broken=broken)

    @cached_property
    def present(self) -> list[str]:
        """Methods with at least one whole seed."""
        return [method for method, seeds in self.records.items() if seeds]

    @cached_property
    def missing(self) -> list[str]:
        """Methods that nobody has run yet."""
        return [method for method, seeds in self.records.items() if not seeds]

    @property
    def command(self) -> str:
        """What makes the missing runs."""
        return f"frl run {self.plan} --edition {self.asked}"

    @cached_property
    def classes(self) -> list[str]:
        return list(self._first.result["classes"])

    @cached_property
    def labels(self) -> np.ndarray:
        """True classes `(N,)` of the pooled test examples, in the order of the data set."""
        return self._pooled(self.present[0], "label", "last")[0]

    @property
    def _first(self) -> Record:
        if not self.present:
            raise UserError(f"no finished run to show; make them with: {self.command}")
        return self.records[self.present[0]][0][0]

    def seeds(self, *methods: str) -> int:
        """How many seeds all of these methods have."""
        return min(len(self.records[method]) for method in methods)

    def predictions(self, method: str, name: str) -> np.ndarray:
        """Classes `(S, N)`: `name` is "label", "clean", "any" or "last" (the first wrong and the last under attack)."""
        return self._pooled(method, name, self.checkpoint)

    def _pooled(self, method: str, name: str, checkpoint: str) -> np.ndarray:
        rows = []
        if averaged(method):
            checkpoint = AVERAGE
        for folds in self.records[method]:
            parts = [record.result["outcomes"][checkpoint] for record in folds]
            order = np.argsort(np.concatenate([part["index"] for part in parts]))
            rows.append(np.concatenate([part[name] for part in parts])[order])
        if not rows:
            raise UserError(f"'{method}' has no finished run on {self.edition.name}; make it with: {self.command}")
        return np.stack(rows)

    def wrong(self, method: str, kind: str) -> np.ndarray:
        """Which examples count as an error of this kind, `(S, N) bool`."""
        clean, attacked = (self.predictions(method, name) for name in ("clean", self.broken))
        return classwise.wrong(self.labels, clean, attacked, kind)

    def errors(self, method: str) -> ClassErrors:
        """Class-wise errors, seeds averaged."""
        clean, attacked = (self.predictions(method, name) for name in ("clean", self.broken))
        return ClassErrors.from_predictions(self.labels, clean, attacked, len(self.classes))

    def history(self, method: str) -> pd.DataFrame:
        """What validation said and the policy answered: one row per seed, fold, epoch and class (fractions)."""
        rows = []
        for seed, folds in enumerate(self.records[method]):
            for fold, record in enumerate(folds):
                for entry in record.result["history"]:
                    columns = {kind: entry["validation"][kind] for kind in KINDS}
                    columns |= entry.get("policy", {}) | entry.get("settings", {})
                    frame = pd.DataFrame({"class": self.classes, **columns})
                    rows.append(frame.assign(seed=seed, fold=fold, epoch=entry["epoch"]))
        return pd.concat(rows, ignore_index=True)

    def runs(self, *methods: str) -> pd.DataFrame:
        """Provenance: one row per run."""
        rows = []
        for method in methods or self.present:
            for folds in self.records[method]:
                for record in folds:
                    made = record.provenance
                    speed = made.get("training_images_per_second")
                    rows.append(
                        {
                            "method": plan.label(method), "seed": record.run.seed, "fold": record.run.fold,
                            "key": record.run.key[:12], "seconds": made.get("seconds"),
                            "images/s": round(speed) if speed else None,
                            **{name: made.get(name) for name in ("device", "threads", "torch", "commit", "finished")},
                        }
                    )  # fmt: skip
        return pd.DataFrame(rows)


def tidy(found: Results) -> pd.DataFrame:
    """Every error of every method in percent with a 95% interval, beside the paper's number where it prints one.

    One row per method, kind of error and statistic ("average" and "worst" over the classes, or one class; where the
    classes differ in size also "average_examples", the average over images). The intervals
    are those of `frlcore.intervals`. The paper's class-wise numbers (Table 4) stand only beside the same classes.
    """
    rows = []
    for method in found.present:
        errors = found.errors(method)
        shared = {"method": method, "label": plan.label(method), "seeds": found.seeds(method)}
        for kind in KINDS:
            wrong = found.wrong(method, kind)
            worst, maximum = errors.worst(kind)
            summaries = {"average": errors.average(kind), "worst": maximum}
            if errors.n.max() > UNEQUAL * errors.n.min():
                summaries["average_examples"] = errors.average_examples(kind)
            for statistic, value in summaries.items():
                low, high = summary_interval(found.labels, wrong, statistic)
                name = found.classes[worst] if statistic == "worst" else ""
                rows.append(shared | {"error": kind, "statistic": statistic, "class": name, "n": len(found.labels),
                                      "value": value, "low": low, "high": high})  # fmt: skip
            values = getattr(errors, kind)
            lows, highs = interval(values * errors.n, errors.n)
            for name, n, value, low, high in zip(found.classes, errors.n, values, lows, highs, strict=True):
                rows.append(shared | {"error": kind, "statistic": "class", "class": name, "n": int(n),
                                      "value": value, "low": low, "high": high})  # fmt: skip
    frame = pd.DataFrame(rows)
    if not frame.empty:
        frame[["value", "low", "high"]] *= 100
        frame["paper"] = [_paper(found, row) for row in frame.to_dict("records")]
    return frame


def _paper(found: Results, row: dict[str, Any]) -> float:
    """The number the paper prints for this row, or NaN."""
    nothing = float("nan")
    if row["statistic"] in STATISTICS and found.edition.fairness_table:
        column = printed.COLUMNS[row["statistic"], row["error"]]
        return printed.row(found.edition.fairness_table, row["label"]).get(column, nothing)
    if row["statistic"] == "class" and found.edition.classwise_table and row["error"] in printed.BLOCKS:
        block = printed.BLOCKS[row["error"]]
        values = list(printed.row(found.edition.classwise_table, row["label"], block).values())  # in the data's order
        return values[found.classes.index(row["class"])] if values else nothing
    return nothing
