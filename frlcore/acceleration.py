"""Faster training: bfloat16 and compiled code where their answers are those of float32.

`accelerate(model)` gives a network back that `training.py` uses like the model itself; where nothing is to be gained it
is the model itself. Accelerated are all networks on a CUDA device, and on a CPU that has bfloat16 matrix units those
that can be frozen (frozen.py) and have at least `LARGE` parameters.

    training forward   under autocast to bfloat16, compiled; head, loss and master weights in float32
    attack             a frozen bfloat16 copy (frozen.py), gradient by the input alone in one compiled function, on a
                       GPU as one CUDA graph (graphs.py); stem, head, slope, x' and its projection in float32
    around it          on a GPU freezing, and the clean prediction that TRADES' attack climbs away from, compiled:
                       many small kernels, whose launches cost more than they do themselves

A network of other classes than ours has its head in bfloat16, too; its logits are turned to float32 before the loss.

Nothing is taken on trust. At the first batch of every shape each way to compute is held against the plain float32
network. One that fails to compile, or that lies too far off, is left out with a line of warning, and the next one is
tried; the last is the plain network. Compiled code gets weights as arguments, so it is compiled once per shape.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.answers import Model
from frlcore.attacks import input_gradient
from frlcore.device import global_random
from frlcore.frozen import Frozen, Layout, fold, foldable, freeze, run
from frlcore.graphs import Graphed

LOG = logging.getLogger(__name__)
LOW = torch.bfloat16
LARGE = 2**19  # parameters; the smallest network whose gain on a CPU was measured has 0.7 million
TOLERANCE = 0.5  # relative distance to float32's answer, Euclidean; an unrelated answer lies about 1.4 away
PLAIN = "float32"
COMPILED = {  # on a CPU the last two would take longer to compile than they gain
    "cuda": ("training forward", "training attack", "attack's clean target", "freezing"),
    "cpu": ("training forward", "training attack"),
}
Way = Callable[..., Any]
Compile = Callable[[Way], Way]


def compile_once(function: Way) -> Way:
    """`function` compiled as a whole for the shapes it meets, at its first call."""
    return torch.compile(function, fullgraph=True, dynamic=False)


def accelerate(model: nn.Module) -> nn.Module | Accelerated:
    """`model` as training uses it: accelerated where that gains something (see above), else as it is."""
    device = next(model.parameters()).device.type
    if device == "cuda":
        return Accelerated(model)
    large = foldable(model) and sum(p.numel() for p in model.parameters()) >= LARGE
    if device != "cpu" or not large or not matrix_units():
        return model
    if shutil.which(os.environ.get("CXX", "g++")):
        return Accelerated(model)
    LOG.warning("no C++ compiler is installed (g++, or the one named in CXX): bfloat16 goes on without compiled code")
    return Accelerated(model, compiler=None)


def matrix_units() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in units made for it (AMX); its vector units alone gain nothing."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def attack_copy(model: nn.Module | Accelerated, height: int, width: int) -> Model:
    """What the training attack attacks: a frozen copy of the network (`frozen.freeze`), a fast one if accelerated."""
    return model.attack_copy(height, width) if isinstance(model, Accelerated) else freeze(model, height, width)


def arithmetic_in_words(model: nn.Module | Accelerated) -> str:
    """The arithmetic that training has used so far, for a record: that which was chosen."""
    return model.arithmetic_in_words() if isinstance(model, Accelerated) else PLAIN


class Accelerated:
    """A network in training; the same parameters, faster. `compiler=None` does without compiled code.

    `chosen` holds the way found sound for each shape, by what is computed ("forward" or "attack") and the shape:
    "graph", compiled code as a CUDA graph; "compiled"; "autocast" (forward) or "bfloat16" (attack), the same without
    compiled code; or "float32".
    """

    def __init__(self, model: nn.Module, compiler: Compile | None = compile_once) -> None:
        self.model = model
        self.device_type = next(model.parameters()).device.type
        self._ways: dict[str, dict[str, Way]] = {  # the fastest first
            "training forward": {"autocast": _logits},
            "training attack": {"bfloat16": _eager_gradient},
            "attack's clean target": {"bfloat16": run},
            "freezing": {"bfloat16": fold},
        }
        for what in COMPILED[self.device_type] if compiler else ():
            (eager,) = self._ways[what].values()
            fast = compiler(_gradient if what == "training attack" else eager)  # type: ignore[misc]
            self._ways[what] = {"compiled": fast, **self._ways[what]}
        if compiler and self.device_type == "cuda":
            attack = self._ways["training attack"]
            self._ways["training attack"] = {"graph": Graphed(attack["compiled"]), **attack}
        self.chosen: dict[tuple[object, ...], str] = {}
        self._failed: set[tuple[str, str]] = set()

    def train(self) -> None:
        self.model.train()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `(N, classes) float32` in train mode, with batch norm's running statistics moved once."""
        answer = partial(self._answer, x)
        return self._forward(x, self._sound("training forward", ("forward", *x.shape), answer, lambda: answer(PLAIN)))

    def attack_copy(self, height: int, width: int) -> Frozen | nn.Module | FastCopy:
        """A frozen copy of the network as it is now; networks that cannot be frozen come back as they are."""
        if not foldable(self.model):
            return self.model

        def folded(way: str) -> tuple[Layout, list[Tensor]]:
            return self._ways["freezing"].get(way, fold)(self.model, height, width, LOW)

        with torch.no_grad():
            key = ("attack", "freezing", height, width)
            way = self._sound("freezing", key, lambda way: folded(way)[1], lambda: folded(PLAIN)[1])
            return FastCopy(Frozen(*folded(way)), self)

    def target(self, copy: Frozen, x: Tensor) -> Tensor:
        """Logits `(N, classes)` of a bfloat16 copy, by the way that was found sound for this shape."""

        def logits(way: str) -> Tensor:
            if way == PLAIN:
                return freeze(self.model, *x.shape[2:])(x)
            return self._ways["attack's clean target"][way](copy.layout, copy.tensors, x)

        key = ("attack", "target", *x.shape)
        way = self._sound("attack's clean target", key, lambda way: [logits(way)], lambda: [logits(PLAIN)])
        return logits(way)

    def gradient(self, copy: Frozen, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """`attacks.input_gradient` of a bfloat16 copy, by the way that was found sound for this shape."""

        def gradient(way: str, target: Tensor) -> tuple[Tensor, Tensor]:
            if way == PLAIN:
                return input_gradient(freeze(self.model, *x.shape[2:]), x, target)
            return self._ways["training attack"][way](copy.layout, copy.tensors, x, target)

        def steep(way: str) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                unlikely = freeze(self.model, *x.shape[2:])(x).argmin(1)
            if target.dtype.is_floating_point:  # at a clean point the slope of the KL itself is nearly zero
                unlikely = F.one_hot(unlikely, target.shape[1]).to(target.dtype)
            return gradient(way, unlikely)

        key = ("attack", *x.shape, target.dtype)
        return gradient(self._sound("training attack", key, steep, lambda: steep(PLAIN)), target)

    def arithmetic_in_words(self) -> str:
        plain = "TF32" if self.device_type == "cuda" else PLAIN  # see device.arithmetic
        found = {part: {way for key, way in self.chosen.items() if key[0] == part} for part in ("forward", "attack")}
        if not set().union(*found.values()) - {PLAIN}:
            return plain
        parts = [f"{part} {'/'.join(sorted(ways)).replace(PLAIN, plain)}" for part, ways in found.items() if ways]
        return f"bfloat16 ({', '.join(parts)})"

    def _sound(
        self,
        what: str,
        key: tuple[object, ...],
        trial: Callable[[str], Sequence[Tensor]],
        wanted: Callable[[], Sequence[Tensor]],
    ) -> str:
        """The way chosen for `key`; at its first call the first whose tensors are near the wanted ones."""
        if key not in self.chosen:
            trials = {name: partial(trial, name) for name in self._ways[what] if (what, name) not in self._failed}
            self.chosen[key] = choose(f"the {what}", trials, wanted(), lambda name: self._failed.add((what, name)))
        return self.chosen[key]

    def _forward(self, x: Tensor, way: str) -> Tensor:
        if way == PLAIN:
            return self.model(x)
        with torch.autocast(self.device_type, LOW):
            return self._ways["training forward"][way](self.model, x)

    def _answer(self, x: Tensor, way: str) -> tuple[Tensor, ...]:
        """Logits, weight gradients and running statistics that one way gives, with the network left as it was.

        Each draws the same random numbers and takes none from the epoch: a resumed training tries in another one.
        """
        before = {key: t.clone() for key, t in self.model.named_buffers()}
        try:
            with global_random(x.device):
                logits = self._forward(x, way)
            loss = F.cross_entropy(logits, torch.arange(len(x), device=x.device) % logits.shape[1])
            free = [p for p in self.model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(loss, free, allow_unused=True)
            moved = [t.clone() for t in self.model.buffers() if t.is_floating_point()]
            return logits.detach(), *(g for g in (_flat(gradients), _flat(moved)) if len(g))
        finally:
            with torch.no_grad():
                for key, t in self.model.named_buffers():
                    t.copy_(before[key])


class FastCopy:
    """A frozen bfloat16 copy `(N, C, H, W) -> logits (N, classes) float32` that knows the fast ways to its answers."""

    def __init__(self, copy: Frozen, owner: Accelerated) -> None:
        self.copy, self.owner = copy, owner

    def __call__(self, x: Tensor) -> Tensor:
        return self.owner.target(self.copy, x)

    def input_gradient(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.owner.gradient(self.copy, x, target)


def choose(
    what: str,
    ways: Mapping[str, Callable[[], Sequence[Tensor]]],
    wanted: Sequence[Tensor],
    failed: Callable[[str], object] = lambda name: None,
) -> str:
    """The first of `ways` whose tensors are all near the `wanted` ones, else "float32"; says what is left out.

    `failed` is told of a way that raised an error, as compilers do: it need not be tried again.
    """
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
            failed(name)
        LOG.warning("%s goes on without its '%s' version: %s", what, name, reason)
    return PLAIN


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in float32 from a forward under autocast."""
    if not foldable(model):
        return model(x).float()
    features = model.features(x)
    with torch.autocast(x.device.type, enabled=False):
        return model.head(features)


def _gradient(layout: Layout, tensors: list[Tensor], x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`attacks.input_gradient` of a frozen copy, written so that it compiles as one function."""

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = run(layout, tensors, x)
        return F.cross_entropy(logits, target, reduction="sum"), logits

    return torch.func.grad(loss, has_aux=True)(x)


def _eager_gradient(layout: Layout, tensors: list[Tensor], x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return input_gradient(partial(run, layout, tensors), x, target)


def _flat(tensors: list[Tensor] | tuple[Tensor | None, ...]) -> Tensor:
    return torch.cat([t.detach().float().flatten() for t in tensors if t is not None] or [torch.empty(0)])


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    return (found.float() - wanted.float()).norm() / wanted.float().norm().clamp(min=1e-12)
