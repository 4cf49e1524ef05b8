"""The networks: their size, their shapes, and that a seed decides the start weights."""

from __future__ import annotations

import pytest
import torch

from frlcore import models
from frlcore.errors import UserError
from frlcore.settings import MODELS

DIGITS = ("preact_small", "preact_wide")  # one channel of 8x8 pixels


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("preact_resnet18", 11.17e6),
        ("preact_resnet18_half", 2_796_202),
        ("preact_resnet18_quarter", 700_762),
        ("wrn28_10", 36.48e6),
        ("preact_small", 19_650),
        ("preact_narrow", 77_722),
        ("preact_wide", 174_778),
    ],
)
def test_number_of_parameters(name: str, parameters: float) -> None:
    with torch.device("meta"):  # no memory, no random numbers
        model = models.IMAGE_MODELS[name](10, 1 if name in DIGITS else 3)
    assert size(model) == pytest.approx(parameters, rel=5e-4)


@pytest.mark.parametrize(
    "name, shape, stages",
    [
        ("preact_resnet18", (2, 3, 32, 32), [(64, 32), (64, 32), (128, 16), (128, 16), (256, 8), (256, 8), (512, 4)]),
        ("preact_resnet18_quarter", (2, 3, 32, 32), [(16, 32), (16, 32), (32, 16), (32, 16), (64, 8)]),
        ("wrn28_10", (2, 3, 32, 32), [(160, 32)] * 4 + [(320, 16)] * 4 + [(640, 8)] * 4),
        ("preact_small", (2, 1, 8, 8), [(8, 8), (16, 4), (32, 2)]),
        ("preact_narrow", (2, 3, 32, 32), [(16, 32), (32, 16), (64, 8)]),
        ("preact_wide", (2, 1, 8, 8), [(16, 8), (16, 8), (32, 4), (32, 4), (64, 2), (64, 2)]),
    ],
)
def test_shapes_of_logits_and_stages(name: str, shape: tuple[int, ...], stages: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        model = models.IMAGE_MODELS[name](7, shape[1])
        x = torch.empty(shape)
        assert model(x).shape == (2, 7)
        h = model.stem(x)
        for block, (channels, side) in zip(model.blocks, stages, strict=False):
            h = block(h)
            assert h.shape == (2, channels, side, side)


def test_the_names_that_are_known_without_torch_are_those_of_the_models() -> None:
    assert tuple(models.IMAGE_MODELS) == MODELS


def test_only_the_wide_networks_normalise_after_their_last_block() -> None:
    with torch.device("meta"):
        has_norm = {name: make(10, 3).bn is not None for name, make in models.IMAGE_MODELS.items()}
    assert [name for name, norm in has_norm.items() if norm] == ["wrn28_10", "preact_wide"]


def test_the_wide_network_of_the_digits_is_wider_and_deeper_than_the_small_one() -> None:
    small, wide = (models.IMAGE_MODELS[name]() for name in DIGITS)
    assert len(wide.blocks) == 2 * len(small.blocks) and wide.head.in_features == 2 * small.head.in_features
    assert wide(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_feature_models() -> None:
    x = torch.randn(5, 2)
    assert models.logistic(2)(x).shape == (5, 2) and size(models.logistic(2)) == 6
    assert models.mlp(2, 16, 3)(x).shape == (5, 3) and size(models.mlp(2, 16)) == 2 * 16 + 16 + 16 * 2 + 2


def test_the_seed_alone_decides_the_start_weights() -> None:
    def build(seed: int) -> dict[str, torch.Tensor]:
        return models.build("preact_small", num_classes=10, in_channels=1, seed=seed).state_dict()

    torch.manual_seed(1)
    first = build(0)
    state = torch.get_rng_state()
    torch.rand(3)
    again, other = build(0), build(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    torch.set_rng_state(state)
    expected = torch.rand(3)
    torch.set_rng_state(state)
    build(5)
    assert torch.equal(torch.rand(3), expected)  # the global generator did not move


def test_built_models_are_channels_last() -> None:
    model = models.build("preact_small", num_classes=10, in_channels=3, seed=0)
    assert model.blocks[1].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_no_classes_and_no_channels() -> None:
    for bad in ({"num_classes": 0}, {"num_classes": 2.0}, {"in_channels": -1}):
        name = next(iter(bad))
        with pytest.raises(UserError, match=f"{name} must be at least 1, a whole number, got {bad[name]}"):
            models.build("preact_small", **{"num_classes": 2, "in_channels": 3, "seed": 0} | bad)  # type: ignore[arg-type]


def test_unknown_model() -> None:
    with pytest.raises(UserError, match="unknown model 'resnet50'; known: preact_resnet18, wrn28_10"):
        models.build("resnet50", num_classes=10, in_channels=3, seed=0)
