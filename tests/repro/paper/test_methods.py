"""The table of methods: what a plan may name, and where an entry appears by itself."""

from __future__ import annotations

import pytest

from frlcore.errors import UserError
from frlcore.policies import POLICIES
from frlcore.repro.paper import plan
from frlcore.repro.paper.editions import Edition, edition
from frlcore.repro.paper.methods import METHODS, checked, label, names, parse


@pytest.mark.parametrize(
    ("text", "name", "target", "check", "words"),
    [
        ("pgd", "pgd", "", "", "PGD Adv. Training"),
        ("frl-reweight+remargin-0.05", "frl-reweight+remargin-0.05", "", "", "FRL(Reweight+Remargin, 0.05)"),
        ("frl-reweight+remargin-0.07-code", "frl-reweight+remargin-0.07-code", "", "",
         "FRL(Reweight+Remargin, 0.07) code"),
        ("frl-remargin-0.05+autoattack", "frl-remargin-0.05", "", "autoattack", "FRL(Remargin, 0.05), AutoAttack"),
        ("noise-0.5+certify", "noise-0.5", "", "certify", "Gaussian noise, σ = 0.5, certified"),
        ("weight-3.0:cat", "weight-3.0", "cat", "", "weight × 3 for cat"),
    ],
)  # fmt: skip
def test_what_a_plan_names(text: str, name: str, target: str, check: str, words: str) -> None:
    assert parse(text) == (METHODS[name], target, check) and label(text) == words


@pytest.mark.parametrize("text", ["frl", "pgd+", "pgd+certified", "", ":cat"])
def test_an_unknown_method_is_named(text: str) -> None:
    with pytest.raises(UserError, match="unknown method '.*'; known: natural, pgd, "):
        parse(text)


def test_families_and_settings_choose() -> None:
    assert names("frl", tau=0.05) == ("frl-reweight-0.05", "frl-remargin-0.05", "frl-reweight+remargin-0.05")
    assert names("baseline", "control") == ("baseline-reweight", "control") and names("frl", tau=0.06) == ()
    assert checked("autoattack") == tuple(f"{m}+autoattack" for m in ("pgd", "control", *names("frl", tau=0.05)))


def test_every_method_appears_where_its_family_does() -> None:
    """So that a new entry is in no plan by accident, nor left out of one."""
    assert {name for name, one in METHODS.items() if one.fair} == {*names("baseline", "frl"), *names("ours")}
    assert set(names("baseline", "control", "frl", "ours")) < set(plan.PLANS["table2"]) < set(plan.PLANS["overview"])
    everywhere = {parse(text)[0].name for texts in plan.PLANS.values() for text in texts}
    assert everywhere == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_fits_its_policy_and_the_editions(name: str) -> None:
    one = METHODS[name]
    fields = set(POLICIES[one.policy].__dataclass_fields__)
    assert set(one.settings) | set(one.of_edition) <= fields
    assert set(one.of_edition.values()) <= set(Edition.__dataclass_fields__)
    assert one.start is None or METHODS[one.start].start is None
    run = plan.run("digits", name)
    assert (run.start is None) == (one.start is None) and run.policy == one.policy
    assert run.training.epochs == (edition("digits").fine_tune if one.start else edition("digits").base).epochs
