"""Sentences of the first page that one outcome decides, each on records in which that outcome alone is so."""

from __future__ import annotations

from dataclasses import replace

from test_claims import FLAT, Errors, found

from frlcore.repro.paper import claims, conclusion, records
from frlcore.repro.paper.again import trained_again
from frlcore.repro.paper.records import results
from frlcore.repro.paper.statements import BOTH, RM, RW

UNEQUAL: Errors = ([10] * 9 + [40], [50] * 8 + [70, 90])
BETTER: Errors = ([10] * 10, [50] * 8 + [60, 60])
DEAR: Errors = ([10] * 10, [70] * 10)


def overview(**errors: Errors) -> records.Results:
    return found("overview", "laptop", errors)


def test_a_disparity_in_one_error_alone_depends_on_the_error() -> None:
    assert "depends on the error" in conclusion.disparity(
        overview(natural=([10] * 9 + [40], [50] * 10), pgd=UNEQUAL)
    )


def test_to_be_worse_than_one_of_the_two_is_harm() -> None:
    for pgd, control in ((UNEQUAL, BETTER), (FLAT, UNEQUAL)):
        assert "harms the worst class" in conclusion.remedy(overview(pgd=pgd, control=control, **{BOTH: UNEQUAL}))


def test_a_lead_denies_neither_of_the_two_numbers_behind_it() -> None:
    between: Errors = ([10] * 10, [50] * 8 + [60, 75])
    for pgd, control, words in (
        (UNEQUAL, BETTER, "helps the worst class, but by less than its own fine-tuning does"),
        (BETTER, UNEQUAL, "harms the worst class here, but by less than its own fine-tuning does"),
        (between, UNEQUAL, "under the attack of these tests; whether it helps the worst class cannot be told"),
    ):
        said = conclusion.remedy(overview(pgd=pgd, control=control, **{BOTH: between}))
        assert said.startswith("**Fair Robust Learning ") and f"{words}.**" in said


def test_errors_that_fall_are_no_price() -> None:
    dearer: Errors = ([30] * 10, [70] * 10)
    said = conclusion.price(overview(pgd=dearer, control=dearer, **{BOTH: BETTER}))
    assert said.startswith("**There is no price on average: both errors fall.**")


def test_autoattack_on_fewer_images_is_said_to_be_so() -> None:
    some = overview(pgd=UNEQUAL, control=UNEQUAL, **{BOTH: BETTER})
    strong = found("autoattack", "laptop", {"control+autoattack": UNEQUAL, f"{BOTH}+autoattack": BETTER})
    assert "under AutoAttack by " in conclusion.remedy(some, strong)
    for seeds in strong.records.values():
        for folds in seeds:
            arrays = folds[0].result["outcomes"]["last"]
            for name, values in arrays.items():
                arrays[name] = values[::2]
    said = conclusion.remedy(some, replace(strong))
    change = "−30.0 points [−48.0, −12.0]"
    assert f"{change} on 500 of the images, where PGD-20 changes it by {change} (" in said


def test_a_gain_is_sure_only_where_every_comparison_with_the_control_is() -> None:
    assert "not surely" in conclusion._remedied(claims.HOLDS, [claims.HOLDS, claims.OPEN, claims.HOLDS], True)


def test_weights_that_validation_chose_are_compared_on_their_own_errors() -> None:
    some = overview(pgd=UNEQUAL, control=UNEQUAL, **{BOTH: BETTER})
    result = some.records[BOTH][0][0].result
    chosen = overview(**{BOTH: UNEQUAL}).records[BOTH][0][0].result["outcomes"]["last"]
    result["outcomes"] = {**result["outcomes"], "selected": chosen}
    said = conclusion.remedy(some)
    assert "with weights chosen on validation by +0.0 points" in said and "not surely" in said


def test_autoattack_is_compared_only_where_both_were_attacked() -> None:
    some = overview(pgd=UNEQUAL, control=UNEQUAL, **{BOTH: BETTER})
    assert "AutoAttack" not in conclusion.remedy(some, found("autoattack", "laptop", {f"{BOTH}+autoattack": BETTER}))


def test_the_control_is_not_blamed_for_a_price_of_frls_own() -> None:
    dearer = ([20] * 10, [45] * 10), ([30] * 10, [45] * 10)
    said = conclusion.price(overview(pgd=([10] * 10, [45] * 10), control=dearer[0], **{BOTH: dearer[1]}))
    assert said.startswith("**The price is standard error on average.**")


def test_turns_are_corrected_for_ten_classes_and_told_by_their_size() -> None:
    few: Errors = (UNEQUAL[0], [50] * 8 + [70, 85])  # p of 0.01, but of ten classes
    said = conclusion.turns(found("table2", "laptop", {"control": UNEQUAL, BOTH: few}))
    assert "below the control's in no class" in said
    up: Errors = (UNEQUAL[0], [62] + [50] * 6 + [80, 70, 90])
    said = conclusion.turns(found("table2", "laptop", {"control": UNEQUAL, BOTH: up}))
    assert "above it in “horse” (+30.0), “airplane” (+12.0)" in said


def test_radii_are_not_said_to_mend_what_the_fine_tuning_did_where_it_did_nothing() -> None:
    _, radii = conclusion.reasons(found("table2", "laptop", {"pgd": DEAR, "control": DEAR, RM: FLAT}))
    assert radii.startswith("**What the larger radii do")


def test_a_second_training_of_the_control_says_what_it_changes() -> None:
    once = overview(pgd=UNEQUAL, control=UNEQUAL, **{BOTH: BETTER})
    twice = overview(pgd=UNEQUAL, control=DEAR, **{BOTH: BETTER})
    for some, threads in ((once, 2), (twice, 1)):
        (record,) = some.records["control"][0]
        record.provenance["threads"] = threads
    assert "Trained again" not in conclusion.sureness(once)
    said = conclusion.sureness(once, twice)
    assert "with 1 thread in place of 2," in said and "has 70.0% [" in said and "in place of 90.0% [" in said
    assert "by −10.0 points [" in said and "against it in place of −30.0 points [" in said


def test_the_second_training_is_that_of_the_same_run() -> None:
    some = results("overview", "laptop")
    again = trained_again(some, "control")
    assert again is not None and trained_again(some, "pgd") is None
    (first,), (second,) = some.records["control"][0], again.records["control"][0]
    assert first.run == second.run and first.provenance["threads"] != second.provenance["threads"]
    assert (some.predictions("control", "any") != again.predictions("control", "any")).mean() < 0.1
    assert again.records[BOTH] == some.records[BOTH]
    assert trained_again(found("overview", "digits", {"control": FLAT}), "control") is None


def test_of_equal_methods_the_one_with_both_parts_speaks_for_frl() -> None:
    assert conclusion.best(found("table2", "laptop", {RW: FLAT, BOTH: FLAT})) == BOTH


def test_so_far_tells_the_standard_error_and_every_fold_is_a_network() -> None:
    assert "in the worst class 40.0% [" in conclusion.so_far(overview(natural=UNEQUAL))
    some = overview(**{BOTH: FLAT})
    some.records[BOTH] = [some.records[BOTH][0] * 2]  # two folds
    assert conclusion._networks(some, BOTH) == "2 trained networks"
