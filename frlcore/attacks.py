"""Gradient attacks inside an l-inf or l2 ball: FGSM and PGD, with one radius for all or one per sample.

Pure functions `f(model, x, y, *, eps, ...) -> x_adv`. The model runs in eval mode (batch-norm statistics stand
still) and comes back in the mode it arrived in; gradients are taken with respect to the input alone, so nothing is
left on the parameters. `x: (N, ...) float`, `y: (N,) int64`, radii in the units of `x` (fractions of the pixel range).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from frlcore.answers import Model, check_images, check_labels, check_model, eval_mode
from frlcore.errors import UserError
from frlcore.settings import NORMS, is_positive, radius

LOG = logging.getLogger(__name__)
LOSSES = ("ce", "kl")
FLAT = 1e-12  # a gradient of this Euclidean length or less leads nowhere
LEAD = 4.0  # the right class then has most of the probability, and its slope all its digits
Slope = Callable[[Tensor, Tensor], Tensor]
Gradient = Callable[[Model, Tensor, Tensor], tuple[Tensor, Tensor]]


def ce_slope(logits: Tensor, target: Tensor) -> Tensor:
    """Derivative `(N, C)` of the summed cross-entropy by the logits, as float32 has it; `target` as below."""
    if target.dim() == 1:
        target = F.one_hot(target, logits.shape[1])
    return F.softmax(logits, dim=1) - target


def steady_slope(logits: Tensor, y: Tensor) -> Tensor:
    """`ce_slope`, and where float32 rounds the probability of class `y` to 1, that of logits drawn together.

    They are divided until class `y` leads by `LEAD`, so its slope is not 0 any more and is the same for logits times 20
    and times 100: larger logits make no model more robust.
    """
    slope, own = ce_slope(logits, y), y[:, None]
    lead = logits.gather(1, own) - logits.scatter(1, own, -torch.inf).amax(1, keepdim=True)
    return torch.where(slope.gather(1, own) == 0, ce_slope(logits * (LEAD / lead), y), slope)


def input_gradient(model: Model, x: Tensor, target: Tensor, slope: Slope = ce_slope) -> tuple[Tensor, Tensor]:
    """Gradient of the summed cross-entropy with respect to `x`, and the logits at `x`.

    `target` holds class indices `(N,)`, or probabilities `(N, C)`: against the fixed clean probabilities the
    gradient of the cross-entropy is that of the KL divergence. A model with an `input_gradient(x, target)` of its own,
    as an accelerated copy has, is asked for it.
    """
    if own := getattr(model, "input_gradient", None):
        return own(x, target)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(x)
    (gradient,) = torch.autograd.grad(logits, x, slope(logits.detach(), target))
    return gradient, logits.detach()


class Ball:
    """The points an attack may visit: within `eps` of `x` in the given norm, and inside the box `clip`."""

    def __init__(self, x: Tensor, eps: float | Tensor, norm: str, clip: tuple[float, float] | None) -> None:
        if norm not in NORMS:
            raise UserError(f"unknown norm '{norm}'; known: {', '.join(NORMS)}")
        self.x, self.norm, self.clip = x, norm, clip
        self.eps = per_sample(eps, x, "eps")
        if norm == "linf":
            self.low, self.high = x - self.eps, x + self.eps
            if clip is not None:
                self.low, self.high = self.low.clamp(min=clip[0]), self.high.clamp(max=clip[1])

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the ball, cut to the box (which contains the centre, so the ball is never left)."""
        if self.norm == "linf":
            return torch.clamp(x, self.low, self.high)
        delta = x - self.x
        x = self.x + delta * (self.eps / l2_norm(delta)).clamp(max=1)
        return x if self.clip is None else x.clamp(*self.clip)

    def ascend(self, x: Tensor, gradient: Tensor, step: float | Tensor) -> Tensor:
        """One steepest-ascent step in the ball's norm, projected."""
        direction = gradient.sign() if self.norm == "linf" else gradient / l2_norm(gradient)
        return self.project(x + step * direction)

    def random_point(self, generator: torch.Generator | None) -> Tensor:
        """Uniform in the ball, then cut to the box."""
        if self.norm == "linf":
            u = torch.rand(self.x.shape, generator=generator, device=self.x.device, dtype=self.x.dtype)
            return self.project(self.x + (2 * u - 1) * self.eps)
        direction = torch.randn(self.x.shape, generator=generator, device=self.x.device, dtype=self.x.dtype)
        u = torch.rand(len(self.x), generator=generator, device=self.x.device, dtype=self.x.dtype)
        length = self.eps * like(u ** (1 / self.x[0].numel()), self.x)
        return self.project(self.x + direction / l2_norm(direction) * length)

    def select(self, index: Tensor) -> Ball:
        """The same ball around a subset of the samples."""
        eps = self.eps[index] if isinstance(self.eps, Tensor) and self.eps.dim() else self.eps
        return Ball(self.x[index], eps, self.norm, self.clip)


def climb(
    model: Model,
    ball: Ball,
    x: Tensor,
    target: Tensor,
    step: float | Tensor,
    steps: int,
    visit: Callable[[Tensor], Tensor | None] = lambda logits: None,
    gradient_of: Gradient = input_gradient,
) -> Tensor:
    """The point that projected gradient ascent in `ball` reaches from `x` in `steps` steps.

    `visit` is shown the logits at every point but the last one, and may answer with the positions of the samples to go
    on with (a `step` per sample then does not fit any more). `target` as in `input_gradient`.
    """
    for _ in range(steps):
        if not len(x):
            break
        gradient, logits = gradient_of(model, x, target)
        x = ball.ascend(x, gradient, step)
        if (kept := visit(logits)) is not None:
            x, target, ball = x[kept], target[kept], ball.select(kept)
    return x


def perturb(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step_size: float | Tensor,
    steps: int,
    norm: str = "linf",
    loss: str = "ce",
    random_start: bool = True,
    clip: tuple[float, float] | None = (0, 1),
    generator: torch.Generator | None = None,
    gradient_of: Gradient = input_gradient,
) -> Tensor:
    """`pgd` for a training loop: model, images and labels are trusted, and the loss is float32's cross-entropy.

    Raises UserError for a radius or step that is not positive, `steps < 1`, or an unknown norm or loss.
    """
    if loss not in LOSSES:
        raise UserError(f"unknown attack loss '{loss}'; known: {', '.join(LOSSES)}")
    if not is_positive(steps, whole=True):
        raise UserError(f"an attack needs at least 1 step, a whole number, got steps={steps}")
    ball = Ball(x, eps, norm, clip)
    step = per_sample(step_size, x, "step_size")
    with eval_mode(model):
        if loss == "kl":
            with torch.no_grad():
                target = F.softmax(model(x), dim=1)  # (N, C), once: it does not move during the attack
        else:
            target = y
        x_adv = x
        if random_start and loss == "ce":
            x_adv = ball.random_point(generator)
        elif random_start:
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            x_adv = ball.project(x + 0.001 * noise)
        return climb(model, ball, x_adv, target, step, steps, gradient_of=gradient_of).detach()


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    step_size: float | Tensor,
    steps: int,
    norm: str = "linf",
    loss: str = "ce",
    random_start: bool = True,
    clip: tuple[float, float] | None = (0, 1),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Projected gradient ascent on the loss inside the ball of radius `eps` (Eq. 1; Madry et al. 2018).

    `eps` and `step_size` are floats or one value per sample `(N,)`. `loss="ce"` climbs the cross-entropy with `y`,
    also where float32 rounds its slope to 0 (`steady_slope`);
    `loss="kl"` climbs KL(clean prediction || prediction), the inner maximisation of TRADES (Zhang et al. 2019),
    whose clean target is computed once. `random_start` begins at a uniform point of the ball for "ce" and, as TRADES
    does, at `x + 0.001 N(0, 1)` for "kl", whose gradient at `x` itself is zero. `clip=None`
    leaves the input space unbounded. Warns of images whose gradient vanishes all the same.
    Raises UserError for a radius or step that is not positive, a radius wider than `clip` in l-inf, `steps < 1`, an
    unknown norm or loss, and for a model, images or labels that are not as in `answers`.
    """
    check_images(x, clip)
    per_sample(eps, x, "eps")
    radius(float(eps.max()) if isinstance(eps, Tensor) else eps, norm, clip[1] - clip[0] if clip else math.inf)
    y = check_labels(y, len(x), check_model(model, x))
    watch = Watch(len(x), x.device, steady_slope if loss == "ce" else ce_slope)
    found = perturb(
        model, x, y, eps=eps, step_size=step_size, steps=steps, norm=norm, loss=loss, random_start=random_start,
        clip=clip, generator=generator, gradient_of=watch.gradient_of,
    )  # fmt: skip
    say_flat(watch.flat)
    return found


def fgsm(
    model: Model, x: Tensor, y: Tensor, *, eps: float | Tensor, clip: tuple[float, float] | None = (0, 1)
) -> Tensor:
    """One signed-gradient step of length `eps` (Goodfellow et al. 2014)."""
    return pgd(model, x, y, eps=eps, step_size=eps, steps=1, random_start=False, clip=clip)


class Watch:
    """`input_gradient` with a slope of its own, that notes which of `count` samples met a gradient that vanishes."""

    def __init__(self, count: int, device: torch.device, slope: Slope) -> None:
        self.flat = torch.zeros(count, dtype=torch.bool, device=device)
        self.active = torch.arange(count, device=device)  # the samples still in the batch; whoever drops some says so
        self.slope = slope

    def gradient_of(self, model: Model, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        gradient, logits = input_gradient(model, x, target, self.slope)
        self.flat[self.active] |= gradient.flatten(1).norm(dim=1) <= FLAT
        return gradient, logits


def say_flat(flat: Tensor) -> None:
    """Warn in one line if gradients vanished, of the samples marked in `flat: (N,) bool`."""
    if count := int(flat.sum()):
        LOG.warning(
            "the gradient vanished for %d of %d images (%.0f%%), which the attack then could hardly move: that is no "
            "robustness; strong.autoattack does without gradients in part",
            count, len(flat), 100 * count / len(flat),
        )  # fmt: skip


def per_sample(value: float | Tensor, x: Tensor, name: str) -> float | Tensor:
    """`value` ready to broadcast against `x`: a positive float, or one positive number per sample `(N,)`.

    Raises UserError for anything else; numbers per sample that lie on a GPU are taken on trust.
    """
    if not isinstance(value, Tensor):
        if not is_positive(value):
            raise UserError(f"{name} must be a positive fraction of the input range, or a tensor with one for every "
                            f"sample, got {value!r}")  # fmt: skip
        return float(value)
    one_each = value.dim() > 0 and len(value) == len(x) == value.numel()
    if not one_each or value.dtype == torch.bool or value.is_complex():
        raise UserError(f"{name} must be a float or hold one value per sample ({len(x)}), got {tuple(value.shape)}")
    if value.device.type == "cpu":  # on a GPU the question would stall the queue
        wrong = value[~((value > 0) & value.isfinite())]
        if len(wrong):
            raise UserError(f"{name} must be positive for every sample, and finite, got {float(wrong[0])}")
    return like(value, x)


def like(value: Tensor, x: Tensor) -> Tensor:
    """`(N,)` or already broadcastable values as `(N, 1, ..., 1)`."""
    return value.to(x.dtype).view(len(x), *[1] * (x.dim() - 1))


def l2_norm(x: Tensor) -> Tensor:
    """Euclidean norm of every sample, `(N, 1, ..., 1)`, never zero."""
    return like(x.flatten(1).norm(dim=1).clamp(min=1e-12), x)
