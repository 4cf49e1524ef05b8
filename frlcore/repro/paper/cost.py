"""What a plan costs before it is begun: images, FLOPs, hours on this machine, and on any number of GPUs.

Work is counted as `Run.cost` counts it, in forward passes of an image, of which a backward pass takes two. FLOPs are
those of the network's layers as torch counts them, a multiplication and an addition each one. This machine is measured;
no GPU has been, so its hours are those of two assumed speeds (`device_plan.RATES`), carried over to other networks by
their FLOPs. The time on several GPUs is that of the engines' order: the longest run that can start goes first.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from frlcore import data, models
from frlcore.errors import UserError
from frlcore.repro.bar import clock
from frlcore.repro.paper import plan
from frlcore.repro.paper.device_plan import BESIDE, EDITION, PASSES, RATES, TRAINING_IMAGES
from frlcore.repro.places import downloads
from frlcore.repro.runs.task import Run, Task
from frlcore.repro.surroundings import processors
from frlcore.settings import info
from frlcore.training import batch_loss

GPUS = (1, 8, 64)
MEASURE = 10.0  # seconds, for all networks of the plan together
PIXELS = 16 * 32 * 32  # of a measured batch, at most: more would take seconds with a large network
TRAINED = {"cifar10": TRAINING_IMAGES, "svhn": 70_257}  # images of the paper's data; others are at hand


def text(name: str, edition: str, seeds: int = 1, gpus: int | None = None, seconds: float = MEASURE) -> str:
    """The costs of a plan in lines for a terminal; UserError for an unknown plan or edition, or less than one GPU."""
    if gpus is not None and gpus < 1:
        raise UserError(f"gpus must be at least 1, got {gpus}")
    tasks = plan.runs(name, edition, seeds)
    work = {task.key: task.cost * images(task.trained) for task in tasks}
    kind = {task.key: (task.trained.model, task.trained.dataset) for task in tasks}
    flops = {key: amount * forward_flops(*kind[key]) for key, amount in work.items()}
    by_length = sorted((task.trained for task in tasks), key=lambda run: run.cost)
    typical = {(run.model, run.dataset): run for run in by_length}  # the longest of each kind
    speed = {one: pace(run, seconds / len(typical)) for one, run in typical.items()}
    here = {key: amount * speed[kind[key]] for key, amount in work.items()}
    cores = processors()
    lines = [
        f"{name}, edition {edition}: {len(tasks)} runs and checks, {sum(work.values()):.3g} forward passes of an image "
        f"(a backward pass counts two), {sum(flops.values()):.3g} FLOPs.",
        f"This machine, {cores} runs at a time: {clock(wall(tasks, here, cores))}; in all {clock(sum(here.values()))} "
        f"of one core, as measured just now in {seconds:g} s.",
        "No GPU has been measured. For two assumed speeds of PGD-10 training of PreActResNet-18:",
    ]
    for rate in RATES:
        each = {key: amount / (rate * PASSES * reference()) + BESIDE for key, amount in flops.items()}
        counts = GPUS if gpus is None else (gpus,)
        spans = ", ".join(f"{n} GPU{'s' * (n > 1)} {clock(wall(tasks, each, n))}" for n in counts)
        lines.append(f"    {rate:,} images a second: {spans}; never less than {clock(longest(tasks, each))}")
    lines.append(f"One run on a GPU at a time and {BESIDE:.0f} s of it beside its epochs, both assumed, too.")
    return "\n".join(lines)


def wall(tasks: Sequence[Task], seconds: dict[str, float], places: int) -> float:
    """Seconds until all tasks are done on so many places, the longest that can start first, parents before children."""
    left = sorted(tasks, key=lambda task: -task.cost)
    known, done = set(seconds), set[str]()
    under_way: list[tuple[float, str]] = []
    now = 0.0
    while left or under_way:
        for task in [one for one in left if not (one.start and one.start.key in known - done)]:
            if len(under_way) < places:
                left.remove(task)
                heapq.heappush(under_way, (now + seconds[task.key], task.key))
        now, key = heapq.heappop(under_way)
        done.add(key)
    return now


def longest(tasks: Sequence[Task], seconds: dict[str, float]) -> float:
    """Seconds of the longest chain of tasks of which each starts from the one before."""
    return max(sum(seconds.get(one.key, 0.0) for one in plan.lineage(task)) for task in tasks)


def images(run: Run) -> int:
    """How many images a run trains on."""
    return TRAINED.get(run.dataset) or _count(run.dataset, run.fold, run.folds)


@cache
def _count(dataset: str, fold: int, folds: int) -> int:
    return len(data.load(dataset, root=downloads(), fold=fold, folds=folds).train)


@cache
def forward_flops(model: str, dataset: str) -> float:
    """FLOPs of a forward pass of one image."""
    two = torch.empty(2, *info(dataset).shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        _built(model, dataset).to("meta")(two)
    return counter.get_total_flops() / 2


def reference() -> float:
    """`forward_flops` of the network that the assumed speeds are of."""
    ed = plan.edition(EDITION)
    return forward_flops(ed.model, ed.dataset)


def pace(run: Run, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a forward pass of one image here, in one thread of the run's training after its first batch."""
    network, facts = _built(run.model, run.dataset).train(), info(run.dataset)
    size = min(run.training.batch_size, PIXELS // (facts.shape[1] * facts.shape[2]))
    x, y, one = torch.rand(size, *facts.shape), torch.zeros(size, dtype=torch.int64), torch.ones(size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    done, spent, begin = 0, 0.0, None
    try:
        while spent < seconds:
            batch_loss(network, x, y, run.training, one, one, one, None).backward()
            if begin is None:
                begin = clock()
                continue
            done += run.passes * size
            spent = clock() - begin
        return spent / done
    finally:
        torch.set_num_threads(threads)


def _built(model: str, dataset: str) -> torch.nn.Module:
    facts = info(dataset)
    return models.build(model, num_classes=len(facts.classes), in_channels=facts.shape[0], seed=0)
