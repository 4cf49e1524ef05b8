"""Verdicts of an attack: against a plain loop, against a plain PGD, and in closed form on a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore import data, evaluate, models, policies
from frlcore.attacks import pgd
from frlcore.classwise import Outcomes
from frlcore.data import Split, to_float
from frlcore.errors import UserError
from frlcore.evaluate import Attack, outcomes, predict
from frlcore.training import Training, train

LINF = Attack(eps=0.17, step_size=0.34, steps=8)  # steps this long overshoot: the last point is not always the worst
L2 = Attack(eps=0.6, step_size=0.4, steps=8, norm="l2")
ROUNDING = 2  # examples of 1,082: rounding may turn the sign of a vanishing gradient, and then the path turns too


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits() -> data.Splits:
    return data.load("digits")


@pytest.fixture(scope="module")
def network(digits: data.Splits) -> nn.Module:
    """A network that is right on most digits, and under attack on some."""
    model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
    schedule = Training("pgd", 3, lr=0.03, batch_size=64, eps=0.2, step_size=0.1, steps=2, validation_steps=1)
    train(model, digits, schedule, policies.build("uniform", 10), seed=0)
    return model


def run(model: nn.Module, split: Split, attack: Attack, **settings: Any) -> Outcomes:
    settings = {"batch_size": 2000} | settings  # one batch: one draw of the random start
    return outcomes(model, split, scale=16, attack=attack, generator=seeded(), **settings)


@pytest.mark.parametrize(("side", "count"), [(8, 1000), (32, 1000), (64, 250), (224, 20), (2000, 1)])
def test_large_images_are_attacked_in_smaller_batches(side: int, count: int) -> None:
    images, sizes = torch.zeros(1, dtype=torch.uint8).expand(count + 1, 3, side, side), set()

    def model(x: Tensor) -> Tensor:
        sizes.add(len(x))
        return x[:, :2, 0, 0]

    assert evaluate.batch_for(images) == count
    if side > 32:
        split = Split(images, torch.zeros(count + 1, dtype=torch.long), torch.arange(count + 1))
        evaluate.walk(model, split, scale=255, attack=Attack(0.1, 0.1, 1))
        assert max(sizes) == count


def plain_loop(model: nn.Module, split: Split, attack: Attack) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clean, first wrong and last predictions: every example stays, every visited point is looked at."""
    model.eval()
    x, y, random = to_float(split.images, 16), split.labels, seeded()
    if attack.norm == "linf":
        x_adv = x + attack.eps * (2 * torch.rand(x.shape, generator=random) - 1)
    else:
        direction = torch.randn(x.shape, generator=random).flatten(1)
        radius = attack.eps * torch.rand(len(x), generator=random) ** (1 / 64)
        x_adv = x + (direction / direction.norm(dim=1, keepdim=True) * radius[:, None]).view(x.shape)
    x_adv = x_adv.clamp(0, 1)
    seen = [model(x).argmax(1)]
    for step in range(attack.steps + 1):
        x_adv = x_adv.detach().requires_grad_()
        logits = model(x_adv)
        seen.append(logits.argmax(1))
        if step == attack.steps:
            break
        F.cross_entropy(logits, y, reduction="sum").backward()
        g = x_adv.grad
        if attack.norm == "linf":
            x_adv = torch.min(torch.max(x_adv.detach() + attack.step_size * g.sign(), x - attack.eps), x + attack.eps)
        else:
            moved = x_adv.detach() + attack.step_size * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1) - x
            length = moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            x_adv = x + moved * torch.where(length > attack.eps, attack.eps / length, torch.ones(()))
        x_adv = x_adv.clamp(0, 1)
    model.zero_grad()
    path = torch.stack(seen)  # (1 + starts and steps, N)
    first = (path != y).int().argmax(0)  # 0, the clean prediction, where nothing is wrong
    return path[0].numpy(), path[first, torch.arange(len(y))].numpy(), path[-1].numpy()


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
@pytest.mark.parametrize("last_iterate", [False, True])
def test_agrees_with_a_plain_loop(attack: Attack, last_iterate: bool, network: nn.Module, digits: data.Splits) -> None:
    split = digits.train
    clean, worst, last = plain_loop(network, split, attack)
    found = run(network, split, attack, last_iterate=last_iterate)
    label = split.labels.numpy()
    assert np.array_equal(found.label, label) and np.array_equal(found.clean, clean)
    assert (found.adversarial != worst).sum() <= ROUNDING
    clean_mistakes, broken, at_the_end = ((v != label).sum() for v in (clean, worst, last))
    assert broken > clean_mistakes + 100 and broken < len(label) - 100  # nothing is saturated
    if attack is LINF:
        assert broken > at_the_end + 3 * ROUNDING  # the two verdicts differ
    if last_iterate:
        assert found.last is not None and (found.last != last).sum() <= ROUNDING
    else:
        assert found.last is None


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
@pytest.mark.parametrize("batch_size", [97, 2000])
def test_both_modes_find_the_same_first_mistakes(
    attack: Attack, batch_size: int, network: nn.Module, digits: data.Splits
) -> None:
    dropped = run(network, digits.train, attack, batch_size=batch_size)
    kept = run(network, digits.train, attack, batch_size=batch_size, last_iterate=True)
    assert (dropped.adversarial != kept.adversarial).sum() <= ROUNDING
    assert np.array_equal(dropped.clean, kept.clean)


def test_who_stays_in_a_batch_that_shrinks_by_whole_multiples() -> None:
    alive = torch.tensor([False, True, False, True, True, False, False])
    assert evaluate._kept(alive, 1).tolist() == [1, 3, 4]
    assert evaluate._kept(alive, 4).tolist() == [1, 3, 4, 0]  # filled up with one that is broken already
    assert evaluate._kept(alive, 3).tolist() == [1, 3, 4]
    assert evaluate._kept(alive, 16).tolist() == [1, 3, 4, 0, 2, 5, 6]  # there are no more
    assert evaluate._kept(alive & False, 4).tolist() == []


def test_filling_up_changes_no_verdict(
    network: nn.Module, digits: data.Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = outcomes(network, digits.test, scale=16, attack=LINF, generator=seeded())
    kept = evaluate._kept
    sizes: list[int] = []

    def filled(alive: Tensor, _: int) -> Tensor:
        positions = kept(alive, 64)
        sizes.append(len(positions))
        return positions

    monkeypatch.setattr(evaluate, "_kept", filled)
    found = outcomes(network, digits.test, scale=16, attack=LINF, generator=seeded())
    assert sizes[-1] < len(digits.test) and all(size % 64 == 0 for size in sizes[1:])
    assert (found.clean == plain.clean).all()
    assert ((found.adversarial == found.label) != (plain.adversarial == plain.label)).sum() <= ROUNDING


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
def test_the_last_verdict_is_that_of_plain_pgd(attack: Attack, network: nn.Module, digits: data.Splits) -> None:
    split = digits.train
    found = run(network, split, attack, last_iterate=True)
    x_adv = pgd(network, to_float(split.images, 16), split.labels, generator=seeded(), **vars(attack))
    network.eval()
    with torch.no_grad():
        last = network(x_adv).argmax(1).numpy()
    assert (found.last != last).sum() <= ROUNDING


def test_an_example_broken_at_any_point_counts_and_one_never_broken_keeps_its_label(
    network: nn.Module, digits: data.Splits
) -> None:
    found = run(network, digits.train, LINF, last_iterate=True)
    wrong = found.adversarial != found.label
    clean_mistakes = found.clean != found.label
    assert found.last is not None and 0 < clean_mistakes.sum() < wrong.sum() < len(wrong)
    assert wrong[clean_mistakes].all() and wrong[found.last != found.label].all()
    assert np.array_equal(found.adversarial[clean_mistakes], found.clean[clean_mistakes])


class Tent(nn.Module):
    """Class 1 within 0.05 of a grey image, class 0 elsewhere: a clean mistake that any real step repairs."""

    def forward(self, x: Tensor) -> Tensor:
        z = 0.05 - (x.flatten(1) - 0.5).abs().mean(1)
        return torch.stack([torch.zeros_like(z), z], 1)


def test_a_clean_mistake_stays_a_mistake_though_the_attack_repairs_it() -> None:
    images = torch.full((6, 1, 1, 1), 8, dtype=torch.uint8)
    split = Split(images, torch.tensor([0, 0, 0, 1, 1, 1]), torch.arange(6))
    found = run(Tent(), split, Attack(eps=0.3, step_size=0.6, steps=3), last_iterate=True)
    assert found.clean.tolist() == [1] * 6
    assert found.adversarial.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.last is not None and found.last.tolist() == [0] * 6  # the released code would count these as right


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1) - 0.5) @ self.w
        return torch.stack([torch.zeros_like(z), z], 1)


@pytest.mark.parametrize("norm, reach", [("linf", 3.5), ("l2", 5.25**0.5)])
def test_closed_form_on_a_linear_model(norm: str, reach: float) -> None:
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.integers(100, 156, (400, 1, 2, 2), dtype=np.uint8))  # the box does not matter
    labels = torch.from_numpy(random.integers(0, 2, 400))
    z = (images.flatten(1).double() / 255 - 0.5) @ torch.tensor([1, -2, 0.5, 0], dtype=torch.float64)
    margin = (z * (2 * labels - 1)).numpy()  # positive: right, by this much
    eps = 0.05
    found = outcomes(Linear(), Split(images, labels, torch.arange(400)), scale=255, generator=seeded(),
                     attack=Attack(eps, eps, 20, norm), batch_size=64)  # fmt: skip
    label = labels.numpy()
    assert np.array_equal(found.clean == label, margin > 0)
    clear = np.abs(margin - eps * reach) > 1e-4
    assert np.array_equal((found.adversarial == label)[clear], (margin > eps * reach)[clear])
    assert 0.2 < (found.adversarial != label).mean() < 0.95


@pytest.mark.parametrize("last_iterate", [False, True])
def test_outcomes_are_uint8_in_the_order_of_the_split(
    last_iterate: bool, network: nn.Module, digits: data.Splits
) -> None:
    whole = digits.validation
    order = torch.randperm(len(whole), generator=seeded(3))[:100]
    split = Split(whole.images[order], whole.labels[order], whole.index[order])
    found = run(network, split, LINF, batch_size=33, last_iterate=last_iterate)
    for values in vars(found).values():
        assert values is None or (values.dtype == np.uint8 and values.shape == (100,))
    assert np.array_equal(found.label, split.labels.numpy())
    assert np.array_equal(found.clean, predict(network, split.images, scale=16, batch_size=7).numpy())
    assert predict(network, split.images, scale=16).dtype == torch.int64


def test_classes_beyond_255_keep_their_numbers() -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot(torch.full((len(x),), 299), 300) * (2 + x.sum())

    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    found = run(Always(), Split(images, torch.tensor([299, 43, 0]), torch.arange(3)), LINF)
    assert found.clean.tolist() == [299] * 3 and found.label.tolist() == [299, 43, 0]
    assert (found.clean == found.label).tolist() == [True, False, False]  # 299 is not 43, as it would be in one byte


def test_the_network_comes_back_as_it_was(network: nn.Module, digits: data.Splits) -> None:
    network.train()
    network.blocks[0].bn1.eval()
    modes = [m.training for m in network.modules()]
    state = {name: t.clone() for name, t in network.state_dict().items()}
    run(network, digits.validation, LINF)
    predict(network, digits.validation.images, scale=16)
    assert [m.training for m in network.modules()] == modes and len(set(modes)) == 2
    assert all(torch.equal(t, state[name]) for name, t in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_the_generator_decides_the_start(network: nn.Module, digits: data.Splits) -> None:
    one_step = Attack(eps=0.15, step_size=0.01, steps=1)

    def last(seed: int) -> np.ndarray:
        found = outcomes(
            network, digits.validation, scale=16, attack=one_step, generator=seeded(seed), last_iterate=True
        )
        assert found.last is not None
        return found.last

    assert np.array_equal(last(1), last(1)) and not np.array_equal(last(1), last(2))


@pytest.mark.parametrize(
    "settings, message",
    [
        ((0.0, 0.1, 5), "must be positive, got 0.0 and 0.1"),
        ((-0.1, 0.1, 5), "must be positive"),
        ((float("nan"), 0.1, 5), "must be positive"),
        ((0.1, 0.0, 5), "must be positive"),
        ((0.1, 0.1, 0), "at least 1 step, a whole number, got steps=0"),
        ((0.1, 0.1, 5.0), "a whole number, got steps=5.0"),
        ((8, 2, 5), "eps is a fraction of the pixel range, got 8: did you mean 8 / 255"),
        ((0.1, 0.1, 5, "l0"), "unknown norm 'l0'; known: linf, l2"),
    ],
)
def test_bad_attacks(settings: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Attack(*settings)
