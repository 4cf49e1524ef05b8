"""Weight averages: an exponential moving average along the training, of every step or of whole epochs behind a gate.

    average <- d average + (1 - d) weights

starts at the weights that training starts from. `Training.average` is its memory in epochs: d is exp(-1 / memory) for
an epoch, and a root of that for each of its steps. Batch norm's running statistics are averaged as the weights are:
they are means over clean and attacked batches, so taking them anew would mean attacking the training split once more.
Whole numbers (how many batches were seen) are taken over.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Average:
    """The average of one model's weights, by name as in its `state_dict`; `memory` in epochs of `steps` steps.

    It goes on from a checkpoint's `weights`, if there are any. Without a `gate` it moves at every step. With one it
    moves after an epoch, if the robust accuracy of validation's worst class is at least that: the fairness-aware
    average of CFA (Wei et al. 2023).
    """

    def __init__(self, model: nn.Module, memory: float, steps: int, gate: float | None, weights: Weights) -> None:
        self.model, self.gate = model, gate
        self.decay = math.exp(-1 / (memory if gate is not None else memory * steps))
        now = model.state_dict()
        self.weights = {name: weights.get(name, t).detach().to(t.device, copy=True) for name, t in now.items()}

    def after_step(self) -> None:
        """One step of the optimiser is done."""
        if self.gate is None:
            self._move()

    def after_epoch(self, worst_robust_error: float) -> None:
        """An epoch is done, and validation has seen this error of its worst class."""
        if self.gate is not None and worst_robust_error <= 1 - self.gate:
            self._move()

    @torch.no_grad()
    def _move(self) -> None:
        for name, now in self.model.state_dict().items():
            mean = self.weights[name]
            if mean.is_floating_point():
                mean.lerp_(now, 1 - self.decay)
            else:
                mean.copy_(now)
