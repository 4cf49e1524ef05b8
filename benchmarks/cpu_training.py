"""Adversarial training on a CPU at the size of CIFAR-10: float32, bfloat16, and the released loop, in one process.

    python benchmarks/cpu_training.py [--networks N ...] [--loops L ...] [--rounds N] [--batches N] [--batch-size N]

Loops take turns, and the first turn, in which code is compiled, does not count; time is processor time of one thread.
The last column says what the accelerated loops really computed in: a way that is unsound is left out (acceleration.py).
The straightforward loop, that of the paper's released code, is the one of cifar10_speed.py.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from cifar10_speed import HOW, INFO, Straightforward, name_of, pixels, seconds
from torch import nn

from frlcore import models, policies
from frlcore.acceleration import Accelerated, arithmetic_in_words
from frlcore.settings import Training
from frlcore.training import train_epoch

NETWORKS = ("preact_resnet18_quarter", "preact_resnet18_half", "preact_resnet18")
LOOPS: dict[str, Callable[[nn.Module], nn.Module | Accelerated]] = {
    "float32": lambda net: net,
    "bfloat16": lambda net: Accelerated(net, compiler=None),
    "bfloat16 compiled": Accelerated,
}
RELEASED = "straightforward"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One loop at one task; the ratio is its images a second over those of ours in float32, round by round."""

    network: str
    task: str
    loop: str
    images_per_second: float
    ratio: float  # median, smallest, largest
    ratio_low: float
    ratio_high: float
    first_seconds: float
    computed_in: str


def compare(network: str, task: str, loops: Sequence[str], *, rounds: int, batches: int, batch_size: int) -> list[Row]:
    """Images a second of each of `loops` at a task of cifar10_speed.py, with those of float32."""
    how = replace(HOW[task], batch_size=batch_size)
    start = models.build(network, num_classes=10, in_channels=3, seed=0)
    split = pixels(batches * batch_size, CPU)
    nets = {loop: LOOPS[loop](copy.deepcopy(start)) for loop in LOOPS if loop in loops or loop == "float32"}
    works = {loop: _epoch(net, how, split) for loop, net in nets.items()}
    if RELEASED in loops:
        plain = Straightforward(start, how)
        works[RELEASED] = lambda: plain.epoch(split)
    times: dict[str, list[float]] = {loop: [] for loop in works}
    for _ in range(rounds + 1):
        for loop, work in works.items():
            times[loop].append(seconds(work, CPU))
    rows = []
    for loop, (first, *rest) in times.items():
        ratios = [base / value for base, value in zip(times["float32"][1:], rest, strict=True)]
        rate = len(split.labels) / statistics.median(rest)
        words = arithmetic_in_words(nets[loop]) if loop in nets else "float32"
        rows.append(
            Row(network, task, loop, rate, statistics.median(ratios), min(ratios), max(ratios), first, words)
        )  # fmt: skip
    return rows


def _epoch(net: nn.Module | Accelerated, how: Training, split) -> Callable[[], float]:  # type: ignore[no-untyped-def]
    parameters = (net.model if isinstance(net, Accelerated) else net).parameters()
    optimizer = torch.optim.SGD(parameters, how.lr, momentum=0.9, weight_decay=5e-4, fused=True)
    settings = policies.build("uniform", 10).settings()
    return lambda: train_epoch(net, split, INFO, how, settings, optimizer, epoch=0, seed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Images a second of adversarial training on this CPU.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS[:2])
    parser.add_argument("--tasks", nargs="+", choices=list(HOW), default=list(HOW))
    parser.add_argument("--loops", nargs="+", choices=[*LOOPS, RELEASED], default=[*LOOPS, RELEASED])
    parser.add_argument("--rounds", type=int, default=3, help="timed turns of each loop (default 3)")
    parser.add_argument("--batches", type=int, default=2, help="training batches a turn (default 2)")
    parser.add_argument("--batch-size", type=int, default=128, help="images a batch (default 128)")
    given = parser.parse_args(arguments)
    if min(given.rounds, given.batches, given.batch_size) < 1:
        parser.error("--rounds, --batches and --batch-size must be at least 1")
    torch.set_num_threads(1)
    print(f"{name_of(CPU)}, torch {torch.__version__}, batches of {given.batch_size}\n")
    print(f"{'network':25}{'task':20}{'loop':19}{'images/s':>9}{'over float32':>22}{'first s':>9}  computed in")
    for network in given.networks:
        for task in given.tasks:
            for r in compare(network, task, given.loops, rounds=given.rounds, batches=given.batches,
                             batch_size=given.batch_size):  # fmt: skip
                spread = f"{r.ratio:.2f} ({r.ratio_low:.2f} to {r.ratio_high:.2f})"
                print(f"{r.network:25}{r.task:20}{r.loop:19}{r.images_per_second:9.1f}{spread:>22}"
                      f"{r.first_seconds:9.1f}  {r.computed_in}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
