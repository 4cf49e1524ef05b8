"""What training needs to go on between two epochs, and how it is taken and put back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frlcore.averaging import Average
from frlcore.errors import UserError
from frlcore.seam import Policy


@dataclass
class Checkpoint:
    """All that training needs to go on after `epoch` finished epochs; `selected` are the weights validation chose.

    `average` are the averaged weights where `Training.average` asks for them, else empty.
    `arithmetic` says in words what the epochs so far were computed in, in several entries when the machine changed.
    `seconds` are those of the epochs so far, for whoever keeps the time; training itself does not.
    """

    epoch: int
    model: dict[str, Tensor]
    momentum: dict[str, Tensor]
    policy: dict[str, np.ndarray]
    selected: dict[str, Tensor] = field(default_factory=dict)
    selected_epoch: int = -1
    selected_error: float = float("inf")
    history: list[dict[str, Any]] = field(default_factory=list)
    arithmetic: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    average: dict[str, Tensor] = field(default_factory=dict)


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    policy: Policy,
    before: Checkpoint,
    epoch: int = 0,
    average: Average | None = None,
) -> Checkpoint:
    """A checkpoint that later steps cannot change; history and selected weights carry over."""
    momentum = {
        name: optimizer.state[p]["momentum_buffer"].clone()
        for name, p in model.named_parameters()
        if optimizer.state[p].get("momentum_buffer") is not None
    }
    return Checkpoint(
        epoch=epoch,
        model={name: t.clone() for name, t in model.state_dict().items()},
        momentum=momentum,
        policy={name: v.copy() for name, v in policy.state.items()},
        selected=before.selected,
        selected_epoch=before.selected_epoch,
        selected_error=before.selected_error,
        history=list(before.history),
        average={name: t.clone() for name, t in average.weights.items()} if average else {},
    )


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, policy: Policy, checkpoint: Checkpoint) -> None:
    """Put a model, its optimiser and its policy where a checkpoint left them; UserError as in `check_fits`."""
    check_fits(model, checkpoint)
    model.load_state_dict(checkpoint.model)
    for name, p in model.named_parameters():
        if name in checkpoint.momentum:
            optimizer.state[p]["momentum_buffer"] = torch.empty_like(p.detach()).copy_(checkpoint.momentum[name])
    policy.state.update({name: v.copy() for name, v in checkpoint.policy.items()})


def check_fits(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Raise UserError unless the checkpoint's weights have the names and shapes of the model's."""
    both = model.state_dict(), checkpoint.model
    wanted, found = ({key: tuple(t.shape) for key, t in each.items()} for each in both)
    for key in [*wanted, *found]:
        if wanted.get(key) != found.get(key):
            raise UserError(
                f"the checkpoint is one of another network: its {key} is {found.get(key, 'absent')}, the model's "
                f"{wanted.get(key, 'absent')}; go on with the network it was made of"
            )
