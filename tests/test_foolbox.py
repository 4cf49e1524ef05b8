"""PGD against foolbox, step for step from the same start: an implementation that shares no line with this one."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch import Tensor, nn

from frlcore.attacks import Ball, pgd

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # foolbox can fetch models with git; nobody needs that here
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports a module that scipy is about to rename
    import foolbox as fb
    from foolbox.attacks import L2ProjectedGradientDescentAttack, LinfProjectedGradientDescentAttack

N, SHAPE = 16, (2, 6, 6)
FOOLBOX = {"linf": LinfProjectedGradientDescentAttack, "l2": L2ProjectedGradientDescentAttack}
RADIUS = {"linf": (0.1, 0.03), "l2": (0.8, 0.25)}  # (eps, step): some steps reach the ball's border, some do not


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def victim() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Tanh(),
            nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip
        for _ in range(3):
            model(torch.rand(20, *SHAPE))  # running statistics that differ from a batch's
    return model.double().eval()  # double: no gradient is near enough to 0 for rounding to turn its sign


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    x = torch.rand(N, *SHAPE, generator=seeded(5), dtype=torch.float64)
    x[0], x[1] = 0, 1  # two images on the border of the box
    return x, torch.arange(N) % 5


def by_foolbox(model: nn.Module, x: Tensor, y: Tensor, norm: str, steps: int, start: Tensor | None) -> Tensor:
    eps, step = RADIUS[norm]
    attack = FOOLBOX[norm](abs_stepsize=step, steps=steps, random_start=start is not None)
    if start is not None:
        attack.get_random_start = lambda x0, epsilon: type(x0)(start)
    model = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack.run(model, x, fb.criteria.Misclassification(y), epsilon=eps)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_same_points_after_every_number_of_steps(
    norm: str, random_start: bool, steps: int, victim: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    (x, y), (eps, step) = batch, RADIUS[norm]
    start = Ball(x, eps, norm, (0, 1)).random_point(seeded(6)) if random_start else None
    ours = pgd(
        victim, x, y, eps=eps, step_size=step, steps=steps, norm=norm, random_start=random_start, generator=seeded(6)
    )
    theirs = by_foolbox(victim, x, y, norm, steps, start)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    moved = (ours - (x if start is None else start)).abs().flatten(1).amax(1)
    assert (moved[2:] > 0.01).all()  # both went somewhere; the first two may be stuck in a corner of the box


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_comparison_tells_one_step_from_another(
    norm: str, victim: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    (x, y), (eps, step) = batch, RADIUS[norm]
    ours = pgd(victim, x, y, eps=eps, step_size=step * 1.01, steps=2, norm=norm, random_start=False)
    assert (ours - by_foolbox(victim, x, y, norm, 2, None)).abs().amax() > 1e-4
