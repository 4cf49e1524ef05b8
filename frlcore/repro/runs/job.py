"""What a worker process does with one run, whichever engine started it: its messages, and its end in a word."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frlcore.errors import UserError
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Task


@dataclass(frozen=True)
class Progress:
    """A message from the engine: `run` has finished `step` of its steps (epochs); `done` when its result is stored."""

    run: Task
    step: int
    done: bool = False


@dataclass(frozen=True)
class Measured:
    """A message from the engine: in its first batches `run` took so many seconds for each unit of its cost."""

    run: Task
    seconds: float


@dataclass(frozen=True)
class Side:
    """A message from the engine: so many runs may be under way at a time."""

    runs: int


Message = Progress | Measured | Side


@dataclass(frozen=True)
class Job:
    """A run, and all that its worker process needs to know."""

    run: Task
    root: Path
    published: Path | None
    threads: int
    device: str
    deadline: float | None  # seconds since the epoch, as `time.time()`


@dataclass(frozen=True)
class Ended:
    """How a job ended: "done"; "left" at the deadline, or since what it starts from is missing; "failed", and why."""

    how: str
    why: str = ""


def work(job: Job, tell: Callable[[Message], object]) -> Ended:
    """Carry the run out in this process and tell how it gets on; what goes wrong is told in `Ended`, never raised."""
    import torch

    from frlcore.repro.runs.worker import carry_out

    torch.set_num_threads(job.threads)

    def after_step(step: int) -> bool:
        tell(Progress(job.run, step))
        return job.deadline is not None and time.time() > job.deadline

    try:
        finished = carry_out(
            job.run, Store(job.root, job.published), device=job.device, after_step=after_step, deadline=job.deadline,
            on_pace=lambda seconds: tell(Measured(job.run, seconds)),
        )  # fmt: skip
    except UserError as error:
        return Ended("failed", str(error))
    except Exception:  # the traceback is for whoever mends it; the engine goes on with the other runs
        traceback.print_exc(file=sys.stderr)
        return Ended("failed", f"run {job.run.key[:12]} failed unexpectedly; its traceback is above")
    return Ended("done" if finished else "left")


def summary(failures: dict[str, str]) -> UserError:
    """All that failed, by key, in one line."""
    first = next(iter(failures.values()))
    return UserError(first if len(failures) == 1 else f"{len(failures)} runs failed; the first: {first}")
