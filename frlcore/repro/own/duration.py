"""How long `frl fit` will take on this machine, from a measurement of seconds, and what would fit into an hour."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from frlcore import models
from frlcore.data import Splits, to_float
from frlcore.device import within_memory
from frlcore.repro.bar import clock
from frlcore.settings import Training
from frlcore.training import batch_loss

SECONDS = 1.0  # of measuring, after a first batch that does not count
HOUR = 3600.0
SMALLER = ("preact_resnet18_half", "preact_resnet18_quarter", "preact_narrow")  # from slow to fast
FEWEST = 5  # epochs of the robust start: fewer teach nothing


def passes(stage: Training, splits: Splits) -> float:
    """Forward passes of one image that an epoch costs: training, a backward pass counting two, and validation."""
    train = (3 if stage.objective == "pgd" else 7) + 2 * stage.steps
    return train * len(splits.train) + (1 + 2 * stage.validation_steps) * len(splits.validation)


def pace(model: nn.Module, splits: Splits, stage: Training, device: torch.device) -> float:
    """Seconds that a forward pass of one image takes in PGD training, measured on a copy of the model.

    Raises UserError for a batch that needs more memory than the device has.
    """
    probe = copy.deepcopy(model).to(device).train()
    count = min(stage.batch_size, len(splits.train), 16 if device.type == "cpu" else stage.batch_size)
    x = to_float(splits.train.images[:count].to(device), splits.info.scale)
    y, one = splits.train.labels[:count].to(device), torch.ones(count, device=device)
    one_step = replace(stage, objective="pgd", steps=1)
    done, begin = 0, 0.0

    def step(size: int) -> None:
        ones = one[:size]
        batch_loss(probe, x[:size], y[:size], one_step, ones, ones, ones, None).backward()

    while True:
        within_memory(partial(step, count), step, count)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if not begin:
            begin = time.perf_counter()
            continue
        done += 5 * count  # one attack step and one training step
        if (spent := time.perf_counter() - begin) > SECONDS:
            return spent / done


def forecast(
    model: nn.Module, splits: Splits, stages: Sequence[Training], device: torch.device, test_steps: int
) -> list[str]:
    """Lines for the user before training: the time it takes and, where that is long on a CPU, what is shorter."""
    work = sum(stage.epochs * passes(stage, splits) for stage in stages) + 4 * test_steps * len(splits.tested())
    seconds = work * pace(model, splits, stages[0], device)
    lines = [f"Training and testing will take about {clock(seconds)} on this machine."]
    if device.type != "cpu" or seconds <= HOUR or len(stages) == 1:  # a model that is there already gets no smaller
        return lines
    for name in SMALLER:
        small = models.build(name, num_classes=len(splits.info.classes), in_channels=splits.info.shape[0], seed=0)
        share = HOUR / (work * pace(small, splits, stages[0], device))
        epochs, fine_tune = (max(1, int(stage.epochs * min(1.0, share))) for stage in stages)
        if epochs >= FEWEST or name == SMALLER[-1]:
            within = "An hour is enough for" if share >= 1 or epochs >= FEWEST else "The shortest that makes sense is"
            return [*lines, f"{within} --model {name} --epochs {epochs} --fine-tune-epochs {fine_tune}."]
    return lines
