"""Weight averages: moved by hand, gated, resumed bit for bit, and no trace of them in the weights themselves."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from frlcore.averaging import Average
from frlcore.data import Splits
from frlcore.errors import UserError
from frlcore.models import build
from frlcore.policies import Uniform
from frlcore.settings import Training
from frlcore.training import train

BRIEF = Training("trades", 2, lr=0.05, batch_size=32, eps=0.2, step_size=0.1, steps=1, validation_steps=1)


def small() -> nn.Module:
    return build("preact_small", num_classes=10, in_channels=1, seed=0)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_moved_by_hand() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, memory=1 / math.log(2), steps=1, gate=None, weights={})  # d = 1/2
    for weight, mean, seen in ((3.0, 4.0, 1), (5.0, 0.0, 2)):
        model.weight.data.fill_(weight)
        model.running_mean.fill_(mean)  # type: ignore[union-attr, operator]
        model.num_batches_tracked.fill_(seen)  # type: ignore[union-attr, operator]
        average.after_step()
        average.after_epoch(0.0)  # without a gate an epoch is nothing special
    assert average.weights["weight"].item() == pytest.approx((1 / 2 + 3 / 2) / 2 + 5 / 2)
    assert average.weights["running_mean"].item() == pytest.approx(1.0)  # 0, then 2, then 1
    assert average.weights["num_batches_tracked"].item() == 2
    assert model.weight.item() == 5


def test_the_memory_is_counted_in_epochs_whatever_their_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    averages = [Average(model, 2.0, steps, None, {"weight": torch.zeros(1, 1)}) for steps in (1, 10)]
    model.weight.data.fill_(1.0)
    for average, steps in zip(averages, (1, 10), strict=True):
        for _ in range(steps):
            average.after_step()
        assert average.weights["weight"].item() == pytest.approx(1 - math.exp(-1 / 2))


def test_a_gate_opens_for_the_worst_class_and_only_after_an_epoch() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, 1 / math.log(2), 7, 0.2, {"weight": torch.zeros(1, 1)})
    model.weight.data.fill_(1.0)
    for error, wanted in ((0.81, 0.0), (0.8, 0.5), (0.5, 0.75)):
        average.after_step()
        average.after_epoch(error)
        assert average.weights["weight"].item() == pytest.approx(wanted)


def test_training_goes_the_same_way_with_an_average_beside_it(few: Splits) -> None:
    plain, averaged = (
        train(small(), few, how, Uniform(10), seed=0) for how in (BRIEF, replace(BRIEF, average=0.5))
    )
    assert same(plain.model, averaged.model) and plain.history == averaged.history
    assert plain.average == {} and not same(averaged.average, averaged.model)


@pytest.mark.parametrize("gate", [None, 1e-9, 1.0])
def test_an_interrupted_average_ends_as_an_undisturbed_one(few: Splits, gate: float | None) -> None:
    how, kept = replace(BRIEF, average=0.5, gate=gate), []
    start = copy.deepcopy(small().state_dict())

    def stop(checkpoint: Any) -> bool:
        kept.append(checkpoint)
        return True

    whole = train(small(), few, how, Uniform(10), seed=0)
    train(small(), few, how, Uniform(10), seed=0, after_epoch=stop)
    resumed = train(small(), few, how, Uniform(10), seed=0, resume=kept[0])
    assert same(whole.average, resumed.average)
    if gate == 1.0:  # never reached: still the start
        assert same(whole.average, start)


def test_a_gate_without_an_average_is_refused() -> None:
    with pytest.raises(UserError, match="a gate belongs to a weight average"):
        replace(BRIEF, gate=0.2)
    with pytest.raises(UserError, match="average is None where it is not wanted, else positive"):
        replace(BRIEF, average=0.0)
