"""Inside an epoch nothing asks the device for a value, and nothing is compiled anew: what a GPU's speed rests on.

On a GPU every such question would stall the queue of kernels. No GPU is needed to see one: the questions are operations
like others, and a mode of torch sees every operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from frlcore import acceleration, attacks, models
from frlcore.acceleration import Accelerated
from frlcore.data import Split
from frlcore.policies import ClassSettings
from frlcore.settings import DATA, Training
from frlcore.training import train_epoch

INFO = replace(DATA["cifar10"], shape=(3, 8, 8))  # crop and flip, on small images
BATCH = 8
HOW = {
    "natural": Training("natural", 1, lr=0.05, batch_size=BATCH),
    "noise": Training("noise", 1, lr=0.05, batch_size=BATCH, sigma=0.25),
    "pgd": Training("pgd", 1, lr=0.05, batch_size=BATCH, steps=2),
    "l2": Training("pgd", 1, lr=0.05, batch_size=BATCH, steps=2, norm="l2", eps=0.5, step_size=0.2),
    "trades": Training("trades", 1, lr=0.05, batch_size=BATCH, steps=2, batch_normalised=True),
}
ASKING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::is_nonzero",
          "aten::_unique2", "aten::unique_dim"}  # fmt: skip


class Questions(TorchDispatchMode):
    """Notes every operation whose answer the host needs before it can go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name.startswith("aten::index"):
            picks = args[1] if isinstance(args[1], list | tuple) else []
            if any(isinstance(t, Tensor) and t.dtype == torch.bool for t in picks):
                self.asked.append(f"{name} by a mask")
        elif name in ASKING:
            self.asked.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Radii and labels are taken on trust, as those on a GPU are; compiled is what is compiled there."""
    own = attacks.per_sample
    monkeypatch.setattr(F, "one_hot", lambda y, classes: (y[:, None] == torch.arange(classes)).long())
    monkeypatch.setattr(
        attacks, "per_sample",
        lambda value, x, name: attacks.like(value, x) if isinstance(value, Tensor) else own(value, x, name),
    )  # fmt: skip
    monkeypatch.setitem(acceleration.COMPILED, "cpu", acceleration.COMPILED["cuda"])
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def epoch(network: Any, how: Training, turn: int) -> float:
    """An epoch of two whole batches, with class weights and radii of its own."""
    random = np.random.default_rng(turn)
    settings = ClassSettings(*(1 + random.random((3, 10))))
    numbers = torch.Generator().manual_seed(turn)
    pixels = torch.randint(0, 256, (2 * BATCH + 3, 3, 8, 8), generator=numbers, dtype=torch.uint8)
    split = Split(pixels, torch.arange(len(pixels)) % 10, torch.arange(len(pixels)))
    optimizer = torch.optim.SGD(network.model.parameters(), how.lr, momentum=0.9, fused=True)
    return train_epoch(network, split, INFO, how, settings, optimizer, epoch=turn, seed=0)


def small() -> torch.nn.Module:
    return models.PreActResNet(stem=8, widths=(8,), blocks=1, num_classes=10)


@pytest.mark.parametrize("name", HOW)
def test_an_epoch_asks_once_for_its_loss_and_nothing_else(name: str) -> None:
    network = Accelerated(small(), compiler=None)
    epoch(network, HOW[name], 0)  # finds out which ways are sound, and may ask
    with Questions() as seen:
        assert epoch(network, HOW[name], 1) > 0
    assert seen.asked == ["aten::_local_scalar_dense"]


def test_the_watch_sees_what_it_is_for() -> None:
    x = torch.arange(4.0)
    questions = [lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x[x > 1], lambda: float(x[1]),
                 lambda: (x > 1).nonzero(), lambda: torch.equal(x, x + 1)]  # fmt: skip
    for ask in questions:
        with Questions() as seen:
            ask()
        assert seen.asked, ask
    with Questions() as seen:
        x[torch.tensor([1, 2])], torch.where(x > 1, x, -x), x.clamp(min=0)
    assert not seen.asked


@pytest.mark.parametrize("name", ["pgd", "trades"])
def test_later_epochs_compile_nothing_anew(name: str) -> None:
    """`fullgraph` lets no break pass: compiled code with one would be left out."""
    counter = CompileCounterWithBackend("aot_eager")
    network = Accelerated(small(), lambda f: torch.compile(f, backend=counter, fullgraph=True, dynamic=False))
    epoch(network, HOW[name], 0)
    compiled = counter.frame_count
    assert compiled == (4 if name == "trades" else 3)  # forward, attack and freezing; TRADES' clean target
    assert set(network.chosen.values()) == {"compiled"}
    for turn in (1, 2):
        epoch(network, HOW[name], turn)
    assert counter.frame_count == compiled
