"""What the paper's figures draw: marks, interval lines, curves and colours, on records known class by class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy import integrate, stats
from test_claims import Errors, found

from frlcore.intervals import summary_interval
from frlcore.repro.paper import figures, smoothed, theory_figures, verdict_pages
from frlcore.repro.paper.drawing import short
from frlcore.repro.paper.plan import label
from frlcore.repro.paper.records import KINDS, Results
from frlcore.repro.paper.theory_pages import EASY, HARD, NATURAL, ROBUST
from frlcore.repro.style import BLUE, ORANGE, SKY, VERMILLION, texts_of
from frlcore.theory.mixture import GaussianMixture

PLAIN: Errors = ([2, 1, 5, 7, 4, 6, 3, 0, 8, 9], [91, 95, 97, 99, 98, 92, 93, 94, 96, 90])  # standard, robust: percent
PGD: Errors = ([10, 5, 25, 28, 20, 15, 12, 8, 6, 40], [45, 30, 70, 90, 60, 65, 41, 35, 50, 55])
FAIR: Errors = ([14, 12, 27, 26, 23, 21, 16, 13, 11, 30], [52, 43, 66, 72, 61, 64, 49, 46, 51, 57])
FRL = "frl-reweight-0.05"
COLORS = (BLUE, ORANGE, VERMILLION)  # of standard, boundary and robust errors
NAMED = {"automobile": (SKY, 1), "horse": (BLUE, 7), "bird": (ORANGE, 2), "cat": (VERMILLION, 3)}  # lowest and highest


def made() -> Results:
    return found("overview", "laptop", {"natural": PLAIN, "pgd": PGD, FRL: FAIR, "frl-reweight-0.07": PLAIN})


def lines(collection: Any, axis: int = 0) -> list[list[float]]:
    return [segment[:, axis].tolist() for segment in collection.get_segments()]


def near(value: Any) -> Any:
    return pytest.approx(np.asarray(value, float), abs=1e-6)


def test_figure_1_marks_both_errors_of_every_class_within_exact_intervals() -> None:
    records, order = made(), np.argsort(PGD[1])
    names = [records.classes[c] for c in order]
    for ax, method, errors in zip(figures.classwise(records).axes, ("natural", "pgd"), (PLAIN, PGD), strict=True):
        assert [text.get_text() for text in (ax.title, *ax.get_yticklabels())] == [label(method), *names]
        assert lines(ax.collections[0]) == near(np.transpose(errors)[order])  # the boundary error lies between them
        for (mark, _, (bar,)), kind, color, values in zip(ax.containers, KINDS[::2], COLORS[::2], errors, strict=True):
            marks = np.transpose([np.array(values)[order], range(10)])
            assert mark.get_color() == color and mark.get_xydata() == near(marks)
            assert lines(bar) == near(100 * np.transpose(records.errors(method).interval(kind))[order])
            assert f"{kind} error of “{names[0]}”: {marks[0, 0]:.1f}% [" in texts_of(mark.get_gid())[0]
        assert [one.get_xdata()[0] for one in ax.lines if one.get_linestyle() == ":"] == near(np.mean(errors, axis=1))


def test_the_overview_sets_average_against_worst_class_with_both_intervals() -> None:
    (ax,) = figures.overview(records := made()).axes
    shown = {"pgd": (90, 54.1), FRL: (72, 56.1)}  # natural training and tau = 0.07 have no mark
    assert "worst class" in ax.get_xlabel() and ax.get_ylabel().startswith("average")
    assert [line.get_xydata()[0] for line in ax.lines] == near([*shown.values()])
    assert {text.get_text(): text.xy for text in ax.texts} == {short(m): near(xy) for m, xy in shown.items()}
    for i, (method, (worst, average)) in enumerate(shown.items()):
        wrong, (across, upright) = records.wrong(method, "robust"), ax.collections[2 * i : 2 * i + 2]
        wide, tall = (100 * np.array(summary_interval(records.labels, wrong, s)) for s in ("worst", "average"))
        assert [*lines(across), *lines(across, 1)] == near([wide, [average] * 2])
        assert [*lines(upright), *lines(upright, 1)] == near([[worst] * 2, tall])


def test_worst_classes_stand_beside_the_papers_numbers() -> None:
    fig, rows = figures.worst_classes(records := made()), [FRL, "pgd", "natural"]  # from below
    worst = ([30, 40, 9, 22.5, 33.8], [46, 62, 94, 54.2, 55.9], [72, 90, 99, 73.3, 82.7])  # ours, and two of Table 2
    for ax, kind, values in zip(fig.axes, KINDS, worst, strict=True):
        assert [t.get_text() for t in (ax.title, *ax.get_yticklabels())] == [f"worst {kind} error", *map(short, rows)]
        marks = [(one.get_markerfacecolor() == "none", *one.get_xydata()[0, ::-1]) for one in ax.lines[:-1]]
        assert sorted(marks) == near([*zip((0, 0, 0, 1, 1), (0, 1, 2, 0, 1), values, strict=True)])
        for y, (method, one) in enumerate(zip(rows, ax.collections, strict=True)):
            ends = 100 * np.array(summary_interval(records.labels, records.wrong(method, kind)))
            assert [*lines(one), *lines(one, 1)] == near([ends, [y, y]])
        assert ax.lines[-1].get_xdata() == near([values[1]] * 2)  # PGD's, dotted


def test_confusion_stands_in_the_row_of_the_true_class() -> None:
    (ax,) = figures.confusion(made(), ("pgd",)).axes  # an image of class c that breaks is taken for c + 1
    cells = {text.get_position(): int(text.get_text()) for text in ax.texts}
    assert cells == {((c + off) % 10, c): abs(100 - 100 * off - e) for c, e in enumerate(PGD[1]) for off in (0, 1)}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("taken for", "class")


def test_trajectories_are_means_over_folds_with_the_extreme_classes_in_colour() -> None:
    ((record,),) = (records := made()).records[FRL]
    folds = [[np.array(PGD[1]) / 100 + shift - 0.03 * epoch for epoch in range(3)] for shift in (0.0, 0.2)]
    histories = [[{"epoch": i, "validation": dict.fromkeys(KINDS, one), "settings": {"w_nat": 1 + one,
                   "w_bndy": 2 + one, "margin": 3 + one}} for i, one in enumerate(fold)] for fold in folds]  # fmt: skip
    records.records[FRL][0][:] = [replace(record, result=record.result | {"history": one}) for one in histories]
    panels = {"robust error": 0, "natural loss": 1, "boundary loss": 2, "radius": 3}
    for ax, (what, more) in zip(figures.trajectories(records, FRL).axes, panels.items(), strict=True):
        paths = {line.get_color(): line.get_ydata() for line in ax.lines}
        names = {text.get_text(): text.get_color() for text in ax.texts}
        assert what in ax.get_title() and len(ax.lines) == 10 and len(names) == 4
        for name, (color, c) in NAMED.items():
            path = np.mean(folds, axis=0)[:, c] + more
            assert names[name] == color and paths[color] == near(path if more else 100 * path)


def test_figure_3_marks_values_within_their_intervals() -> None:
    rows = [(group, ratio, "cat", kind, 20 * i + ratio, 20 * i - 2, 20 * i + 9) for i, kind in enumerate(KINDS, 1)
            for group, ratio in (("weight", 1), ("weight", 3), ("margin", 1), ("margin", 2))]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["group", "ratio", "class", "error", "value", "low", "high"])
    for ax, last, title in zip(figures.ablation(frame).axes, (3, 2), ("boundary loss", "radius"), strict=True):
        assert title in ax.get_title() and [text.get_text() for text in ax.texts] == [*KINDS]
        for (mark, _, (bar,)), value, color in zip(ax.containers, (20, 40, 60), COLORS, strict=True):
            assert mark.get_ydata() == near([value + 1, value + last]) and mark.get_color() == color
            assert mark.get_xdata() == pytest.approx([1, last], abs=0.04)  # beside, not upon each other
            assert lines(bar, 1) == near([[value - 2, value + 9]] * 2)


def test_figure_4_draws_certified_errors_as_far_as_the_draws_reach() -> None:
    certified = found("figure4", "laptop", {"noise-0.25+certify": PGD})  # what PGD breaks is certified to 0.1 only
    ax, reach = smoothed.certified(certified).axes[0], smoothed.reach(certified, "noise-0.25+certify")
    paths = {line.get_color(): line.get_xydata()[[0, -1]] for line in ax.lines}
    names = {text.get_color(): text.get_text() for text in ax.texts}
    for color, (name, (_, c)) in zip((BLUE, SKY, ORANGE, VERMILLION), NAMED.items(), strict=True):
        assert names[color] == name and paths[color] == near([[0, PGD[0][c]], [reach, PGD[1][c]]])
    assert ax.get_title() == "σ = 0.25" and ax.lines[-1].get_xdata() == near([0.5] * 2)  # the radius they are named at


def test_figure_2_draws_the_samples_and_where_each_model_changes_its_mind() -> None:
    ax, data = Figure().add_subplot(), theory_figures.Toy.draw(np.full(2, 2.0), 1.0, 2.0, 30, seed=0)
    models = [lambda x, b=b: torch.stack([0 * x[:, 0], x[:, 0] - b], 1) for b in (0.5, 1.5)]  # class 1 where x_1 > b
    theory_figures.draw_toy(ax, data, *models, shown=20)
    assert [to_hex(one.get_edgecolor()[0]).upper() for one in ax.collections] == [EASY, HARD, NATURAL, ROBUST]
    for c, b in enumerate((0.5, 1.5)):
        assert ax.collections[c].get_offsets().data == near(data.x[data.y == c][:20])
        assert ax.collections[2 + c].get_paths()[0].vertices[:, 0] == pytest.approx(b, abs=1e-3)


def test_densities_stand_at_the_means_and_standard_errors_of_the_robust_classifier_are_shaded() -> None:
    ax, world = Figure().add_subplot(), GaussianMixture(1, 2.0, 1.0, 2.0)
    theory_figures.draw_densities(ax, world, 0.9)
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == near([-world.b_nat(), -world.b_rob(0.9)])
    assert [line.get_color() for line in ax.lines] == [EASY, HARD, NATURAL, ROBUST]
    for curve, shade, y, width in zip(ax.lines, ax.collections, (-1, 1), (1, 2), strict=False):
        assert curve.get_ydata() == near(stats.norm.pdf(curve.get_xdata(), 2 * y, width))
        area = abs(integrate.trapezoid(*shade.get_paths()[0].vertices.T))
        assert area == pytest.approx(float(world.standard_error(world.b_rob(0.9), y)), abs=0.01)


def test_every_statement_has_a_square_in_the_colour_of_its_verdict() -> None:
    rows = [(1, "Abstract", "reproduced"), (2, "5.2", "mixed"), (3, "5.2", "see the theory"), (4, "5.2", "reproduced")]
    frame = pd.DataFrame(rows, columns=["number", "section", "verdict"])
    (ax,) = verdict_pages.squares({"laptop": (frame, frame)}).axes
    at = [(text.get_text(), *text.get_position()) for text in ax.texts]
    assert at == [("1", 0.45, 0), ("2", 0.45, 1), ("4", 1.45, 1)]  # the theory's own has none
    colors = [verdict_pages.COLOURS[verdict] for verdict in ("reproduced", "mixed", "reproduced")]
    assert [to_hex(patch.get_facecolor()).upper() for patch in ax.patches] == [color.upper() for color in colors]
