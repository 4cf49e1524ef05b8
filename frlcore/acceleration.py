"""Training on a GPU: bfloat16 and compiled code where their answers are those of float32.

`accelerate(model)` gives a network back that `training.py` uses like the model itself; on a CPU it is the model itself.

    training forward   under autocast to bfloat16, compiled; logits, loss and master weights in float32
    attack             a frozen bfloat16 copy (frozen.py), gradient by the input alone in one compiled function;
                       stem, logits, slope, x' and its projection in float32

Nothing is taken on trust. At the first batch of every shape each way to compute is held against the plain float32
network. One that fails to compile, or that lies too far off, is left out with a line of warning, and the next one is
tried; the last is the plain network. Compiled code gets weights as arguments, so it is compiled once per shape.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.attacks import input_gradient
from frlcore.errors import UserError
from frlcore.frozen import Frozen, Plan, freeze, run

LOG = logging.getLogger(__name__)
LOW = torch.bfloat16
TOLERANCE = 0.5  # relative distance to float32's answer, Euclidean; an unrelated answer lies about 1.4 away
PLAIN = "float32"
T = TypeVar("T")
Compile = Callable[[Callable[..., object]], Callable[..., object]]


def compile_once(function: Callable[..., object]) -> Callable[..., object]:
    """`function` compiled as a whole for the shapes it meets, at its first call."""
    return torch.compile(function, fullgraph=True, dynamic=False)


def accelerate(model: nn.Module) -> nn.Module | Accelerated:
    """`model` as training uses it: accelerated when its parameters lie on a CUDA device, else as it is."""
    return Accelerated(model) if next(model.parameters()).device.type == "cuda" else model


def attack_copy(model: nn.Module | Accelerated, height: int, width: int) -> Frozen | nn.Module | FastCopy:
    """What the training attack attacks: a frozen copy of the network (`frozen.freeze`), a fast one if accelerated."""
    return model.attack_copy(height, width) if isinstance(model, Accelerated) else freeze(model, height, width)


class Accelerated:
    """A network in training; the same parameters, faster. `compiler=None` does without compiled code."""

    def __init__(self, model: nn.Module, compiler: Compile | None = compile_once) -> None:
        self.model = model
        self.device_type = next(model.parameters()).device.type
        self._low: dict[str, Callable[..., Tensor]] = {"autocast": model}
        self._gradients: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {"bfloat16": _eager_gradient}
        if compiler:
            compiled = compiler(_gradient)
            self._low = {"compiled": compiler(model)} | self._low  # type: ignore[dict-item]
            self._gradients = {"compiled": lambda c, x, t: compiled(c.plan, c.tensors, x, t)} | self._gradients  # type: ignore[return-value]
        self.chosen: dict[tuple[object, ...], str] = {}

    def train(self) -> None:
        self.model.train()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `(N, classes) float32` in train mode, with batch norm's running statistics moved once."""
        key = ("forward", *x.shape)
        if key not in self.chosen:
            ways = {name: lambda name=name: self._answer(name, x) for name in self._low}
            self.chosen[key] = choose("the training forward", ways, self._answer(PLAIN, x))
        return self._forward(self.chosen[key], x)

    def attack_copy(self, height: int, width: int) -> Frozen | nn.Module | FastCopy:
        """A frozen copy of the network as it is now; networks that cannot be frozen come back as they are."""
        copy = freeze(self.model, height, width, LOW)
        return FastCopy(copy, self) if isinstance(copy, Frozen) else copy

    def gradient(self, copy: Frozen, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`attacks.input_gradient` of a bfloat16 copy, by the way that was found sound for this shape."""
        key = ("attack", *x.shape, target.dtype)
        if key not in self.chosen:
            full = freeze(self.model, *x.shape[2:])
            with torch.no_grad():
                unlikely = full(x).argmin(1)  # a target with a slope: at a clean point that of the KL is nearly zero
            if target.dtype.is_floating_point:
                unlikely = F.one_hot(unlikely, target.shape[1]).to(target.dtype)
            ways = {name: lambda way=way: way(copy, x, unlikely) for name, way in self._gradients.items()}
            self.chosen[key] = choose("the training attack", ways, input_gradient(full, x, unlikely))
        if self.chosen[key] == PLAIN:
            return input_gradient(freeze(self.model, *x.shape[2:]), x, target)
        return self._gradients[self.chosen[key]](copy, x, target)

    def _forward(self, name: str, x: Tensor) -> Tensor:
        if name == PLAIN:
            return self.model(x)
        with torch.autocast(self.device_type, LOW):
            return self._low[name](x).float()

    def _answer(self, name: str, x: Tensor) -> tuple[Tensor, ...]:
        """Logits, weight gradients and running statistics that one way gives, with the network left as it was."""
        before = {key: t.clone() for key, t in self.model.named_buffers()}
        try:
            logits = self._forward(name, x)
            loss = F.cross_entropy(logits, torch.arange(len(x), device=x.device) % logits.shape[1])
            gradients = torch.autograd.grad(loss, list(self.model.parameters()), allow_unused=True)
            moved = [t.clone() for t in self.model.buffers() if t.is_floating_point()]
            return logits.detach(), *(g for g in (_flat(gradients), _flat(moved)) if len(g))
        finally:
            with torch.no_grad():
                for key, t in self.model.named_buffers():
                    t.copy_(before[key])


class FastCopy:
    """A frozen bfloat16 copy `(N, C, H, W) -> logits (N, classes) float32` that knows a fast way to its gradient."""

    def __init__(self, copy: Frozen, owner: Accelerated) -> None:
        self.copy, self.owner = copy, owner

    def __call__(self, x: Tensor) -> Tensor:
        return self.copy(x)

    def input_gradient(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.owner.gradient(self.copy, x, target)


def choose(what: str, ways: dict[str, Callable[[], tuple[Tensor, ...]]], wanted: tuple[Tensor, ...]) -> str:
    """The first of `ways` whose tensors are all near the `wanted` ones, else "float32"; says what is left out."""
    for name, way in ways.items():
        try:
            apart = torch.stack([_distance(f, w) for f, w in zip(way(), wanted, strict=True)]).max().item()
            if apart < TOLERANCE:  # not so for NaN
                return name
            reason = f"it lies {apart:.2f} away from float32, relative to its size"
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers fail in many ways
            reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')[:100]}"
        LOG.warning("%s goes on without its '%s' version: %s", what, name, reason)
    return PLAIN


@contextmanager
def arithmetic(device: torch.device, *, tf32: bool, benchmark: bool) -> Iterator[None]:
    """On a CUDA device: float32 products as TF32 or in true float32, and cuDNN's choice of kernels by trial."""
    if device.type != "cuda":
        yield
        return
    settings = ((torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32"),
                (torch.backends.cudnn, "benchmark"))  # fmt: skip
    before = [getattr(place, name) for place, name in settings]
    try:
        for (place, name), value in zip(settings, (tf32, tf32, benchmark), strict=True):
            setattr(place, name, value)
        yield
    finally:
        for (place, name), value in zip(settings, before, strict=True):
            setattr(place, name, value)


def within_memory(work: Callable[[], T], attempt: Callable[[int], object], batch_size: int) -> T:
    """`work()`; when the device's memory does not suffice, a UserError naming a batch size with which it did.

    `attempt(n)` does the memory-hungry part of the work with n images; sizes are halved until one fits.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        pass  # what the failed work held is let go before the attempts
    size = batch_size // 2
    while size:
        torch.cuda.empty_cache()  # does nothing where there is no CUDA
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            size //= 2
        else:
            raise UserError(f"a batch of {batch_size} images needs more memory than the device has; {size} images fit")
    raise UserError("the device's free memory does not suffice for one image; free some or use another device")


def _gradient(plan: Plan, tensors: list[Tensor], x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`attacks.input_gradient` of a frozen copy, written so that it compiles as one function."""

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = run(plan, tensors, x)
        return F.cross_entropy(logits, target, reduction="sum"), logits

    return torch.func.grad(loss, has_aux=True)(x)


def _eager_gradient(copy: Frozen, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return input_gradient(copy, x, target)


def _flat(tensors: list[Tensor] | tuple[Tensor | None, ...]) -> Tensor:
    return torch.cat([t.detach().float().flatten() for t in tensors if t is not None] or [torch.empty(0)])


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    return (found.float() - wanted).norm() / wanted.norm().clamp(min=1e-12)
