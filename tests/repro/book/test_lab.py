"""Pairs of .md and .ipynb for JupyterLab: a clean clone stays clean, and nothing that somebody wrote is lost."""

from __future__ import annotations

import os
from pathlib import Path

import jupytext
import nbformat
import pytest

from frlcore.repro.book import lab
from frlcore.repro.places import checkout

TEXT = """---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A title

```{code-cell} python3
---
tags: [hide-input]
mystnb:
  image: {alt: a picture}
---
x = 1
```
"""


@pytest.fixture
def markdown(tmp_path: Path) -> Path:
    path = tmp_path / "01_one.md"
    path.write_text(TEXT, encoding="utf-8")
    os.utime(path, (1e9, 1e9))
    return path


def note(notebook: Path, text: str, when: float) -> None:
    """Add a cell to an .ipynb as another editor would."""
    read = nbformat.read(notebook, as_version=4)
    read.cells.append(nbformat.v4.new_markdown_cell(text))
    nbformat.write(read, notebook)
    os.utime(notebook, (when, when))


def test_the_notebooks_of_a_checkout_stay_as_they_are(tmp_path: Path) -> None:
    for source in sorted((checkout() / "notebooks").glob("*.md")):
        copy = tmp_path / source.name
        copy.write_bytes(source.read_bytes())
        for _ in range(2):
            assert lab.pair(copy) == ""
            assert copy.read_bytes() == source.read_bytes()
            assert copy.stat().st_mtime_ns == copy.with_suffix(".ipynb").stat().st_mtime_ns


def test_a_note_in_the_newer_ipynb_comes_into_both(markdown: Path) -> None:
    lab.pair(markdown)
    note(markdown.with_suffix(".ipynb"), "my note", 2e9)
    line = lab.pair(markdown)
    assert line.startswith("01_one.ipynb and 01_one.md differed") and line.count("\n") == 0
    assert lab.cells(jupytext.read(markdown)) == [
        ("markdown", "# A title"), ("code", "x = 1"), ("markdown", "my note")]  # fmt: skip
    (kept,) = (markdown.parent / ".kept").iterdir()
    assert str(kept) in line and kept.read_text(encoding="utf-8") == TEXT
    assert lab.pair(markdown) == ""


def test_a_note_in_the_older_ipynb_is_kept_when_the_md_wins(markdown: Path) -> None:
    lab.pair(markdown)
    notebook = markdown.with_suffix(".ipynb")
    note(notebook, "my note", 1.1e9)
    changed = TEXT.replace("A title", "Another title")
    markdown.write_text(changed, encoding="utf-8")  # as a pull does: newer than the note
    assert "01_one.md and 01_one.ipynb differed" in lab.pair(markdown)
    assert markdown.read_text(encoding="utf-8") == changed
    assert lab.cells(nbformat.read(notebook, as_version=4))[0] == ("markdown", "# Another title")
    (kept,) = (markdown.parent / ".kept").iterdir()
    assert kept.suffix == ".ipynb" and ("markdown", "my note") in lab.cells(nbformat.read(kept, as_version=4))


def test_outputs_of_unchanged_cells_stay(markdown: Path) -> None:
    lab.pair(markdown)
    notebook = markdown.with_suffix(".ipynb")
    read = nbformat.read(notebook, as_version=4)
    read.cells[-1].outputs = [nbformat.v4.new_output("stream", text="1")]
    nbformat.write(read, notebook)
    assert lab.pair(markdown) == "" and markdown.read_text(encoding="utf-8") == TEXT
    assert nbformat.read(notebook, as_version=4).cells[-1].outputs[0].text == "1"
