"""How fast runs go: measured in the first batches of a run, or read from the records of finished ones.

A pace is seconds for each unit of `Run.cost`, a forward pass over the training images. No machine is named here: what a
page or `frl run` says of hours rests on a measurement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run

LISTEN = 5.0  # seconds of training that a measurement takes at least


class FirstBatches:
    """Tells the pace of a run once, from its first batches; the very first, in which code is compiled, does not count.

    For a CPU: a GPU has not done its work yet when a batch returns, and its epochs are over in seconds.
    """

    def __init__(self, run: Run, images: int, tell: Callable[[float], object]) -> None:
        self.run, self.batches, self.tell = run, images // run.training.batch_size, tell
        self.seen, self.begin = 0, 0.0

    def see(self) -> None:
        """Take in that a batch is finished."""
        now = time.perf_counter()
        if self.seen == 0:
            self.begin = now
        elif self.seen > 0 and now - self.begin >= LISTEN:
            epoch = (now - self.begin) / self.seen * self.batches
            self.tell(epoch / self.run.passes)
            self.seen = -1
        if self.seen >= 0:
            self.seen += 1


@dataclass(frozen=True)
class Recorded:
    """The pace of a finished run, its test included, and the machine that made it."""

    seconds: float
    device: str


def recorded(runs: Iterable[Run], store: Store) -> Recorded | None:
    """The pace of the newest record among `runs`, which have network and data in common; None if there is none."""
    found = []
    for run in runs:
        made = store.provenance(run.key) if store.done(run.key) else {}
        seconds, finished = made.get("seconds"), made.get("finished")
        if isinstance(seconds, int | float) and seconds > 0 and isinstance(finished, str):
            found.append((finished, Recorded(seconds / run.cost, str(made.get("device", "a machine")))))
    return max(found, key=lambda one: one[0])[1] if found else None
