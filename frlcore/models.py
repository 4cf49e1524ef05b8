"""The networks of the paper, and the small ones that the digits edition and the theory chapter use.

Every model maps images `x: (N, C, H, W) float in [0, 1]` (or features `(N, d)`) to logits `(N, classes)`.
None normalises its input: radii stay in pixel units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.errors import UserError
from frlcore.settings import counted


class PreActBlock(nn.Module):
    """Pre-activation residual block, two 3x3 convolutions (He et al. 2016, "Identity mappings")."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(x))  # (N, in_channels, H, W)
        skip = x if self.shortcut is None else self.shortcut(h)
        h = self.conv2(F.relu(self.bn2(self.conv1(h))))  # (N, channels, H / stride, W / stride)
        return h + skip


class PreActResNet(nn.Module):
    """Pre-activation ResNet: stem, stages of PreActBlocks, global average pool, linear head.

    `final_norm` adds batch norm and ReLU after the last block. The paper's released PreActResNet-18 leaves them
    out, the usual WRN has them.
    """

    def __init__(
        self,
        *,
        stem: int,
        widths: Sequence[int],
        blocks: int,
        num_classes: int,
        in_channels: int = 3,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        layers: list[PreActBlock] = []
        channels = stem
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(PreActBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(channels) if final_norm else None
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, `(N, widths[-1])`, in the head's precision."""
        h = self.blocks(self.stem(x))  # (N, widths[-1], H / 2^(stages - 1), W / 2^(stages - 1))
        if self.bn is not None:
            h = F.relu(self.bn(h))
        return h.mean((2, 3), dtype=self.head.weight.dtype)


def preact_resnet18(num_classes: int = 10, in_channels: int = 3, width: int = 64) -> PreActResNet:
    """PreActResNet-18, 11.17 M parameters at its own width of 64 channels (Sec. 5.1)."""
    widths = (width, 2 * width, 4 * width, 8 * width)
    return PreActResNet(stem=width, widths=widths, blocks=2, num_classes=num_classes, in_channels=in_channels)


def wrn28_10(num_classes: int = 10, in_channels: int = 3) -> PreActResNet:
    """WRN-28-10, 36.5 M parameters (Appendix A.4; the width is the released code's)."""
    return PreActResNet(
        stem=16, widths=(160, 320, 640), blocks=4, num_classes=num_classes, in_channels=in_channels, final_norm=True
    )


def preact_small(num_classes: int = 10, in_channels: int = 1) -> PreActResNet:
    """Three one-block stages of 8/16/32 channels for 8x8 digits, about 20 k parameters."""
    return PreActResNet(stem=8, widths=(8, 16, 32), blocks=1, num_classes=num_classes, in_channels=in_channels)


def preact_wide(num_classes: int = 10, in_channels: int = 1) -> PreActResNet:
    """Three two-block stages of 16/32/64 channels for 8x8 digits, normalised at the end: WRN-28-10's place there."""
    return PreActResNet(
        stem=16, widths=(16, 32, 64), blocks=2, num_classes=num_classes, in_channels=in_channels, final_norm=True
    )


def preact_narrow(num_classes: int = 10, in_channels: int = 3) -> PreActResNet:
    """Three one-block stages of 16/32/64 channels, about 80 k parameters: CIFAR-10 for a computer without a GPU."""
    return PreActResNet(stem=16, widths=(16, 32, 64), blocks=1, num_classes=num_classes, in_channels=in_channels)


def logistic(features: int, num_classes: int = 2) -> nn.Linear:
    """Logistic regression on `(N, features)`: one linear layer (Fig. 2, left)."""
    return nn.Linear(features, num_classes)


def mlp(features: int, hidden: int, num_classes: int = 2) -> nn.Sequential:
    """Perceptron with one hidden ReLU layer on `(N, features)` (Fig. 2, right)."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


IMAGE_MODELS: dict[str, Callable[[int, int], PreActResNet]] = {
    "preact_resnet18": preact_resnet18,
    "wrn28_10": wrn28_10,
    "preact_small": preact_small,
    "preact_narrow": preact_narrow,
    "preact_wide": preact_wide,
    "preact_resnet18_half": partial(preact_resnet18, width=32),
    "preact_resnet18_quarter": partial(preact_resnet18, width=16),
}


def build(name: str, *, num_classes: int, in_channels: int, seed: int) -> nn.Module:
    """An image model by name, channels-last, its initial weights a function of `seed` alone.

    Raises UserError for an unknown name, and for classes or channels of which there cannot be so many.
    """
    counted("num_classes", num_classes), counted("in_channels", in_channels)
    if name not in IMAGE_MODELS:
        raise UserError(f"unknown model '{name}'; known: {', '.join(IMAGE_MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = IMAGE_MODELS[name](num_classes, in_channels)
    return model.to(memory_format=torch.channels_last)
