"""What training shows a policy that asks for more than validation errors (`seam.Seen`), and when it weighs a batch.

Tallies stay on the device until the epoch is over, and draw nothing from the generator of the training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.answers import eval_mode
from frlcore.attacks import perturb
from frlcore.data import Split, to_float
from frlcore.errors import UserError
from frlcore.frozen import freeze
from frlcore.seam import TRAINING, VALIDATION, Policy, Seen, class_settings, per_class
from frlcore.settings import Training


def check_policy(policy: Policy, classes: int, objective: str) -> None:
    """Raise UserError when a policy's answers are none (`class_settings`), or when it asks for what is not there.

    That is what is not known, or attacked images, of which `objective` may have none.
    """
    class_settings(policy, classes)
    needs = frozenset(getattr(policy, "needs", ()))
    if needs and not hasattr(policy, "observe"):
        raise UserError(f"{type(policy).__name__} has needs and no observe(), with which it would be shown them")
    if unknown := needs - VALIDATION - TRAINING:
        known = ", ".join(sorted(VALIDATION | TRAINING))
        raise UserError(f"{type(policy).__name__} needs {', '.join(sorted(unknown))}; known: {known}")
    if (needs & TRAINING or hasattr(policy, "weigh")) and objective not in ("pgd", "trades"):
        name = type(policy).__name__
        raise UserError(f"{name} watches attacked images, and the objective '{objective}' has none; use pgd or trades")


def on_validation(
    policy: Any, model: nn.Module, split: Split, scale: int, training: Training, generator: torch.Generator
) -> None:
    """Show `policy` the class-wise losses on validation, if it needs them."""
    if not VALIDATION & getattr(policy, "needs", frozenset()):
        return
    total = torch.zeros(3, len(policy.settings().w_nat), device=split.labels.device)  # count, CE, KL by class
    with eval_mode(model):
        frozen = freeze(model, *split.images.shape[2:])
        for images, y in zip(split.images.split(1000), split.labels.split(1000), strict=True):
            x = to_float(images, scale)
            x_adv = perturb(
                frozen, x, y, eps=training.eps, step_size=training.step_size, steps=training.steps,
                norm=training.norm, loss="kl", generator=generator,
            )  # fmt: skip
            with torch.no_grad():
                clean, attacked = (F.log_softmax(frozen(points), 1) for points in (x, x_adv))
                kl = F.kl_div(attacked, clean, log_target=True, reduction="none").sum(1)
                each = torch.stack([torch.ones_like(kl), F.nll_loss(clean, y, reduction="none"), kl])
            total.index_add_(1, y, each)
    count, ce, kl = total.double().cpu().numpy()
    policy.observe(Seen(loss_nat=ce / count, loss_bndy=kl / count))


class Tally:
    """What one epoch's attacked batches show `policy`, and its factors for each of them."""

    def __init__(self, policy: Any, classes: int, device: torch.device) -> None:
        self.policy, self.classes = policy, classes
        self.needs: frozenset[str] = TRAINING & getattr(policy, "needs", frozenset())
        self.weigh = getattr(policy, "weigh", None)
        self.sums = torch.zeros(classes, classes + 2, device=device)  # by true class: softmax, right, count

    @property
    def wanted(self) -> bool:
        """Whether the policy asks for anything at all."""
        return bool(self.needs or self.weigh)

    @torch.no_grad()
    def __call__(self, y: Tensor, logits: Tensor) -> Tensor | None:
        """Take in a batch's labels `(B,)` and attacked logits `(B, C)`; factors `(B,)` of its losses, None for 1."""
        p = logits.detach().float().softmax(1)
        if self.needs:
            right = (logits.argmax(1) == y).to(p.dtype)[:, None]
            self.sums.index_add_(0, y, torch.cat([p, right, torch.ones_like(right)], 1))
        if self.weigh is None:
            return None
        own = p.gather(1, y[:, None])
        margin = p.scatter(1, y[:, None], -1.0).amax(1, keepdim=True) - own  # (B, 1)
        sums = torch.zeros(self.classes, 2, device=y.device)
        total, count = sums.index_add_(0, y, torch.cat([margin, torch.ones_like(margin)], 1)).double().cpu().numpy().T
        margins = total / np.maximum(count, 1)
        if not np.isfinite(margins).all():  # nor is the loss, then, and training says so
            return None
        factors = self.weigh(margins, count.astype(np.int64))
        per_class(factors, self.classes, f"what {type(self.policy).__name__}'s weigh() answers")
        return torch.as_tensor(factors, dtype=torch.float32, device=y.device)[y]

    def show(self) -> None:
        """Show the policy what the epoch gathered."""
        if not self.needs:
            return
        sums = self.sums.double().cpu().numpy()
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: a class without an example
            shares = sums[:, :-1] / sums[:, -1:]
        self.policy.observe(Seen(
            softmax=shares[:, :-1] if "softmax" in self.needs else None,
            robust=shares[:, -1] if "robust" in self.needs else None,
        ))  # fmt: skip
