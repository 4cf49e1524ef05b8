"""What counts for a verdict: tests added later only against it, and what is clear after the correction."""

from __future__ import annotations

import pytest
from test_claims import FLAT, Fake, found, invent  # noqa: F401 (a fixture)

from frlcore.repro.paper import claims, records, verdicts
from frlcore.repro.paper.claims import Claim
from frlcore.repro.paper.statements import BOTH, RM, STATEMENTS, Statement

LOWER = Claim("", "", "control", "pgd", "worst", "robust")


def test_added_tests_count_only_against(invent: Fake) -> None:  # noqa: F811
    invent({"pgd": ([10] * 9 + [40], [50] * 9 + [90]), "control": FLAT})
    same = Claim("", "", "pgd", "pgd", "worst", "robust")
    higher = Claim("", "", "control", "pgd", "worst", "robust", "higher")
    made = [Statement("a", "x", "table2", (same,), added=(LOWER,)),
            Statement("a", "x", "table2", (LOWER,), added=(higher,))]  # fmt: skip
    assert verdicts.judge("laptop", made)[0].verdict.tolist() == [claims.OPEN, "mixed"]


def test_a_contradiction_is_clear_only_after_the_correction(invent: Fake) -> None:  # noqa: F811
    invent({"pgd": FLAT, "frl-reweight-0.05": ([10] * 10, [50] * 9 + [36])})
    nearly = Claim("", "", "frl-reweight-0.05", "pgd", "average", "robust", "higher", beyond=-0.6)
    frame, _ = verdicts.judge("laptop", [Statement("a", "x", "table2", (nearly,) * 40)])
    assert frame["against"].item() == 40 and frame["clear against"].item() == 0


def test_records_are_asked_for_the_weights_and_the_verdict_that_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def results(name: str, edition: str, store: object = None, **how: str) -> records.Results:
        asked.append(how)
        return found(name, edition, {"pgd": FLAT, "control": FLAT})

    monkeypatch.setattr(verdicts, "results", results)
    verdicts.judge("laptop", [Statement("a", "x", "table2", (LOWER,))], "selected", "last")
    assert asked == [{"checkpoint": "selected", "broken": "last"}]


def test_numbers_name_the_methods_in_which_they_differ_and_leave_out_what_is_not_known(invent: Fake) -> None:  # noqa: F811
    (claim,) = (one for one in STATEMENTS if "around 70%" in one.text)
    invent({"pgd": ([10] * 10, [50] * 9 + [85]), BOTH: ([10] * 10, [50] * 9 + [72])})
    assert verdicts.judge("laptop", [claim])[0].beside.item() == (
        "worst robust 72.0, paper 70; worst robust −13.0 against PGD Adv. Training, paper −15 to −10"
    )
    (claim,) = (one for one in STATEMENTS if "costs 1 to 2 points" in one.text)
    invent({"pgd": FLAT, RM: ([11] * 10, [50] * 10), BOTH: ([13] * 10, [50] * 10)})
    assert verdicts.judge("laptop", [claim])[0].beside.item() == (
        "average standard +1.0 of FRL(Remargin, 0.05), paper 1 to 2; "
        "average standard +3.0 of FRL(Reweight+Remargin, 0.05), paper 1 to 2"
    )
