"""Claims as tests, statements as verdicts, on records whose errors are known class by class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from frlcore.errors import UserError
from frlcore.repro.book import notebook, page
from frlcore.repro.paper import claims, plan, theirs, verdict_pages, verdicts
from frlcore.repro.paper import records as report
from frlcore.repro.paper.claims import Claim, Number
from frlcore.repro.paper.statements import STATEMENTS, Statement
from frlcore.settings import info

N = 100  # images of a class
Errors = tuple[list[int], list[int]]  # standard and robust errors of every class, in percent
FLAT: Errors = ([10] * 10, [50] * 10)


def record(edition: str, method: str, errors: Errors, ranks: list[float] | None = None) -> report.Record:
    """A finished run in which the first images of every class are wrong."""
    ed = plan.edition(edition)
    label, place = np.repeat(np.arange(10), N), np.tile(np.arange(N), 10)
    wrong = [place < np.repeat(percent, N) for percent in errors]
    clean, broken = (np.where(w, (label + 1) % 10, label) for w in wrong)
    arrays = {"label": label, "index": np.arange(len(label)), "clean": clean, "any": broken, "last": broken}
    arrays |= {"autoattack": broken, "certified": clean, "radius": np.where(wrong[1], 0.1, 1.0)}
    values = [0.0] * 10 if ranks is None else ranks
    history = [{"epoch": e, "validation": dict.fromkeys(report.KINDS, v)} for e, v in ((0, values[::-1]), (1, values))]
    result = {"classes": list(info(ed.dataset).classes), "history": history,
              "outcomes": dict.fromkeys(report.CHECKPOINTS, arrays)}  # fmt: skip
    return report.Record(plan.run(edition, method), result, {})


def found(name: str, edition: str, errors: dict[str, Errors], ranks: list[float] | None = None) -> report.Results:
    ed = plan.place(name, edition)
    records = {m: [[record(ed.name, m, errors[m], ranks)]] if m in errors else [] for m in plan.methods(name)}
    return report.Results(name, edition, ed, records)


Fake = Callable[[dict[str, Errors]], None]


@pytest.fixture
def invent(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Let every plan find these errors for these methods, and nothing for others; validation ranks classes 0 to 9."""

    def use(errors: dict[str, Errors]) -> None:
        def results(name: str, edition: str, store: object = None, **how: str) -> report.Results:
            return found(name, edition, errors, [c / 10 for c in range(10)])

        monkeypatch.setattr(verdicts, "results", results)
        monkeypatch.setattr(claims, "results", results)

    return use


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["holds", "holds"], "reproduced"),
        (["holds", "near", "near"], "reproduced"),
        (["holds", "near", "far"], "direction only"),
        (["holds", "near or far"], "direction only"),
        (["holds", "contradicted", "near"], "mixed"),
        (["holds", "contradicted", "cannot tell at this resolution"], "mixed"),
        (["contradicted", "near"], "not reproduced"),
        (["holds", "cannot tell at this resolution"], "partly"),
        (["contradicted", "cannot tell at this resolution"], "not reproduced"),
        (["cannot tell at this resolution"], "cannot tell at this resolution"),
        (["holds", "not yet run"], "not yet run"),
    ],
)
def test_a_statement_is_no_better_than_its_tests(outcomes: list[str], verdict: str) -> None:
    assert verdicts.conclude(outcomes) == verdict


def test_every_verdict_comes_from_records(invent: Fake) -> None:
    peak: Errors = ([10] * 9 + [40], [50] * 9 + [90])
    invent({"natural": FLAT, "pgd": peak, "frl-reweight-0.05": FLAT})
    lower = Claim("", "", "frl-reweight-0.05", "pgd", "worst", "robust")
    higher = Claim("", "", "frl-reweight-0.05", "pgd", "worst", "robust", "higher")
    same = Claim("", "", "frl-reweight-0.05", "frl-reweight-0.05", "worst", "robust")
    gone = Claim("", "", "trades-6", "pgd", "worst", "robust")
    made = [
        Statement("a", "reproduced", "table2", (lower,)),
        Statement("a", "mixed", "table2", (lower, higher, same)),
        Statement("b", "not reproduced", "table2", (higher, same)),
        Statement("b", "cannot tell at this resolution", "table2", (same,)),
        Statement("c", "not yet run", "table2", (lower, gone)),
        Statement("c", "not yet run", "figure3", group="weight"),
        Statement("d", "not in this edition", "table7", (lower,)),
        Statement("d", "see the theory", page="{ref}`x`"),
    ]
    frame, tests = verdicts.judge("laptop", made)
    assert frame.verdict.tolist() == frame.claim.tolist()
    assert frame[["for", "against", "open"]].to_numpy().tolist()[:4] == [[1, 0, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1]]
    assert frame["clear for"].tolist()[:3] == [1, 1, 0]
    assert frame["clear against"].tolist()[:3] == [0, 1, 1]  # contradictions count like confirmations
    assert frame.command.tolist()[4:] == [
        "frl run table2 --edition laptop", "frl run figure3 --edition laptop", "", "",
    ]  # fmt: skip
    assert len(tests) == 10 and tests.difference.notna().sum() == 8
    judged = {"laptop": (frame, tests)}
    title = plan.edition("laptop").title
    words = verdict_pages.verdicts_in_words(judged)
    assert words.startswith(f"* **{title}**: 8 claims of the paper: 1 reproduced, 1 mixed, 1 not reproduced")
    shown = verdict_pages.shown(judged)
    assert shown[title].tolist()[5:7] == ["not yet run", "not in this edition"]
    assert shown.iloc[4, 0] == "**5** not yet run <small>(c)</small>"
    assert shown[title].iloc[1] == "**mixed**<br>1 for (1 clear), 1 against (1 clear), 1 open"
    assert shown[title].iloc[-1] == "**see the theory**: {ref}`x`"
    assert verdict_pages.commands(judged).splitlines()[0] == "* `frl run table2 --edition laptop`: 5"
    assert isinstance(verdict_pages.squares(judged), Figure)
    lines = verdict_pages.shown_tests(judged, ("a", "c"))[title].tolist()
    assert lines[0].startswith("**holds**, p = 0.0") and "<br>-40.0 <small>[-" in lines[0]
    assert lines[0].endswith(" · paper -9.4</small>")  # Table 2: 73.3 - 82.7
    assert lines[-1] == "not yet run"


def test_claims_are_judged_side_by_side_where_there_is_something_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    worse: Errors = ([10] * 9 + [40], [50] * 9 + [90])
    there = {"laptop": {"pgd": worse, "control": FLAT}, "digits": {"pgd": FLAT, "control": worse}, "cifar10": {}}
    monkeypatch.setattr(verdicts, "results", lambda name, edition, *_, **how: found(name, edition, there[edition]))
    lower = Claim("", "", "control", "pgd", "worst", "robust")
    monkeypatch.setattr(verdicts, "STATEMENTS", [Statement("a", "it falls", "table2", (lower,))])
    judged = verdicts.everywhere(["cifar10", "laptop", "digits"])
    assert list(judged) == ["laptop", "digits"]  # the paper's data first, where they have been run
    laptop, digits = (plan.edition(name).title for name in judged)
    shown = verdict_pages.shown(judged).iloc[0]
    assert shown[laptop].startswith("**reproduced**") and shown[digits].startswith("**not reproduced**")
    lines = verdict_pages.shown_tests(judged, ["a"])
    assert lines.columns.tolist() == [laptop, digits] and len(lines) == 1  # one test, two columns
    assert "-40.0" in lines[laptop].item() and "+40.0" in lines[digits].item()
    assert list(verdicts.everywhere(["cifar10"])) == ["cifar10"]  # nothing to judge anywhere: all wait


def test_holm_is_taken_over_all_tests(invent: Fake) -> None:
    invent({"pgd": FLAT, "frl-reweight-0.05": ([10] * 10, [50] * 9 + [36])})
    nearly = Claim("", "", "frl-reweight-0.05", "pgd", "average", "robust", beyond=0.6)
    frame, tests = verdicts.judge("laptop", [Statement("a", "x", "table2", (nearly,) * 40)])
    assert tests.p.max() < 0.05 < tests.p_holm.min()
    assert frame["for"].item() == 40 and frame["clear for"].item() == 0  # each holds by itself, none is clear


def test_contrasts_take_the_classes_that_validation_ranks(invent: Fake) -> None:
    falling = list(range(50, 0, -5))  # the test images say the opposite of validation
    errors: Errors = (falling, [2 * e for e in falling])
    invent({"natural": FLAT, "pgd": errors})
    digits = found("figure1", "digits", {"natural": FLAT, "pgd": errors})
    assert claims.classes(digits, "spread") == (("9",), ("0",))
    assert claims.classes(digits, "hard") == (("9", "8"), ("0", "1"))
    tests = [Claim("", "", "pgd", "", s, "standard", "higher") for s in ("spread", "hard")]
    tests.append(Claim("", "", "pgd", "natural", "hard", "robust", "higher"))
    judged = claims.compare(digits, tests)
    assert judged.difference.tolist() == pytest.approx([-45, -40, -80]) and set(judged.verdict) == {"contradicted"}


def test_the_paper_names_the_classes_of_its_data(invent: Fake) -> None:
    invent({"pgd": FLAT})
    standard = [0] * 10
    standard[3], standard[1] = 40, 10  # cat, automobile
    cifar = found("figure1", "cifar10", {"pgd": (standard, standard)})
    assert claims.classes(cifar, "hard") == (("cat", "dog"), ("automobile", "ship"))
    judged = claims.compare(cifar, [Claim("", "", "pgd", "", "spread", "standard", "higher", 14)])
    assert judged.difference.item() == pytest.approx(30) and judged.verdict.item() == "holds"


def test_without_the_training_that_ranks_the_classes_nothing_is_judged(invent: Fake) -> None:
    invent({"pgd": FLAT})
    judged = claims.compare(found("figure1", "digits", {"pgd": FLAT}), [Claim("", "", "pgd", "", "hard", "robust")])
    assert judged.verdict.tolist() == ["not yet run"]


def test_a_threshold_moves_the_test_and_not_the_interval() -> None:
    some = found("table2", "digits", {"pgd": FLAT, "control": ([14] * 10, [50] * 10)})
    tests = [Claim("", "", "control", "pgd", "average", "standard", "higher", beyond) for beyond in (0, 4, 20, -20)]
    judged = claims.compare(some, tests)
    assert judged.difference.to_numpy() == pytest.approx(4) and judged.low.to_numpy() == pytest.approx(judged.low[0])
    assert judged.verdict.tolist() == ["holds", "cannot tell at this resolution", "contradicted", "holds"]
    assert judged.p[1] > 0.5 > judged.p[0]
    with pytest.raises(UserError, match="gap"):
        Claim("", "", "pgd", "natural", "gap", "robust", "higher", 5)


def test_an_interval_that_touches_the_threshold_cannot_tell() -> None:
    some = found("table2", "digits", {"pgd": FLAT, "control": ([10] * 10, [50] * 9 + [47])})
    judged = claims.compare(some, [Claim("", "", "control", "pgd", "average", "robust")])
    assert judged.high.item() == 0 and judged.verdict.item() == claims.OPEN


def test_an_error_lies_between_0_and_100_percent_whatever_the_threshold() -> None:
    some = found("table2", "digits", {"pgd": ([0] * 10, [0] * 10)})
    assert claims.compare(some, [Claim("", "", "pgd", "", "worst", "robust", "higher", 5)]).low.item() >= 0


def test_claims_of_the_paper_and_ours_are_counted_apart() -> None:
    some = found("table2", "laptop", {"pgd": FLAT, "control": FLAT})
    tests = [Claim(section, "x", "control", "pgd", "worst", "robust") for section in ("5", "ours", "ours")]
    said = claims.tests_in_words(claims.compare(some, tests))
    assert said.startswith("1 claims of the paper: ") and " 2 claims of ours: " in said


def test_checks_are_judged_like_attacks() -> None:
    strong = found("autoattack", "digits", {"pgd+autoattack": FLAT, "control+autoattack": ([10] * 10, [30] * 10)})
    claim = Claim("", "", "control+autoattack", "pgd+autoattack", "worst", "autoattack")
    assert claims.compare(strong, [claim]).difference.item() == pytest.approx(-20)
    certified = found("figure4", "cifar10", {"noise-0.25+certify": ([0] * 3 + [20] * 7, [0] * 3 + [60] * 7)})
    tests = [Claim("", "", "noise-0.25+certify", "", "hard", f"certified {r}", "higher") for r in (0, 0.5)]
    assert claims.compare(certified, tests).difference.tolist() == pytest.approx([10, 30])  # “car” is right, “ship” not


def test_a_number_is_near_in_its_band_and_far_when_the_whole_interval_is_outside(invent: Fake) -> None:
    invent({"pgd": FLAT, "control": ([14] * 10, [50] * 10)})
    some = found("table2", "digits", {"pgd": FLAT, "control": ([14] * 10, [50] * 10)})
    stated = [
        Number("control", "pgd", "average", "standard", (8, 12)),  # ours is 4, the band begins at 3
        Number("control", "pgd", "average", "standard", (9.5, 9.5)),  # 4.5: outside of it, and within the interval
        Number("control", "pgd", "average", "standard", (-20, -10)),
        Number("pgd", "", "average", "standard", (2, 12), 0),
        Number("trades-6", "", "average", "standard", (2, 12)),
    ]
    judged = claims.beside(some, stated)
    assert judged.difference.tolist()[:4] == pytest.approx([4, 4, 4, 10])
    assert judged.verdict.tolist() == ["near", "near or far", "far", "near", "not yet run"]


def test_a_claim_with_numbers_is_reproduced_only_by_numbers(invent: Fake) -> None:
    unequal: Errors = ([30] * 3 + [33] + [30] * 6, [80] * 10)
    standard, robust = [10] * 10, [50] * 10
    standard[3], standard[1], robust[3], robust[1] = 39, 4, 80, 35  # cat and automobile, near the paper's
    stated = [STATEMENTS[0]]
    assert "93% clean" in stated[0].text
    invent({"pgd": (standard, robust)})
    frame, tests = verdicts.judge("laptop", stated)
    assert frame.verdict.item() == "reproduced" and set(tests.verdict) == {"holds", "near"}
    assert frame.beside.item().startswith("easiest standard 4.0, paper 7; easiest robust 35.0, paper 33; hardest st")
    robust[1] = 5  # the disparity only grows, and the number is another
    invent({"pgd": (standard, robust)})
    frame, tests = verdicts.judge("laptop", stated)
    assert frame.verdict.item() == "direction only" and frame["for"].item() == 2
    shown = verdict_pages.shown_tests({"laptop": (frame, tests)}, ["Abstract"])
    assert shown.index[3] == "**1** robust error, easiest class: PGD Adv. Training: 33 in the paper, near within 5"
    assert shown.iloc[3, 0].startswith("**far**<br>+5.0 <small>[")
    invent({"pgd": unequal})
    assert verdicts.judge("laptop", stated)[0].verdict.item() == "not reproduced"


def test_the_papers_difference_stands_beside_ours() -> None:
    digits, wide, l2 = map(plan.edition, ("digits", "digits-wide", "digits-l2"))
    assert theirs.difference(digits, "frl-remargin-0.05", "pgd", "worst", "boundary") == pytest.approx(50.6 - 55.9)
    assert theirs.difference(digits, "trades-6", "pgd", "gap", "robust") == pytest.approx(77.6 - 49.3 - 82.7 + 56.4)
    # Table 2 has no natural training: both from the classes of Table 4
    assert theirs.difference(digits, "pgd", "natural", "average", "standard") == pytest.approx(16.19 - 5.77)
    assert theirs.difference(digits, "pgd", "natural", "hard", "standard") == pytest.approx(
        (34.8 + 26.9 - 6.1 - 6.4) / 2 - (11.3 + 10.0 - 1.8 - 3.5) / 2
    )
    assert theirs.difference(digits, "pgd", "", "spread", "robust") == pytest.approx(82.7 - 34.3)
    assert theirs.difference(wide, "pgd", "", "worst", "robust") == pytest.approx(78.8)  # Table 7
    nothing = [(digits, "control", "pgd", "worst", "robust"), (digits, "pgd", "control", "gap", "robust"),
               (l2, "pgd", "natural", "gap", "robust"), (digits, "pgd+autoattack", "", "worst", "autoattack"),
               (digits, "trades-6", "natural", "gap", "robust"),
               (digits, "pgd", "natural", "hard", "boundary")]  # fmt: skip
    assert all(np.isnan(theirs.difference(*one)) for one in nothing)


def test_the_strip_counts_the_papers_claims_in_the_readers_words(invent: Fake) -> None:
    peak: Errors = ([10] * 9 + [40], [50] * 9 + [90])
    invent({"natural": FLAT, "pgd": peak, "control": FLAT})
    holds = Claim("", "", "pgd", "natural", "worst", "robust", "higher")
    fails = Claim("", "", "pgd", "natural", "worst", "robust")
    made = [Statement("2", "a", "figure1", (holds,)), Statement("2", "b", "figure1", (holds, fails)),
            Statement("2", "c", "figure1", (holds,), (Number("pgd", "", "worst", "robust", (20, 20)),)),
            Statement("2", "d", "figure1", (fails,)), Statement("3", "e", page="{ref}`x`"),
            Statement("ours", "f", "table2", (Claim("", "", "control", "pgd", "worst", "robust"),))]  # fmt: skip
    strip = verdict_pages.strip({"laptop": verdicts.judge("laptop", made)})
    assert "</b>: 4 claims" in strip and strip.count("<span") == 3  # no empty parts
    assert 'style="flex-grow: 2"><b>2</b> partly or mixed' in strip and "<b>1</b> not reproduced" in strip


def test_statements_ask_for_runs_that_their_plans_have() -> None:
    assert len([one for one in STATEMENTS if one.section != "ours"]) >= 16
    for one in STATEMENTS:
        assert bool(one.plan) != bool(one.page) and bool(one.plan) == bool(one.tests or one.group), one.text
        named = {method for test in (*one.tests, *one.numbers) for method in (test.first, test.second) if method}
        assert not one.plan or named <= set(plan.methods(one.plan)), one.text
    sections = {one.section.split(".")[0] for one in STATEMENTS}
    assert sections == {"Abstract", "2", "3", "5", "A", "ours"}


def test_the_pages_of_the_theory_have_the_labels() -> None:
    known = set().union(*(page.labels(notebook.find(name)) for name in ("03", "A2", "A3")))
    pages = [one.page for one in STATEMENTS if one.page]
    assert pages and {page.split("`")[1].split("<")[-1].rstrip(">") for page in pages} <= known


def test_the_tests_of_other_pages_stand_among_the_statements() -> None:
    def key(test: Claim) -> tuple[object, ...]:
        return test.first, test.second, test.statistic, test.error, test.direction, test.beyond

    stated = {key(test) for one in STATEMENTS for test in one.tests}
    assert {key(test) for test in (*claims.SECTION_2, *claims.SECTION_5)} <= stated


def test_a_test_in_words() -> None:
    low = Claim("", "", "pgd", "natural", "worst", "robust", beyond=10)
    assert verdicts.describe(low) == "worst robust error: PGD Adv. Training − Natural Training < −10"
    high = Claim("", "", "pgd", "", "hard", "certified 0.5", "higher")
    assert verdicts.describe(high).startswith("error certified at ℓ2 radius 0.5, 2 hardest − 2 easiest classes: PGD")


@pytest.mark.parametrize("edition", ["cifar10", "laptop"])
def test_an_edition_without_records_asks_for_them(invent: Fake, edition: str) -> None:
    invent({})
    frame, tests = verdicts.judge(edition)
    assert set(frame.verdict) <= set(verdicts.VERDICTS[-3:]) and set(tests.verdict) == {"not yet run"}
    assert (frame.command != "").sum() == (frame.verdict == "not yet run").sum() > 16
    assert set(verdict_pages.shown_tests({edition: (frame, tests)}, ["5.2"]).iloc[:, 0]) == {"not yet run"}
    _, _, first = verdicts.chosen_classes(edition).splitlines()[0].partition(": ")
    assert first == ("“cat” against “automobile” (hardest − easiest class), “cat” and “dog” against “automobile” "
                          "and “ship” (2 hardest − 2 easiest classes).")  # fmt: skip
