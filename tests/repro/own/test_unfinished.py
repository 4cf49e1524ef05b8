"""Unfinished work in a folder of results: who may go on with it, and what is left where nothing had begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from frlcore.errors import UserError
from frlcore.repro.own.unfinished import STATE, at_work

HOW = {"seed": 0}


def test_only_one_is_at_work_and_nothing_stays_of_work_that_has_not_begun(tmp_path: Path) -> None:
    out = tmp_path / "a" / "result"
    with at_work(out, HOW, "frl fit") as state:
        assert state == out / STATE
        with pytest.raises(UserError, match=f"another frl fit is at work in {out}; wait"), at_work(out, HOW, "frl fit"):
            pass
        assert state.exists()  # the one that was refused takes nothing with it
    assert not out.exists()


def test_work_that_has_begun_stays_and_goes_on_with_its_settings_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), at_work(tmp_path, HOW, "frl fit") as state:
        (state / "images.npz").touch()
        raise KeyboardInterrupt
    assert (state / "images.npz").exists()
    other = {"seed": 1}
    with pytest.raises(UserError, match="holds unfinished work with --seed 0"), at_work(tmp_path, other, "frl fit"):
        pass
    with at_work(tmp_path, HOW, "frl fit") as again:
        assert (again / "images.npz").exists()


def test_a_folder_of_anything_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"), at_work(tmp_path, HOW, "frl fit"):
        pass
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / "settings.json").write_text("[]")
    with pytest.raises(UserError, match="settings.json cannot be read; delete"), at_work(tmp_path, HOW, "frl fit"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [STATE, "mine.txt"]
