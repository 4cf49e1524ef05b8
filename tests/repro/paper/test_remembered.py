"""Bootstraps are remembered by what they compare, and only where a folder is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frlcore.intervals import paired_bootstrap
from frlcore.repro.paper import remembered

LABELS = np.repeat([0, 1], 20)
A, B = (np.tile(np.arange(20) < wrong, 2)[None] for wrong in (10, 5))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(remembered.FOLDER, str(tmp_path / "made"))
    return tmp_path / "made"


def test_a_bootstrap_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = remembered.paired(LABELS, A, B, "average", draws=200)
    assert first == paired_bootstrap(LABELS, A, B, "average", draws=200) and first.difference == 0.25
    monkeypatch.setattr(remembered, "paired_bootstrap", lambda *_, **__: pytest.fail("made again"))
    assert remembered.paired(LABELS, A, B, "average", draws=200) == first
    assert [path.suffix for path in folder.iterdir()] == [".json"]


@pytest.mark.parametrize("change", ["labels", "first", "second", "statistic", "draws", "type", "code"])
def test_whatever_is_compared_otherwise_is_made_anew(
    folder: Path, change: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remembered.paired(LABELS, A, B, "average", draws=200)
    if change == "code":
        (tmp_path / "intervals.py").write_text("other")
        monkeypatch.setattr(remembered, "_CODE", tmp_path / "intervals.py")
    labels, a = LABELS[::-1] if change == "labels" else LABELS, A.astype(float) if change == "type" else A
    a, b = ~a if change == "first" else a, ~B if change == "second" else B
    remembered.paired(labels, a, b, "worst" if change == "statistic" else "average", 100 if change == "draws" else 200)
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_file_is_made_again(folder: Path) -> None:
    first = remembered.paired(LABELS, A, B, "average", draws=200)
    (path,) = folder.iterdir()
    for text in ("", "[1, 2]", '{"a": 1}', "[1, 2, 3, null]"):
        path.write_text(text)
        assert remembered.paired(LABELS, A, B, "average", draws=200) == first


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(remembered.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    remembered.paired(LABELS, A, B, "average", draws=200)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(remembered.FOLDER, str(tmp_path / "file"))  # no folder can be made there
    assert remembered.paired(LABELS, A, B, "average", draws=200).difference == 0.25


@pytest.mark.parametrize(("ours", "more"), [(20, False), (30, True), (60, False)])  # p of 0.1, of 0.001, and the least
def test_a_small_p_value_rests_on_more_draws(ours: int, more: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(remembered.FOLDER, raising=False)
    image = np.arange(400)
    pair = np.zeros(400, int), image < ours, (image >= ours) & (image < ours + 10)  # 10 images are broken by b alone
    found, plain = (make(*pair, "average") for make in (remembered.paired, paired_bootstrap))
    assert found[:3] == plain[:3]
    assert found.p == (paired_bootstrap(*pair, "average", draws=100_000) if more else plain).p
