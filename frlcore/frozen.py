"""A frozen copy of a network for attacks: the same function of the input, with everything fixed precomputed.

During an attack the weights and the batch-norm statistics stand still. So batch norm becomes a scale and a shift,
the one after a block's first convolution is folded into that convolution, and no weight asks for a gradient.
On images of a few pixels a convolution is cheaper as one dense matrix product, which a BLAS runs near the
processor's peak: the matrices are built once and used by all steps of the attack.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.models import PreActBlock, PreActResNet

Function = Callable[[Tensor], Tensor]
DENSE_LIMIT = 2**17  # entries of a dense matrix (512 KiB): above it the convolution itself is faster


def freeze(model: nn.Module, height: int, width: int) -> Function:
    """`model` in eval mode as a function `(N, C, height, width) -> logits` of the input alone.

    Later changes of the model's weights do not reach it. Any other network, a subclass or one with changed layers too,
    comes back as it is; the caller sets its mode.
    """
    if not _foldable(model):
        return model
    with torch.no_grad():
        stem, height, width = _convolution(model.stem, height, width)
        stages: list[Function] = [stem]
        for block in model.blocks:
            stage, height, width = _block(block, height, width)
            stages.append(stage)
        final = _affine(model.bn) if model.bn is not None else None
        head, bias = model.head.weight.detach().t().clone(), model.head.bias.detach().clone()

    def forward(x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C) from here on: channels-last memory as it lies
        for stage in stages:
            x = stage(x)
        if final is not None:
            x = F.relu_(final(x))
        return torch.addmm(bias, x.mean((1, 2)), head)

    return forward


def _foldable(model: nn.Module) -> bool:
    """Whether `model` is a PreActResNet made of the layers that the folding below knows."""
    if type(model) is not PreActResNet or any(type(block) is not PreActBlock for block in model.blocks):
        return False
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            plain = m.bias is None and m.groups == 1 and m.dilation == (1, 1) and m.padding_mode == "zeros"
            square = all(pair[0] == pair[1] for pair in (m.kernel_size, m.stride, m.padding))  # type: ignore[index]
            if not (plain and square):
                return False
        elif isinstance(m, nn.BatchNorm2d):
            if not (m.affine and m.track_running_stats):
                return False
        elif not isinstance(m, PreActResNet | PreActBlock | nn.Sequential | nn.Linear):
            return False
    return True


def _block(block: PreActBlock, height: int, width: int) -> tuple[Function, int, int]:
    norm = _affine(block.bn1)
    first, inner_height, inner_width = _convolution(block.conv1, height, width, then=block.bn2)
    second, _, _ = _convolution(block.conv2, inner_height, inner_width)
    shortcut = _convolution(block.shortcut, height, width)[0] if block.shortcut is not None else None

    def forward(x: Tensor) -> Tensor:
        h = F.relu_(norm(x))
        skip = x if shortcut is None else shortcut(h)
        return second(F.relu_(first(h))).add_(skip)

    return forward, inner_height, inner_width


def _scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = bn.weight.detach() * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias.detach() - bn.running_mean * scale


def _affine(bn: nn.BatchNorm2d) -> Function:
    scale, shift = _scale_shift(bn)
    return lambda x: torch.addcmul(shift, x, scale)


def _convolution(
    conv: nn.Conv2d, height: int, width: int, then: nn.BatchNorm2d | None = None
) -> tuple[Function, int, int]:
    """`conv`, followed by `then` if given, as a function `(N, H, W, C) -> (N, H', W', O)`; and H', W'."""
    weight, shift = conv.weight.detach(), None  # (O, C, k, k)
    if then is not None:
        scale, shift = _scale_shift(then)
        weight = weight * scale.view(-1, 1, 1, 1)
    k, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
    out_height, out_width = ((size + 2 * padding - k) // stride + 1 for size in (height, width))
    out_channels, channels = weight.shape[:2]
    out = (out_height, out_width)

    if k == 1:
        pointwise = weight[:, :, 0, 0].t().clone()  # (C, O)
        return lambda x: x[:, ::stride, ::stride] @ pointwise, *out
    if height * width * channels * out_height * out_width * out_channels > DENSE_LIMIT:
        weight = weight.clone(memory_format=torch.channels_last)
        return lambda x: F.conv2d(x.permute(0, 3, 1, 2), weight, shift, stride, padding).permute(0, 2, 3, 1), *out

    taps = _taps(height, width, k, stride, padding).to(weight.device)  # (HW, H'W')
    kernel = torch.cat([weight.flatten(2), weight.new_zeros(out_channels, channels, 1)], 2).permute(2, 1, 0)
    matrix = kernel[taps].transpose(1, 2).reshape(height * width * channels, -1)  # (HW C, H'W' O)
    bias = weight.new_zeros(matrix.shape[1]) if shift is None else shift.repeat(out_height * out_width)
    return lambda x: torch.addmm(bias, x.flatten(1), matrix).view(-1, *out, out_channels), *out


@lru_cache
def _taps(height: int, width: int, k: int, stride: int, padding: int) -> Tensor:
    """Which of the k*k kernel entries joins an input to an output position, `(HW, H'W')`; k*k where none does."""

    def axis(size: int) -> Tensor:
        out = (size + 2 * padding - k) // stride + 1
        offset = torch.arange(size)[:, None] - stride * torch.arange(out)[None] + padding  # (size, out)
        return torch.where((offset >= 0) & (offset < k), offset, k * k)

    rows, columns = axis(height)[:, None, :, None], axis(width)[None, :, None, :]
    tap = torch.where((rows < k) & (columns < k), rows * k + columns, k * k)  # (H, W, H', W')
    return tap.reshape(height * width, -1)
