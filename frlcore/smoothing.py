"""Randomized smoothing: a classifier that asks the network about many noisy copies, certified in the l2 norm.

The smoothed classifier g answers with the class that the network f gives most often under Gaussian noise,

    g(x) = argmax_c Pr(f(x + e) = c),  e ~ N(0, sigma^2 I),

and if that class has probability at least p > 1/2, g answers the same within the l2 radius sigma Phi^-1(p) of x
(Cohen et al. 2019, Theorem 1; Appendix A.1.3, Fig. 4). The probability is estimated from draws, so an answer holds
with probability 1 - alpha for each image, and where the draws cannot tell, the answer is ABSTAIN. Noise is added
without cutting it to [0, 1], as the theorem wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from frlcore.answers import Model, ask, check_images, eval_mode
from frlcore.certificates import ABSTAIN, certified_radius, leads
from frlcore.errors import UserError
from frlcore.frozen import freeze
from frlcore.settings import counted, is_positive

__all__ = ["ABSTAIN", "certify", "predict"]


def predict(
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    n: int = 1000,
    alpha: float = 0.001,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Classes `(N,) int64` of the smoothed classifier for images `x: (N, C, H, W) float in [0, 1]`, from `n` draws.

    ABSTAIN where a two-sided binomial test cannot tell the two most frequent classes apart at level `alpha`
    (Cohen et al. 2019, PREDICT). `sigma` is a fraction of the pixel range; random numbers come from `generator`.
    Raises UserError for images, answers or settings out of range, and for draws so few that they can only abstain.
    """
    _check(x, sigma, alpha, batch_size, generator, n=n)
    _check_draws(n, alpha, lambda n: bool(leads(n, 0, alpha)))
    _check_answers(model, x, batch_size)
    with eval_mode(model), torch.no_grad():
        counts = _counts(freeze(model, *x.shape[2:]), x, sigma, n, batch_size, generator)
    top = counts.topk(2)
    first, second = top.values.cpu().numpy().T
    certain = torch.from_numpy(leads(first, second, alpha))
    return torch.where(certain.to(x.device), top.indices[:, 0], ABSTAIN)


def certify(
    model: Model,
    x: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Classes `(N,) int64` of the smoothed classifier and the l2 radii `(N,) float64` within which they hold.

    `n0` draws select the class, `n` fresh ones bound its probability from below (one-sided Clopper-Pearson at
    `alpha`); where the bound is not above 1/2 the class is ABSTAIN and the radius 0 (Cohen et al. 2019, CERTIFY).
    `x: (N, C, H, W) float in [0, 1]`; `sigma` and radii are fractions of the pixel range; random numbers come from
    `generator`. Raises UserError for images, answers or settings out of range, and for draws so few that they can only
    abstain.
    """
    _check(x, sigma, alpha, batch_size, generator, n0=n0, n=n)
    _check_draws(n, alpha, lambda n: bool(certified_radius(n, n, sigma=sigma, alpha=alpha) > 0))
    _check_answers(model, x, batch_size)
    with eval_mode(model), torch.no_grad():
        frozen = freeze(model, *x.shape[2:])
        selected = _counts(frozen, x, sigma, n0, batch_size, generator).argmax(1)
        counts = _counts(frozen, x, sigma, n, batch_size, generator).gather(1, selected[:, None]).squeeze(1)
    radius = torch.from_numpy(certified_radius(counts.cpu().numpy(), n, sigma=sigma, alpha=alpha)).to(x.device)
    return torch.where(radius > 0, selected, ABSTAIN), radius


def _counts(
    model: Model, x: Tensor, sigma: float, n: int, batch_size: int, generator: torch.Generator | None
) -> Tensor:
    """How often each class is the answer to `n` noisy copies of every image, `(N, classes) int64` on x's device.

    The draws of all images form one queue, cut into batches of constant size: one image may fill many batches, or
    many images one. The last batch is filled up with draws that count for nothing. Nothing waits for the device.
    """
    images = x.permute(0, 2, 3, 1).contiguous()  # (N, H, W, C): the memory layout that networks like
    total = len(x) * n
    size = min(batch_size, total)
    counts = torch.zeros(0)
    for start in range(0, total, size):
        draw = torch.arange(start, start + size, device=x.device)
        image = (draw // n).clamp(max=len(x) - 1)  # the image that a draw belongs to
        noise = torch.randn(size, *images.shape[1:], generator=generator, device=x.device, dtype=x.dtype)
        logits = model(noise.mul_(sigma).add_(images[image]).permute(0, 3, 1, 2))
        classes = logits.shape[1]
        if start == 0:
            counts = torch.zeros(len(x) * classes + 1, dtype=torch.int64, device=x.device)  # the last one is the bin
        slot = torch.where(draw < total, image * classes + logits.argmax(1), len(x) * classes)
        counts.scatter_add_(0, slot, torch.ones_like(slot))  # unlike bincount, it does not ask how long to be
    return counts[:-1].view(len(x), -1)


def _check_answers(model: Model, x: Tensor, batch_size: int) -> None:
    for part in x.split(int(batch_size)):
        ask(model, part)  # probabilities will do: only the largest counts


def _check_draws(n: int, alpha: float, decides: Callable[[int], bool]) -> None:
    """Raise UserError where `n` equal votes decide nothing, with the smallest number that does."""
    if not decides(n):
        least = next(more for more in count(n) if decides(more))
        raise UserError(f"with alpha = {alpha:g}, n = {n} draws can only abstain; it takes at least n = {least}")


def _check(
    x: Tensor, sigma: float, alpha: float, batch_size: int, generator: torch.Generator | None, **draws: int
) -> None:
    check_images(x)
    if x.dim() != 4:
        raise UserError(f"smoothing takes float images (N, C, H, W) in [0, 1], got {tuple(x.shape)}")
    if not is_positive(sigma):
        raise UserError(f"sigma must be a positive fraction of the pixel range, got {sigma}")
    if not (is_positive(alpha) and alpha < 0.5):
        raise UserError(f"alpha must lie between 0 and 0.5, got {alpha}")
    for name, value in {**draws, "batch_size": batch_size}.items():
        counted(name, value)
    if generator is not None and generator.device.type != x.device.type:
        raise UserError(f"the generator is on {generator.device}, the images are on {x.device}; make one there")
