"""Notebooks for JupyterLab: an .ipynb beside every .md, without touching an .md that says the same.

`jupytext --sync` writes every .md anew in its own way, and where both were changed it drops the older one. Here the
newer one wins too, but the other is kept in `notebooks/.kept` first.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import jupytext
import nbformat
from jupytext.cli import jupytext as command

from frlcore.repro.places import checkout


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """What a person wrote: the kind and the text of every cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells if cell.source.strip()]


def pair(markdown: Path) -> str:
    """Bring NAME.md and NAME.ipynb together; returns a line about what was set aside, or nothing.

    A missing .ipynb is made. Where the cells differ, the newer file is written into the other, which is kept.
    """
    notebook = markdown.with_suffix(".ipynb")
    source = jupytext.read(markdown)
    line = ""
    if not notebook.exists():
        jupytext.write(source, notebook)
    elif cells(nbformat.read(notebook, as_version=4)) != cells(source):
        newer, older = (markdown, notebook) if _time(markdown) > _time(notebook) else (notebook, markdown)
        kept = _keep(older)
        if newer is markdown:
            jupytext.write(source, notebook)
        else:
            command(["--quiet", "--to", "md:myst", "--output", str(markdown), str(notebook)])  # by pyproject's rules
        line = f"{newer.name} and {older.name} differed: the newer one is in both, the other is kept as {kept}"
    os.utime(notebook, ns=(time.time_ns(), _time(markdown)))  # JupyterLab refuses one that is newer than its .md
    return line


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _keep(path: Path) -> Path:
    folder = path.parent / ".kept"
    folder.mkdir(exist_ok=True)
    kept = folder / f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}"
    shutil.copy2(path, kept)
    return kept


def main() -> None:
    """Pair every notebook of the checkout."""
    for markdown in sorted((checkout("JupyterLab") / "notebooks").glob("*.md")):
        if line := pair(markdown):
            print(line)


if __name__ == "__main__":
    main()
