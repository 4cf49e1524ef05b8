"""How a plan is getting on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console

from frlcore.repro.bar import Bar, clock
from frlcore.repro.runs.job import Measured, Message, Side
from frlcore.repro.runs.task import Run, Task

SURE = 0.01  # before this share of the work is done, starting up hides how fast it goes


class Report(Bar):
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
        super().__init__(console, "starting", len(todo))
        self.todo, self.titles, self.workers = todo, titles, min(workers, len(todo))
        self.told = False  # how many runs a cluster takes
        self.pace: float | None = None
        self.steps = dict(begun or {})
        self.gained = 0.0  # work done under our eyes, in units of Run.cost
        self.finished = 0

    def see(self, message: Message) -> None:
        """Take in one message and show where things stand."""
        if isinstance(message, Side):
            if self.told:
                self.console.print(f"The cluster has room for {message.runs} runs at a time now.", soft_wrap=True)
            self.told, self.workers = True, max(1, min(message.runs, len(self.todo)))
            return
        if isinstance(message, Measured):
            if self.pace is None:
                self.console.print(f"At the pace of the first batches: {self._at(message.seconds)}.", soft_wrap=True)
            self.pace = message.seconds
            self.bar.update(self.task, description=f"{self.titles[message.run.key]}, {self._at(self.pace)}")
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
            left = self._at((time.monotonic() - self.begin) / self.gained * self.workers)
        elif self.pace is not None:
            left = self._at(self.pace)
        what = f"{self.titles[run.key]}, " + (
            f"epoch {progress.step} of {steps}" if isinstance(run, Run) else f"{progress.step}%"
        )
        what = f"{what}, {left}"
        self.show(self.finished, what, f"[{self.finished} of {len(self.todo)} runs] {what}")

    def rest(self) -> float:
        """Work to be done, in units of Run.cost."""
        return sum(one.cost * (1 - self.steps.get(one.key, 0) / one.steps) for one in self.todo)

    def _at(self, pace: float) -> str:
        """The time left when each worker takes `pace` seconds for a unit of work."""
        return f"about {clock(pace * self.rest() / self.workers)} left"
