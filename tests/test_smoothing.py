"""Randomized smoothing against a linear model, whose smoothed classifier and certificate have a closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from frlcore import models
from frlcore.answers import eval_mode
from frlcore.certificates import ABSTAIN, abstentions, certified_errors, certified_radius, leads
from frlcore.errors import UserError
from frlcore.smoothing import certify, predict

SHAPE = (2, 3, 4)
HALF = torch.linspace(0.5, 2, 12)
W = torch.cat([HALF, -HALF])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(x: Tensor) -> Tensor:
    """Class 1 where w.x > 0: the smoothed classifier says the same, its certified l2 radius is |w.x| / ||w||."""
    z = x.flatten(1) @ W
    return torch.stack([torch.zeros_like(z), z], 1)


def images_at(distance: Tensor) -> Tensor:
    """Images with `distance` (signed) to the linear model's border, all pixels close to black or to white."""
    ends = 0.2 + 0.6 * torch.randint(0, 2, (len(distance), 12), generator=seeded(2))
    x = torch.cat([ends, ends], 1) + distance[:, None] * W / W.norm()
    assert x.min() >= 0 and x.max() <= 1
    return x.view(-1, *SHAPE)


def distance_of(x: Tensor) -> Tensor:
    return x.flatten(1).double() @ W.double() / W.double().norm()


def test_the_certified_radius_is_a_lower_bound_that_errs_at_the_stated_rate() -> None:
    x, alpha = images_at(torch.linspace(-0.35, 0.35, 600)), 0.1
    exact = distance_of(x)
    found, radius = certify(linear, x, sigma=0.5, n0=200, n=400, alpha=alpha, generator=seeded())
    right = found == (exact > 0)
    clear = exact.abs() > 0.12
    assert right[clear].float().mean() > 0.99  # 0.12 is a quarter of sigma: 59% of the votes
    too_far = float((radius > exact.abs())[clear].float().mean())
    assert 0.02 < too_far <= alpha + 0.04  # near alpha, for a Clopper-Pearson bound wastes little of it
    assert ((found == ABSTAIN) == (radius == 0)).all() and radius.dtype == torch.float64


def test_the_certified_radius_nears_the_closed_form_when_draws_are_many() -> None:
    x = images_at(torch.tensor([-0.5, -0.2, 0.1, 0.3, 0.6]))
    exact = distance_of(x)
    found, radius = certify(linear, x, sigma=0.4, n=100_000, batch_size=25_000, generator=seeded())
    assert found.tolist() == (exact > 0).long().tolist()
    assert (radius <= exact.abs()).all()
    torch.testing.assert_close(radius, exact.abs(), atol=0.01, rtol=0)


def test_near_the_border_it_abstains_and_prediction_does_too() -> None:
    x = images_at(torch.zeros(300))
    exact = distance_of(x)
    assert exact.abs().max() < 1e-5
    found, radius = certify(linear, x, sigma=0.3, n0=50, n=500, generator=seeded())
    assert (found == ABSTAIN).float().mean() > 0.98 and (radius[found == ABSTAIN] == 0).all()
    answers = predict(linear, x, sigma=0.3, n=500, alpha=0.1, generator=seeded())
    assert 0.85 <= (answers == ABSTAIN).float().mean() < 1  # the test errs about once in ten


def test_the_bound_is_that_of_the_selected_class() -> None:
    seen: list[int] = []

    def model(x: Tensor) -> Tensor:
        seen.append(len(x))
        answer = int(seen.count(100) > 1)  # the selecting batch says 0, the others 1
        return torch.eye(2)[torch.full((len(x),), answer)]

    image = torch.full((1, 1, 4, 4), 0.5)
    found, radius = certify(model, image, sigma=0.5, n0=100, n=1000, batch_size=100)
    assert found.item() == ABSTAIN and radius.item() == 0


def test_a_vote_of_two_equal_classes_is_a_tie_everywhere() -> None:
    def coin(x: Tensor) -> Tensor:  # the sign of a noisy pixel on a mid-grey image, and a third class nobody wants
        heads = x[:, 0, 0, 0] - 0.5
        return torch.stack([heads, -heads, torch.full_like(heads, -9)], 1)

    x = torch.full((40, *SHAPE), 0.5)
    found, radius = certify(coin, x, sigma=0.25, n=1000, generator=seeded())
    assert (found == ABSTAIN).all() and not radius.any()
    assert (predict(coin, x, sigma=0.25, n=1000, generator=seeded()) == ABSTAIN).all()


@pytest.mark.parametrize("batch_size", [1, 7, 64, 500, 4000])
def test_every_draw_is_counted_once_whatever_the_batch_size(batch_size: int) -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.tensor([0.0, 2.0, 1.0]).expand(len(x), 3)

    x = torch.rand(3, *SHAPE, generator=seeded())
    found, radius = certify(constant, x, sigma=0.5, n0=5, n=101, alpha=0.001, batch_size=batch_size)
    assert found.tolist() == [1, 1, 1]
    # all votes won: the bound is alpha^(1/n), and a vote more or less would show
    np.testing.assert_allclose(radius, 0.5 * stats.norm.ppf(0.001 ** (1 / 101)), rtol=1e-9)
    assert (predict(constant, x, sigma=0.5, n=20, batch_size=batch_size) == 1).all()


def test_the_batch_size_changes_no_probability() -> None:
    x, n = images_at(torch.full((150,), 0.15)), 300
    p = float(stats.norm.cdf(distance_of(x)[0] / 0.3))
    for batch_size in (31, 1000):
        _, radius = certify(linear, x, sigma=0.3, n=n, alpha=0.3, batch_size=batch_size, generator=seeded(batch_size))
        grid = np.arange(n + 1)
        expected = stats.binom.pmf(grid, n, p) @ certified_radius(grid, n, sigma=0.3, alpha=0.3)
        spread = np.sqrt(stats.binom.pmf(grid, n, p) @ certified_radius(grid, n, sigma=0.3, alpha=0.3) ** 2)
        assert float(radius.mean()) == pytest.approx(expected, abs=4 * spread / np.sqrt(len(x)))


def test_batches_have_one_size_and_span_images() -> None:
    sizes: list[int] = []

    def watched(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return linear(x)

    x = images_at(torch.linspace(-0.3, 0.3, 9))
    predict(watched, x, sigma=0.3, n=25, batch_size=50, generator=seeded())
    assert sizes == [9] + [50] * 5  # a look at the answers, 225 draws
    sizes.clear()
    predict(watched, x, sigma=0.3, n=25, batch_size=1000, generator=seeded())
    assert sizes == [9, 225]


def test_the_generator_decides_and_nothing_else_changes() -> None:
    model = models.build("preact_small", num_classes=4, in_channels=1, seed=0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(0.1)
    x = torch.rand(5, 1, 8, 8, generator=seeded(3))
    before, state = x.clone(), torch.get_rng_state()

    def radii(model: Any, seed: int) -> Tensor:
        return certify(model, x, sigma=0.5, n0=20, n=400, batch_size=64, generator=seeded(seed))[1]

    with eval_mode(model), torch.no_grad():  # so that the noise decides, and class 0 has most votes, not all
        logits = model((x + 0.5 * torch.randn(200, *x.shape, generator=seeded(4))).flatten(0, 1))
        model.head.bias -= logits.mean(0)
        model.head.bias[0] += logits[:, 0].std()
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    model.train()
    first = radii(model, 1)
    assert all(m.training for m in model.modules())
    assert (first > 0).any() and torch.equal(first, radii(model, 1)) and not torch.equal(first, radii(model, 2))
    model.eval()
    assert torch.equal(first, radii(lambda x: model(x), 1))  # the folded network votes as the network in eval mode
    assert all(torch.equal(t, kept[name]) for name, t in model.state_dict().items())
    assert torch.equal(x, before) and torch.equal(torch.get_rng_state(), state)


def test_prediction_and_certificate_agree_where_neither_abstains() -> None:
    x = images_at(torch.linspace(-0.4, 0.4, 200))
    answers = predict(linear, x, sigma=0.3, n=400, generator=seeded(1))
    found, _ = certify(linear, x, sigma=0.3, n=400, generator=seeded(2))
    both = (answers != ABSTAIN) & (found != ABSTAIN)
    assert both.float().mean() > 0.4 and torch.equal(answers[both], found[both])
    assert answers.dtype == found.dtype == torch.int64


def test_the_bound_by_hand_and_by_scipy() -> None:
    # Pr(X = 10) = p^10 = 0.05 at p = 0.741134; 9 or more of 10: 10 p^9 - 9 p^10 = 0.05 at p = 0.605836
    for hits, p in ((10, 0.7411344), (9, 0.6058367)):
        found = certified_radius([hits], 10, sigma=2.0, alpha=0.05)
        np.testing.assert_allclose(found, 2 * stats.norm.ppf(p), rtol=1e-5)
    hits = np.array([0, 1, 400, 500, 546, 547, 548, 549, 550, 600, 900, 999, 1000])
    low = np.array([stats.binomtest(int(k), 1000, alternative="greater").proportion_ci(0.999).low for k in hits])
    expected = np.where(low > 0.5, 0.25 * stats.norm.ppf(np.maximum(low, 0.5)), 0)
    np.testing.assert_allclose(certified_radius(hits, 1000, sigma=0.25, alpha=0.001), expected, atol=1e-9)
    assert (expected[hits < 540] == 0).all() and (expected[hits >= 550] > 0).all()


def test_the_vote_by_scipy_and_at_its_edge() -> None:
    pairs = [(a, b) for a in range(12) for b in range(a + 1) if a]
    first, second = np.array(pairs).T
    p = [stats.binomtest(a, a + b, 0.5).pvalue for a, b in pairs]
    assert leads(first, second, 0.05).tolist() == [value <= 0.05 for value in p]
    assert leads([6, 5, 500], [0, 0, 500], 2 / 2**6).tolist() == [True, False, False]  # 6 : 0 has p = 2 / 64


LABELS = np.array([0, 0, 0, 0, 1, 1])
ANSWERS = np.array([0, 0, 1, ABSTAIN, 1, ABSTAIN])
RADII = np.array([0.5, 0.2, 0.9, 0, 0.25, 0])


def test_certified_errors_of_six_images_by_hand() -> None:
    found = certified_errors(LABELS, ANSWERS, RADII, [0, 0.2, 0.25, 0.3, 1], 2)
    assert found.tolist() == [[0.5, 0.5, 0.75, 0.75, 1], [0.5, 0.5, 0.5, 1, 1]]  # a wrong class is never certified
    assert abstentions(LABELS, ANSWERS, 2).tolist() == [0.25, 0.5]
    tensors = certified_errors(*(torch.from_numpy(v) for v in (LABELS, ANSWERS, RADII)), [0, 0.2], 2)
    assert tensors.tolist() == found[:, :2].tolist()
    assert certified_errors(LABELS, ANSWERS, RADII, [], 2).shape == (2, 0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"at": [-0.1]}, "radii to report at"),
        ({"at": 0.5}, "radii to report at"),
        ({"at": [float("nan")]}, "radii to report at"),
        ({"radius": RADII[:-1]}, r"predictions \(6,\) and radii \(5,\)"),
        ({"labels": LABELS[:-1]}, "do not fit together"),
        ({"num_classes": 3}, "class 2 has no example"),
    ],
)
def test_certified_errors_refuse_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    good = {"labels": LABELS, "predicted": ANSWERS, "radius": RADII, "at": [0.0], "num_classes": 2}
    with pytest.raises(UserError, match=message):
        certified_errors(**(good | change))


GREY = torch.full((2, *SHAPE), 0.5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": GREY[0]}, r"takes float images \(N, C, H, W\)"),
        ({"x": GREY[:0]}, "there are no images"),
        ({"x": (255 * GREY).to(torch.uint8)}, "the images are uint8; give floats"),
        ({"x": 16 * GREY}, "must lie in .*got values from 8 to 8"),
        ({"x": GREY * float("nan")}, "not finite"),
        ({"sigma": 0.0}, "sigma must be a positive"),
        ({"sigma": float("inf")}, "sigma must be a positive"),
        ({"alpha": 0.0}, "alpha must lie between"),
        ({"alpha": "0.1"}, "alpha must lie between"),
        ({"alpha": 0.5}, "alpha must lie between"),
        ({"n": 0}, "n must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"model": lambda x: x.flatten(1)[:, :1]}, "a single output"),
    ],
)
@pytest.mark.parametrize("act", [predict, certify])
def test_bad_input_is_refused_in_one_line(act: Any, change: dict[str, Any], message: str) -> None:
    good = {"model": linear, "x": GREY, "sigma": 0.5, "n": 20}
    with pytest.raises(UserError, match=message) as caught:
        act(**(good | change))
    assert "\n" not in str(caught.value)


def test_a_level_too_small_for_a_certificate() -> None:
    with pytest.raises(UserError, match="alpha = 1e-17 is too small to compute a certificate with; take 1e-15 or more"):
        certify(linear, GREY, sigma=0.5, alpha=1e-17)
    certify(linear, GREY, sigma=0.5, n=100, alpha=1e-15)


def test_the_selection_needs_a_draw_too() -> None:
    with pytest.raises(UserError, match="n0 must be at least 1"):
        certify(linear, GREY, sigma=0.5, n0=0, n=10)
