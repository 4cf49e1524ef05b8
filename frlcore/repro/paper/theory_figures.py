"""Figure 2 of the paper: small classifiers trained on the mixture of Eq. 2, and the drawings of the theory pages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from scipy.stats import norm
from torch import nn

from frlcore.attacks import perturb
from frlcore.errors import UserError
from frlcore.models import logistic, mlp
from frlcore.repro.paper.theory_pages import EASY, HARD, NATURAL, ROBUST
from frlcore.theory.features import sample
from frlcore.theory.mixture import GaussianMixture


@dataclass(frozen=True)
class Toy:
    """Samples of Eq. 2 as tensors: x (N, d) float32, y (N,) int64 with 1 for class +1 and 0 for class -1."""

    x: torch.Tensor
    y: torch.Tensor

    @classmethod
    def draw(cls, theta: np.ndarray, sigma: float, K: float, n: int, *, seed: int) -> Toy:
        """`n` examples of each class."""
        x, y = sample(theta, sigma, K, n, seed=seed)
        return cls(torch.from_numpy(x).float(), torch.from_numpy((y + 1) // 2).long())


def attack(model: nn.Module, data: Toy, eps: float, *, steps: int, seed: int) -> torch.Tensor:
    """PGD on the cross-entropy without bounds on the inputs, steps of eps / 2."""
    generator = torch.Generator().manual_seed(seed)
    return perturb(model, data.x, data.y, eps=eps, step_size=eps / 2, steps=steps, clip=None, generator=generator)


def train_toy(kind: str, data: Toy, *, eps: float, seed: int, rounds: int = 150) -> nn.Module:
    """Full-batch Adam on the cross-entropy, of clean examples (eps = 0) or of their PGD-5 attacks (Fig. 2).

    `kind` is "logistic" or "mlp" (32 hidden units). Raises UserError for another kind.
    """
    if kind not in ("logistic", "mlp"):
        raise UserError(f"unknown model {kind!r}; there are: logistic, mlp")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = logistic(data.x.shape[1]) if kind == "logistic" else mlp(data.x.shape[1], 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds)
    for index in range(rounds):
        x = attack(model, data, eps, steps=5, seed=seed + index) if eps else data.x
        optimizer.zero_grad()
        F.cross_entropy(model(x), data.y).backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def predict(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Predicted classes (N,), 0 or 1."""
    return model(x).argmax(1).numpy()


def draw_toy(ax: Axes, data: Toy, natural: nn.Module, robust: nn.Module, *, shown: int = 400) -> None:
    """The first `shown` samples of each class and the decision boundaries of a natural and a robust model (Fig. 2)."""
    for label, colour in ((0, EASY), (1, HARD)):
        points = data.x[data.y == label][:shown]
        ax.scatter(points[:, 0], points[:, 1], s=5, alpha=0.45, color=colour, linewidths=0)
    low, high = float(data.x.min()) - 0.5, float(data.x.max()) + 0.5
    axis = torch.linspace(low, high, 300)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    for model, colour, style in ((natural, NATURAL, "--"), (robust, ROBUST, "-")):
        with torch.no_grad():
            logits = model(grid)
        ax.contour(axis, axis, (logits[:, 1] - logits[:, 0]).view(300, 300), [0], colors=colour, linestyles=style)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="$x_1$", ylabel="$x_2$")


def draw_densities(ax: Axes, mixture: GaussianMixture, eps: float) -> None:
    """Both class densities along <1, x> / d, the natural (dashed) and the robust (solid) threshold, errors shaded."""
    d, eta, sigma, K = (float(v) for v in (mixture.d, mixture.eta, mixture.sigma, mixture.K))
    u = np.linspace(-1, 1, 601) * (eta + 3.2 * K * sigma / d**0.5)
    threshold = -float(mixture.b_rob(eps)) / d
    for label, colour, width in ((-1, EASY, 1.0), (1, HARD, K)):
        density = norm.pdf(u, label * eta, width * sigma / d**0.5)
        ax.plot(u, density, color=colour)
        ax.fill_between(u, density, where=label * (u - threshold) < 0, color=colour, alpha=0.4, linewidth=0)
    ax.axvline(-float(mixture.b_nat()) / d, color=NATURAL, linestyle="--")
    ax.axvline(threshold, color=ROBUST)
    ax.set(yticks=[], ylim=(0, None), xlabel=r"$\langle 1, x\rangle / d$")
    ax.spines[["left", "right", "top"]].set_visible(False)
