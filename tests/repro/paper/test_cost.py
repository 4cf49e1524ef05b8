"""What a plan costs: schedules and FLOPs by hand, a measurement with a clock by hand, and the command's words."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from frlcore.errors import UserError
from frlcore.repro.paper import cost, plan
from frlcore.repro.runs.task import Run

Make = Callable[..., Run]


def test_a_schedule_by_hand(tiny_run: Make) -> None:
    """Three parents of 4, 2 and 1 seconds, and a child of the first that takes 3.

    One place: 10. Two: 4 beside 2 and 1, then the child: 7. More places do not help, since 4 and 3 follow each other.
    """
    parents = [tiny_run(seed=seed, training={"epochs": epochs}) for seed, epochs in enumerate((4, 2, 1))]
    child = tiny_run(policy="frl", start=parents[0])
    tasks = [*parents, child]
    seconds = dict(zip((task.key for task in tasks), (4.0, 2.0, 1.0, 3.0), strict=True))
    assert [cost.wall(tasks, seconds, places) for places in (1, 2, 3, 64)] == [10, 7, 7, 7]
    assert cost.longest(tasks, seconds) == 7
    del seconds[parents[0].key]  # no part of the plan: its child can start at once, beside the 2, after the 1
    assert cost.wall(tasks[1:], seconds, 2) == 4 and cost.longest(tasks[1:], seconds) == 3


def test_flops_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten sums of 64 products, each a multiplication and an addition."""
    from torch import nn

    monkeypatch.setattr(cost, "_built", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert cost.forward_flops.__wrapped__("any", "digits") == 2 * 64 * 10


def test_preactresnet18_has_the_known_count() -> None:
    """0.56 billion multiplications and additions an image of 32 x 32 pixels."""
    assert cost.forward_flops("preact_resnet18", "cifar10") == pytest.approx(2 * 0.5554e9, rel=0.001)


def test_the_pace_of_a_machine_by_hand(tiny_run: Make) -> None:
    """A batch a second; the first one is over when the clock begins.

    PGD training with one step takes 5 passes of an image, with two 7. A batch has 128 images, but of digits no more
    pixels than 16 images of CIFAR-10 have.
    """
    for changes, images in (({}, 128), ({"batch_size": 1000, "steps": 2}, 256)):
        clock = itertools.count(0.0).__next__
        run = tiny_run(training=changes)
        assert cost.pace(run, 2.0, clock) == 1 / (run.passes * images)
        assert run.passes == 3 + 2 * run.training.steps and clock() == 3


def test_images_of_a_run() -> None:
    """Digits: four of five folds, three quarters of each class train; CIFAR-10: all but 300 a class."""
    assert cost.images(plan.run("cifar10", "pgd").trained) == 50_000 - 3_000
    assert cost.images(plan.run("svhn", "pgd").trained) == 73_257 - 3_000
    assert cost.images(plan.run("digits", "pgd+autoattack").trained) == pytest.approx(1797 * 0.8 * 0.75, abs=10)


def test_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of CIFAR-10 at 10 microseconds a pass; natural training takes 3 passes, PGD-10 23, and 3 validate.

    One run goes after the other on a GPU: 30 x (6 + 26) x 47,000 passes, at 5,000 x 23 a second 6 min 32 s, and two
    minutes beside.
    """
    monkeypatch.setattr(cost, "pace", lambda *_: 1e-5)
    monkeypatch.setattr(cost, "processors", lambda: 2)
    said = cost.text("table1", "cifar10").splitlines()
    assert said[0].startswith("table1, edition cifar10: 2 runs and checks, 4.51e+07 forward passes")
    assert said[0].endswith(f"{4.512e7 * 2 * 0.5554e9:.3g} FLOPs.")
    assert "2 runs at a time: 6 min 7 s; in all 7 min 31 s of one core" in said[1]
    assert "No GPU has been measured" in said[2]
    assert said[3].strip().startswith("5,000 images a second: 1 GPU 8 min 32 s, 8 GPUs 6 min 19 s, 64 GPUs 6 min 19 s")
    four = cost.text("table1", "cifar10", gpus=4)
    assert "4 GPUs" in four and "64 GPUs" not in four
    with pytest.raises(UserError, match="at least 1"):
        cost.text("table1", "cifar10", gpus=0)
