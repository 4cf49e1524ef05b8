"""The names that `frlcore` itself offers: at hand, listed, documented in one form, and their examples true."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import frlcore
from frlcore.repro.book import reference


def test_at_most_twelve_names_that_are_there_and_listed() -> None:
    assert len(frlcore.__all__) <= 12 and frlcore.__all__ == sorted(frlcore.__all__, key=lambda n: (not n.isupper(), n))
    assert {name for names in frlcore._ROOMS.values() for name in names} == set(frlcore.__all__) <= set(dir(frlcore))
    with pytest.raises(AttributeError, match="module 'frlcore' has no attribute 'fitt'"):
        frlcore.fitt  # noqa: B018


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(frlcore.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize("name", frlcore.__all__)
def test_the_example_of_a_name_is_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thing = getattr(frlcore, name)
    (example,) = [one for one in doctest.DocTestFinder(recurse=False).find(thing, name) if one.examples]
    assert doctest.DocTestRunner(verbose=False).run(example).failed == 0


@pytest.mark.parametrize("name", frlcore.__all__)
def test_a_name_is_documented_in_the_one_form(name: str) -> None:
    heads = ["Arguments:", *["Returns:"] * name.islower(), "Raises:", "Source:", ">>>"]
    words = inspect.getdoc(getattr(frlcore, name)) or ""  # from Python 3.13 on docstrings come without their indent
    places = [words.find(f"\n{head}") for head in heads]
    assert -1 not in places and places == sorted(places)


def test_the_page_of_the_book_shows_every_name_with_its_head_and_its_example() -> None:
    text = reference.page()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        f"## `{name}`" for name in sorted(frlcore.__all__, key=str.lower)
    ]
    assert text.count("```python\n") == text.count("```pycon\n") == len(frlcore.__all__) == text.count("**Raises:**")
    assert 'class Attack:\n    eps: float\n    step_size: float\n    steps: int\n    norm: str = "linf"\n```' in text
    assert "def load_model(path: str | Path, *, device: str = \"cpu\") -> tuple[nn.Module, tuple[str, ...]]\n" in text
    assert "- `decay(time)`: How far the learning rate has fallen after `time` epochs, as a factor" in text


def test_plain_settings_need_no_torch() -> None:
    code = "import sys, frlcore; frlcore.Attack, frlcore.FRL, frlcore.ClassErrors; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
