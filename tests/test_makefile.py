"""When `make` sets up, and with which commands; nothing is installed here."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(...)` in a folder with the files that it looks at, and nothing set up."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=60)

    return run


def set_up(make: Make, folder: Path) -> None:
    """The stamps that an installation leaves, in its order, and a Python."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for stamp in re.findall(r"touch (\S+)", make("--dry-run", "setup").stdout):
        (folder / stamp).touch()


def is_ready(make: Make) -> bool:
    return make("--question", "setup").returncode == 0


def test_files_with_a_time_in_the_future_do_not_set_up_anew(make: Make, tmp_path: Path) -> None:
    assert not is_ready(make)
    set_up(make, tmp_path)
    assert is_ready(make)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        os.utime(tmp_path / name, (4e9, 4e9))  # the year 2096
    assert is_ready(make)


@pytest.mark.parametrize("name, times", [("requirements.lock", 2), ("pyproject.toml", 1)])
def test_what_changes_is_installed_anew_and_only_that(make: Make, tmp_path: Path, name: str, times: int) -> None:
    set_up(make, tmp_path)
    with open(tmp_path / name, "a") as file:
        file.write("# another\n")
    os.utime(tmp_path / name, (0, 0))  # older than every stamp
    assert make("--dry-run", "setup").stdout.count("touch ") == times


def test_an_environment_whose_python_is_gone_is_made_anew(make: Make, tmp_path: Path) -> None:
    set_up(make, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "removed" / "python3.11")
    assert make("--dry-run", "setup").stdout.count("touch ") == 2


def test_a_python_that_is_too_old_or_absent_is_one_line(make: Make, tmp_path: Path) -> None:
    ended = make("setup", "PYTHON=false")
    assert ended.returncode != 0 and ended.stderr.startswith("frlcore needs Python 3.11 or newer; 'false' is not.")
    assert not (tmp_path / ".venv").exists()


def test_conda_users_are_told_the_commands_of_make(make: Make) -> None:
    told = re.findall(r"^#   (pip .*)$", (ROOT / "environment.yml").read_text(encoding="utf-8"), re.M)
    quiet = re.sub(r" --(disable-pip-version-check|quiet|no-compile)", "", make("--dry-run", "setup").stdout)
    assert told == re.findall(r"python -m (pip [^;\n]*[^;\s])", quiet)
    assert "--no-deps --require-hashes" in told[0]


@pytest.mark.parametrize("forbidden", ["", "1"])
def test_modules_are_compiled_at_once_only_where_python_may_not_later(make: Make, forbidden: str) -> None:
    told = make("--dry-run", "setup", f"PYTHONDONTWRITEBYTECODE={forbidden}").stdout
    assert ("-m compileall" in told) == bool(forbidden)


def test_the_lab_starts_as_root_too_with_kernels_of_its_own(make: Make, tmp_path: Path) -> None:
    told = make("--dry-run", "lab").stdout
    assert ("--allow-root" in told) == (os.getuid() == 0)
    assert f'JUPYTER_PATH="{tmp_path}/.venv/share/jupyter:' in told  # before those of other environments
    (module,) = re.findall(r"python -m (frlcore\S+)", told)
    assert importlib.util.find_spec(module) is not None


def test_the_bill_of_materials_is_of_the_lock_and_made_by_pinned_tools(make: Make) -> None:
    told = make("--dry-run", "sbom").stdout
    assert re.findall(r"(\S+)==\d+\.\d+\.\d+", told) == ["cyclonedx-bom", "pip-audit"]
    assert "cyclonedx-py requirements requirements.lock" in told and "-o _build/sbom.json" in told
    assert "pip-audit --strict" in told  # what it does not know must not count as sound
