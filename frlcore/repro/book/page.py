"""An executed notebook as a page of the book: its labels, its title, what is folded and what stands at its end."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import nbformat

from frlcore.errors import UserError
from frlcore.repro.book.notebook import read


def labels(notebook: Path) -> list[str]:
    """The names a notebook gives to its figures, tables, equations and sections, by cell in their order."""
    found: list[str] = []
    for part in read(notebook).cells:
        if part.cell_type == "code":
            found.append(part.metadata.get("mystnb", {}).get("figure", {}).get("name", ""))
            found += re.findall(r"\bname\s*=\s*[\"'](tbl-[\w-]+)[\"']", part.source)
        else:
            found += re.findall(r"^\(([\w:.-]+)\)=", part.source, re.M)
            found += re.findall(r"^\s*:(?:name|label):\s*([\w:.-]+)", part.source, re.M)
            found += re.findall(r"\$\$\s*\(([\w:.-]+)\)", part.source)
    return [name for name in dict.fromkeys(found) if name]


def heading(notebook: Path) -> str:
    """The notebook's title. Raises UserError when it has none."""
    found = re.search(r"^# (.+)$", "\n".join(c.source for c in read(notebook).cells if c.cell_type == "markdown"), re.M)
    if not found:
        raise UserError(f"{notebook.name} has no title: begin it with a line '# Title'")
    return found[1]


def page(
    notebook: nbformat.NotebookNode, names: Iterable[str], suffix: str, edition: str = "", ending: str = ""
) -> nbformat.NotebookNode:
    """An executed notebook as the book shows it: parameters and code folded, `-suffix` on each of `names`, an `ending`.

    The same notebook can then stand in the book once per edition, with its own figures, tables and references, and
    with the edition named in its title.
    """
    choices = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"([`<(#]|^\s*:(?:name|label):\s*)({choices})(?![\w-])", re.M) if choices else None

    def relabel(text: str) -> str:
        return pattern.sub(rf"\1\2-{suffix}", text) if pattern else text

    if edition:
        head = next(part for part in notebook.cells if part.cell_type == "markdown")
        head.source = re.sub(r"^# .+$", lambda match: f"{match[0]} · {edition}", head.source, count=1, flags=re.M)
    _show_values(notebook)
    _gather_silent_code(notebook)
    for part in notebook.cells:
        part.metadata.pop("papermill", None)  # its clock times would make every rerun a new page
        part.metadata.pop("execution", None)
        if part.cell_type != "code":
            part.source = relabel(part.source)
            continue
        kinds = {kind for output in part.outputs for kind in output.get("data", {})}
        if not any(kind.startswith("image/") for kind in kinds):
            part.metadata.get("mystnb", {}).pop("figure", None)  # nothing has been drawn: no caption without a figure
        figure = part.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("name") in set(names):
            figure["name"] += f"-{suffix}"
        if "caption" in figure:
            figure["caption"] = relabel(figure["caption"])
        for output in part.outputs:
            data = output.get("data", {})
            if "text/markdown" in data:
                data["text/markdown"] = relabel(data["text/markdown"])
    if ending:
        notebook.cells.append(nbformat.v4.new_markdown_cell(ending))
        notebook.cells[-1].id = "ending"  # the same in every build
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("frl", None)
    return notebook


def _tags(part: nbformat.NotebookNode) -> set[str]:
    return set(part.metadata.get("tags", []))


def _show_values(notebook: nbformat.NotebookNode) -> None:
    """Fold the cell of parameters, with the values that the page was made with and the comments of the notebook."""
    values = notebook.metadata.get("papermill", {}).get("parameters", {})
    notebook.cells = [part for part in notebook.cells if "injected-parameters" not in _tags(part)]
    for part in [part for part in notebook.cells if "parameters" in _tags(part)]:
        for name, value in values.items():
            assigned = re.compile(rf"^({name}\s*:[^=\n]*=\s*)[^#\n]*?(?=\s*#|$)", re.M)
            part.source = assigned.sub(partial(_assign, json.dumps(value)), part.source)
        hidden = "remove-cell" if "remove-input" in _tags(part) else "hide-input"
        part.metadata["tags"] = [*part.metadata["tags"], hidden]
        part.metadata["mystnb"] = {"code_prompt_show": "Parameters of this page"}


def _assign(value: str, found: re.Match[str]) -> str:
    return found[1] + value


def _gather_silent_code(notebook: nbformat.NotebookNode) -> None:
    """Move folded code that shows nothing to the next folded code, and that of a footer to the one before.

    So no fold stands there without a result, and a figure or table has one, above it.
    """
    folded = [part for part in notebook.cells if part.cell_type == "code" and "hide-input" in _tags(part)]
    folded = [part for part in folded if "parameters" not in _tags(part)]
    for part, after in itertools.pairwise(folded):
        if not part.outputs:
            after.source = f"{part.source}\n\n{after.source}"
    for before, part in itertools.pairwise([part for part in folded if part.outputs]):
        if any('class="frl-source"' in output.get("data", {}).get("text/html", "") for output in part.outputs):
            before.source = f"{before.source}\n\n{part.source}"
            part.metadata["tags"] = ["remove-input"]
    silent = [part for part in folded[:-1] if not part.outputs]
    notebook.cells = [part for part in notebook.cells if not any(part is one for one in silent)]
