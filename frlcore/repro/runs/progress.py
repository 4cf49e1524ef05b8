"""How a plan is getting on: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from frlcore.repro.runs.job import Measured, Message, Side
from frlcore.repro.runs.task import Run, Task

LINE_SECONDS = 10
SURE = 0.01  # before this share of the work is done, starting up hides how fast it goes


class Report:
    """Shows runs done, what is being trained and the time left, from the messages of an engine.

    `workers` runs are under way at a time: before the first epochs are over the time left is theirs, at the pace of the
    first batches. `begun` tells how many steps runs have behind them, by key.
    """

    def __init__(
        self,
        todo: Sequence[Task],
        titles: Mapping[str, str],
        console: Console,
        workers: int = 1,
        begun: Mapping[str, int] | None = None,
    ) -> None:
        self.todo, self.titles, self.console, self.workers = todo, titles, console, min(workers, len(todo))
        self.told = False  # how many runs a cluster takes
        self.pace: float | None = None
        self.steps = dict(begun or {})
        self.gained = 0.0  # work done under our eyes, in units of Run.cost
        self.finished = 0
        self.begin = self.printed = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("starting", total=len(todo))

    def __enter__(self) -> Report:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def see(self, message: Message) -> None:
        """Take in one message and show where things stand."""
        if isinstance(message, Side):
            if self.told:
                self.console.print(f"The cluster has room for {message.runs} runs at a time now.", soft_wrap=True)
            self.told, self.workers = True, max(1, min(message.runs, len(self.todo)))
            return
        if isinstance(message, Measured):
            if self.pace is None:
                self.console.print(f"At the pace of the first batches: {self._left(message.seconds)}.", soft_wrap=True)
            self.pace = message.seconds
            self.bar.update(self.task, description=f"{self.titles[message.run.key]}, {self._left(self.pace)}")
            return
        progress = message
        run, steps = progress.run, progress.run.steps
        first = progress.step - 1 if isinstance(run, Run) else 0  # an earlier process may have made the first epochs
        before = self.steps.get(run.key, first)
        self.gained += run.cost * (progress.step - before) / steps
        self.steps[run.key] = progress.step
        self.finished += progress.done
        left = "time left not known yet"
        if self.gained > SURE * self.rest():
            left = self._left((time.monotonic() - self.begin) / self.gained * self.workers)
        elif self.pace is not None:
            left = self._left(self.pace)
        what = f"{self.titles[run.key]}, " + (
            f"epoch {progress.step} of {steps}" if isinstance(run, Run) else f"{progress.step}%"
        )
        self.bar.update(self.task, completed=self.finished, description=f"{what}, {left}")
        if not self.console.is_terminal and time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            self.console.print(f"[{self.finished} of {len(self.todo)} runs] {what}, {left}", soft_wrap=True)

    def rest(self) -> float:
        """Work to be done, in units of Run.cost."""
        return sum(one.cost * (1 - self.steps.get(one.key, 0) / one.steps) for one in self.todo)

    def _left(self, pace: float) -> str:
        """The time left when each worker takes `pace` seconds for a unit of work."""
        return f"about {clock(pace * self.rest() / self.workers)} left"


def clock(seconds: float) -> str:
    """A time span as a person says it."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    if minutes >= 120:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
