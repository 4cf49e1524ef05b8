"""The frozen copy is the same function as the network in eval mode, and nothing ties it to the network."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore import frozen, models
from frlcore.answers import eval_mode
from frlcore.frozen import freeze
from frlcore.models import PreActResNet


def trained(model: nn.Module, shape: tuple[int, int, int], steps: int = 3) -> nn.Module:
    """After a few optimisation steps, and with batch-norm scales of both signs."""
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    model.train()
    for _ in range(steps):
        x = torch.rand(8, *shape, generator=generator) ** 2
        F.cross_entropy(model(x), torch.arange(8) % 3).backward()
        optimizer.step()
        optimizer.zero_grad()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.add_(0.5 * torch.randn(module.weight.shape, generator=generator))
                module.bias.add_(0.3 * torch.randn(module.bias.shape, generator=generator))
            assert not torch.allclose(module.running_mean, torch.zeros(()), atol=1e-3)
            assert not torch.allclose(module.running_var, torch.ones(()), atol=1e-3)
    return model


def small(final_norm: bool = False, channels: int = 2) -> PreActResNet:
    return PreActResNet(stem=4, widths=(4, 6, 10), blocks=2, num_classes=5, in_channels=channels, final_norm=final_norm)


CASES = {
    "digits": (lambda: models.build("preact_small", num_classes=10, in_channels=1, seed=0), (1, 8, 8)),
    "final norm 8x8": (lambda: small(True), (2, 8, 8)),
    "odd 7x5": (lambda: small(True), (2, 7, 5)),
    "odd 5x9": (lambda: small(), (2, 5, 9)),
    "one row": (lambda: small(), (2, 1, 6)),
    "above the dense limit 24x20": (lambda: small(True), (2, 24, 20)),
    "cifar": (lambda: models.build("preact_resnet18", num_classes=10, in_channels=3, seed=0), (3, 32, 32)),
}


@pytest.fixture(params=CASES.items(), ids=lambda case: case[0])
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int, int]]:
    make, shape = request.param[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return trained(make(), shape, 1 if shape[1] == 32 else 3), shape


def value_and_gradient(function: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    logits = function(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), x)
    return logits.detach(), gradient


def test_values_and_input_gradients_are_those_of_eval_mode(network: tuple[nn.Module, tuple[int, int, int]]) -> None:
    model, shape = network
    x, y = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3])
    copy = freeze(model, *shape[1:])
    with eval_mode(model):
        logits, gradient = value_and_gradient(model, x, y)
    for layout in (torch.contiguous_format, torch.channels_last):
        found, slope = value_and_gradient(copy, x.contiguous(memory_format=layout), y)
        torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
        torch.testing.assert_close(slope, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))
    with torch.no_grad():
        assert not torch.allclose(model(x), logits, rtol=1e-2)  # train mode is another function


def test_both_ways_to_convolve_are_used_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trained(small(True), (2, 6, 6)).double()
    x = torch.rand(4, 2, 6, 6, dtype=torch.float64)
    answers = []
    for limit in (0, 10**9):
        monkeypatch.setattr(frozen, "DENSE_LIMIT", limit)
        calls = []
        conv2d = F.conv2d
        with monkeypatch.context() as patch:
            patch.setattr(F, "conv2d", lambda *a, calls=calls, conv2d=conv2d: calls.append(1) or conv2d(*a))
            answers.append(freeze(model, 6, 6)(x))
        assert len(calls) == (13 if limit == 0 else 0)  # the stem and two in each of six blocks
    with eval_mode(model), torch.no_grad():
        answers.append(model(x))
    for a, b in pairwise(answers):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_later_changes_of_the_network_do_not_reach_the_copy(
    network: tuple[nn.Module, tuple[int, int, int]],
) -> None:
    model, shape = network
    x = torch.rand(2, *shape)
    copy = freeze(model, *shape[1:])
    before = copy(x)
    with torch.no_grad():
        for t in model.state_dict().values():
            t.add_(1)
    assert torch.equal(copy(x), before)
    assert not torch.allclose(freeze(model, *shape[1:])(x), before, rtol=1e-2)


def graph(result: Tensor) -> list[object]:
    """All nodes that a backward pass from `result` goes through."""
    todo, seen = [result.grad_fn], []
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.append(node)
            todo.extend(parent for parent, _ in node.next_functions)
    return seen


def test_no_tensor_is_changed_through_a_view_which_would_cost_a_copy(
    network: tuple[nn.Module, tuple[int, int, int]],
) -> None:
    model, shape = network
    names = {type(node).__name__ for node in graph(freeze(model, *shape[1:])(torch.rand(2, *shape).requires_grad_()))}
    assert "ReluBackward0" in names and not names & {"CopySlices", "AsStridedBackward0"}


def test_no_weight_asks_for_a_gradient(network: tuple[nn.Module, tuple[int, int, int]]) -> None:
    model, shape = network
    model.zero_grad(set_to_none=True)
    copy = freeze(model, *shape[1:])
    x = torch.rand(2, *shape)
    assert not copy(x).requires_grad
    x.requires_grad_()
    logits = copy(x)
    leaves = [node.variable for node in graph(logits) if hasattr(node, "variable")]
    assert len(leaves) == 1 and leaves[0] is x  # the image is the only leaf of the graph
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert model.training


def test_another_kind_of_network_comes_back_as_it_is() -> None:
    model = models.mlp(4, 3)
    assert freeze(model, 1, 1) is model


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised first."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean()) / self.weight.std()
        return F.conv2d(x, weight, None, self.stride, self.padding)


def test_a_network_with_other_layers_is_left_as_it_is() -> None:
    """Folding knows plain convolutions alone; another layer folded as one would mean attacks on another function."""
    for change in (
        lambda net: setattr(net, "stem", torch.nn.Conv2d(1, 8, 3, padding=1)),  # with a bias
        lambda net: setattr(net.blocks[0], "conv1", torch.nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)),
        lambda net: setattr(net.blocks[1], "bn2", torch.nn.BatchNorm2d(16, affine=False)),
        lambda net: setattr(net.blocks[2], "bn1", torch.nn.Identity()),
        lambda net: setattr(net.blocks[0], "conv1", Standardised(8, 8, 3, padding=1, bias=False)),
        lambda net: setattr(net, "head", torch.nn.Linear(32, 10, bias=False)),
        lambda net: net.register_forward_pre_hook(lambda _, given: (given[0] - 0.5,)),
        lambda net: net.blocks[1].register_forward_hook(lambda _, given, out: out * 2),
        lambda net: setattr(net, "forward", lambda x: PreActResNet.forward(net, x - 0.5)),
        lambda net: torch.nn.utils.parametrizations.weight_norm(net.head),
    ):
        net = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
        assert freeze(net, 8, 8) is not net
        change(net)
        assert freeze(net, 8, 8) is net
