"""Evidence from outside: the facts that the book tells, recomputed from the published file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from frlcore.classwise import ClassErrors
from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.paper import outside

# the repository's own README at that commit, column NRGC, in the order of the file
NRGC = [0.105, 0.135, 0.142, 0.218, 0.327, 0.192, 0.138, 0.177, 0.191, 0.178, 0.135, 0.193, 0.309, 0.225, 0.250, 0.258,
        0.194]  # fmt: skip


def test_the_file_is_whole() -> None:
    frame = outside.scores()
    assert frame.shape == (17, 10) and frame.index.is_unique and frame.notna().all(axis=None)
    table = pd.read_csv(places.checkout() / "data" / "outside" / outside.FILE, index_col="Model")
    assert (frame.mean(axis=1) - table.GREAT_aggregate).abs().max() < 1e-4


def test_the_same_four_classes_are_the_weakest_in_all_of_them() -> None:
    frame = outside.scores()
    for _, row in frame.iterrows():
        assert set(sorted(row.index, key=row.get)[:4]) == {"cat", "deer", "bird", "dog"}
    weakest = [min(row.index, key=row.get) for _, row in frame.iterrows()]
    assert (weakest.count("cat"), weakest.count("dog")) == (13, 4)


def test_how_often_classes_are_among_four() -> None:
    assert outside.among_four(["cat", "deer", "bird", "dog"], weakest=True) == 17
    assert outside.among_four(["cat"], weakest=False) == outside.among_four(["truck", "cat"], weakest=True) == 0
    strongest = [set(sorted(row.index, key=row.get)[-4:]) for _, row in outside.scores().iterrows()]
    for name in outside.scores():
        assert outside.among_four([name], weakest=False) == sum(name in four for four in strongest)


def test_their_order_is_that_of_the_papers_table() -> None:
    errors = outside.paper_errors()
    assert errors.idxmax() == "cat" and errors["cat"] == 82.7 and errors["automobile"] == 34.3
    rho = outside.agreement()
    assert [round(value, 2) for value in (rho.median(), rho.min(), rho.max())] == [0.92, 0.62, 0.96]
    by_hand = []
    for _, row in outside.scores().iterrows():  # 1 - 6 sum d^2 / (n^3 - n), exact but for the one model with a tie
        d = (-row).rank() - errors[row.index].rank()
        by_hand.append(1 - 6 * (d**2).sum() / 990)
    assert rho.tolist() == pytest.approx(by_hand, abs=5e-4)


def test_our_gini_coefficient_and_range_are_the_published_ones() -> None:
    for (_, row), published in zip(outside.scores().iterrows(), NRGC, strict=True):
        missing = 1 - row.to_numpy()
        errors = ClassErrors(np.ones(10, int), *[missing] * 4)
        assert round(errors.summary("robust", "gini"), 3) == pytest.approx(published, abs=0.0011)
        assert errors.summary("robust", "range") == pytest.approx(row.max() - row.min())


def test_what_the_book_says_and_draws() -> None:
    text = outside.sentences()
    for words in ("In all 17", "bird, cat, deer and dog", "cat in 13, dog in 4", "median 0.92, from 0.62 to 0.96"):
        assert words in text
    axes = outside.figure().axes[0]
    assert len(axes.lines) == 18 and axes.get_xticklabels()[0].get_text() == "cat"
    assert axes.lines[-1].get_ydata().tolist() == list(range(1, 11))  # the paper's own order is the axis
    assert axes.lines[0].get_ydata() == pytest.approx(outside.ranks().loc["GF-Score"].iloc[0].to_numpy() - 0.09)


def test_our_own_order_stands_beside_it_where_the_classes_are_cifar10s() -> None:
    classes = tuple(outside.scores().columns)
    robust = np.linspace(0.9, 0.1, 10)  # airplane the weakest, truck the least weak
    found = SimpleNamespace(classes=classes, present=["pgd"], edition=SimpleNamespace(title="made up"),
                            errors=lambda method: SimpleNamespace(robust=robust))  # fmt: skip
    row = outside.ranks(found).loc["ours"].iloc[0]
    assert row["airplane"] == 1 and row["truck"] == 10
    assert len(outside.figure(found).axes[0].lines) == 19
    found.classes = tuple("0123456789")
    assert "ours" not in outside.ranks(found).index


def test_without_the_file_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PROJECT", tmp_path)
    with pytest.raises(UserError, match="gf_score_cifar10.csv is missing"):
        outside.scores()
