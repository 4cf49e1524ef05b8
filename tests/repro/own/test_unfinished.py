"""Unfinished work in a folder of results: who may go on with it, and what is left where nothing had begun."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frlcore.errors import UserError
from frlcore.repro.own.unfinished import PAGE, STATE, apart, at_work, finish

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
    for other, words in (
        ({"seed": 1}, "with --seed 0;"),
        ({"seed": 0, "start": "0" * 64}, "without --start;"),
        ({}, "with --seed 0;"),  # an option that is left out has changed, too
    ):
        with pytest.raises(UserError, match=f"holds unfinished work {words}"), at_work(tmp_path, other, "frl fit"):
            pass
    with at_work(tmp_path, HOW, "frl fit") as again:
        assert (again / "images.npz").exists()


def test_work_names_what_it_was_begun_with_and_not_what_it_had_not(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), at_work(tmp_path, {"method": "cfa", "start": "1" * 64}, "frl fit") as state:
        (state / "images.npz").touch()
        raise KeyboardInterrupt
    other = {"tau": 0.05, "variant": "remargin"}
    with pytest.raises(UserError, match="with --method cfa, --start another file; go"), at_work(tmp_path, other, "x"):
        pass


def test_a_stop_while_the_unfinished_work_is_taken_away_comes_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = shutil.rmtree

    def stop(state: Path) -> None:
        (state / "settings.json").unlink()  # as far as it had come
        monkeypatch.setattr(shutil, "rmtree", through)
        raise KeyboardInterrupt

    with at_work(tmp_path, HOW, "frl fit") as state:
        (state / "images.npz").touch()
        (tmp_path / PAGE).touch()
        monkeypatch.setattr(shutil, "rmtree", stop)
        finish(state)
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]
    finished = f"holds finished work, see {tmp_path / PAGE}; choose another --out"
    with pytest.raises(UserError, match=finished), at_work(tmp_path, HOW, "frl fit"):
        pass


def test_a_folder_of_ones_own_that_was_empty_stays(tmp_path: Path) -> None:
    with at_work(tmp_path, HOW, "frl fit"):
        pass
    assert tmp_path.exists() and not list(tmp_path.iterdir())


def test_results_among_the_images_are_refused_also_through_links(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "images")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out in (tmp_path / "images", tmp_path / "link" / "audit"):
        with pytest.raises(UserError, match="would be taken for a class; choose another --out"):
            apart(out, tmp_path / "images")
    apart(tmp_path / "loop", tmp_path / "images")
    with pytest.raises(UserError, match="cannot write into"), at_work(tmp_path / "loop", HOW, "frl fit"):
        pass


def test_a_folder_of_anything_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty"), at_work(tmp_path, HOW, "frl fit"):
        pass
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / "settings.json").write_text("[]")
    with pytest.raises(UserError, match="settings.json cannot be read; delete"), at_work(tmp_path, HOW, "frl fit"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [STATE, "mine.txt"]
