"""The copy that an audit attacks on a CPU: the same answers and gradients, or the network itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frlcore
from frlcore.attacks import input_gradient
from frlcore.auditing import Audit, run
from frlcore.auditing.quick import quick
from frlcore.models import build

X = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    """A few layers with batch norm whose statistics are not the initial ones."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10),
    )  # fmt: skip
    for _ in range(20):
        made(2 * torch.rand(32, 1, 8, 8) - 0.3)
    return made.eval()


class Changed(nn.Module):
    """The network with one thing more on the way."""

    def __init__(self, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.what = network(), what

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.what(x))


class Rounded(torch.autograd.Function):
    """Rounds, and lets the gradient through as if it did not."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return torch.round(x * 16) / 16

    @staticmethod
    def backward(ctx: object, slope: Tensor) -> Tensor:
        return slope


def unseen(x: Tensor) -> Tensor:
    with torch.no_grad():
        shift = 0.5 * x
    return x + shift


def test_the_copy_has_no_batch_norm_and_the_same_answers_and_gradients() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy = quick(model, X)
    assert isinstance(copy, nn.Module) and copy is not model
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in copy.modules())
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    y = torch.arange(20) % 10
    for ours, theirs in zip(input_gradient(copy, X, y), input_gradient(model, X, y), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "what",
    [
        lambda x: Rounded.apply(x),  # its gradient would be that of rounding, 0
        unseen,  # and this one's would be 1.5 instead of 1
        lambda x: x + 0.1 * torch.rand(8, 8),  # traced, it would be the same each time
        lambda x: x if x.mean() > 0.5 else 1 - x,  # cannot be traced
    ],
)
def test_a_network_that_would_be_another_one_comes_back_itself(what: Callable[[Tensor], Tensor]) -> None:
    model = Changed(what)
    assert quick(model, X) is model


def test_so_does_what_is_no_network_and_what_has_a_copy_of_its_own() -> None:
    ours = build("preact_small", num_classes=10, in_channels=1, seed=0)
    assert quick(ours, X) is ours
    function = lambda x: x.flatten(1)[:, :10]  # noqa: E731
    assert quick(function, X) is function


def test_an_audit_of_the_copy_has_the_verdicts_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model, labels = network(), network()(X).argmax(1)
    labels[::5] = (labels[::5] + 1) % 10
    y = torch.cat([labels, torch.arange(10)])
    x = torch.cat([X, torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))])
    asked: list[object] = []

    def audited(eps: float) -> Audit:
        return frlcore.audit(model, x, y, eps=eps, steps=5, device="cpu")

    with monkeypatch.context() as patch:
        patch.setattr(run, "quick", lambda model, x: asked.append(model) or model)
        plain = [audited(eps).found for eps in (0.01, 0.03)]
    assert asked == [model, model]
    for one, found in zip(plain, (audited(eps).found for eps in (0.01, 0.03)), strict=True):
        np.testing.assert_array_equal(one.clean, found.clean)
        np.testing.assert_array_equal(one.adversarial, found.adversarial)
        assert (one.clean == one.label).any() and (one.adversarial != one.label).any()
