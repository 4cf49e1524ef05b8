"""What an audit found: predictions of every image, and the errors, intervals, tests and report that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frlcore.auditing import report
from frlcore.classwise import KINDS, ClassErrors, Outcomes
from frlcore.errors import UserError
from frlcore.intervals import paired_bootstrap, selection_bias, summary_interval
from frlcore.significance import holm, mcnemar

STATISTICS = {  # of the classes' errors, and what to call them
    "average": "average", "worst": "worst class", "gap": "worst class minus average", "range": "range",
    "std": "standard deviation", "gini": "Gini coefficient",
}  # fmt: skip
COMPARED = ("average", "worst", "gap")
LEVEL = 0.05  # of the tests


@dataclass(frozen=True)
class Example:
    """An image before and after the attack, uint8 (C, H, W), and what the model takes each for."""

    label: int
    before: np.ndarray
    after: np.ndarray
    clean: int
    adversarial: int


def numbers(classes: tuple[str, ...], found: Outcomes, level: float = 0.95) -> pd.DataFrame:
    """Errors of every class, with intervals of this `level`, and STATISTICS over the classes, in percent."""
    errors, rows = ClassErrors.from_predictions(found.label, found.clean, found.adversarial, len(classes)), []
    for kind in KINDS:
        for c, (low, high) in enumerate(zip(*errors.interval(kind, level), strict=True)):
            rows.append({"error": kind, "statistic": "class", "class": classes[c], "n": int(errors.n[c]),
                         "value": getattr(errors, kind)[c], "low": low, "high": high})  # fmt: skip
        for statistic in STATISTICS:
            low, high = summary_interval(found.label, found.wrong(kind), statistic)
            name = classes[errors.worst(kind)[0]] if statistic in ("worst", "gap") else ""
            rows.append({"error": kind, "statistic": statistic, "class": name, "n": len(found.label),
                         "value": errors.summary(kind, statistic), "low": low, "high": high})  # fmt: skip
    frame = pd.DataFrame(rows)
    frame[["value", "low", "high"]] *= 100
    return frame


@dataclass(frozen=True, eq=False)
class Audit:
    """What `audit` found: predictions of every image, and the errors, tests and tables that follow from them."""

    classes: tuple[str, ...]
    found: Outcomes
    eps: float
    norm: str
    attack: str  # in words: "PGD-20", "standard AutoAttack"
    seconds: float
    digest: str  # sha256 of images and labels
    notes: tuple[str, ...] = ()  # what a reader of the numbers has to know of the model
    examples: tuple[Example, ...] = ()  # images of the least and of the most robust class
    level: float = 0.95  # of every class's interval; above it where classes stopped early
    index: np.ndarray | None = None  # positions of the images, where not all that were given have been attacked
    model: str = ""  # sha256 of the model's weights and of what it takes some images for

    @property
    def errors(self) -> ClassErrors:
        """Errors of every class; broken means wrong at any point of the attack's path."""
        return ClassErrors.from_predictions(
            self.found.label, self.found.clean, self.found.adversarial, len(self.classes)
        )

    def wrong(self, kind: str) -> np.ndarray:
        """Which images count as an error of this kind, `(N,) bool`."""
        return self.found.wrong(kind)

    def worst(self, kind: str = "robust") -> tuple[str, float]:
        """The class with the largest error, and that error as a fraction."""
        position, error = self.errors.worst(kind)
        return self.classes[position], error

    def in_words(self) -> str:
        """The robust error, average and worst class, and how much of the latter is selection, in two sentences."""
        return report.verdict(self.frame(), selection_bias(self.found.label, self.wrong("robust")))

    def confusion(self) -> pd.DataFrame:
        """How many attacked images of each class (row) were taken for each class (column)."""
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(counts, (self.found.label, self.found.adversarial), 1)
        return pd.DataFrame(counts, index=pd.Index(self.classes, name="class"), columns=self.classes)

    def frame(self) -> pd.DataFrame:
        """Every number in percent with a 95% interval: see `intervals` for those of a class and of `STATISTICS`.

        The Gini coefficient is in percent, too: 0 where all classes fare alike, near 100 where one has all that is
        right.
        """
        return self._numbers.copy()

    @cached_property
    def _numbers(self) -> pd.DataFrame:
        return numbers(self.classes, self.found, self.level)

    def compare(self, other: Audit, kind: str = "robust") -> pd.DataFrame:
        """This model's errors minus the other's on the same images, in percent: a row a class, then average and worst.

        `p` of a class is McNemar's, exact, that of the average, the worst class and the gap the bootstrap's; each of
        the two groups is adjusted by Holm. `verdict` speaks of this model: "better" where `p` is below 0.05 and its
        error smaller, "worse", or "not distinguishable". The 95% intervals are each for itself. Raises UserError
        unless both audits attacked the same images in the same way.
        """
        for what in ("digest", "classes", "eps", "norm", "attack"):
            if getattr(self, what) != getattr(other, what):
                name = "images" if what == "digest" else what
                raise UserError(f"audits are compared on the same images under the same attack; their {name} differ")
        labels, mine, others = self.found.label, self.wrong(kind), other.wrong(kind)
        rows: list[dict[str, Any]] = []
        for c, name in enumerate(self.classes):
            of = labels == c
            found = paired_bootstrap(labels[of], mine[of], others[of], "average")
            rows.append({"statistic": "class", "class": name, "this": mine[of].mean(), "other": others[of].mean()}
                        | found._asdict() | {"p": mcnemar(mine[of], others[of])})  # fmt: skip
        for statistic in COMPARED:
            values = (each.errors.summary(kind, statistic) for each in (self, other))
            rows.append({"statistic": statistic, "class": ""} | dict(zip(("this", "other"), values, strict=True))
                        | paired_bootstrap(labels, mine, others, statistic)._asdict())  # fmt: skip
        frame, many = pd.DataFrame(rows), len(self.classes)
        frame["p"] = [*holm(frame.p[:many]), *holm(frame.p[many:])]
        frame["verdict"] = [_verdict(d, p) for d, p in zip(frame.difference, frame.p, strict=True)]
        frame[["this", "other", "difference", "low", "high"]] *= 100
        return frame

    def to_html(
        self, path: str | Path, *, title: str = "Audit", against: Audit | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Write the report, one page that needs no other file and no network; UserError when it cannot be written.

        With `against` it sets the other model beside this one; `settings` are shown at its end.
        """
        compared = {kind: self.compare(against, kind) for kind in ("robust", "standard")} if against else {}
        facts = dict(settings or {}) | {
            "attack": f"{self.attack}, {self.norm}, radius {self.eps:.5g} = {255 * self.eps:.3g}/255",
            "images": f"{len(self.found.label)}, sha256 with labels {self.digest}",
            "time": f"{self.seconds:.0f} s",
        }
        page = report.page(
            title, self.frame(), {name: words for name, words in STATISTICS.items()}, self.confusion(),
            bias=selection_bias(self.found.label, self.wrong("robust")), compared=compared, notes=self.notes,
            examples=self.examples, facts=facts,
        )  # fmt: skip
        from frlcore.saving import put  # with it torch, which reading an audit does without

        put(Path(path), page.encode())


def _verdict(difference: float, p: float) -> str:
    if p >= LEVEL:
        return "not distinguishable"
    return "better" if difference < 0 else "worse"
