"""CUDA graphs: what is launched again and again goes to the device as one launch instead of a hundred."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from frlcore.frozen import Layout

WARM_UP = 3  # calls before the recording: code is compiled in the first, and cuDNN has chosen its kernels by then
Answers = tuple[Tensor, ...]
Gradient = Callable[[Layout, list[Tensor], Tensor, Tensor], Answers]
Record = Callable[[Callable[[], Answers]], tuple[Answers, Callable[[], object]]]


def record(work: Callable[[], Answers]) -> tuple[Answers, Callable[[], object]]:
    """What `work` launches on the current CUDA device, recorded: where its answers will lie, and how to launch it."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answers = work()
    return answers, graph.replay


class Graphed:
    """A function `(layout, tensors, x, target)` of tensors on a CUDA device, recorded once for every shape.

    Its answers are those of the function, bit for bit, and lie where the next call puts its own.
    """

    def __init__(self, function: Gradient, record: Record = record) -> None:
        self.function, self._record = function, record
        self._recorded: dict[Hashable, _Recorded] = {}

    def __call__(self, layout: Layout, tensors: list[Tensor], x: Tensor, target: Tensor) -> Answers:
        key = (layout, x.shape, x.stride(), target.shape, target.dtype)
        if key not in self._recorded:
            self._recorded[key] = _Recorded(self.function, self._record, layout, tensors, x, target)
        return self._recorded[key](tensors, x, target)


class _Recorded:
    """One recording, with the memory that it reads from."""

    def __init__(
        self, function: Gradient, record: Record, layout: Layout, tensors: list[Tensor], x: Tensor, target: Tensor
    ) -> None:
        self._tensors, self._x, self._target = [t.clone() for t in tensors], x.clone(), target.clone()
        self._weights: Sequence[Tensor] | None = None  # whose copy lies in `_tensors`: all steps of an attack share it
        with torch.cuda.device_of(x):
            self._answers, self._launch = record(lambda: function(layout, self._tensors, self._x, self._target))

    def __call__(self, tensors: list[Tensor], x: Tensor, target: Tensor) -> Answers:
        if tensors is not self._weights:
            torch._foreach_copy_(self._tensors, tensors)
            self._weights = tensors
        self._x.copy_(x)
        self._target.copy_(target)
        self._launch()
        return self._answers
