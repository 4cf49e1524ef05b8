"""A frozen copy of a network for attacks: the same function of the input, with everything fixed precomputed.

During an attack the weights and the batch-norm statistics stand still. So batch norm becomes a scale and a shift,
the one after a block's first convolution is folded into that convolution, and no weight asks for a gradient.
On images of a few pixels a convolution is cheaper as one dense matrix product, which a BLAS runs near the
processor's peak: the matrices are built once and used by all steps of the attack.

A copy is a layout, which depends on the architecture alone, and a list of tensors: `run(layout, tensors, x)`. So code
compiled for one copy serves every later copy of the same architecture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.answers import Model
from frlcore.models import PreActBlock, PreActResNet

KNOWN = (PreActResNet, PreActBlock, nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.Linear)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
OWN = {"forward", "features"}  # what an instance may have been given in place of its class's
DENSE_LIMIT = 2**17  # entries of a dense matrix (512 KiB): above it the convolution itself is faster


class Layer(NamedTuple):
    """How a convolution `(N, H, W, C) -> (N, height, width, channels)` is computed."""

    kind: str  # "convolution", "pointwise" or "dense"
    stride: int
    padding: int
    height: int
    width: int
    channels: int


class Block(NamedTuple):
    """A PreActBlock: batch norm, `first` with the next batch norm folded in, `second`, and the way around them."""

    first: Layer
    second: Layer
    shortcut: Layer | None


class Layout(NamedTuple):
    """What `run` does with the tensors of a copy."""

    stem: Layer
    blocks: tuple[Block, ...]
    final_norm: bool


@dataclass(frozen=True)
class Frozen:
    """A frozen network `(N, C, H, W) -> logits (N, classes)`."""

    layout: Layout
    tensors: list[Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return run(self.layout, self.tensors, x)


def freeze(model: Model, height: int, width: int, dtype: torch.dtype | None = None) -> Model:
    """`model` in eval mode as a function `(N, C, height, width) -> logits` of the input alone.

    Later changes of the model's weights do not reach it. With a `dtype` its blocks compute in that precision; the stem
    and the head keep the model's own, because a coarse input would round the perturbation away and coarse logits its
    effect. Any other network comes back as it is, one with changed layers, hooks or a `forward` of its own, too; the
    caller sets its mode.
    """
    if not foldable(model):
        return model
    with torch.no_grad():
        return Frozen(*fold(model, height, width, dtype))


def fold(model: PreActResNet, height: int, width: int, dtype: torch.dtype | None) -> tuple[Layout, list[Tensor]]:
    """Layout and tensors of a frozen copy of a foldable network; call it where no gradient is asked for."""
    stem, tensors = _convolution(model.stem, height, width)
    height, width = stem.height, stem.width
    blocks: list[Block] = []
    inner: list[Tensor] = []
    for block in model.blocks:
        assert isinstance(block, PreActBlock)
        folded, parts = _block(block, height, width)
        height, width = folded.second.height, folded.second.width
        blocks.append(folded)
        inner += parts
    if model.bn is not None:
        inner += _scale_shift(model.bn)
    tensors += [t.to(dtype or t.dtype) for t in inner]
    tensors += [model.head.weight.detach().t().clone(), model.head.bias.detach().clone()]
    return Layout(stem, tuple(blocks), model.bn is not None), tensors


def run(layout: Layout, tensors: list[Tensor], x: Tensor) -> Tensor:
    """The logits `(N, classes)` of the frozen network of `layout` and `tensors`, at images `(N, C, H, W)`."""
    parts = iter(tensors)
    x = _convolve(layout.stem, parts, x.permute(0, 2, 3, 1))  # (N, H, W, C) from here on: channels-last as it lies
    for block in layout.blocks:
        scale, shift = next(parts), next(parts)
        x = x.to(scale.dtype)
        h = F.relu_(torch.addcmul(shift, x, scale))
        first = _convolve(block.first, parts, h, norm_relu=True)
        out = _convolve(block.second, parts, first)
        x = out + (x if block.shortcut is None else _convolve(block.shortcut, parts, h))
    if layout.final_norm:
        scale, shift = next(parts), next(parts)
        x = F.relu_(torch.addcmul(shift, x, scale))
    head, bias = next(parts), next(parts)
    return torch.addmm(bias, x.mean((1, 2), dtype=head.dtype), head)


def foldable(model: Model) -> TypeGuard[PreActResNet]:
    """Whether `model` is a PreActResNet made of the layers that the folding below knows, and computes as they do."""
    if not isinstance(model, PreActResNet) or type(model.head) is not nn.Linear or model.head.bias is None:
        return False
    if any(type(block) is not PreActBlock for block in model.blocks):
        return False
    for m in model.modules():
        if type(m) not in KNOWN or OWN & vars(m).keys() or any(getattr(m, hooks) for hooks in HOOKS):
            return False  # may compute otherwise
        if isinstance(m, nn.Conv2d):
            plain = m.bias is None and m.groups == 1 and m.dilation == (1, 1) and m.padding_mode == "zeros"
            square = all(pair[0] == pair[1] for pair in (m.kernel_size, m.stride, m.padding))
            if not (plain and square):
                return False
        elif isinstance(m, nn.BatchNorm2d) and not (m.affine and m.track_running_stats):
            return False
    return True


def _block(block: PreActBlock, height: int, width: int) -> tuple[Block, list[Tensor]]:
    first, first_tensors = _convolution(block.conv1, height, width, then=block.bn2)
    second, second_tensors = _convolution(block.conv2, first.height, first.width)
    shortcut: Layer | None = None
    rest: list[Tensor] = []
    if block.shortcut is not None:
        shortcut, rest = _convolution(block.shortcut, height, width)
    return Block(first, second, shortcut), [*_scale_shift(block.bn1), *first_tensors, *second_tensors, *rest]


def _scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert bn.running_mean is not None and bn.running_var is not None  # see `foldable`
    scale = bn.weight.detach() * torch.rsqrt(bn.running_var + bn.eps)
    return scale, bn.bias.detach() - bn.running_mean * scale


def _convolution(
    conv: nn.Conv2d, height: int, width: int, then: nn.BatchNorm2d | None = None
) -> tuple[Layer, list[Tensor]]:
    """How to compute `conv`, followed by `then` if given, and the tensors for it: the weight, and a shift or none."""
    weight = conv.weight.detach()  # (O, C, k, k)
    shift: Tensor | None = None
    if then is not None:
        scale, shift = _scale_shift(then)
        weight = weight * scale.view(-1, 1, 1, 1)
    k, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    tall, wide = [(size + 2 * padding - k) // stride + 1 for size in (height, width)]
    out_channels, channels = weight.shape[:2]

    if k == 1 and padding == 0 and shift is None:
        return Layer("pointwise", stride, padding, tall, wide, out_channels), [weight[:, :, 0, 0].t().clone()]
    if height * width * channels * tall * wide * out_channels > DENSE_LIMIT:
        weight = weight.clone(memory_format=torch.channels_last)
        layer = Layer("convolution", stride, padding, tall, wide, out_channels)
        return layer, [weight] if shift is None else [weight, shift]

    find = _taps if torch.compiler.is_compiling() else _known_taps  # a compiler has no use for the cache, and warns
    taps = find(height, width, k, stride, padding).to(weight.device)  # (HW, H'W')
    kernel = torch.cat([weight.flatten(2), weight.new_zeros(out_channels, channels, 1)], 2).permute(2, 1, 0)
    matrix = kernel[taps].transpose(1, 2).reshape(height * width * channels, -1)  # (HW C, H'W' O)
    bias = weight.new_zeros(matrix.shape[1]) if shift is None else shift.repeat(tall * wide)
    return Layer("dense", stride, padding, tall, wide, out_channels), [matrix, bias]


def _convolve(layer: Layer, parts: Iterator[Tensor], x: Tensor, norm_relu: bool = False) -> Tensor:
    """One convolution of `run`, `(N, H, W, C)` in and out, with its tensors taken from `parts`.

    With `norm_relu` a batch norm is folded in and a ReLU follows, in place and before any view is taken: of a tensor
    changed through a view, autograd makes a copy on the way back.
    """
    weight = next(parts)
    if layer.kind == "pointwise":
        x = x[:, :: layer.stride, :: layer.stride]
        return (x.reshape(-1, x.shape[3]) @ weight).view(*x.shape[:3], layer.channels)
    if layer.kind == "dense":
        out = torch.addmm(next(parts), x.flatten(1), weight)
        return (F.relu_(out) if norm_relu else out).view(-1, layer.height, layer.width, layer.channels)
    shift = next(parts) if norm_relu else None
    out = F.conv2d(x.permute(0, 3, 1, 2), weight, shift, layer.stride, layer.padding)
    return (F.relu_(out) if norm_relu else out).permute(0, 2, 3, 1)


def _taps(height: int, width: int, k: int, stride: int, padding: int) -> Tensor:
    """Which of the k*k kernel entries joins an input to an output position, `(HW, H'W')`; k*k where none does."""

    def axis(size: int) -> Tensor:
        out = (size + 2 * padding - k) // stride + 1
        offset = torch.arange(size)[:, None] - stride * torch.arange(out)[None] + padding  # (size, out)
        return torch.where((offset >= 0) & (offset < k), offset, k * k)

    rows, columns = axis(height)[:, None, :, None], axis(width)[None, :, None, :]
    tap = torch.where((rows < k) & (columns < k), rows * k + columns, k * k)  # (H, W, H', W')
    return tap.reshape(height * width, -1)


_known_taps = lru_cache(_taps)
