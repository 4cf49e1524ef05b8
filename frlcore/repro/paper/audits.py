"""Audits that the book shows: a published one of a network of others, and those of our own records, in one form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO

import numpy as np
import pandas as pd

from frlcore.auditing import Audit
from frlcore.classwise import ClassErrors, Outcomes
from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.paper import outside, printed
from frlcore.repro.paper.records import Results, results_if_any
from frlcore.repro.paper.stronger import SUFFIX
from frlcore.repro.runs.store import Store

OTHERS = "pyautoattack_resnet18"  # the network's folder in data/outside
THEIRS = "pyautoattack's ResNet-18"
HARD, EASY = ("cat", "dog"), ("automobile", "ship")  # the paper's Table 1
PAIR = ("frl-reweight+remargin-0.05", "pgd")  # FRL, and what it started from


def published() -> Audit:
    """The audit of pyautoattack's ResNet-18 that `frl audit` left: PGD-20 on 100 test images of each class.

    Raises UserError without its files. How they were made says data/outside/README.md.
    """
    facts, rows = json.loads(_text("report.json")), _rows("predictions.csv")
    found = Outcomes(*(rows[name].to_numpy() for name in ("label", "clean", "attacked")))
    return Audit(tuple(facts["classes"]), found, facts["eps"], facts["norm"], facts["attack"], facts["seconds"],
                 facts["sha256"], tuple(facts["notes"]), model=facts["model_sha256"])  # fmt: skip


def clean() -> ClassErrors:
    """Standard errors of pyautoattack's ResNet-18 on all test images of CIFAR-10; no others are known of all."""
    rows = _rows("clean.csv")
    return ClassErrors.from_predictions(rows.label, rows.clean, rows.clean, 10)


def recorded(found: Results, method: str, checks: Results | None = None) -> Audit:
    """An audit of a method's records, first seed: what `frl audit` would find with its weights on the test images.

    With `checks`, the records of the plan "autoattack", on the images that AutoAttack tried, broken by either attack.
    """
    parts = ("label", "clean", found.broken, "index")
    label, clean, last, index = (found.predictions(method, name)[0] for name in parts)
    test, seconds = found.edition.test, float(found.runs(method).seconds.sum())
    attack, data = f"PGD-{test.steps}", found.edition.name
    if checks is not None:
        tried = np.searchsorted(index, checks.predictions(method + SUFFIX, "index")[0])
        label, clean, last = (part[tried] for part in (label, clean, last))
        last = np.where(last != label, last, checks.predictions(method + SUFFIX, "autoattack")[0])
        attack, data = f"{attack} and AutoAttack", f"{data}, {len(tried)} images"
    return Audit(tuple(found.classes), Outcomes(label, clean, last), test.eps, test.norm, attack, seconds, data)


def first(plan_name: str, editions: Sequence[str], *methods: str, store: Store | None = None) -> Results | None:
    """The records of the first of these editions that has all these methods; None when none has."""
    for name in editions:
        found = results_if_any(plan_name, name, store)
        if found is not None and set(methods) <= set(found.present):
            return found
    return None


def natural_errors(found: Results | None = None) -> pd.DataFrame:
    """Standard error in percent of every class without adversarial training, the paper's worst class first.

    Columns: "the paper" (Table 4), THEIRS with "low" and "high" of its exact interval, and "ours"
    where there are records of CIFAR-10.
    """
    row = pd.Series(printed.row(4, "Natural Training", printed.BLOCKS["standard"]))
    frame = row.rename(index=outside.NAMES).to_frame("the paper")
    classes, theirs = list(published().classes), clean()
    low, high = theirs.interval("standard")
    for name, values in ((THEIRS, theirs.standard), ("low", low), ("high", high)):
        frame[name] = pd.Series(100 * values, index=classes)
    if found is not None and set(found.classes) == set(classes) and "natural" in found.present:
        frame["ours"] = pd.Series(100 * found.errors("natural").standard, index=found.classes)
    return frame.rename_axis("class").sort_values("the paper", ascending=False, kind="stable")


def natural_in_words(frame: pd.DataFrame) -> str:
    """How far the orders of the classes agree."""
    others = [name for name in frame if name not in ("the paper", "low", "high")]
    rho = {name: float(frame[name].rank().corr(frame["the paper"].rank())) for name in others}
    said = " and ".join(f"{value:.2f} for {name}" for name, value in rho.items())
    firsts = {name: frame[name].idxmax() for name in frame if name not in ("low", "high")}
    same = len(set(firsts.values())) == 1
    worst = (
        f"the worst class is “{firsts['the paper']}” in every column" if same
        else "the worst class is " + ", ".join(f"“{worst}” for {name}" for name, worst in firsts.items())
    )  # fmt: skip
    return f"The rank correlation with the paper's order of the classes is {said}; {worst}."


def evidence() -> pd.DataFrame:
    """What models of others say on two claims of the paper: a row a claim, with numbers and a verdict.

    GF-Score's models: the paper's two hard classes are among the four weakest, and its two easy ones among the four
    strongest, in each of them. The naturally trained network: the exact interval of every class's standard error
    reaches into 7 ± 5%, and no image withstands the attack. "supports" where both halves hold, "partly" where one does.
    The models are neither independent of each other nor chosen by us.
    """
    hard, easy = (outside.among_four(names, weakest) for names, weakest in ((HARD, True), (EASY, False)))
    many, theirs, attacked = len(outside.scores()), clean(), published()
    (low, high), errors = theirs.interval("standard"), 100 * theirs.standard
    halves = [(hard == many, easy == many),
              (bool((low <= 0.12).all() and (high >= 0.02).all()), attacked.errors.robust.min() == 1)]  # fmt: skip
    rows = [
        ("2", f"Adversarial training leaves “{HARD[0]}” and “{HARD[1]}” hard, “{EASY[0]}” and “{EASY[1]}” easy.",
         f"{many} public l2-robust models (GF-Score): the hard ones are both among the four weakest classes in {hard}, "
         f"the easy ones both among the four strongest in {easy}."),
        ("2", "After natural training every class has about 7 ± 5% standard and 100% robust error.",
         f"{THEIRS}: standard errors from {errors.min():.1f} to {errors.max():.1f}% on 10,000 images, robust error "
         f"{100 * attacked.errors.average('robust'):.0f}% on {len(attacked.found.label):,}."),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["Section", "The paper says", "Models of others"])
    return frame.assign(Verdict=[("does not support", "partly", "supports")[sum(half)] for half in halves])


def _text(name: str) -> str:
    path = places.checkout("a published audit") / "data" / "outside" / OTHERS / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} is missing; run from a complete checkout of the repository") from error


def _rows(name: str) -> pd.DataFrame:
    return pd.read_csv(StringIO(_text(name))).astype(np.int64)
