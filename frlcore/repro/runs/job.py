"""What a worker process does with one run, whichever engine started it: its messages, and its end in a word."""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    patient: bool = True  # a run that another process has in hand is waited for


@dataclass(frozen=True)
class Ended:
    """How a job ended: "done"; "failed", and why; "busy" when another process has the run in hand; "left" undone.

    A run is left at the deadline, and when what it starts from is not done.
    """

    how: str
    why: str = ""


def work(job: Job, tell: Callable[[Message], object]) -> Ended:
    """Carry the run out in this process and tell how it gets on; what goes wrong is told in `Ended`, never raised.

    Whatever is printed meanwhile goes to the run's log.
    """
    path = log(job.run, Store(job.root))
    with ExitStack() as stack:
        try:
            stack.enter_context(_logged(path))
        except OSError:  # the store cannot be written, which the run will say
            return _work(job, tell)
        ended = _work(job, tell)
        if ended.how != "busy":
            _note(job, f"{ended.how} {ended.why}".rstrip())
    return Ended("failed", f"{ended.why} (log: {path})") if ended.how == "failed" else ended


def _work(job: Job, tell: Callable[[Message], object]) -> Ended:
    import torch

    from frlcore.repro.runs.worker import InHand, carry_out

    torch.set_num_threads(job.threads)

    def after_step(step: int) -> bool:
        _note(job, f"step {step} of {job.run.steps}")
        tell(Progress(job.run, step))
        return job.deadline is not None and time.time() > job.deadline

    try:
        finished = carry_out(
            job.run, Store(job.root, job.published), device=job.device, after_step=after_step, deadline=job.deadline,
            on_pace=lambda seconds: tell(Measured(job.run, seconds)), patient=job.patient,
        )  # fmt: skip
    except InHand:
        return Ended("busy")
    except UserError as error:
        return Ended("failed", str(error))
    except Exception:  # the traceback is for whoever mends it; the engine goes on with the other runs
        _print(traceback.format_exc())
        return Ended("failed", f"run {job.run.key[:12]} failed unexpectedly; its traceback is in the log")
    return Ended("done" if finished else "left")


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what this process prints, from C code too, to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    usual = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for number, before in zip((1, 2), usual, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(log)


def _note(job: Job, text: str) -> None:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _print(f"{when} {platform.node()}, process {os.getpid()}, {job.device}: {text}\n")


def _print(text: str) -> None:
    """Write to the log at once; a full disk, which the run itself will meet, is no reason to end here."""
    with suppress(OSError):
        os.write(2, text.encode(errors="backslashreplace"))


def log(run: Task, store: Store) -> Path:
    """Where a run's log stands."""
    return store.folder(run.key) / "run.log"


def summary(failures: dict[str, str]) -> UserError:
    """All that failed, by key, in one line."""
    first = next(iter(failures.values()))
    return UserError(first if len(failures) == 1 else f"{len(failures)} runs failed; the first: {first}")
