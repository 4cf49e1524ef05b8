"""The table of methods: what a plan may name, and where an entry appears by itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from frlcore.errors import UserError
from frlcore.policies import POLICIES
from frlcore.repro.paper import plan
from frlcore.repro.paper.editions import Edition, edition
from frlcore.repro.paper.methods import METHODS, averaged, checked, label, names, parse
from frlcore.successors import PUBLISHED, scaled


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
        ("cfa+average", "cfa", "", "average", "CFA, averaged"),
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
    assert {name for name, one in METHODS.items() if one.fair} == {
        *names("baseline", "frl", "ours", "successor")
    }
    assert set(names("baseline", "control", "frl", "ours")) < set(plan.PLANS["table2"]) < set(plan.PLANS["overview"])
    everywhere = {parse(text)[0].name for texts in plan.PLANS.values() for text in texts}
    assert everywhere == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_fits_its_policy_and_the_editions(name: str) -> None:
    one = METHODS[name]
    fields = set(POLICIES[one.policy].__dataclass_fields__)
    assert set(one.settings) | set(one.of_edition) | set(scaled(one.policy, edition("digits").fine_tune)) <= fields
    assert set(one.of_edition.values()) <= set(Edition.__dataclass_fields__)
    assert one.start is None or METHODS[one.start].start is None
    run = plan.run("digits", name)
    assert (run.start is None) == (one.start is None) and run.policy == one.policy
    assert run.training.epochs == (edition("digits").fine_tune if one.start else edition("digits").base).epochs


def test_one_rule_takes_published_settings_to_another_length() -> None:
    """12 epochs of digits: CFA starts at 5% (0.6, so the first), DAFA at 64% (7.6); WAT's 0.1 over 100 sums to 10."""
    how = {name: plan.run("digits", name) for name in names("successor")}
    assert how["cfa"].policy_settings == {"beta": 1.5, "start": 1}
    assert how["dafa"].policy_settings == {"warm_up": 8}
    assert how["wat"].policy_settings == {"beta": 1.5, "eta": pytest.approx(10 / 12, abs=1e-6)}
    assert how["faal"].policy_settings == {}
    assert PUBLISHED["cfa"].at(200) == {"start": 10}
    # a decay of 0.85 an epoch over 200 epochs is one of 0.85^(200 / 12) over 12
    averages = {plan.run("digits", name).training.average for name, one in METHODS.items() if one.averaged}
    (memory,) = averages
    assert memory is not None and math.exp(-1 / memory) == pytest.approx(0.85 ** (200 / 12), rel=0.01)
    assert [how[name].training.gate for name in how] == [0.2, None, None, None]


def test_successors_differ_from_the_control_by_their_policy_and_average_alone() -> None:
    control = plan.run("digits", "control")
    for name in names("average", "successor"):
        run = plan.run("digits", name)
        assert replace(run.training, average=None, gate=None) == control.training and run.start == control.start
        assert run.test == control.test


def test_averaged_weights_are_of_the_same_run() -> None:
    assert plan.run("digits", "cfa+average") == plan.run("digits", "cfa")
    assert [averaged(name) for name in ("cfa", "cfa+average", "control", "control-average")] == [False, True] * 2
    with pytest.raises(UserError, match="'control' keeps no average; these do: control-average, .*cfa"):
        parse("control+average")
    assert len(plan.runs("successors", "digits")) == 5 * (1 + 4 + 6)  # PGD, control and FRL, and six more
