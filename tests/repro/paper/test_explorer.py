"""The explorer's data: rows, pairs worked by hand, courses, and a page that carries them."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from frlcore.repro.paper import explorer
from frlcore.repro.runs.store import Store

FRL = "frl-reweight+remargin-0.05"


@pytest.fixture(scope="module")
def found(undisturbed: Store) -> dict[str, Any]:
    return explorer.payload(["smoke"], undisturbed)


def test_there_is_a_row_a_method_and_seed_with_its_runs(found: dict[str, Any]) -> None:
    assert [(row["method"], row["seed"], row["count"], row["tau"]) for row in found["runs"]] == [
        ("pgd", 0, 2, None), (FRL, 0, 2, 0.05),
    ]  # fmt: skip
    robust = found["runs"][0]["robust"]
    values = [value for value, _, _ in robust["classes"]]
    assert robust["worst"][0] == max(values) == values[int(robust["name"])]
    assert robust["average"][0] == pytest.approx(np.mean(values), abs=0.1)
    assert all(low <= value <= high for value, low, high in robust["classes"])


def test_a_pair_by_hand() -> None:
    wrong = {"a": [1, 1, 1, 0, 1, 0], "b": [0, 0, 0, 0, 0, 1]}
    stub: Any = SimpleNamespace(
        labels=np.array([0, 0, 0, 0, 1, 1]), classes=["x", "y"],
        wrong=lambda method, kind: np.array([wrong[method]], dtype=bool),
    )  # fmt: skip
    # class x: 3 against 0, p = 2 / 2**3 = 0.25, doubled by Holm; class y: 1 against 1
    assert explorer._pair(stub, "a", "b", "robust") == [[3, 0, 0.5], [1, 1, 1.0]]


def test_courses_are_of_policies_and_by_class_and_epoch(found: dict[str, Any]) -> None:
    ((title, courses),) = found["courses"].items()
    assert list(courses) == [FRL] and found["classes"][title][3] == "3"
    margin = courses[FRL]["margin"]
    assert len(margin) == 10 and {len(line) for line in margin} == {3}  # the start and two epochs
    assert set(courses[FRL]) <= set(found["quantities"])


def test_the_page_carries_its_data_whole(undisturbed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frlcore.repro.paper.records.default_store", lambda: undisturbed)
    shown = explorer.page(["smoke"]).data
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', shown, re.S)
    assert len(json.loads(text)["runs"]) == 2 and "2 rows, of 4 runs in all" in shown


def test_without_a_run_the_page_names_the_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frlcore.repro.paper.records.default_store", lambda: store)
    assert "frl run overview" in explorer.page(["smoke"]).data
