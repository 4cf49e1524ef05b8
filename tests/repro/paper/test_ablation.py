"""Section 5.3 on invented records: the errors of one class, the tests of the claim, and the plan of another class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from frlcore.errors import UserError
from frlcore.intervals import interval
from frlcore.repro.paper import ablation, figures, plan, records, tables
from frlcore.repro.paper.methods import names
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store
from frlcore.significance import mcnemar

DIGITS = plan.EDITIONS["digits"]
CLASSES, PER_CLASS, FOLDS = 10, 20, DIGITS.ablation_folds
N = PER_CLASS * FOLDS
TARGET = 8
KINDS = ["standard", "boundary", "robust"]


def write(store: Store, method: str, clean_wrong: int, broken: int, others: int = 6) -> None:
    """All folds of a digits run: class 8 has `clean_wrong` mistakes and `broken` more under attack, of 20 a fold.

    Of every other class `others` images break under attack. On validation class c has a robust error of c / 10 at the
    end, and the other way round before.
    """
    for fold in range(DIGITS.folds):
        run = plan.run("digits", method, fold)
        label = np.repeat(np.arange(CLASSES), PER_CLASS).astype(np.uint8)
        place, mine = np.tile(np.arange(PER_CLASS), CLASSES), label == TARGET
        other = (label + 1) % CLASSES
        clean = np.where(mine & (place < clean_wrong), other, label)
        attacked = np.where(place < np.where(mine, clean_wrong + broken, others), other, label)
        index = np.arange(len(label)) * DIGITS.folds + fold
        arrays = {"label": label, "clean": clean, "any": attacked, "last": clean, "index": index.astype(np.uint32)}
        one = {name: pack(np.asarray(a, np.uint32 if name == "index" else np.uint8)) for name, a in arrays.items()}
        by_class = np.arange(CLASSES) / 10
        history = [{"epoch": epoch, "validation": dict.fromkeys(KINDS, errors.tolist())}
                   for epoch, errors in enumerate([1 - by_class, by_class])]  # fmt: skip
        body = {"description": run.description, "classes": [str(c) for c in range(CLASSES)],
                "history": history, "outcomes": {"last": one, "selected": one}}  # fmt: skip
        store.finish(run.key, body, {"seconds": 1.0}, {})


WEIGHTS = {"weight-1.5": (3, 9), "weight-3.0": (5, 7), "weight-4.5": (7, 5)}  # robust error 12 of 20, as the control
MARGINS = {"margin-1.5": (2, 8), "margin-2.0": (2, 6), "margin-2.5": (2, 2)}


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", tmp_path / "published")


@pytest.fixture
def store(empty: Store) -> Store:
    """The paper's claim, drawn large: weights trade one error for the other, margins lower the boundary error."""
    write(empty, "pgd", 2, 10)
    write(empty, "control", 2, 10)
    for method, counts in (WEIGHTS | MARGINS).items():
        write(empty, method, *counts, others=6 if method in WEIGHTS else 8)
    return empty


@pytest.fixture
def found(store: Store) -> records.Results:
    return ablation.gather("digits", store=store)[0]


def cell(frame: pd.DataFrame, group: str, ratio: float, error: str) -> pd.Series:
    return frame[(frame.group == group) & (frame.ratio == ratio) & (frame.error == error)].iloc[0]


def test_numbers_are_those_of_the_class_by_hand(found: records.Results) -> None:
    frame = ablation.numbers(found, "8")
    assert len(frame) == 2 * 4 * 4 and set(frame["class"]) == {"8"}
    row = cell(frame, "weight", 3.0, "boundary")
    low, high = interval(7 * FOLDS, N)
    assert (row.value, row.low, row.high) == pytest.approx((35.0, 100 * low, 100 * high))
    assert cell(frame, "weight", 4.5, "robust").value == cell(frame, "margin", 1.0, "robust").value == pytest.approx(60)
    others = cell(frame, "margin", 2.5, ablation.OTHERS)
    assert others.value == pytest.approx(40) and others.low < 40 < others.high
    assert cell(frame, "weight", 1.0, ablation.OTHERS).value == pytest.approx(30)
    assert cell(ablation.numbers(found.under(broken="last"), "8"), "weight", 3.0, "boundary").value == 0


def test_the_table_shows_the_control_once(found: records.Results) -> None:
    shown = ablation.shown(ablation.numbers(found, "8"))
    assert shown.index.tolist() == ["Control (ratio 1)", "Weight × 1.5", "Weight × 3", "Weight × 4.5",
                                    "Margin × 1.5", "Margin × 2", "Margin × 2.5"]  # fmt: skip
    assert shown.loc["Weight × 4.5", "Standard"].startswith("35.0 <small>[")
    assert shown.columns[-1] == "Robust, other classes"


def test_what_the_others_pay_is_said_from_the_numbers(found: records.Results) -> None:
    words = ablation.others_in_words(ablation.numbers(found, "8"))
    assert words.endswith("is 30.0% in the control, 30.0% at weight × 4.5 and 40.0% at margin × 2.5.")


def test_the_claim_holds_where_it_was_built_in(found: records.Results) -> None:
    judged = ablation.effects(found, "8")
    assert judged.verdict.tolist() == ["holds"] * 6
    assert judged.difference.tolist() == pytest.approx([-25, 25, 0, -40, -40, 0])
    assert (judged.p[[0, 1, 3, 4]] < 0.01).all() and judged.p[2] == judged.p[5] == 1
    words = ablation.effects_in_words(judged)
    assert words.count("holds here") == 2 and "6 claims of the paper: 6 “holds”" in words
    control, heavy = (found.wrong(m, "boundary")[0, found.labels == TARGET] for m in ("control", "weight-4.5"))
    assert mcnemar(control, heavy) < 0.01  # the exact test of the same pairs agrees


def test_every_part_of_the_claim_can_be_contradicted(empty: Store) -> None:
    write(empty, "control", 9, 1)
    for method in names("weight", "margin"):  # weights: boundary error up, the others down; margins: all up
        write(empty, method, *((0, 6) if method.startswith("weight") else (14, 6)))
    found, target = ablation.gather("digits", store=empty)
    judged = ablation.effects(found, target)
    assert judged.difference.tolist() == pytest.approx([25, -45, -20, 25, 50, 25])
    assert judged.verdict.tolist() == ["contradicted"] * 6
    assert "contradicted here in several parts" in ablation.effects_in_words(judged)


def test_a_small_rise_is_neither_clear_nor_clearly_within_the_tolerance(empty: Store) -> None:
    """One image in twenty more is wrong without an attack: not clear of 0 after correction, and not below 5 points."""
    write(empty, "control", 2, 10)
    for method in names("weight", "margin"):
        write(empty, method, 3, 10)
    judged = ablation.effects(*ablation.gather("digits", store=empty))
    assert judged.difference.tolist() == pytest.approx([0, 5, 5, 0, 5, 5])
    unclear = "cannot tell at this resolution"
    assert judged.verdict.tolist() == [unclear, unclear, "holds", unclear, unclear, unclear]
    assert ablation.effects_in_words(judged).count("cannot be decided here") == 2


def test_slopes_are_least_squares_over_the_ratios(found: records.Results) -> None:
    frame = ablation.trend(found, "8").set_index(["group", "error"])
    by_hand = np.polyfit([1, 1.5, 3, 4.5], [10, 15, 25, 35], 1)[0]
    assert frame.slope["weight", "standard"] == pytest.approx(by_hand)
    assert frame.slope["margin", "boundary"] == pytest.approx(np.polyfit([1, 1.5, 2, 2.5], [50, 40, 30, 10], 1)[0])
    assert frame.slope["margin", "standard"] == 0 and frame.p["margin", "standard"] == 1
    assert frame.p["weight", "robust"] == 1 and frame.p["weight", "standard"] < 0.01
    shown = ablation.shown_tests(frame.reset_index(), "slope")
    assert list(shown.columns) == ["Group", "Error", "Slope", "p (Holm)"]


def test_the_hardest_class_is_chosen_on_validation_at_the_end(store: Store) -> None:
    ranked = ablation.hardest(records.results("figure1", "digits", store))
    assert ranked.index[0] == "9" and ranked["9"] == pytest.approx(0.9)
    assert ablation.choice_in_words(ranked, "9").startswith("“9” has the highest robust error of all classes")
    words = ablation.choice_in_words(ranked, "8")
    assert "“8” is number 2 of 10" in words and "hardest class is “9” (90.0%)" in words


def test_another_class_has_runs_of_its_own(store: Store) -> None:
    found, target = ablation.gather("digits", "3", store)
    assert (found.plan, target, found.present) == ("figure3:3", "3", ["control"])
    assert found.command == "frl run figure3:3 --edition digits"
    assert ablation.ratios(found, "margin") == {
        1.0: "control", 1.5: "margin-1.5:3", 2.0: "margin-2.0:3", 2.5: "margin-2.5:3",
    }  # fmt: skip
    assert plan.run("digits", "weight-3.0:3").policy_settings == {"weight": 3.0, "index": 3}
    assert plan.label("weight-3.0:3") == "weight × 3 for 3"
    keys = {name: {run.key for run in plan.runs(name, "digits")} for name in ("figure3", "figure3:8", "figure3:3")}
    assert keys["figure3"] == keys["figure3:8"]  # the edition's own class by name
    assert len(keys["figure3"] & keys["figure3:3"]) == 2 * FOLDS  # the PGD models and the controls
    assert ablation.gather("digits", "8", store)[0].plan == "figure3"


@pytest.mark.parametrize("name", ["figure3:zebra", "figure1:3", "figure3:"])
def test_a_class_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="zebra|unknown plan") as caught:
        plan.runs(name, "digits")
    assert "\n" not in str(caught.value)


def test_an_unknown_class_of_finished_runs_is_refused(found: records.Results) -> None:
    with pytest.raises(UserError, match="has no class '11'; it has: 0, 1"):
        ablation.numbers(found, "11")


def test_the_figure_has_a_panel_for_each_group_and_labels_on_its_lines(found: records.Results) -> None:
    fig = figures.ablation(ablation.numbers(found, "8"))
    assert isinstance(fig, Figure) and len(fig.axes) == 2
    for ax, ticks in zip(fig.axes, ([1, 1.5, 3, 4.5], [1, 1.5, 2, 2.5]), strict=True):
        assert ax.get_xticks().tolist() == ticks
        assert {text.get_text() for text in ax.texts} == set(KINDS)
    assert "“8”" in fig.axes[0].get_ylabel()
    heights = sorted(text.get_position()[1] for text in fig.axes[1].texts)
    assert np.diff(heights).min() >= 6 - 1e-9  # 10, 10 and 20 at the end: moved apart


@pytest.mark.parametrize("name", ["digits", "cifar10", "laptop", "svhn"])
def test_every_edition_of_the_book_has_its_class(name: str) -> None:
    run = plan.run(name, "margin-2.5")
    assert run.policy_settings["index"] == plan._class(plan.edition(name), plan.edition(name).ablation_class)


def test_the_ablation_runs_on_its_own_number_of_folds_and_says_so(store: Store) -> None:
    assert {run.fold for run in plan.runs("figure3", "digits")} == set(range(FOLDS))
    assert {run.fold for run in plan.runs("table2", "digits")} == set(range(DIGITS.folds))
    assert {run.fold for run in plan.runs("figure3", "laptop")} == {0}
    assert f"({FOLDS} of {DIGITS.folds} folds)" in tables.banner(ablation.gather("digits", store=store)[0]).data
