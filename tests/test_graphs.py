"""CUDA graphs: on a GPU for real; elsewhere what is kept around a recording, with one that calls its work again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from frlcore import acceleration, models
from frlcore.acceleration import Accelerated, FastCopy, attack_copy
from frlcore.attacks import input_gradient
from frlcore.frozen import Frozen, Layout, freeze
from frlcore.graphs import Answers, Graphed


def again(work: Callable[[], Answers]) -> tuple[Answers, Callable[[], object]]:
    """A recording as a GPU has it: its work reads the same memory at every launch, and writes to the same, too."""
    answers = tuple(t.clone() for t in work())

    def launch() -> None:
        for place, value in zip(answers, work(), strict=True):
            place.copy_(value)

    return answers, launch


@pytest.fixture
def frozen() -> Frozen:
    found = freeze(models.build("preact_small", num_classes=10, in_channels=1, seed=0).eval(), 8, 8)
    assert isinstance(found, Frozen)
    return found


def batch(count: int, seed: int) -> tuple[Tensor, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 8, 8, generator=numbers), torch.randint(10, (count,), generator=numbers)


def test_every_call_answers_for_its_own_weights_images_and_targets(frozen: Frozen) -> None:
    graphed = Graphed(acceleration._eager_gradient, again)
    shifted = [t * 1.1 for t in frozen.tensors]
    for seed, tensors in enumerate((frozen.tensors, frozen.tensors, shifted, frozen.tensors)):
        x, y = batch(4, seed)
        for target in (y, y.flip(0), torch.eye(10)[y]):
            found = graphed(frozen.layout, tensors, x, target)
            for a, b in zip(found, input_gradient(Frozen(frozen.layout, tensors), x, target), strict=True):
                assert torch.equal(a, b)


def test_a_shape_is_recorded_once_and_weights_are_copied_once_an_attack(
    frozen: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []
    copied: list[int] = []
    copy = torch._foreach_copy_

    def watched(to: list[Tensor], source: list[Tensor]) -> None:
        copied.append(len(source))
        copy(to, source)

    monkeypatch.setattr(torch, "_foreach_copy_", watched)

    def counted(work: Callable[[], Answers]) -> tuple[Answers, Callable[[], object]]:
        recorded.append(1)
        return again(work)

    graphed = Graphed(acceleration._eager_gradient, counted)
    for count in (4, 4, 2):
        tensors = list(frozen.tensors)  # another copy of the network, as every batch has
        for _ in range(3):
            graphed(frozen.layout, tensors, *batch(count, 0))
    assert len(recorded) == 2 and copied == [len(frozen.tensors)] * 3


def test_a_recording_takes_nothing_from_its_first_caller(frozen: Frozen) -> None:
    graphed = Graphed(acceleration._eager_gradient, again)
    given = [*frozen.tensors, *batch(4, 0)]
    before = [t.clone() for t in given]
    graphed(frozen.layout, frozen.tensors, *given[-2:])
    graphed(frozen.layout, [t * 1.1 for t in frozen.tensors], *batch(4, 1))
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_what_differs_in_more_than_its_numbers_is_recorded_apart(frozen: Frozen) -> None:
    recorded: list[int] = []

    def counted(work: Callable[[], Answers]) -> tuple[Answers, Callable[[], object]]:
        recorded.append(1)
        return again(work)

    graphed = Graphed(lambda layout, tensors, x, target: (x,), counted)
    own, other = frozen.layout, frozen.layout._replace(final_norm=not frozen.layout.final_norm)
    x, y = torch.rand(4, 2, 3, 3), torch.arange(4)
    for layout, images, target in (
        (own, x, y), (other, x, y), (own, x.contiguous(memory_format=torch.channels_last), y),
        (own, x[:2], y), (own, x, y.float()), (own, x, y[:2]),
    ):  # fmt: skip
        assert torch.equal(graphed(layout, frozen.tensors, images, target)[0], images)
    assert len(recorded) == 6


def test_where_nothing_can_be_recorded_the_attack_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a GPU whose driver has no graphs; here there is no GPU at all."""
    model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
    x, y = batch(8, 0)

    def impossible(layout: Layout, tensors: list[Tensor], x: Tensor, target: Tensor) -> Answers:
        raise RuntimeError("operation not permitted when stream is capturing")

    fast = Accelerated(model, compiler=None)
    fast._ways["training attack"] = {"graph": Graphed(impossible, again), **fast._ways["training attack"]}
    found = input_gradient(attack_copy(fast, 8, 8), x, y)
    assert fast.chosen["attack", *x.shape, y.dtype] == "bfloat16" and "not permitted" in caplog.text
    wanted = input_gradient(attack_copy(Accelerated(model, compiler=None), 8, 8), x, y)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_graph_answers_as_the_code_it_was_recorded_from() -> None:
    model = models.build("preact_narrow", num_classes=10, in_channels=3, seed=0).cuda()
    fast = Accelerated(model)
    numbers = torch.Generator("cuda").manual_seed(0)
    for _ in range(2):
        x = torch.rand(16, 3, 32, 32, generator=numbers, device="cuda")
        y = torch.randint(10, (16,), generator=numbers, device="cuda")
        copy = attack_copy(fast, 32, 32)
        assert isinstance(copy, FastCopy)
        found = [t.clone() for t in input_gradient(copy, x, y)]
        wanted = fast._ways["training attack"]["compiled"](copy.copy.layout, copy.copy.tensors, x, y)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.05 * p.sign())
    assert fast.chosen["attack", *x.shape, y.dtype] == "graph"
