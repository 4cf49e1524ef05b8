"""What `frl show` prints of runs that a stronger attack or a certificate has tested."""

from __future__ import annotations

import pytest
from rich.console import Console
from test_claims import FLAT, Errors, found

from frlcore.repro.paper import terminal

HARD: Errors = ([10] * 9 + [40], [50] * 9 + [90])


def printed(plan: str, errors: dict[str, Errors]) -> str:
    some, console = found(plan, "laptop", errors), Console(width=100, record=True)
    console.print(terminal.terminal(some, terminal.tidy(some)))
    return console.export_text()


def test_autoattack_has_robust_errors_of_its_own() -> None:
    some = found("autoattack", "laptop", {"pgd+autoattack": HARD})
    frame = terminal.tidy(some)
    assert set(frame.error) == {"autoattack"} and len(frame) == 12  # average, worst and ten classes
    summary = frame.set_index("statistic").value
    assert summary["average"] == pytest.approx(54) and summary["worst"] == pytest.approx(90)
    text = printed("autoattack", {"pgd+autoattack": HARD})
    assert "robust error under AutoAttack, %" in text and "54.0 [" in text and "90.0 [" in text
    assert "Control (multipliers 0)" in text and "not yet run" in text  # the methods that wait


def test_certificates_have_an_error_by_radius() -> None:
    text = printed("figure4", {"noise-0.25+certify": HARD})
    assert "error certified 0, l2 radius" in text and "13.0 [" in text and "40.0 [" in text  # all answers count
    assert "error certified 0.5, l2 radius" in text and "54.0 [" in text and "90.0 [" in text


def test_a_plan_of_plain_runs_is_printed_as_before() -> None:
    assert "robust error, %" in printed("table2", {"pgd": FLAT}) and "AutoAttack" not in printed("table2", {})
    assert terminal.tidy(found("autoattack", "laptop", {})).empty
