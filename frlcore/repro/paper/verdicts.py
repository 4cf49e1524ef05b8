"""What our records say to the paper's claims: each statement's tests, its verdict, and how a page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from frlcore.repro.paper import ablation, claims, plan
from frlcore.repro.paper.claims import Claim
from frlcore.repro.paper.records import Results, results
from frlcore.repro.paper.statements import STATEMENTS, Statement
from frlcore.repro.runs.store import Store
from frlcore.repro.style import BLUE, SKY, VERMILLION
from frlcore.significance import holm

Judged = dict[str, tuple[pd.DataFrame, pd.DataFrame]]  # what `judge` says, by the edition's name
VERDICTS = ("reproduced", "partly", "not reproduced", "cannot tell at this resolution", "not yet run",
            "not in this edition", "see the theory")  # fmt: skip
COLOURS = dict(zip(VERDICTS, (BLUE, SKY, VERMILLION, "#CCCCCC", "white", "white", "white"), strict=True))
HARD = {"spread": "hardest − easiest class", "hard": "2 hardest − 2 easiest classes"}
COLUMNS = ["number", "section", "test", "difference", "low", "high", "p", "p_holm", "verdict"]


def describe(claim: Claim) -> str:
    """A test in words: the statistic, whose it is, and the side of the threshold that the claim needs."""
    error = claim.error.replace("certified ", "error certified at ℓ2 radius ").replace("autoattack", "robust")
    kind = error if error.startswith("error") else f"{error} error"
    statistic = {
        "worst": f"worst {kind}", "average": f"average {kind}", "gap": f"{kind}, worst class − average",
        **{name: f"{kind}, {words}" for name, words in HARD.items()},
    }[claim.statistic]  # fmt: skip
    methods = [plan.label(m).replace("+", "+\u200b") for m in (claim.first, claim.second) if m]
    higher = claim.direction == "higher"
    threshold = (claim.beyond if higher else -claim.beyond) + 0.0
    return f"{statistic}: {' − '.join(methods)} {'>' if higher else '<'} {threshold:g}".replace(" -", " −")


def conclude(outcomes: Iterable[str]) -> str:
    """The verdict on a statement from what its tests say: "reproduced" when all hold, "partly" when some do."""
    found = list(outcomes)
    if "not yet run" in found:
        return "not yet run"
    if "holds" in found:
        return "reproduced" if set(found) == {"holds"} else "partly"
    return "not reproduced" if "contradicted" in found else "cannot tell at this resolution"


def judge(
    edition: str,
    statements: Iterable[Statement] = STATEMENTS,
    checkpoint: str = "last",
    broken: str = "any",
    store: Store | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every statement with its verdict and counts of tests for, against and open; and every test with its numbers.

    p-values are adjusted over all tests of the edition (Holm); those of Section 5.3 come from `ablation.effects`,
    adjusted among themselves. A verdict goes by the 95% intervals; "clear" counts the tests that hold adjusted, too.
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
        word = conclude(judged.verdict)
        command = found[one.plan].command if word == "not yet run" else ""
        rows.append(row | {"verdict": word, "command": command})
    tests = pd.concat(tested, ignore_index=True)[COLUMNS]
    open_p = tests.p.notna()
    tests.loc[open_p, "p_holm"] = holm(tests.p[open_p])
    frame = pd.DataFrame(rows)
    holds = tests.verdict == "holds"
    counts = {"for": holds, "against": tests.verdict == "contradicted", "clear": holds & (tests.p_holm < 0.05),
              "open": tests.verdict == "cannot tell at this resolution"}  # fmt: skip
    for name, chosen in counts.items():
        frame[name] = frame.number.map(tests[chosen].number.value_counts()).fillna(0).astype(int)
    return frame, tests


def _judge(found: Results, one: Statement, store: Store | None) -> pd.DataFrame:
    """The tests of one statement on its records, one row each; those of `ablation.effects` come adjusted."""
    if not one.group:
        words = [describe(claim) for claim in one.tests]
        return claims.compare(found, list(one.tests), store).assign(test=words, p_holm=np.nan)
    mine = [claim.group == one.group for claim in ablation.EFFECTS]
    if found.missing:
        return pd.DataFrame({"test": f"{one.group}: all tests", "verdict": "not yet run"}, index=[0], columns=COLUMNS)
    judged = ablation.effects(found, found.edition.ablation_class)[mine]
    target = found.edition.ablation_class
    return judged.assign(test=[f"class “{target}”: {text}" for text in judged.claim], p_holm=judged.p, p=np.nan)


def everywhere(
    editions: Iterable[str], checkpoint: str = "last", broken: str = "any", store: Store | None = None
) -> Judged:
    """`judge` for every edition that can decide at least one statement, in their order, or for all if none can."""
    found = {name: judge(name, STATEMENTS, checkpoint, broken, store) for name in editions}
    return {name: both for name, both in found.items() if set(both[0].verdict) - set(VERDICTS[-3:])} or found


def verdicts_in_words(judged: Judged) -> str:
    """How many claims fared how, by edition, the paper's and ours apart, as a Markdown list."""
    lines = []
    for name, (frame, _) in judged.items():
        parts = []
        for whose, part in (("the paper", frame[frame.section != "ours"]), ("ours", frame[frame.section == "ours"])):
            count = part.verdict.value_counts()
            words = ", ".join(f"{count[word]} {word}" for word in VERDICTS if word in count)
            parts.append(f"{len(part)} claims of {whose}: {words}." if len(part) else "")
        lines.append(f"* **{plan.edition(name).title}**: {' '.join(parts).strip()}")
    return "\n".join(lines)


def chosen_classes(edition: str, store: Store | None = None) -> str:
    """Which classes the contrasts of an edition's tests are between, by data set and network, as a Markdown list."""
    used: dict[str, dict[str, None]] = {}  # by edition, the statistics in order
    for one in STATEMENTS:
        if one.plan in plan.plans(edition):
            names = used.setdefault(plan.place(one.plan, edition).name, {})
            names |= dict.fromkeys(test.statistic for test in one.tests if test.statistic in HARD)
    lines = []
    for name, statistics in used.items():
        found, words = results("figure1", name, store), []
        for statistic in statistics:
            sides = claims.classes(found, statistic, store)
            groups = [" and ".join(f"“{c}”" for c in side) for side in sides or ()] or ["not known before the runs"]
            words.append(f"{' against '.join(groups)} ({HARD[statistic]})")
        lines += [f"* {found.edition.title}: {', '.join(words)}."] if words else []
    return "\n".join(lines)


def shown(judged: Judged) -> pd.DataFrame:
    """The statements for a page: what the paper says, and by edition the verdict with its tests for, against, open."""
    columns: dict[str, list[str]] = {}
    for name, (frame, _) in judged.items():
        columns.setdefault("Claim", [f"**{row.number}** ({row.section})" for row in frame.itertuples()])
        columns.setdefault("The paper says", frame.claim.tolist())
        columns[plan.edition(name).title] = [_verdict(row) for row in frame.to_dict("records")]
    return pd.DataFrame(columns)


def _verdict(row: dict[str, Any]) -> str:
    if row["page"]:
        return f"**{row['verdict']}**: {row['page']}"
    if not row["for"] + row["against"] + row["open"]:
        return str(row["verdict"])
    counts = f"{row['for']} / {row['against']} / {row['open']}, clear {row['clear']}"
    return f"**{row['verdict']}**<small><br>{counts}</small>"


def commands(judged: Judged) -> str:
    """What makes the runs that claims wait for, and which claims these are, as a Markdown list."""
    lines = []
    for frame, _ in judged.values():
        waiting = frame[frame.command != ""].groupby("command", sort=False).number
        lines += [f"* `{command}`: {', '.join(map(str, numbers))}" for command, numbers in waiting]
    return "\n".join(lines)


def shown_tests(judged: Judged, sections: Iterable[str]) -> pd.DataFrame:
    """The tests of these sections for a page: by edition the difference with its interval, outcome and adjusted p."""
    cells: dict[str, dict[str, str]] = {}
    for name, (_, tests) in judged.items():
        for row in tests[tests.section.isin(list(sections))].to_dict("records"):
            line = cells.setdefault(f"**{row['number']}** {row['test']}", {})
            line[plan.edition(name).title] = _outcome(row)
    frame = pd.DataFrame.from_dict(cells, orient="index", columns=[plan.edition(name).title for name in judged])
    return frame.dropna(axis=1, how="all").fillna("").rename_axis("Claim and test")


def _outcome(row: dict[str, Any]) -> str:
    if pd.isna(row["difference"]):
        return str(row["verdict"])
    between = f"[{row['low']:+.1f}, {row['high']:+.1f}]<br>p = {row['p_holm']:.2g}"
    return f"**{row['difference']:+.1f}** {row['verdict']}<small><br>{between}</small>"


def squares(judged: Judged) -> Figure:
    """One numbered square per statement, coloured by its verdict: an edition a block, a section a row.

    Statements that the theory settles, or that an edition has no runs for by design, are left out.
    """
    frames = {name: frame[~frame.verdict.isin(VERDICTS[-2:])] for name, (frame, _) in judged.items()}
    heights = [frame.section.nunique() + 1.2 for frame in frames.values()]
    size = (8.2, 0.42 * sum(heights) + 0.3)
    fig, axes = plt.subplots(len(frames), 1, figsize=size, squeeze=False, height_ratios=heights)
    for ax, (name, frame) in zip(axes[:, 0], frames.items(), strict=True):
        sections = list(frame.section.unique())
        for y, section in enumerate(sections):
            for x, row in enumerate(frame[frame.section == section].itertuples()):
                ax.add_patch(Rectangle((x, y - 0.42), 0.9, 0.84, fc=COLOURS[row.verdict], ec="#7F7F7F", lw=0.8))
                dark = row.verdict in ("reproduced", "not reproduced")
                ax.text(x + 0.45, y, row.number, ha="center", va="center", color="white" if dark else "black")
        counts = frame.verdict.value_counts()
        for verdict in [word for word in VERDICTS if word in counts]:
            label = f"{verdict}: {counts[verdict]}"
            ax.add_patch(Rectangle((-9, -9), 1, 1, fc=COLOURS[verdict], ec="#7F7F7F", label=label))
        ax.set(xlim=(-0.1, 19), ylim=(len(sections) - 0.4, -0.6), xticks=[], yticks=range(len(sections)),
               yticklabels=[one if one in ("Abstract", "ours") else f"Section {one}" for one in sections],
               title=plan.edition(name).title)  # fmt: skip
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.legend(frameon=False, loc="center right", handlelength=1, handleheight=1)
    plt.close(fig)
    return fig
