"""The first page: which edition leads, and sentences whose numbers and outcomes are those of the records."""

from __future__ import annotations

import pytest
from test_claims import FLAT, Errors, found

from frlcore.repro.paper import conclusion, headline, plan
from frlcore.repro.paper.statements import BOTH, RM, RW

UNEQUAL: Errors = ([10] * 9 + [40], [50] * 8 + [70, 90])  # standard average 13, robust average 56
BETTER: Errors = ([10] * 10, [50] * 8 + [60, 60])  # robust average 52
EVERYTHING = ["cifar10", "laptop", "digits"]
There = dict[str, dict[str, Errors]]


def use(monkeypatch: pytest.MonkeyPatch, there: There) -> None:
    def results(name: str, edition: str, store: object = None) -> object:
        return found(name, edition, there.get(edition, {}))

    monkeypatch.setattr(headline, "results", results)
    monkeypatch.setattr(headline, "trained_again", lambda found, method: None)  # of the real control


def test_the_first_page_shows_cifar10_as_soon_as_it_can_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    there: There = {"cifar10": {"pgd": FLAT}, "laptop": dict.fromkeys(["natural", "pgd", "control"], FLAT)}
    use(monkeypatch, there)
    assert headline.leading(EVERYTHING) == "digits"  # no fair method, or no control: nothing to compare
    there["laptop"][RW] = FLAT
    assert headline.leading(EVERYTHING) == "laptop"
    there["cifar10"] |= {"control": FLAT, BOTH: FLAT}
    assert headline.leading(EVERYTHING) == "cifar10"
    assert headline.leading(["smoke"]) == "smoke" and headline.leading(["laptop"]) == "laptop"


def test_the_answers_unfold_from_what_has_been_run(monkeypatch: pytest.MonkeyPatch) -> None:
    there: There = {}
    use(monkeypatch, there)
    assert headline.answers(EVERYTHING) == ([], [])
    there["digits"] = {"natural": FLAT, "pgd": UNEQUAL, "control": UNEQUAL, BOTH: BETTER}
    assert [len(part) for part in headline.answers(EVERYTHING)] == [3, 1]
    there["laptop"] = {"natural": ([10] * 10, [100] * 10)}
    (first, second, _), (_, waiting) = headline.answers(EVERYTHING)
    assert "On handwritten digits, not the paper's data, " in first and "On handwritten digits" in second
    assert waiting.startswith("**CIFAR-10 on two cores, so far.** After Natural Training 10.0% [")
    assert "`frl run overview --edition laptop`" in waiting
    there["laptop"]["pgd"] = UNEQUAL  # the first answer is the paper's data's, the others still wait
    (first, second, _), (_, waiting) = headline.answers(EVERYTHING)
    assert "On CIFAR-10 on two cores the attack breaks 56.0% [" in first and "On handwritten digits" in second
    assert "10.0%" not in waiting  # said above
    there["laptop"] |= {"control": UNEQUAL, BOTH: BETTER}
    assert "digits" not in str(headline.answers(EVERYTHING))


def test_disparity_goes_by_both_errors() -> None:
    said = conclusion.disparity(found("overview", "laptop", {"natural": ([10] * 10, [100] * 10), "pgd": UNEQUAL}))
    assert said.startswith("**Adversarial training leaves classes behind.** On CIFAR-10 on two cores the attack breaks")
    assert "90.0% [" in said and "(“truck”)" in said
    assert "changes by +34.0 points [" in said and "in robust and by +27.0 points [" in said
    assert "; paper +13.1]" in said  # Table 4: PGD 34.8 - 16.19, natural 11.3 - 5.77
    said = conclusion.disparity(found("overview", "laptop", {"natural": UNEQUAL, "pgd": FLAT}))
    assert said.startswith("**Adversarial training does not leave classes behind here.**")
    assert conclusion.disparity(found("overview", "laptop", {"pgd": UNEQUAL})).startswith("**After adversarial")


def test_the_remedy_is_held_against_the_control() -> None:
    some = found("overview", "laptop", {"pgd": UNEQUAL, "control": UNEQUAL, BOTH: BETTER})
    said = conclusion.remedy(some)
    assert "helps the worst class under the attack of these tests, by more than its own fine-tuning does.**" in said
    assert "chosen on validation" not in said and "(1 trained network each)." in said  # both checkpoints are the same
    assert f"{plan.label(BOTH)} changes the worst class's robust error by −30.0 points [" in said
    assert "; paper −13.2] against PGD training" in said and "AutoAttack" not in said
    strong = found("autoattack", "laptop", {"control+autoattack": UNEQUAL, f"{BOTH}+autoattack": BETTER})
    said = conclusion.remedy(some, strong)
    assert said.startswith("**Fair Robust Learning helps the worst class, by more than its own fine-tuning does.**")
    weak = found("autoattack", "laptop", {f"{name}+autoattack": FLAT for name in ("control", BOTH)})
    said = conclusion.remedy(some, weak)
    assert "but not surely with every choice" in said and "under AutoAttack by +0.0 points [" in said
    no_more = found("overview", "laptop", {"pgd": UNEQUAL, "control": BETTER, BOTH: BETTER})
    assert "but no more, as far as can be told, than its fine-tuning" in conclusion.remedy(no_more)
    harm = found("overview", "laptop", {"pgd": FLAT, "control": FLAT, RW: UNEQUAL})  # Reweight alone is all there is
    assert "harms the worst class" in conclusion.remedy(harm) and plan.label(RW) in conclusion.remedy(harm)


def test_gain_and_loss_are_told_class_by_class() -> None:
    other: Errors = ([10] * 10, [50] * 7 + [62, 60, 62])
    said = conclusion.turns(found("table2", "laptop", {"control": UNEQUAL, BOTH: other}))
    assert said.startswith("**The worst class is another one then.** It is “horse”, and the control's is “truck”. ")
    assert "below the control's in “truck” (−28.0), “ship” (−10.0) and clearly above it in “horse” (+12.0) (" in said
    few: Errors = (UNEQUAL[0], [50] * 8 + [70, 88])  # two images of a hundred
    said = conclusion.turns(found("table2", "laptop", {"control": UNEQUAL, BOTH: few}))
    assert said.startswith("**“truck” is the worst class of both.** In points, ")
    assert "below the control's in no class and clearly above it in no class (" in said


def test_the_price_is_what_rises_on_average() -> None:
    dear: Errors = ([30] * 10, [45] * 10)
    said = conclusion.price(found("overview", "laptop", {"pgd": ([10] * 10, [45] * 10), "control": FLAT, BOTH: dear}))
    assert said.startswith("**The price is standard error on average.**")
    assert "standard error changes by +20.0 points [" in said
    shared = {"pgd": ([10] * 10, [45] * 10), "control": dear, BOTH: dear}  # the fine-tuning costs it, not the method
    said = conclusion.price(found("table2", "laptop", shared))
    assert said.startswith("**The price is standard error on average, and the control pays it, too.**")
    own = {"pgd": UNEQUAL, "control": FLAT, BOTH: ([10] * 10, [54] * 10)}  # the fine-tuning gains more than the method
    said = conclusion.price(found("table2", "laptop", own))
    assert said.startswith("**Against the control, the price is robust error on average.**")
    none = {"pgd": UNEQUAL, "control": FLAT, BOTH: FLAT}
    said = conclusion.price(found("table2", "laptop", none))
    assert said.startswith("**Whether there is a price on average cannot be told.**")


def test_the_reasons_part_fine_tuning_and_method() -> None:
    dear: Errors = ([10] * 10, [70] * 10)  # the fine-tuning raises the boundary error from 40 to 60
    records = {"pgd": FLAT, "control": dear, RM: FLAT}
    fine_tuning, remargin = conclusion.reasons(found("table2", "laptop", records))
    assert "average boundary error by +20.0 points [" in fine_tuning
    assert remargin.startswith("**The fine-tuning raises the average boundary error, the larger radii lower it.**")
    assert "by −20.0 points [" in remargin
    _, _, parts = conclusion.reasons(found("table2", "laptop", records | {RW: dear, BOTH: FLAT}))
    assert "+0.0 points" in parts and "with both, each against the control" in parts
