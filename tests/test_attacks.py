"""Attacks: a table of properties, closed-form optima on linear models, and an independent PGD step for step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore.answers import eval_mode
from frlcore.attacks import Ball, ce_slope, fgsm, perturb, pgd, steady_slope
from frlcore.errors import UserError

N, SHAPE = 12, (2, 5, 5)
EACH = torch.linspace(0.01, 0.6, N)  # one radius per sample


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def victim() -> nn.Sequential:
    """A small network with batch norm and dropout, in train mode except for one frozen layer."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(54, 4)
        )
        for _ in range(3):
            model(torch.rand(20, *SHAPE))  # running statistics that differ from a batch's
    model[1].eval()
    return model


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    x = torch.rand(N, *SHAPE, generator=seeded(7))
    x[0], x[1] = 0, 1  # two images on the border of the box
    return x, torch.arange(N) % 4


def distance(x: Tensor, x_adv: Tensor, norm: str) -> Tensor:
    return (x_adv - x).flatten(1).norm(dim=1, p=float("inf") if norm == "linf" else 2)


def clean_and_attacked_loss(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    with eval_mode(model), torch.no_grad():
        before, after = model(x), model(x_adv)
    if loss == "ce":
        return F.cross_entropy(before, y, reduction="none"), F.cross_entropy(after, y, reduction="none")
    p, q = before.softmax(1), after.softmax(1)
    return torch.zeros(len(x)), (p * (p.log() - q.log())).sum(1)


# Properties: model, x, x_adv, y, the radius, the norm, the loss that was climbed.


def inside_the_ball(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: Any, norm: str, loss: str) -> None:
    assert (distance(x, x_adv, norm) <= torch.as_tensor(eps) + 1e-6).all()


def inside_the_box(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: Any, norm: str, loss: str) -> None:
    assert x_adv.min() >= 0 and x_adv.max() <= 1


def uses_the_radius(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: Any, norm: str, loss: str) -> None:
    interior = slice(2, None)  # the first two lie in a corner of the box, which may cut most of the ball
    reached = distance(x, x_adv, norm)[interior]
    wanted = torch.as_tensor(eps).expand(N)[interior]
    least = 0.85 if norm == "linf" else 0.5
    assert (reached >= least * wanted.clamp(max=0.5)).all()


def raises_the_loss(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, eps: Any, norm: str, loss: str) -> None:
    before, after = clean_and_attacked_loss(model, x, x_adv, y, loss)
    assert (after > before).all()


PROPERTIES = (inside_the_ball, inside_the_box, uses_the_radius, raises_the_loss)
TABLE = [
    ("fgsm", "linf", 0.1),
    ("fgsm", "linf", EACH),
    ("pgd", "linf", 0.05),
    ("pgd", "linf", 0.9),
    ("pgd", "linf", EACH),
    ("pgd", "l2", 0.3),
    ("pgd", "l2", 4.0),
    ("pgd", "l2", EACH),
    ("trades", "linf", 0.1),
    ("trades", "linf", EACH),
    ("trades", "l2", 0.3),
    ("trades", "l2", EACH),
]


def attack(name: str, model: nn.Module, x: Tensor, y: Tensor, norm: str, eps: Any) -> Tensor:
    if name == "fgsm":
        return fgsm(model, x, y, eps=eps)
    loss = "ce" if name == "pgd" else "kl"
    return pgd(model, x, y, eps=eps, step_size=eps / 4, steps=10, norm=norm, loss=loss, generator=seeded())


@pytest.mark.parametrize("name, norm, eps", TABLE, ids=lambda v: "each" if v is EACH else str(v))
@pytest.mark.parametrize("holds", PROPERTIES, ids=lambda f: f.__name__)
def test_table(
    holds: Callable[..., None], name: str, norm: str, eps: Any, victim: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    if holds is raises_the_loss and (torch.as_tensor(eps) > 0.5).any():
        eps = eps * (0.5 / float(torch.as_tensor(eps).max()))  # gradients promise a higher loss nearby only
    x_adv = attack(name, victim, x, y, norm, eps)
    assert not x_adv.requires_grad and x_adv.shape == x.shape and x_adv.dtype == x.dtype
    holds(victim, x, x_adv, y, eps, norm, "kl" if name == "trades" else "ce")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.3, EACH], ids=["float", "each"])
def test_a_random_start_fills_the_ball_and_stays_inside(norm: str, eps: Any) -> None:
    x = torch.full((N, 3), 0.5)
    flat = partial(torch.zeros, N, 2)

    def no_slope(x: Tensor) -> Tensor:  # an attack on it stays where it starts
        return flat() + 0 * x.sum()

    starts = [
        distance(x, pgd(no_slope, x, torch.zeros(N, dtype=torch.int64), eps=eps, step_size=0.1, steps=1, norm=norm,
                        clip=None, generator=seeded(s)), norm) / eps
        for s in range(50)
    ]  # fmt: skip
    share = torch.stack(starts)  # (50, N) of the radius
    assert share.max() <= 1 + 1e-5
    assert share.max() > 0.97  # near the border at times
    # uniform in the ball: Pr(distance <= r eps) = r^3, in three dimensions and for the maximum of three uniforms
    assert (share <= 0.8).float().mean() == pytest.approx(0.8**3, abs=0.07)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.3, EACH], ids=["float", "each"])
def test_a_part_of_a_ball_projects_like_the_whole(norm: str, eps: Any, batch: tuple[Tensor, Tensor]) -> None:
    x, part = batch[0], torch.tensor([9, 2, 5])
    ball, far = Ball(x, eps, norm, (0, 1)), torch.randn(x.shape, generator=seeded())
    torch.testing.assert_close(ball.select(part).project(far[part]), ball.project(far)[part])


class Linear2(nn.Module):
    """Logits (0, w.x): the worst point of a ball is known in closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.5, -0.5, 0.25, -2.0]))

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.w
        return torch.stack([torch.zeros_like(z), z], 1)


@pytest.mark.parametrize("eps", [0.2, torch.linspace(0.05, 0.5, 6)], ids=["float", "each"])
@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_optimum_of_a_linear_model(eps: Any, random_start: bool, clip: Any, norm: str) -> None:
    model = Linear2()
    x = torch.rand(6, 4, generator=seeded(1))
    if clip is None:
        x = 10 * x - 5  # mostly outside [0, 1]
    elif norm == "l2":
        x = 0.45 + 0.1 * x  # the box does not cut the ball: with it the optimum has no closed form
    y = torch.tensor([0, 1, 0, 1, 0, 1])
    w, sign = model.w.detach(), (1 - 2 * y)[:, None]  # class 0 is hurt by a larger logit, class 1 by a smaller one
    radius = torch.as_tensor(eps).expand(6)[:, None]
    best = x + radius * sign * (w.sign() if norm == "linf" else w / w.norm())
    if clip is not None:
        best = best.clamp(0, 1)
    found = pgd(
        model, x, y, eps=eps, step_size=eps, steps=40, norm=norm, random_start=random_start, clip=clip,
        generator=seeded(),
    )  # fmt: skip
    torch.testing.assert_close(found, best, atol=2e-5, rtol=1e-5)


def test_kl_on_a_linear_model_ends_in_one_of_the_two_extreme_corners() -> None:
    model, x = Linear2(), torch.rand(30, 4, generator=seeded(2))
    y = torch.zeros(30, dtype=torch.int64)
    found = pgd(model, x, y, eps=0.2, step_size=0.05, steps=20, loss="kl", clip=None, generator=seeded())
    corner = ((found - x) * model.w.sign() / 0.2).detach()
    torch.testing.assert_close(corner.abs(), torch.ones(30, 4), atol=1e-5, rtol=0)
    assert (corner.std(1) < 1e-5).all()  # all coordinates pull the same way
    assert 0 < (corner[:, 0] > 0).sum() < 30  # which way is up to the random start


def by_backward(
    model: nn.Module, x: Tensor, y: Tensor, start: Tensor, eps: Any, step: Any, steps: int, norm: str, loss: str
) -> Tensor:
    """PGD as a textbook has it: cross-entropy or KL by its formula, `backward`, numpy-like projection."""
    model.eval()
    eps, step = (torch.as_tensor(v, dtype=x.dtype).expand(len(x)) for v in (eps, step))
    p = model(x).softmax(1).detach()
    current = start.clone()
    for _ in range(steps):
        current = current.detach().requires_grad_()
        log_q = model(current).log_softmax(1)
        losses = {"ce": -log_q[torch.arange(len(y)), y], "kl": (p * (p.log() - log_q)).sum(1)}
        losses[loss].sum().backward()
        moved = []
        for i in range(len(x)):
            g = current.grad[i]
            delta = current[i].detach() - x[i] + step[i] * (g.sign() if norm == "linf" else g / g.norm())
            if norm == "linf":
                delta = torch.minimum(torch.maximum(delta, -eps[i]), eps[i])
            elif delta.norm() > eps[i]:
                delta = delta / delta.norm() * eps[i]
            moved.append((x[i] + delta).clamp(0, 1))
        current = torch.stack(moved)
    return current.detach()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "kl"])
@pytest.mark.parametrize("eps", [0.15, EACH.double()], ids=["float", "each"])
def test_equals_a_plain_implementation_from_the_same_start(
    norm: str, loss: str, eps: Any, victim: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    model, (x, y) = victim.double(), batch  # double: no gradient is near enough to 0 for rounding to turn its sign
    x = 0.02 + 0.96 * x.double()
    each = torch.as_tensor(eps, dtype=x.dtype).expand(N)[:, None, None, None]
    random = seeded(11)
    if loss == "kl":
        start = x + 0.001 * torch.randn(x.shape, generator=random, dtype=x.dtype)
    elif norm == "linf":
        start = x + each * (2 * torch.rand(x.shape, generator=random, dtype=x.dtype) - 1)
    else:
        direction = torch.randn(x.shape, generator=random, dtype=x.dtype)
        length = torch.rand(N, generator=random, dtype=x.dtype) ** (1 / 50)
        start = x + each * (direction.flatten(1) * (length / direction.flatten(1).norm(dim=1))[:, None]).view(x.shape)
    found = pgd(model, x, y, eps=eps, step_size=eps / 5, steps=7, norm=norm, loss=loss, generator=seeded(11))
    plain = by_backward(model, x, y, start.clamp(0, 1), eps, eps / 5, 7, norm, loss)
    torch.testing.assert_close(found, plain, atol=1e-12, rtol=0)


def test_without_a_random_start_pgd_begins_at_the_image(victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    model, (x, y) = victim.double(), batch
    x = x.double()
    found = pgd(model, x, y, eps=0.1, step_size=0.03, steps=5, random_start=False)
    torch.testing.assert_close(found, by_backward(model, x, y, x, 0.1, 0.03, 5, "linf", "ce"), atol=1e-12, rtol=0)


def test_fgsm_is_one_signed_step(victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    found = fgsm(victim, x, y, eps=0.07)
    victim.eval()
    x_grad = x.clone().requires_grad_()
    F.cross_entropy(victim(x_grad), y).backward()
    torch.testing.assert_close(found, (x + 0.07 * x_grad.grad.sign()).clamp(0, 1))


@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_nothing_else_changes(loss: str, victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    x_before, y_before = x.clone(), y.clone()
    modes = [m.training for m in victim.modules()]
    state = {name: t.clone() for name, t in victim.state_dict().items()}
    global_state = torch.get_rng_state()
    pgd(victim, x, y, eps=0.1, step_size=0.05, steps=3, loss=loss, generator=seeded())
    assert modes == [True, True, False, True, True, True, True]
    assert [m.training for m in victim.modules()] == modes
    assert all(torch.equal(t, state[name]) for name, t in victim.state_dict().items())  # batch-norm statistics too
    assert all(p.grad is None and p.requires_grad for p in victim.parameters())
    assert torch.equal(x, x_before) and torch.equal(y, y_before) and not x.requires_grad and x.grad is None
    assert torch.equal(torch.get_rng_state(), global_state)


def test_mode_comes_back_after_an_error(victim: nn.Module) -> None:
    modes = [m.training for m in victim.modules()]
    with pytest.raises(UserError, match=r"does not take images of shape \(3, 5, 5\)"):
        pgd(victim, torch.rand(2, 3, 5, 5), torch.zeros(2, dtype=torch.int64), eps=0.1, step_size=0.1, steps=1)
    assert [m.training for m in victim.modules()] == modes


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_the_generator_decides_the_start(norm: str, loss: str, victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    run = partial(pgd, victim, x, y, eps=0.1, step_size=0.01, steps=2, norm=norm, loss=loss)
    assert torch.equal(run(generator=seeded(1)), run(generator=seeded(1)))
    assert not torch.equal(run(generator=seeded(1)), run(generator=seeded(2)))


@pytest.mark.parametrize("loss, forwards", [("ce", 6), ("kl", 7)])
def test_number_of_forward_passes(loss: str, forwards: int, victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    calls = []

    def counting(x: Tensor) -> Tensor:
        calls.append(victim.training)
        return victim(x)

    perturb(counting, x, y, eps=0.1, step_size=0.05, steps=6, loss=loss, generator=seeded())
    assert len(calls) == forwards  # the clean target of the KL is computed once
    pgd(counting, x, y, eps=0.1, step_size=0.05, steps=6, loss=loss, generator=seeded())
    assert len(calls) == 2 * forwards + 2  # and a look at the answers, and at one gradient


GOOD: dict[str, Any] = {"eps": 0.1, "step_size": 0.05, "steps": 2}


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"eps": 0.0}, "eps must be a positive"),
        ({"eps": -0.1}, "eps must be a positive"),
        ({"eps": float("nan")}, "eps must be a positive"),
        ({"eps": torch.tensor([0.1, 0.2])}, r"eps must .* one value per sample \(12\), got \(2,\)"),
        ({"eps": torch.cat([torch.zeros(1), torch.ones(N - 1)])}, "eps must be positive for every sample"),
        ({"eps": -torch.ones(N)}, "eps must be positive for every sample"),
        ({"step_size": 0}, "step_size must be a positive"),
        ({"step_size": torch.full((N,), math.inf)}, "step_size must be positive for every sample, and finite, got inf"),
        ({"step_size": -0.1}, "step_size must be a positive"),
        ({"steps": 0}, "at least 1 step, a whole number, got steps=0"),
        ({"steps": 5.0}, "a whole number, got steps=5.0"),
        ({"steps": True}, "a whole number, got steps=True"),
        ({"eps": np.full(N, 0.1)}, "or a tensor with one for every sample, got array"),
        ({"eps": [0.1] * N}, r"eps must be a positive fraction .* got \[0.1"),
        ({"eps": "8/255"}, "eps must be a positive fraction .* got '8/255'"),
        ({"eps": True}, "eps must be a positive fraction .* got True"),
        ({"eps": torch.tensor(0.1)}, r"a float or hold one value per sample \(12\), got \(\)"),
        ({"eps": torch.ones(N, dtype=torch.bool)}, r"a float or hold one value per sample \(12\)"),
        ({"eps": torch.full((N, 2), 0.1)}, r"one value per sample \(12\), got \(12, 2\)"),
        ({"eps": math.inf, "norm": "l2"}, "eps must be a positive fraction .* got inf"),
        ({"eps": torch.full((N,), math.inf), "norm": "l2"}, "eps must be positive for every sample, and finite"),
        ({"eps": 8}, "eps is a fraction of the pixel range, got 8: did you mean 8 / 255"),
        ({"eps": torch.full((N,), 8.0)}, "did you mean 8 / 255"),
        ({"eps": 5, "clip": (-2, 2)}, "eps = 5 is wider than the range of the values, 4"),
        ({"step_size": "1/255"}, "step_size must be a positive fraction .* got '1/255'"),
        ({"clip": 1}, r"clip is the lowest and the highest value of the images, as in \(0, 1\), or None, got 1"),
        ({"clip": (0, None)}, r"clip is the lowest .* got \(0, None\)"),
        ({"clip": (1, 0)}, r"clip is the lowest .* got \(1, 0\)"),
        ({"norm": "l1"}, "unknown norm 'l1'; known: linf, l2"),
        ({"loss": "margin"}, "unknown attack loss 'margin'; known: ce, kl"),
    ],
)
def test_bad_settings(bad: dict[str, Any], message: str, victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UserError, match=message):
        pgd(victim, *batch, **(GOOD | bad))


def test_images_that_require_a_gradient_are_not_warned_of(victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    found = pgd(victim, x.clone().requires_grad_(), y, **GOOD, random_start=False)
    assert torch.equal(found, pgd(victim, x, y, **GOOD, random_start=False))


def test_radii_that_are_wide_on_purpose(victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """In l2 the ball of the box is wider than 1, other boxes are wider, and so is a space without one."""
    for how in ({"eps": 3.0, "norm": "l2"}, {"eps": 8, "clip": [0, 255]}, {"eps": 8.0, "clip": None}, {"eps": 1},
                {"eps": np.float32(0.1), "steps": np.int64(2)}):  # fmt: skip
        assert pgd(victim, *batch, **(GOOD | how)).isfinite().all()


def test_fgsm_needs_a_positive_radius(victim: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UserError, match="must be a positive"):
        fgsm(victim, *batch, eps=0)


def test_the_slope_where_float32_rounds_the_cross_entropy_away() -> None:
    logits = torch.tensor([[1.0, 0.0], [30.0, 9.0], [900.0, 0.0], [0.0, 900.0]])
    y = torch.zeros(4, dtype=torch.int64)
    plain, found = ce_slope(logits, y), steady_slope(logits, y)
    assert plain[1, 0] == 0 and (plain[2] == 0).all()  # one side is lost, then both
    assert torch.equal(found[[0, 3]], plain[[0, 3]])
    lost = 1 / (1 + math.exp(4))  # a lead of 4
    torch.testing.assert_close(found[1:3], torch.tensor([[-lost, lost]] * 2))
    more = torch.tensor([[40.0, 10.0, 20.0]])
    torch.testing.assert_close(steady_slope(more, y[:1]), steady_slope(1000 * more, y[:1]))
