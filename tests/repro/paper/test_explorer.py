"""The explorer's data: rows, pairs worked by hand, courses, and a page that carries them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from frlcore.classwise import KINDS
from frlcore.intervals import summary_interval
from frlcore.repro.paper import explorer, plan
from frlcore.repro.paper.editions import Edition
from frlcore.repro.paper.records import Record, Results
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


def test_a_row_has_the_intervals_of_both_statistics_and_words_that_break(
    found: dict[str, Any], undisturbed: Store
) -> None:
    (everything,) = explorer._editions(["smoke"], undisturbed, "any")
    robust, wrong = found["runs"][0]["robust"], everything.wrong("pgd", "robust")[0]
    for statistic in ("average", "worst"):
        bounds = summary_interval(everything.labels, wrong, statistic)
        assert robust[statistic][1:] == [round(100 * bound, 1) for bound in bounds]
    assert [row["family"] for row in found["runs"]] == ["vanilla", "frl"]
    assert found["runs"][1]["label"] == "FRL(Reweight+\u200bRemargin, 0.05)"
    assert all(tuple(pair) == KINDS for pairs in found["pairs"].values() for pair in pairs.values())


def made(name: str, edition: Edition, bad: dict[str, list[list[int]]], broken: str) -> Results:
    """Of ten images of class y so many are wrong, by method, seed and fold; one fewer at the attack's last point."""

    def record(method: str, seed: int, fold: int, count: int) -> Record:
        label, place = np.repeat([0, 1], 10), np.arange(20)
        one = {"label": label, "clean": label, "index": 2 * place + fold,
               "any": label * (place < 20 - count), "last": label * (place < 21 - count)}  # fmt: skip
        history = [{"epoch": 0, "validation": {kind: [0.0, 0.0] for kind in KINDS}}]
        result = {"classes": ["x", "y"], "outcomes": {"last": one}, "history": history}
        return Record(plan.run("smoke", method, fold, seed), result, {})

    records = {
        method: [[record(method, seed, fold, n) for fold, n in enumerate(folds)] for seed, folds in enumerate(seeds)]
        for method, seeds in bad.items()
    }
    return Results(name, "smoke", edition, records, broken=broken)


def test_whole_runs_of_all_plans_and_variants_are_gathered_with_most_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ablation on one fold has other images, and a stronger test is no run."""
    smoke = plan.EDITIONS["smoke"]
    wide = replace(smoke, name="wide", title="Wide")
    asked: dict[str, tuple[Edition, dict[str, list[list[int]]]]] = {
        "first": (smoke, {"pgd": [[3, 4]], FRL: []}),
        "second": (smoke, {"pgd": [[3, 4], [5, 6]], "natural": [[1]], "pgd+autoattack": [[2, 2]]}),
        "third": (wide, {"pgd": [[7, 8]]}),
    }
    monkeypatch.setattr(plan, "plans", lambda edition: list(asked))
    monkeypatch.setattr(explorer, "results", lambda name, edition, store, *, broken: made(name, *asked[name], broken))
    rows = explorer.payload(["smoke"], broken="last")["runs"]
    assert [(row["edition"], row["method"], row["seed"], row["robust"]["worst"][0]) for row in rows] == [
        (smoke.title, "pgd", 0, 25.0), (smoke.title, "pgd", 1, 45.0), ("Wide", "pgd", 0, 65.0),
    ]  # fmt: skip
    assert [row["run"] for row in rows[:2]] == [plan.run("smoke", "pgd", 0, seed).key[:12] for seed in (0, 1)]


def test_a_pair_by_hand() -> None:
    wrong = {"a": [[1, 1, 1, 1, 1, 0], [0] * 6], "b": [[0, 0, 0, 0, 0, 1], [1] * 6]}  # the second seed does not count
    stub: Any = SimpleNamespace(
        labels=np.array([0, 0, 0, 0, 1, 1]), classes=["x", "y"],
        wrong=lambda method, kind: np.array(wrong[method], dtype=bool),
    )  # fmt: skip
    # class x: 4 against 0, p = 2 / 2**4 = 0.125, doubled by Holm; class y: 1 against 1
    assert explorer._pair(stub, "a", "b", "robust") == [[4, 0, 0.25], [1, 1, 1.0]]


def test_a_course_by_hand() -> None:
    """Errors in percent, multipliers as they are; means over two folds, in the data's order of classes."""
    history = pd.DataFrame({
        "epoch": [0] * 4 + [1] * 4, "fold": [0, 0, 1, 1] * 2, "class": ["y", "x"] * 4,
        "robust": [0.5, 0.1, 0.7, 0.1, 0.3, 0.2, 0.3, 0.2], "phi": [2.0, 1.0, 4.0, 1.0] + [np.nan] * 4,
        "margin": [1.0] * 8,
    })  # fmt: skip
    stub: Any = SimpleNamespace(classes=["x", "y"], history=lambda method: history)
    assert explorer._course(stub, "any") == {
        "robust": [[10.0, 20.0], [60.0, 30.0]], "phi": [[1.0, None], [3.0, None]],
    }  # fmt: skip


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


def test_no_word_of_a_run_ends_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"label": "</script><b>", "count": 1}
    monkeypatch.setattr(explorer, "payload", lambda editions: {"runs": [row]})
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', explorer.page(["smoke"]).data, re.S)
    assert json.loads(text)["runs"] == [row]


def test_without_a_run_the_page_names_the_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frlcore.repro.paper.records.default_store", lambda: store)
    assert "frl run overview" in explorer.page(["smoke"]).data
