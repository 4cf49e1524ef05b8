"""One notebook: its declared parameters, its execution with other values, and its labels."""

from __future__ import annotations

import ast
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frlcore.errors import UserError
from frlcore.repro.places import checkout

try:
    import jupytext
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    from frlcore.repro.book.kernels import OwnKernel
except ModuleNotFoundError as error:
    raise UserError(f"notebooks need the package {error.name!r}: run pip install -e '.[book]'") from error

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "list": list}


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's cell tagged `parameters`: `name: type = default  # help`."""

    name: str
    type: str
    default: str
    help: str


def find(name: str, *, root: Path | None = None) -> Path:
    """The notebook called `name` ("05_experiments", or any unambiguous beginning such as "05")."""
    root = root or checkout("a notebook")
    known = sorted(path.stem for path in (root / "notebooks").glob("*.md"))
    stem = name.removesuffix(".md").removesuffix(".ipynb")
    found = [stem] if stem in known else [other for other in known if stem and other.startswith(stem)]
    if len(found) != 1:
        raise UserError(f"no single notebook is called {name!r}; there are: {', '.join(known) or 'none'}")
    return root / "notebooks" / f"{found[0]}.md"


def read(notebook: Path) -> nbformat.NotebookNode:
    """The notebook as an object. Raises UserError when it cannot be read."""
    try:
        return jupytext.read(notebook)
    except Exception as error:  # jupytext raises whatever its YAML and JSON readers raise
        raise UserError(f"cannot read the notebook {notebook}: {_last_line(str(error))}") from error


def declared(notebook: Path) -> dict[str, Parameter]:
    """The parameters a notebook declares, by name. Raises UserError for one without a known type."""
    found = {}
    for name, entry in papermill.inspect_notebook(read(notebook)).items():
        kind = str(entry["inferred_type_name"]).replace(" ", "")
        if kind.partition("[")[0] not in _TYPES:
            raise UserError(f"{notebook.name}: parameter {name!r} needs one of the types {', '.join(_TYPES)}")
        found[name] = Parameter(name, kind, str(entry["default"]), str(entry["help"]).strip())
    return found


def _listing(known: Mapping[str, Parameter]) -> str:
    """What can be given, each parameter with its type, default and meaning."""
    return "; ".join(f"{p.name} ({p.type}, default {p.default}): {p.help}" for p in known.values()) or "none"


def _fits(value: object, kind: str) -> bool:
    base, _, inner = kind.rstrip("]").partition("[")
    if base == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if base == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if base == "list" and inner in _TYPES and isinstance(value, list):
        return all(_fits(item, inner) for item in value)
    return isinstance(value, _TYPES[base])


def check(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, whole numbers made float where declared so; UserError for unknown names and wrong types."""
    known, checked = declared(notebook), {}
    for name, value in parameters.items():
        if name not in known:
            raise UserError(f"{notebook.name} has no parameter {name!r}; it has: {_listing(known)}")
        if not _fits(value, known[name].type):
            raise UserError(f"{notebook.name}: parameter {name!r} takes {known[name].type}, and {value!r} is none")
        checked[name] = float(value) if known[name].type == "float" else value
    return checked


def parse_parameters(notebook: Path, words: Sequence[str]) -> dict[str, Any]:
    """Typed parameters from the words `NAME VALUE NAME VALUE ...` of a command line.

    Strings are taken as they are, truth values are `true` or `false`, lists are written `[1, 2]` or `1,2`, and a
    radius may be a fraction, `8/255`.
    Raises UserError for a name without a value, an unknown name and a value of the wrong type.
    """
    if len(words) % 2:
        raise UserError(f"parameter {words[-1]!r} has no value: write NAME VALUE")
    known, values = declared(notebook), {}
    for name, text in zip(words[::2], words[1::2], strict=True):
        if name not in known:
            raise UserError(f"{notebook.name} has no parameter {name!r}; it has: {_listing(known)}")
        values[name] = text if known[name].type == "str" else _literal(text)
    return check(notebook, values)


def _literal(text: str) -> Any:
    """A Python literal, or a fraction as radii are written (8/255); other text stays, and then fails the type check."""
    if fraction := re.fullmatch(r"(\d+(?:\.\d+)?)/(\d*[1-9]\d*)", text):
        return float(fraction[1]) / float(fraction[2])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of spellings that Python will not take for ever
            value = ast.literal_eval({"true": "True", "false": "False"}.get(text.lower(), text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: too deep for its parser
        return text
    return list(value) if isinstance(value, tuple) else value


def execute(
    notebook: Path,
    out: Path,
    parameters: Mapping[str, Any],
    *,
    cwd: Path | None = None,
    fingerprint: str = "",
    kernel: type[OwnKernel] = OwnKernel,
) -> Path:
    """Execute a notebook with these parameters in its own kernel and write it to `out` (.ipynb) in one step.

    Only a notebook that ran to its end is written, and nothing in it names a path of this machine.
    Raises UserError for bad parameters and for a failing cell (notebook, code cell, last line of the error).
    """
    values, cwd = check(notebook, parameters), cwd or checkout("a notebook")
    _writable(out)
    try:
        done = papermill.execute_notebook(
            read(notebook),
            None,
            values,
            kernel_name="python3",
            kernel_manager_class=kernel,
            progress_bar=False,
            resources={"metadata": {"path": str(cwd)}},  # papermill's own `cwd` moves the whole process
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own remarks; errors of cells are not among them
        )
    except PapermillExecutionError as error:
        where = error.exec_count - bool(values) if error.exec_count else "?"  # without the injected cell
        what = _last_line(f"{error.ename}: {error.evalue}")
        raise UserError(f"{notebook.name}, code cell {where}: {what}") from error
    except (CellTimeoutError, RuntimeError) as error:  # a DeadKernelError, or one that did not even start
        raise UserError(f"{notebook.name}: its kernel died or hung, often for want of memory") from error
    done.metadata["papermill"] = {
        "input_path": notebook.name,  # papermill keeps the whole input here, or machine paths
        "output_path": out.name,
        "parameters": values,
        "duration": done.metadata["papermill"].get("duration"),
    }
    done.metadata["frl"] = {"fingerprint": fingerprint}
    write(done, out)
    return out


def write(notebook: nbformat.NotebookNode, out: Path) -> None:
    """Write a notebook under a temporary name, then rename it into place; UserError when that cannot be done."""
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(nbformat.writes(notebook), encoding="utf-8")
        os.replace(part, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}; choose another place or make room") from error
    finally:
        part.unlink(missing_ok=True)


def _writable(out: Path) -> None:
    """Find out before minutes of work that nothing can be written to `out`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(out.with_name(f".{out.name}.{os.getpid()}"), "w") as file:
            Path(file.name).unlink()
        problem = "it is a folder" if out.is_dir() else ""
    except OSError as error:
        problem = str(error.strerror)
    if problem:
        raise UserError(f"cannot write {out}: {problem}; choose another place")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
