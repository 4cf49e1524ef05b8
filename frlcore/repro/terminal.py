"""The command line's terminal: names of files and classes, which others may have chosen, are shown and never obeyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from frlcore.errors import plain

USAGE: Any = typer.BadParameter.__base__  # click's UsageError, which newer releases of Typer have a copy of


class Terminal(Console):
    """A console that shows the control and direction characters of any text as escapes, so lines are printed singly."""

    def __init__(self) -> None:
        known = {name: value for name, value in os.environ.items() if (name, value) != ("COLUMNS", "0")}
        super().__init__(highlight=False, emoji=False, _environ=known)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(plain(text), **how)

    def print_lines(self, text: str) -> None:
        """Print a text of this project's own that has several lines."""
        for line in text.splitlines():
            self.print(line, soft_wrap=True, markup=False)


class Commands(TyperGroup):
    """The commands; a complaint about a word of the command line shows it as `plain` does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plainly():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _plainly():
            return super().invoke(ctx)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except USAGE as error:
        error.message = plain(error.message)
        raise
