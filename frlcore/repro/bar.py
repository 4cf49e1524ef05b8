"""How work is getting on: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_SECONDS = 10


class Bar:
    """`total` epochs, images or runs, `done` of which are there before it begins."""

    def __init__(self, console: Console, what: str, total: int, done: int = 0) -> None:
        self.console, self.total = console, total
        self.begin = self.printed = time.monotonic()
        self.first: float = done
        self.done: float = done
        words = TextColumn("{task.description}", markup=False)
        columns = (words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task(what, total=total, completed=done)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, done: float, what: str, line: str | None = None) -> None:
        """So much is done; `what` stands beside the bar, and `line`, or the same, where there is none."""
        self.done = done
        self.bar.update(self.task, completed=done, description=what)
        if not self.console.is_terminal and time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            self.console.print(line or what, soft_wrap=True, markup=False)

    def left(self, done: float) -> str:
        """The time left once so much is done, at the pace since the bar began."""
        return clock((time.monotonic() - self.begin) * (self.total - done) / (done - self.first))


def clock(seconds: float) -> str:
    """A time span as a person says it."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
