"""What our records say to the paper's claims: each statement's tests and numbers, and the verdict they give."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from frlcore.repro.paper import ablation, claims, plan
from frlcore.repro.paper.claims import AGAINST, HOLDS, OPEN, Claim, Number
from frlcore.repro.paper.methods import breakable
from frlcore.repro.paper.records import Results, results
from frlcore.repro.paper.statements import STATEMENTS, Statement
from frlcore.repro.runs.store import Store
from frlcore.significance import holm

Judged = dict[str, tuple[pd.DataFrame, pd.DataFrame]]  # what `judge` says, by the edition's name
VERDICTS = ("reproduced", "direction only", "partly", "mixed", "not reproduced", OPEN, "not yet run",
            "not in this edition", "see the theory")  # fmt: skip
HARD = {"spread": "hardest − easiest class", "hard": "2 hardest − 2 easiest classes"}
COLUMNS = ["number", "section", "test", "difference", "low", "high", "paper", "p", "p_holm", "verdict", "beside",
           "added"]  # fmt: skip


def describe(claim: Claim) -> str:
    """A test in words: the statistic, whose it is, and the side of the threshold that the claim needs."""
    higher = claim.direction == "higher"
    threshold = (claim.beyond if higher else -claim.beyond) + 0.0
    return f"{_compared(claim)} {'>' if higher else '<'} {threshold:g}".replace(" -", " −")


def describe_number(number: Number) -> str:
    """A number in words: the statistic, whose it is, what the paper gives, and how far off ours may be."""
    near = f", near within {number.reach:g}" if number.reach else ""
    return f"{_compared(number)}: {_range(number)} in the paper{near}"


def _range(number: Number) -> str:
    low, high = (f"{value:g}".replace("-", "−") for value in number.paper)
    return low if low == high else f"{low} to {high}"


def _beside(numbers: tuple[Number, ...], ours: Iterable[float]) -> list[str | None]:
    """Ours and the paper's in few words, with the methods in which the numbers differ; None where ours is not known."""
    firsts, seconds = ({getattr(number, name) for number in numbers} for name in ("first", "second"))
    said: list[str | None] = []
    for number, value in zip(numbers, ours, strict=True):
        whose = f" of {plan.label(number.first)}" * (len(firsts) > 1)
        whose += f" against {plan.label(number.second)}" if number.second and len(seconds) > 1 else ""
        shown = f"{value:{'+' if number.second else ''}.1f}".replace("-", "−") + whose
        text = f"{number.statistic} {number.error} {shown}, paper {_range(number)}"
        said.append(None if np.isnan(value) else text)
    return said


def _compared(test: Claim | Number) -> str:
    error = test.error.replace("certified ", "error certified at ℓ2 radius ").replace("autoattack", "robust")
    kind = error if error.startswith("error") else f"{error} error"
    statistic = {
        "worst": f"worst {kind}", "average": f"average {kind}", "gap": f"{kind}, worst class − average",
        **{name: f"{kind}, {name} class" for name in claims.ALONE},
        **{name: f"{kind}, {words}" for name, words in HARD.items()},
    }[test.statistic]  # fmt: skip
    methods = [breakable(plan.label(m)) for m in (test.first, test.second) if m]
    return f"{statistic}: {' − '.join(methods)}"


def conclude(outcomes: Iterable[str]) -> str:
    """The verdict on a statement from what its tests and its numbers say.

    Tests that hold and tests that are contradicted are "mixed", some that hold and some that cannot tell "partly".
    Where all hold it is "reproduced", but "direction only" if a number that the paper gives is not near. Where none
    holds, a single contradiction makes it "not reproduced".
    """
    found = set(outcomes)
    if "not yet run" in found:
        return "not yet run"
    if HOLDS not in found:
        return "not reproduced" if AGAINST in found else OPEN
    if AGAINST in found:
        return "mixed"
    if OPEN in found:
        return "partly"
    return "reproduced" if found <= {HOLDS, "near"} else "direction only"


def judge(
    edition: str,
    statements: Iterable[Statement] = STATEMENTS,
    checkpoint: str = "last",
    broken: str = "any",
    store: Store | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every statement with its verdict and counts of tests for, against and open; and every test with its numbers.

    p-values are adjusted over all tests of the edition (Holm); those of Section 5.3 come from `ablation.effects`,
    adjusted among themselves. A verdict goes by the 95% intervals; "clear for" and "clear against" count the tests that
    hold and that are contradicted adjusted, too. Tests "added" to a claim can only count against it. Numbers that the
    paper gives stand among the tests, without a p-value.
    """
    rows, tested, found = [], [], {}
    for number, one in enumerate(statements, start=1):
        row = {"number": number, "section": one.section, "claim": one.text, "page": one.page, "command": ""}
        if not one.plan or one.plan not in plan.plans(edition):
            rows.append(row | {"verdict": "not in this edition" if one.plan else "see the theory"})
            continue
        if one.plan not in found:
            found[one.plan] = results(one.plan, edition, store, checkpoint=checkpoint, broken=broken)
        judged = _judge(found[one.plan], one, store)
        tested.append(judged.assign(number=number, section=one.section))
        word = conclude(judged.verdict[~judged.added | (judged.verdict != HOLDS)])
        command = found[one.plan].command if word == "not yet run" else ""
        rows.append(row | {"verdict": word, "command": command})
    tests = pd.concat(tested, ignore_index=True)[COLUMNS]
    open_p = tests.p.notna()
    tests.loc[open_p, "p_holm"] = holm(tests.p[open_p])
    frame = pd.DataFrame(rows)
    holds, contradicted, clear = tests.verdict == HOLDS, tests.verdict == AGAINST, tests.p_holm < 0.05
    counts = {"for": holds, "against": contradicted, "clear for": holds & clear, "clear against": contradicted & clear,
              "open": tests.verdict == OPEN}  # fmt: skip
    said = tests[tests.beside.notna()].groupby("number").beside
    frame["beside"] = ["; ".join(said.get_group(n)) if n in said.groups else "" for n in frame.number]
    for name, chosen in counts.items():
        frame[name] = frame.number.map(tests[chosen].number.value_counts()).fillna(0).astype(int)
    return frame, tests


def _judge(found: Results, one: Statement, store: Store | None) -> pd.DataFrame:
    """The tests of one statement on its records, one row each; those of `ablation.effects` come adjusted."""
    if not one.group:
        tests = [*one.tests, *one.added]
        judged = claims.compare(found, tests, store).assign(test=[describe(claim) for claim in tests])
        judged["added"] = judged.index >= len(one.tests)
        if one.numbers:
            given = claims.beside(found, one.numbers, store).assign(test=[describe_number(n) for n in one.numbers])
            given["beside"] = _beside(one.numbers, given.difference)
            judged = pd.concat([judged, given.assign(added=False)])
        return judged.reindex(columns=COLUMNS)
    mine = [claim.group == one.group for claim in ablation.EFFECTS]
    if found.missing:
        missing = {"test": f"{one.group}: all tests", "verdict": "not yet run", "added": False}
        return pd.DataFrame([missing], columns=COLUMNS)
    judged = ablation.effects(found, found.edition.ablation_class)[mine]
    target = found.edition.ablation_class
    words = [f"class “{target}”: {text}" for text in judged.claim]
    return judged.assign(test=words, p_holm=judged.p, p=np.nan, added=False).reindex(columns=COLUMNS)


def everywhere(editions: Iterable[str], checkpoint: str = "last", broken: str = "any") -> Judged:
    """`judge` for every edition that can decide at least one statement, in their order, or for all if none can."""
    found = {name: judge(name, STATEMENTS, checkpoint, broken) for name in editions}
    return {name: both for name, both in found.items() if set(both[0].verdict) - set(VERDICTS[-3:])} or found


def chosen_classes(edition: str) -> str:
    """Which classes the contrasts of an edition's tests are between, by data set and network, as a Markdown list."""
    used: dict[str, dict[str, None]] = {}  # by edition, the statistics in order
    for one in STATEMENTS:
        if one.plan in plan.plans(edition):
            names = used.setdefault(plan.place(one.plan, edition).name, {})
            names |= dict.fromkeys(test.statistic for test in one.tests if test.statistic in HARD)
    lines = []
    for name, statistics in used.items():
        found, words = results("figure1", name), []
        for statistic in statistics:
            sides = claims.classes(found, statistic)
            groups = [" and ".join(f"“{c}”" for c in side) for side in sides or ()] or ["not known before the runs"]
            words.append(f"{' against '.join(groups)} ({HARD[statistic]})")
        lines += [f"* {found.edition.title}: {', '.join(words)}."] if words else []
    return "\n".join(lines)
