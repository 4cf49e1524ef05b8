"""The figures over the classes by hand, and the same as `frl audit` gives of the same predictions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from frlcore.auditing import Audit
from frlcore.classwise import ClassErrors, Outcomes
from frlcore.repro.paper import inequality


def test_the_figures_are_those_of_an_audit_and_known_by_hand() -> None:
    labels = np.repeat([0, 1, 2, 3], 10)
    attacked = np.where(np.tile(np.arange(10), 4) < np.repeat([0, 2, 4, 6], 10), 9, labels)  # errors of 0, 20, 40, 60%
    found = SimpleNamespace(
        present=["pgd"], labels=labels, seeds=lambda method: 1, wrong=lambda method, kind: (attacked != labels)[None],
        errors=lambda method: ClassErrors.from_predictions(labels, labels, attacked, 4),
    )  # fmt: skip
    frame = inequality.tidy(found).set_index("statistic")  # type: ignore[arg-type]
    by_hand = {"average": 30, "worst": 60, "gap": 30, "range": 60, "std": np.sqrt(500)}
    # shares without the error 1, 0.8, 0.6, 0.4: sum of |x - y| over 16 ordered pairs 4, over 2 * 16 * 0.7
    by_hand["gini"] = 100 * 4 / 22.4
    assert frame.value.to_dict() == pytest.approx(by_hand)
    audit = Audit(tuple("abcd"), Outcomes(labels, labels, attacked), 0.1, "linf", "PGD-20", 1.0, "")
    theirs = audit.frame().query("error == 'robust' and statistic != 'class'").set_index("statistic")
    assert frame[["value", "low", "high"]].equals(theirs.loc[frame.index, ["value", "low", "high"]])
    cells = inequality.shown(found)  # type: ignore[arg-type]
    assert cells.index.tolist() == ["PGD Adv. Training"] and "Gini coefficient" in cells
    assert cells["Worst class"].iloc[0].startswith("60.0 [")


def test_the_error_that_is_asked_for_is_the_one_that_is_shown() -> None:
    labels = np.repeat([0, 1], 10)
    clean, attacked = (np.where(np.arange(20) < k, 9, labels) for k in (2, 8))
    found = SimpleNamespace(
        present=["pgd"], labels=labels, seeds=lambda method: 3,
        wrong=lambda method, kind: ({"standard": clean, "robust": attacked}[kind] != labels)[None],
        errors=lambda method: ClassErrors.from_predictions(labels, clean, attacked, 2),
    )  # fmt: skip
    frame = inequality.tidy(found, "standard").set_index("statistic")  # type: ignore[arg-type]
    assert frame.value["worst"] == pytest.approx(20) and frame.high["worst"] < 60 and set(frame.seeds) == {3}
    assert inequality.shown(found, "standard")["Worst class"].iloc[0].startswith("20.0 [")  # type: ignore[arg-type]
