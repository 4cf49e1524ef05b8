"""Verdicts as a page shows them: a strip of counts, squares, the table of claims and that of their tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from frlcore.repro.paper import plan
from frlcore.repro.paper.claims import OPEN
from frlcore.repro.paper.tables import cell
from frlcore.repro.paper.verdicts import VERDICTS, Judged
from frlcore.repro.style import BLUE, GREY, PANEL, PURPLE, SKY, VERMILLION

COLOURS = dict(zip(VERDICTS, (BLUE, SKY, "#BFE3F7", PURPLE, VERMILLION, "#CCCCCC", *["white"] * 3), strict=True))
# Numbers in squares: white where the colour is dark, and where it is light in the dark theme, too, dark in both.
INK = dict.fromkeys(("reproduced", "not reproduced"), "white")
INK |= dict.fromkeys(("direction only", "partly", "mixed"), "#111111")
STRIP = {  # the words of the first page, and the verdicts that count for each
    "reproduced": ("reproduced",),
    "partly or mixed": ("direction only", "partly", "mixed"),
    "not reproduced": ("not reproduced",),
    "cannot tell": (OPEN,),
    "not yet run": ("not yet run",),
}


def strip(judged: Judged) -> str:
    """How many claims of the paper fared how, a bar of labelled parts for every edition, as HTML.

    Claims that the theory settles, that an edition has no runs for by design, and ours are left out.
    """
    bars = []
    for name, (frame, _) in judged.items():
        mine = frame[(frame.section != "ours") & ~frame.verdict.isin(VERDICTS[-2:])]
        counts = {words: int(mine.verdict.isin(those).sum()) for words, those in STRIP.items()}
        parts = "".join(
            f'<span class="frl-{words.replace(" ", "-")}" style="flex-grow: {count}"><b>{count}</b> {words}</span>'
            for words, count in counts.items()
            if count
        )
        bars.append(f'<p><b>{plan.edition(name).title}</b>: {len(mine)} claims</p><div class="frl-strip">{parts}</div>')
    return "".join(bars)


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


def shown(judged: Judged) -> pd.DataFrame:
    """The statements for a page: what the paper says, and by edition the verdict with its tests and its numbers."""
    columns: dict[str, list[str]] = {}
    for name, (frame, _) in judged.items():
        said = [f"**{row.number}** {row.claim} <small>({row.section})</small>" for row in frame.itertuples()]
        columns.setdefault("The paper says", said)
        columns[plan.edition(name).title] = [_verdict(row) for row in frame.to_dict("records")]
    return pd.DataFrame(columns)


def _verdict(row: dict[str, Any]) -> str:
    if row["page"]:
        return f"**{row['verdict']}**: {row['page']}"
    counts = [f"{row[side]} {side} ({row[f'clear {side}']} clear)" for side in ("for", "against") if row[side]]
    counts += [f"{row['open']} open"] if row["open"] else []
    if not counts:
        return str(row["verdict"])
    beside = f"<br>{row['beside']}" if row["beside"] else ""
    return f"**{row['verdict']}**<br>{', '.join(counts)}{beside}"


def commands(judged: Judged) -> str:
    """What makes the runs that claims wait for, and which claims these are, as a Markdown list."""
    lines = []
    for frame, _ in judged.values():
        waiting = frame[frame.command != ""].groupby("command", sort=False).number
        lines += [f"* `{command}`: {', '.join(map(str, numbers))}" for command, numbers in waiting]
    return "\n".join(lines)


def shown_tests(judged: Judged, sections: Iterable[str]) -> pd.DataFrame:
    """The tests of these sections for a page: by edition ours with interval, outcome, adjusted p, and the paper's."""
    cells: dict[str, dict[str, str]] = {}
    for name, (_, tests) in judged.items():
        for row in tests[tests.section.isin(list(sections))].to_dict("records"):
            line = cells.setdefault(f"**{row['number']}** {row['test']}{' (added later)' * row['added']}", {})
            line[plan.edition(name).title] = _outcome(row)
    frame = pd.DataFrame.from_dict(cells, orient="index", columns=[plan.edition(name).title for name in judged])
    return frame.dropna(axis=1, how="all").fillna("").rename_axis("Claim and test")


def _outcome(row: dict[str, Any]) -> str:
    if pd.isna(row["difference"]):
        return str(row["verdict"])
    p = "" if pd.isna(row["p_holm"]) else f", p = {row['p_holm']:.2g}"
    ours = cell(f"{row['difference']:+.1f}", row["low"], row["high"], row["paper"], form="+.1f")
    return f"**{row['verdict']}**{p}<br>{ours}"


def squares(judged: Judged) -> Figure:
    """One numbered square per statement, coloured by its verdict: an edition a block, a section a row.

    Statements that the theory settles, or that an edition has no runs for by design, are left out.
    """
    frames = {name: frame[~frame.verdict.isin(VERDICTS[-2:])] for name, (frame, _) in judged.items()}
    heights = [frame.section.nunique() + 1.0 for frame in frames.values()]
    most = max(int(frame.section.value_counts().max()) for frame in frames.values())
    size = (1.5 * PANEL, 0.34 * sum(heights) + 1.1)
    fig, axes = plt.subplots(len(frames), 1, figsize=size, squeeze=False, height_ratios=heights)
    for ax, (name, frame) in zip(axes[:, 0], frames.items(), strict=True):
        sections = list(frame.section.unique())
        for y, section in enumerate(sections):
            for x, row in enumerate(frame[frame.section == section].itertuples()):
                ax.add_patch(_square(x, y - 0.42, row.verdict))
                ax.text(x + 0.45, y, row.number, ha="center", va="center", color=INK.get(row.verdict, "black"))
        ax.set(xlim=(-0.1, most), ylim=(len(sections) - 0.4, -0.6), xticks=[], yticks=range(len(sections)),
               yticklabels=[one if one in ("Abstract", "ours") else f"Section {one}" for one in sections],
               title=plan.edition(name).title)  # fmt: skip
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    there = set().union(*(frame.verdict for frame in frames.values()))
    keys = [(_square(0, 0, verdict), verdict) for verdict in VERDICTS if verdict in there]
    fig.legend(
        *zip(*keys, strict=True), loc="outside lower left", ncols=2, frameon=False, handlelength=1, handleheight=1
    )
    plt.close(fig)
    return fig


def _square(x: float, y: float, verdict: str) -> Rectangle:
    return Rectangle((x, y), 0.9, 0.84, fc=COLOURS[verdict], ec=GREY, lw=0.8)
