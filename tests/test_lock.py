"""The lock is complete: what it pins asks for nothing that it does not pin, so nothing is resolved at install time.

The requirements of a package are those of its installed metadata. A package that a marker keeps off this machine
(aiohttp and what it needs are for Python 3.12 alone) has none here: of such a one only its own pin is checked, and the
rest where it is installed. Whether a wheel exists for a machine shows only when it is installed there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11.0", "3.11.15", "3.12.0", "3.12.15", "3.13.0", "3.14.0")  # two ends, where a marker asks for more
MACHINES = {
    "Linux x86-64": ("linux", "Linux", "x86_64"),
    "Linux arm64": ("linux", "Linux", "aarch64"),
    "macOS arm64": ("darwin", "Darwin", "arm64"),
}
Requires = Callable[[str], list[Requirement] | None]  # package -> its requirements; None: not installed here


@dataclass
class Found:
    """What was found of a lock on one machine."""

    unmet: list[str] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)  # needed packages whose requirements are not known here


def environment(python: str, machine: str) -> dict[str, str]:
    """The values that markers ask for, on CPython `python` and one of MACHINES."""
    sys_platform, system, processor = MACHINES[machine]
    return {
        "python_version": python.rpartition(".")[0], "python_full_version": python, "implementation_version": python,
        "implementation_name": "cpython", "platform_python_implementation": "CPython", "os_name": "posix",
        "sys_platform": sys_platform, "platform_system": system, "platform_machine": processor,
        "platform_release": "", "platform_version": "",
    }  # fmt: skip


@cache
def pins(lock: str) -> list[Requirement]:
    """The pinned packages, each with its marker."""
    return [Requirement(line.rstrip("\\ ")) for line in lock.splitlines() if re.match(r"\w", line)]


def check(lock: str, roots: list[str], requires: Requires, here: dict[str, str]) -> Found:
    """Follow every requirement from `roots` on, with the extras that are asked for."""
    found, locked = Found(), {}
    for pin in pins(lock):
        if pin.marker is None or pin.marker.evaluate(here):
            name, version = canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")
            if locked.setdefault(name, version) != version:
                found.unmet.append(f"{name} is pinned twice: {locked[name]} and {version}")
    todo = [("the project", "", Requirement(root)) for root in roots]
    seen: dict[str, set[str]] = {}  # package -> the extras it was followed with
    while todo:
        parent, extra, need = todo.pop()
        name = canonicalize_name(need.name)
        if need.marker and not need.marker.evaluate(here | {"extra": extra}):
            continue
        if name not in locked or not need.specifier.contains(locked[name], prereleases=True):
            found.unmet.append(f"{parent} needs {need}, the lock has {locked.get(name, 'none')}")
            continue
        new = {"", *need.extras} - seen.setdefault(name, set())
        seen[name] |= new
        if new and requires(name) is None:
            found.unseen.add(name)
        todo += [(name, extra, one) for extra in new for one in requires(name) or []]
    return found


@cache
def installed(name: str) -> list[Requirement] | None:
    try:
        return [Requirement(text) for text in distribution(name).requires or []]
    except PackageNotFoundError:
        return None


def roots() -> list[str]:
    """What pyproject.toml asks for, in all that the lock is made of."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    return [*project["project"]["dependencies"], *(one for extra in extras.values() for one in extra),
            *project["dependency-groups"]["build"]]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_of_the_lock_is_met_by_the_lock(python: str, machine: str) -> None:
    found = check(LOCK.read_text(encoding="utf-8"), roots(), installed, environment(python, machine))
    assert found.unmet == []
    for pin in pins(LOCK.read_text(encoding="utf-8")):  # unseen: only what a marker keeps off this machine
        if pin.marker is None or pin.marker.evaluate():
            assert canonicalize_name(pin.name) not in found.unseen


def test_what_is_installed_is_what_the_lock_says() -> None:
    here = [pin for pin in pins(LOCK.read_text(encoding="utf-8")) if pin.marker is None or pin.marker.evaluate()]
    assert len(here) > 150
    wrong = [pin for pin in here if Version(distribution(pin.name).version) not in pin.specifier]
    assert wrong == []


def test_every_pin_has_hashes_and_no_address() -> None:
    text = LOCK.read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\w)", text.partition("\n")[2])
    assert len(entries) == len(pins(text)) > 150
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text


FAKE = {"a": ["b[more]>=2", "d; sys_platform == 'darwin'"], "b": ["c; extra == 'more'", "e; extra == 'rest'"]}
NO_C = 'b needs c; extra == "more", the lock has none'


@pytest.mark.parametrize(
    "lock, machine, unmet",
    [
        ("a==1\nb==2\nc==3", "Linux arm64", []),
        ("a==1\nb==2", "Linux arm64", [NO_C]),
        ("a==1\nb==2\nc==3 ; python_full_version < '3.13'", "Linux arm64", [NO_C]),
        ("a==1\nb==1.9\nc==3", "Linux arm64", ["a needs b[more]>=2, the lock has 1.9"]),
        ("a==1\nb==2\nc==3\nc==4", "Linux arm64", ["c is pinned twice: 3 and 4"]),
        ("b==2\nc==3", "Linux arm64", ["the project needs a, the lock has none"]),
        ("a==1\nb==2\nc==3", "macOS arm64", ['a needs d; sys_platform == "darwin", the lock has none']),
        ("a==1\nb==2\nc==3\nd==1 ; sys_platform == 'darwin'", "macOS arm64", []),
    ],
)
def test_the_check_finds_what_a_lock_lacks(lock: str, machine: str, unmet: list[str]) -> None:
    here = environment("3.13.0", machine)
    needs = {name: [Requirement(text) for text in texts] for name, texts in FAKE.items()}
    assert check(lock, ["a"], lambda name: needs.get(name, []), here).unmet == unmet
    assert check(lock, ["a"], lambda name: None, here).unseen <= {"a"}
