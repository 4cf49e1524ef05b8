"""Where files stand: in a checkout, or for an installed package in the user's cache, and never beside the code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.places import PROJECT

NEEDS_A_CHECKOUT = (["book"], ["notebook", "05"], ["show"], ["publish"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages, with the package as a wheel brings it: no notebooks, no data."""
    folder = tmp_path_factory.mktemp("installed")
    assert PROJECT is not None
    shutil.copytree(PROJECT / "frlcore", folder / "frlcore", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed package, in an empty folder, with a home and a cache of its own there."""
    (folder / "work").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "FRL_STORE"}
    environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder / "work", env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("arguments", NEEDS_A_CHECKOUT, ids=" ".join)
def test_what_needs_the_papers_files_says_how_to_get_them(
    installed: Path, tmp_path: Path, arguments: list[str]
) -> None:
    ended = python(installed, tmp_path, "-m", "frlcore", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"frl: frl {arguments[0]} needs the paper's files") and ended.stderr.count("\n") == 1
    assert "git clone" in ended.stderr and "make setup" in ended.stderr


def test_an_installed_package_keeps_its_files_in_the_users_cache(installed: Path, tmp_path: Path) -> None:
    code = "from frlcore.repro.places import downloads\nfrom frlcore.repro.runs.store import default_store\n"
    code += "print(default_store().root, downloads(), sep='\\n')"
    ended = python(installed, tmp_path, "-c", code)
    cache = tmp_path / "cache" / "frlcore"
    assert ended.stdout.splitlines() == [str(cache / "runs"), str(cache / "raw")], ended.stderr


def test_a_checkout_is_found_from_the_package_and_not_from_a_module(tmp_path: Path) -> None:
    assert PROJECT is not None and PROJECT / "tests" in Path(__file__).resolve().parents
    assert places._find(tmp_path / "frlcore") is None
    for folder in ("notebooks", "data/paper", "frlcore"):
        (tmp_path / folder).mkdir(parents=True)
    assert places._find(tmp_path / "frlcore") == tmp_path.resolve()


def test_without_a_home_the_line_names_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nowhere(_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    monkeypatch.setattr(Path, "expanduser", nowhere)
    monkeypatch.setattr(places, "PROJECT", None)
    monkeypatch.delenv("FRL_STORE", raising=False)
    with pytest.raises(UserError, match="set HOME, or FRL_STORE"):
        places.results()
    monkeypatch.setenv("FRL_STORE", "~/runs")
    with pytest.raises(UserError, match="set HOME, or FRL_STORE"):
        places.results()
    with pytest.raises(UserError, match="set HOME"):
        places.downloads()
