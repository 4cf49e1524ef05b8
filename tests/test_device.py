"""A GPU's switches, set and put back; and too little memory, which names what would fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore import data, policies
from frlcore.device import arithmetic, global_random, within_memory
from frlcore.errors import UserError
from frlcore.evaluate import _within_memory, outcomes
from frlcore.settings import Attack
from frlcore.training import Training, train


def test_arithmetic_is_set_for_a_gpu_and_put_back() -> None:
    def now() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, cudnn.benchmark, cudnn.enabled

    before = now()
    with arithmetic(torch.device("cpu"), tf32=False, benchmark=True):
        assert now() == before
    for tf32, benchmark in ((True, True), (False, False)):
        with pytest.raises(KeyError), arithmetic(torch.device("cuda"), tf32=tf32, benchmark=benchmark):
            assert now() == (tf32, tf32, benchmark, True)
            raise KeyError
        assert now() == before


def test_global_random_numbers_begin_at_a_seed_and_go_on_afterwards() -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    wanted = torch.rand(4)
    torch.manual_seed(0)
    with global_random(cpu, 5):
        first = torch.rand(2)
    with pytest.raises(KeyError), global_random(cpu):
        same = torch.rand(4)
        raise KeyError
    assert torch.equal(same, wanted) and torch.equal(torch.rand(4), wanted)
    with global_random(cpu, 5):
        assert torch.equal(torch.rand(2), first)


class Small(nn.Linear):
    """A device that holds `room` images."""

    room = 20

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room and self.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(x.flatten(1))


@pytest.mark.parametrize(("room", "said"), [(20, "a batch of 64 images .* 16 images fit"), (0, "for one image")])
def test_too_little_memory_names_a_batch_that_fits(room: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Small, "room", room)
    how = Training("natural", 1, lr=0.01, batch_size=64, validation_steps=1)
    with pytest.raises(UserError, match=said) as caught:
        train(Small(64, 10), data.load("digits"), how, policies.build("uniform", 10), seed=0)
    assert "\n" not in str(caught.value)


def test_an_evaluation_goes_on_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    test = data.load("digits").test
    model, sizes = Small(64, 10).eval(), []
    attack = Attack(eps=0.1, step_size=0.1, steps=1)

    def answer(room: int) -> tuple[Any, Any]:
        def forward(self: nn.Module, x: Tensor) -> Tensor:
            sizes.append(len(x))
            if len(x) > room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return F.linear(x.flatten(1), self.weight, self.bias)

        monkeypatch.setattr(Small, "forward", forward)
        found = outcomes(
            model, test, scale=16, attack=attack, batch_size=64, generator=torch.Generator().manual_seed(0)
        )
        return found.clean.tolist(), found.adversarial.tolist()

    whole = answer(10**9)
    assert answer(20) == whole and max(sizes[-20:]) == 16  # the same clean answers, and one step ends at the border
    with pytest.raises(UserError, match="one image"):
        answer(0)


def test_a_smaller_batch_begins_at_the_same_random_state() -> None:
    generator = torch.Generator().manual_seed(0)

    def work(size: int) -> Tensor:
        drawn = torch.rand(3, generator=generator)
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return drawn

    assert torch.equal(_within_memory(work, 8, generator), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_other_errors_are_not_taken_for_too_little_memory() -> None:
    def work() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        within_memory(work, lambda count: None, 8)
    assert within_memory(lambda: 5, lambda count: None, 8) == 5
