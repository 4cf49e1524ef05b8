"""What counts for a verdict: tests added later only against it, and what is clear after the correction."""

from __future__ import annotations

import pytest
from test_claims import FLAT, Fake, found, invent  # noqa: F401 (a fixture)

from frlcore.repro.paper import claims, records, verdicts
from frlcore.repro.paper.claims import Claim
from frlcore.repro.paper.statements import Statement

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
