"""The reference of the public names, a page of the book: what their source says of them, read without importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import frlcore

Definition = ast.FunctionDef | ast.ClassDef
INTRO = """\
# The names of `frlcore`

`import frlcore` offers these; images are `(N, C, H, W)`, radii and errors are fractions. What else there is stands in
the modules `attacks`, `data`, `models` and `policies`. Every example on this page is run by the tests.
"""
HEADS = re.compile(r"^(Arguments|Returns|Raises|Source):", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> .*", re.MULTILINE | re.DOTALL)


def page() -> str:
    """The page in MyST Markdown, the names in the order of the alphabet."""
    return "\n".join([INTRO, *(_entry(name) for name in sorted(frlcore.__all__, key=str.lower))])


def definition(name: str) -> tuple[Definition, str]:
    """Where a public name is defined, as a syntax tree and as the text of its file."""
    package = Path(frlcore.__file__).parent
    rooms = (*package.glob("*.py"), *(package / "data").glob("*.py"), *(package / "auditing").glob("*.py"))
    for path in sorted(rooms):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, Definition) and node.name == name:
                return node, text
    raise LookupError(name)


def _entry(name: str) -> str:
    node, text = definition(name)
    words = ast.get_docstring(node) or ""
    example = EXAMPLE.search(words)
    words = HEADS.sub(r"**\1:**", EXAMPLE.sub("", words).strip())
    parts = [f"## `{name}`", _fenced("python", _header(node, text)), words, *_methods(node)]
    parts += [_fenced("pycon", example[0])] if example else []
    return "\n\n".join(parts) + "\n"


def _header(node: Definition, text: str) -> str:
    """The head of a function as it is written, or that of a class with its fields and what is said beside them."""
    lines = text.splitlines()
    if isinstance(node, ast.FunctionDef):
        return "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1]).removesuffix(":")
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    kept = [line for one in fields for line in lines[one.lineno - 1 : one.end_lineno]]
    return "\n".join([lines[node.lineno - 1], *kept])


def _methods(node: Definition) -> Iterator[str]:
    """One line for every public method that says something of itself."""
    lines = []
    for one in node.body if isinstance(node, ast.ClassDef) else []:
        said = ast.get_docstring(one) if isinstance(one, ast.FunctionDef) else None
        if isinstance(one, ast.FunctionDef) and said and not one.name.startswith("_"):
            arguments = ", ".join(argument.arg for argument in one.args.args if argument.arg not in ("self", "cls"))
            lines.append(f"- `{one.name}({arguments})`: {' '.join(said.split())}")
    if lines:
        yield "**Methods:**\n" + "\n".join(lines)


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{dedent(code).strip()}\n```"
