"""The local engine: carries a plan out with one process per run, several side by side.

Small runs are fastest as many one-thread processes, so on a CPU every core gets a worker, and a GPU up to `PER_GPU`.
Workers are forked from one process that has imported torch already, so that a run starts in milliseconds. Each dies
with the engine; what it had finished of its run, up to its last checkpoint, is in the store.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext

from frlcore.errors import UserError
from frlcore.repro.runs.job import Ended, Job, Message, Progress, log, summary, work
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Task
from frlcore.repro.surroundings import processors, socket_folder
from frlcore.settings import info

PER_GPU = 2  # so that one run works while the other validates, saves or starts; an assumption, not measured yet
SMALL = 8  # pixels a side of the digits
LOOK = 2.0  # seconds after which a run that another process had in hand is looked at again
RUN_BYTES = 8 * 2**30  # of the GPU's memory that a run of PreActResNet-18 at batch 128 may need


@dataclass
class _Worker:
    run: Task
    device: str
    process: multiprocessing.process.BaseProcess
    pipe: Connection


def run_local(
    runs: Sequence[Task],
    store: Store,
    *,
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    deadline: float | None = None,
    on_progress: Callable[[Message], None] = lambda message: None,
) -> int:
    """Carry out every run that is not done yet, parents first; returns how many are still not done.

    With a deadline runs start in the order given, else the long ones first, so that all workers finish together. Every
    run computes with `threads` CPU threads: several are worth it when there are fewer runs than cores. After `deadline`
    (seconds since the epoch, as `time.time()`) no run starts, and those under way stop at the end of their epoch. A run
    that fails does not stop the others; at the end a UserError says what failed. While another process has a run in
    hand, the next ones are made. Memory and disk are looked at first (`needs.check`).
    """
    from frlcore.repro.runs import needs  # and with it torch, which planning does without

    if threads < 1:
        raise UserError(f"threads must be at least 1, got {threads}")
    todo = unfinished(runs, store)
    free = places(usual(todo, device), workers)
    needs.check(todo, store, len(free), free[0])
    waiting = sorted(todo, key=lambda run: -run.cost) if deadline is None else list(todo)
    context = _context()
    active: dict[Connection, _Worker] = {}
    failures: dict[str, str] = {}
    resting: dict[str, float] = {}  # until when a run is left to the other process that has it in hand
    try:
        while waiting or active:
            late = deadline is not None and time.time() > deadline
            ready = [] if late else [
                run for run in waiting
                if (not run.start or store.trained(run.start.key)) and time.monotonic() > resting.get(run.key, 0.0)
            ]  # fmt: skip
            for run in ready[: len(free)]:
                waiting.remove(run)
                worker = _start(context, run, store, threads, free.pop(0), deadline)
                active[worker.pipe] = worker
            others = [run for run in waiting if run.key in resting]
            if not active and (late or not others):
                break  # late, or what is waiting needs a run that failed
            for pipe in wait(list(active), LOOK if others else None):
                worker = active[pipe]  # type: ignore[index]
                busy = _listen(active, pipe, store, failures, on_progress)  # type: ignore[arg-type]
                if pipe not in active:
                    free.append(worker.device)
                if busy:
                    waiting.append(worker.run)
                    resting[worker.run.key] = time.monotonic() + LOOK
    finally:
        for worker in active.values():
            worker.process.terminate()
    if failures:
        raise summary(failures)
    return len(unfinished(todo, store))


def unfinished(runs: Sequence[Task], store: Store) -> list[Task]:
    """Runs without a result, and runs that one of these starts from, or one of those, whose weights are not at hand."""
    todo = {run.key for run in runs if not store.done(run.key)}
    while True:
        starts = {run.start.key for run in runs if run.start and run.key in todo} - todo
        if not (more := {key for key in starts if not store.trained(key)}):
            return [run for run in runs if run.key in todo]
        todo |= more


def usual(runs: Sequence[Task], device: str) -> str:
    """The device for these runs: "auto" is the CPU when their images are small, since a GPU would mostly wait."""
    small = all(info(run.trained.dataset).shape[-1] <= SMALL for run in runs)
    return "cpu" if device == "auto" and small else device


def places(device: str, workers: int | None = None) -> list[str]:
    """The device of every run that may be under way at a time.

    By default one a core on a CPU. "auto" and "cuda" spread runs over all GPUs that CUDA_VISIBLE_DEVICES lets through,
    as many on each as its memory has room for, up to `PER_GPU`. Raises UserError for a device that is not there.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, got {workers}")
    import torch

    from frlcore.device import pick_device

    pick_device(device)  # one line now rather than one per run
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return ["cpu"] * (workers or processors())
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if device in ("auto", "cuda") else [device]
    if workers:
        return [gpus[i % len(gpus)] for i in range(workers)]
    rooms = {gpu: torch.cuda.get_device_properties(gpu).total_memory // RUN_BYTES for gpu in gpus}
    return [gpu for nth in range(PER_GPU) for gpu in gpus if nth < max(1, rooms[gpu])]


def _context() -> SpawnContext | ForkServerContext:
    folder = socket_folder()
    if folder is None or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["frlcore.repro.runs.worker"])
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server inherits it: Ctrl-C is the engine's alone
        usual, tempfile.tempdir = tempfile.tempdir, folder  # where its socket goes, whose name must be short
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)
            tempfile.tempdir = usual
    return context


def _start(
    context: SpawnContext | ForkServerContext,
    run: Task,
    store: Store,
    threads: int,
    device: str,
    deadline: float | None,
) -> _Worker:
    ours, theirs = context.Pipe(duplex=False)
    job = Job(run, store.root, store.published, threads, device, deadline, patient=False)
    process = context.Process(target=_work, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    return _Worker(run, device, process, ours)


def _listen(
    active: dict[Connection, _Worker],
    pipe: Connection,
    store: Store,
    failures: dict[str, str],
    on_progress: Callable[[Message], None],
) -> bool:
    """Take in a message of a worker; True when it found its run in the hands of another process."""
    worker = active[pipe]
    try:
        message = pipe.recv()
    except EOFError:
        worker.process.join()
        code = worker.process.exitcode
        why = f"a worker process ended with exit code {code}; run again to go on"
        message = Ended("failed", f"{why} (log: {log(worker.run, store)})")
    if not isinstance(message, Ended):
        on_progress(message)
        return False
    del active[pipe]
    pipe.close()
    if message.how == "failed":
        failures[worker.run.key] = message.why
    elif message.how == "done":
        on_progress(Progress(worker.run, worker.run.steps, done=True))
    return message.how == "busy"


def _work(pipe: Connection, job: Job) -> None:
    """The worker process: its messages to the pipe, the last of them how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides; Ctrl-C reaches it
    threading.Thread(target=_die_with_parent, daemon=True).start()
    pipe.send(work(job, pipe.send))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
