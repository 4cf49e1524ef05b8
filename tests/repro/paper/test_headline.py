"""The first page: which edition leads, and two sentences whose numbers and verdicts are those of the records."""

from __future__ import annotations

import pytest
from test_claims import FLAT, Errors, found

from frlcore.repro.paper import headline, plan, tables
from frlcore.repro.paper.statements import BOTH, RW

UNEQUAL: Errors = ([10] * 9 + [40], [50] * 8 + [70, 90])  # standard average 13, robust average 56
BETTER: Errors = ([10] * 10, [50] * 8 + [60, 60])  # robust average 52


def test_the_first_page_shows_cifar10_as_soon_as_it_can_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, list[str]] = {"cifar10": ["pgd"], "laptop": ["natural", "pgd", "control"], "digits": []}
    monkeypatch.setattr(
        headline, "results", lambda name, edition, store=None: found(name, edition, dict.fromkeys(there[edition], FLAT))
    )
    everything = ["cifar10", "laptop", "digits"]
    assert headline.leading(everything) == "digits"  # no fair method, or no control: nothing to compare
    there["laptop"].append(RW)
    assert headline.leading(everything) == "laptop"
    there["cifar10"] += ["control", BOTH]
    assert headline.leading(everything) == "cifar10"
    assert headline.leading(["smoke"]) == "smoke"


def test_the_sentences_hold_the_numbers_of_the_records() -> None:
    nearly: Errors = ([10] * 10, [50] * 9 + [61])
    records = {"natural": ([10] * 10, [100] * 10), "pgd": UNEQUAL, "control": nearly, BOTH: BETTER}
    disparity, remedy = headline.sentences(found("overview", "laptop", records))
    assert disparity.startswith(
        "After PGD training the worst class has 40.0% standard error (“truck”; average 13.0%) and 90.0% robust error "
        "(“truck”; average 56.0%); against natural training its distance to the average differs by +27.0 points ["
    )
    assert "by +34.0 points [" in disparity and disparity.endswith("in robust error, as in the paper.")
    assert remedy.startswith(f"{plan.label(BOTH)} moves the worst class's robust error by −30.0 points [")
    assert "against PGD training, which speaks for the paper, and by −1.0 points [" in remedy  # 60 against 61
    assert "(the control), which is too close to call; on average it moves the robust error by −4.0 points [" in remedy


def test_the_sentences_say_what_goes_against_the_paper() -> None:
    records = {"natural": UNEQUAL, "pgd": FLAT, "control": FLAT, RW: UNEQUAL}  # the other way round in everything
    disparity, remedy = headline.sentences(found("overview", "laptop", records))
    assert "−27.0 points" in disparity and disparity.endswith("(in the paper both grow).")
    assert remedy.startswith(plan.label(RW)) and "+40.0 points" in remedy  # Reweight alone is all there is
    assert "which speaks against the paper" in remedy and "so the method itself does harm" in remedy


def test_with_few_records_the_first_page_says_less() -> None:
    few = found("overview", "laptop", {"pgd": UNEQUAL})
    (only,) = headline.sentences(few)
    assert only.endswith("90.0% robust error (“truck”; average 56.0%).")
    shown = headline.fairness(few)
    assert shown.index.tolist() == [plan.label("pgd")] and len(shown.columns) == 4  # rows that wait are left out
    assert shown.iloc[0, 3].startswith("**90.0** “truck”<small><br>[") and tables.PENDING not in shown.to_string()
