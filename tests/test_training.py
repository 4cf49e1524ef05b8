"""The training loop: losses by hand, what reaches the attack, resuming bit for bit, selection and schedules."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frlcore import data, models, policies, training
from frlcore.classwise import ClassErrors, Outcomes
from frlcore.data import Split, Splits, to_float
from frlcore.errors import Diverged, UserError
from frlcore.training import Checkpoint, Training, batch_loss, train

BRIEF = Training("trades", 4, lr=0.05, batch_size=32, eps=0.2, step_size=0.1, steps=2, validation_steps=2, beta=1.5)


def part(split: Split, count: int) -> Split:
    """The first `count` images of every class."""
    picks = torch.cat([(split.labels == c).nonzero().squeeze(1)[:count] for c in range(10)]).sort().values
    return Split(split.images[picks], split.labels[picks], split.index[picks])


@pytest.fixture(scope="module")
def digits() -> Splits:
    return data.load("digits")


@pytest.fixture(scope="module")
def few(digits: Splits) -> Splits:
    """140 training and 80 validation digits."""
    return Splits(digits.info, part(digits.train, 14), part(digits.validation, 8), part(digits.test, 1))


def small(seed: int = 0) -> nn.Module:
    return models.build("preact_small", num_classes=10, in_channels=1, seed=seed)


def uniform() -> policies.Policy:
    return policies.build("uniform", 10)


def fair() -> policies.Policy:
    return policies.build("frl", 10, variant="reweight+remargin", alpha=1.0, alpha_margin=0.5)


def fit(
    splits: Splits, how: Training = BRIEF, policy: policies.Policy | None = None, seed: int = 0, **rest: Any
) -> Checkpoint:
    return train(small(), splits, how, policy or uniform(), seed=seed, **rest)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """The same names with the same bits."""
    return a.keys() == b.keys() and all(np.array_equal(np.asarray(a[name]), np.asarray(b[name])) for name in a)


# The loss


@pytest.fixture
def batch(digits: Splits) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    x, y = to_float(digits.train.images[:24], 16), digits.train.labels[:24]
    random = torch.Generator().manual_seed(0)
    each = {name: 0.5 + torch.rand(24, generator=random) for name in ("w_nat", "w_bndy", "margin")}
    return x, y, each


def reference(model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, how: Training, w: dict[str, Tensor]) -> Tensor:
    """The objectives written out from probabilities."""
    rows = torch.arange(len(y))
    n_nat, n_bndy = (w["w_nat"].sum(), w["w_bndy"].sum()) if how.batch_normalised else (len(y), len(y))
    if how.objective == "natural":
        return (w["w_nat"] * -model(x).softmax(1)[rows, y].log()).sum() / n_nat
    if how.objective == "pgd":
        return (w["w_nat"] * -model(x_adv).softmax(1)[rows, y].log()).sum() / n_nat
    p, q = model(x).softmax(1), model(x_adv).softmax(1)
    cross_entropy, kl = -p[rows, y].log(), (p * (p / q).log()).sum(1)
    return (w["w_nat"] * cross_entropy).sum() / n_nat + how.beta * (w["w_bndy"] * kl).sum() / n_bndy


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the loss asks of the attack, and what comes back."""
    calls: list[dict[str, Any]] = []

    def spy(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, **settings: Any) -> Tensor:
        x_adv = real(model, x, y, **settings)
        calls.append({"x": x, "y": y, "x_adv": x_adv, **settings})
        return x_adv

    real = training.perturb
    monkeypatch.setattr(training, "perturb", spy)
    return calls


@pytest.mark.parametrize("batch_normalised", [False, True])
@pytest.mark.parametrize("objective", ["natural", "pgd", "trades"])
def test_losses_and_their_gradients_by_hand(
    objective: str, batch_normalised: bool, batch: tuple[Tensor, Tensor, dict[str, Tensor]], attacked: list[Any]
) -> None:
    x, y, each = batch
    how = replace(BRIEF, objective=objective, batch_normalised=batch_normalised, steps=3)
    model = small().train()
    twin = copy.deepcopy(model)
    loss = batch_loss(model, x, y, how, **each, generator=torch.Generator().manual_seed(3))
    x_adv = attacked[0]["x_adv"] if attacked else x
    assert len(attacked) == (objective != "natural") and (objective == "natural" or not torch.equal(x, x_adv))
    wanted = reference(twin, x, x_adv, y, how, each)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
    loss.backward()
    wanted.backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)  # the KL target carries a gradient, too
    assert same(model.state_dict(), twin.state_dict())  # batch norm saw the clean batch first, then the adversarial
    assert int(model.blocks[0].bn1.num_batches_tracked) == (2 if objective == "trades" else 1)
    assert model.training


def test_gaussian_noise_leaves_the_pixel_range(batch: tuple[Tensor, Tensor, dict[str, Tensor]]) -> None:
    x, y, each = batch
    how = replace(BRIEF, objective="noise", sigma=0.5)
    loss = batch_loss(small().train(), x, y, how, **each, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    p = small().train()(x + 0.5 * noise).softmax(1)
    torch.testing.assert_close(loss, (each["w_nat"] * -p[torch.arange(24), y].log()).mean(), rtol=1e-5, atol=1e-6)


def test_with_equal_weights_the_two_normalisations_agree(batch: tuple[Tensor, Tensor, dict[str, Tensor]]) -> None:
    x, y, each = batch
    flat = {"w_nat": torch.full((24,), 2.0), "w_bndy": torch.full((24,), 3.0), "margin": torch.ones(24)}

    def value(batch_normalised: bool, weights: dict[str, Tensor]) -> float:
        how = replace(BRIEF, batch_normalised=batch_normalised, beta=2.0)
        random = torch.Generator().manual_seed(3)
        return float(batch_loss(small().train(), x, y, how, **weights, generator=random).detach())

    ones = flat | {"w_nat": torch.ones(24), "w_bndy": torch.ones(24)}
    assert value(True, flat) == pytest.approx(value(False, ones), rel=1e-6)
    assert value(False, flat) > 1.9 * value(False, ones)
    assert value(True, each) != pytest.approx(value(False, each), rel=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("objective", ["pgd", "trades"])
def test_the_margin_of_a_class_is_the_radius_of_its_attack(
    objective: str, norm: str, few: Splits, attacked: list[dict[str, Any]]
) -> None:
    margin = np.linspace(0.5, 1.4, 10)

    class Fixed(policies.Uniform):
        def settings(self) -> policies.ClassSettings:
            return policies.ClassSettings(np.ones(10), np.ones(10), margin)

    eps, step, steps = 0.05, 0.02, 6
    how = replace(BRIEF, objective=objective, epochs=1, eps=eps, step_size=step, steps=steps, norm=norm)
    fit(few, how, Fixed(10))
    assert len(attacked) == 4
    for call in attacked:
        each = torch.as_tensor(margin, dtype=torch.float32)[call["y"]]
        torch.testing.assert_close(call["eps"], eps * each)
        torch.testing.assert_close(call["step_size"], step * each)
        order = math.inf if norm == "linf" else 2
        length = (call["x_adv"] - call["x"]).flatten(1).norm(dim=1, p=order)
        assert (length <= eps * each + 1e-6).all() and (length > 0.6 * eps * each).all()
        assert (call["norm"], call["steps"]) == (norm, steps)
        assert call["loss"] == ("ce" if objective == "pgd" else "kl")


def test_released_steps_are_a_quarter_of_the_largest_radius_in_the_batch(
    few: Splits, attacked: list[dict[str, Any]]
) -> None:
    class Fixed(policies.Uniform):
        def settings(self) -> policies.ClassSettings:  # only class 3 has more than the plain radius
            return policies.ClassSettings(np.ones(10), np.ones(10), np.where(np.arange(10) == 3, 3.0, 1.0))

    how = replace(BRIEF, epochs=2, batch_size=8, eps=0.08, step_size=0.02, largest_step=True)
    fit(few, how, Fixed(10))
    seen = set()
    for call in attacked:
        step = 0.06 if 3 in call["y"] else 0.02  # a quarter of 0.24, or of 0.08
        torch.testing.assert_close(call["step_size"], torch.full((8,), step))
        seen.add(step)
    assert seen == {0.06, 0.02}


def test_released_rates_fall_one_update_before_the_learning_rate(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    decays: list[float] = []

    class Watching(policies.Uniform):
        def update(self, errors: Any, decay: float) -> None:
            decays.append(decay)

    def spy(*args: Any, **rest: Any) -> float:
        rates.append(args[3].lr * args[3].decay(rest["epoch"]))
        return 0.0

    monkeypatch.setattr(training, "train_epoch", spy)
    how = replace(BRIEF, epochs=5, lr=0.1, milestones=(3,))
    fit(few, how, Watching(10))
    assert decays == pytest.approx([1, 1, 1, 0.1, 0.1])
    decays.clear()
    fit(few, replace(how, rates_early=1), Watching(10))
    assert decays == pytest.approx([1, 1, 0.1, 0.1, 0.1])
    assert rates == pytest.approx(2 * [0.1, 0.1, 0.1, 0.01, 0.01])  # the model's own stays where it was


def test_weights_of_a_class_reach_its_samples(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    w_nat, w_bndy = np.linspace(0.1, 1, 10), np.linspace(2, 3, 10)

    class Fixed(policies.Uniform):
        def settings(self) -> policies.ClassSettings:
            return policies.ClassSettings(w_nat, w_bndy, np.ones(10))

    seen = []

    def spy(model: nn.Module, x: Tensor, y: Tensor, how: Training, *weights: Any) -> Tensor:
        seen.append((y, *weights[:3]))
        return model(x).sum() * 0

    monkeypatch.setattr(training, "batch_loss", spy)
    fit(few, replace(BRIEF, epochs=1), Fixed(10))
    for y, *found in seen:
        for values, each in zip((w_nat, w_bndy, np.ones(10)), found, strict=True):
            np.testing.assert_allclose(each.numpy(), values[y.numpy()], rtol=1e-6)


# Epochs, batches, schedule


def test_batches_are_constant_in_size_and_never_repeat_an_example(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = replace(few, info=replace(few.info, scale=255), train=Split(
        torch.arange(140, dtype=torch.uint8).view(140, 1, 1, 1).expand(140, 1, 8, 8).contiguous(),
        few.train.labels, few.train.index,
    ))  # fmt: skip
    epochs: list[list[Tensor]] = []

    def spy(model: nn.Module, x: Tensor, y: Tensor, *rest: Any) -> Tensor:
        who = (255 * x[:, 0, 0, 0]).round().long()
        assert torch.equal(marked.train.labels[who], y)
        epochs[-1].append(who)
        return model(x).sum() * 0

    def start(*args: Any, **kwargs: Any) -> float:
        epochs.append([])
        return real(*args, **kwargs)

    real = training.train_epoch
    monkeypatch.setattr(training, "batch_loss", spy)
    monkeypatch.setattr(training, "train_epoch", start)
    fit(marked, replace(BRIEF, epochs=2))
    for batches in epochs:
        assert [len(b) for b in batches] == [32] * 4  # 140 = 4 * 32 + 12: the rest waits for another epoch
        assert len(torch.cat(batches).unique()) == 128
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))  # a new order every epoch


def test_batches_are_augmented_and_an_epochs_loss_is_their_mean(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []

    def half(images: Tensor, kind: str, *, generator: torch.Generator) -> Tensor:
        assert kind == "crop" and generator.device == images.device
        return torch.full_like(images, 8)

    def spy(model: nn.Module, x: Tensor, *rest: Any) -> Tensor:
        assert (x == 0.5).all()
        losses.append(float((loss := real(model, x, *rest)).detach()))
        return loss

    real = training.batch_loss
    monkeypatch.setattr(training, "augment", half)
    monkeypatch.setattr(training, "batch_loss", spy)
    last = fit(replace(few, info=replace(few.info, augment="crop")), replace(BRIEF, epochs=1))
    assert len(losses) == 4 and last.history[0]["loss"] == pytest.approx(np.mean(losses))


def test_learning_rate_and_policy_rate_fall_at_the_milestones(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    rates, decays = [], []

    class Listening(policies.Uniform):
        def update(self, errors: Any, decay: float) -> None:
            decays.append(decay)

    def spy(model: nn.Module, split: Split, info: Any, how: Any, settings: Any, optimizer: Any, **rest: Any) -> float:
        loss = real(model, split, info, how, settings, optimizer, **rest)
        rates.extend(group["lr"] for group in optimizer.param_groups)
        return loss

    real = training.train_epoch
    monkeypatch.setattr(training, "train_epoch", spy)
    fit(few, replace(BRIEF, objective="natural", epochs=5, lr=0.4, milestones=(1, 3)), Listening(10))
    assert rates == pytest.approx([0.4, 0.04, 0.04, 0.004, 0.004])
    assert decays == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


def test_a_schedule_rises_over_the_first_epoch_and_falls_after_it(
    few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *a: (rates.append(self.param_groups[0]["lr"]), step(self, *a))[1]
    )
    half = len(few.train) // 2
    how = replace(BRIEF, objective="natural", epochs=3, lr=0.4, batch_size=half)  # two steps an epoch
    fit(few, replace(how, schedule="linear"))
    assert rates == pytest.approx([0.1, 0.3, 0.35, 0.25, 0.15, 0.05])  # 0.4 times 1/4, 3/4; 7/8, 5/8, 3/8, 1/8
    rates.clear()
    fit(few, replace(how, schedule="warm-up", milestones=(2,)))
    assert rates == pytest.approx([0.1, 0.3, 0.4, 0.4, 0.04, 0.04])


def test_a_linear_schedule_tells_policies_how_far_the_rate_has_fallen() -> None:
    how = Training("trades", epochs=5, lr=0.1, schedule="linear")
    assert [how.decay(epoch) for epoch in range(5)] == pytest.approx([1, 1, 0.75, 0.5, 0.25])
    assert replace(how, rates_early=2).policy_decay(4) == 0  # and not below
    with pytest.raises(UserError, match="'linear' has no milestones"):
        replace(how, milestones=(2,))
    with pytest.raises(UserError, match="unknown schedule 'cosine'; known: warm-up, linear"):
        replace(how, schedule="cosine")


def test_the_optimiser_is_sgd_with_momentum_and_weight_decay(few: Splits) -> None:
    """One step by hand on the last bias: v = g + wd w; w -= lr v; then v = mu v + g + wd w."""
    how = Training("natural", 1, lr=0.1, batch_size=70, momentum=0.8, weight_decay=0.05)
    model, gradients = small(), []
    start = model.head.bias.detach().clone()
    model.head.bias.register_hook(lambda g: gradients.append(g.clone()))
    last = train(model, few, how, uniform(), seed=0)
    w, v = start, torch.zeros(10)
    assert len(gradients) == 2
    for g in gradients:
        v = 0.8 * v + g + 0.05 * w
        w = w - 0.1 * v
    torch.testing.assert_close(model.head.bias.detach(), w)
    torch.testing.assert_close(last.momentum["head.bias"], v)


# Seeds and interruption


def test_a_seed_decides_everything(few: Splits) -> None:
    a, b, other = (fit(few, replace(BRIEF, epochs=2), fair(), seed=seed) for seed in (0, 0, 1))
    assert same(a.model, b.model) and a.history == b.history
    assert not same(a.model, other.model) and a.history[-1] != other.history[-1]


def test_training_leaves_the_global_random_numbers_alone(few: Splits) -> None:
    before = torch.get_rng_state()
    fit(few, replace(BRIEF, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


class Forgetful(nn.Module):
    """A linear network with dropout, which draws from torch's global random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
        nn.init.zeros_(self.body[2].weight)
        nn.init.zeros_(self.body[2].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("objective", ["natural", "pgd", "trades"])
def test_dropout_follows_from_seed_and_epoch(objective: str, few: Splits) -> None:
    how = replace(BRIEF, objective=objective, epochs=3)

    def run(wherever: int, seed: int = 0, **rest: Any) -> Checkpoint:
        model = Forgetful()
        torch.manual_seed(wherever)
        before = torch.get_rng_state()
        last = train(model, few, how, fair(), seed=seed, **rest)
        assert torch.equal(torch.get_rng_state(), before)
        return last

    whole, other = run(1), run(1, seed=1)
    assert same(run(2).model, whole.model) and not same(other.model, whole.model)
    resumed = run(4, resume=run(3, after_epoch=lambda c: c.epoch == 1))
    assert same(resumed.model, whole.model) and resumed.history == whole.history


def test_dropout_is_another_in_every_batch_of_every_epoch(few: Splits) -> None:
    model, kept = Forgetful(), []
    model.body[1].register_forward_hook(lambda m, *_: kept.append(F.dropout(torch.ones(9))) if m.training else None)
    train(model, few, replace(BRIEF, objective="natural", epochs=2, batch_size=70), uniform(), seed=0)
    assert len(kept) == len({tuple(each.tolist()) for each in kept}) == 4


def through_a_file(checkpoint: Checkpoint) -> Checkpoint:
    """As a store brings it back: new tensors, plain memory layout."""
    plain = {
        name: {k: v.contiguous().clone() for k, v in getattr(checkpoint, name).items()}
        for name in ("model", "momentum", "selected")
    }
    policy = {k: v.copy() for k, v in checkpoint.policy.items()}
    return replace(checkpoint, **plain, policy=policy, history=copy.deepcopy(checkpoint.history))


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_training_ends_with_the_same_bits(stop: int, few: Splits) -> None:
    how = replace(BRIEF, milestones=(2,), select="worst robust")
    whole = fit(few, how, fair(), seed=4)
    broken_off = fit(few, how, fair(), seed=4, after_epoch=lambda c: c.epoch == stop)
    assert broken_off.epoch == stop and len(broken_off.history) == stop
    elsewhere, policy = small(seed=9), fair()  # nothing of the first process survives
    resumed = train(elsewhere, few, how, policy, seed=4, resume=through_a_file(broken_off))
    assert resumed.epoch == whole.epoch == 4
    for name in ("model", "momentum", "policy", "selected"):
        assert getattr(whole, name) and same(getattr(whole, name), getattr(resumed, name)), name
    assert same(elsewhere.state_dict(), whole.model) and same(policy.state, whole.policy)
    assert resumed.history == whole.history
    assert (resumed.selected_epoch, resumed.selected_error) == (whole.selected_epoch, whole.selected_error)


def test_a_checkpoint_of_another_network_is_refused(few: Splits) -> None:
    half = fit(few, BRIEF, after_epoch=lambda c: c.epoch == 1)
    with pytest.raises(UserError, match=r"another network: its body.2.weight is absent, the model's \(10, 64\)"):
        train(Forgetful(), few, BRIEF, uniform(), seed=0, resume=half)


def test_momentum_and_policy_matter_for_resuming(few: Splits) -> None:
    """Without either the bits differ, so the test above has something to lose."""
    whole = fit(few, BRIEF, fair())
    half = fit(few, BRIEF, fair(), after_epoch=lambda c: c.epoch == 2)
    fresh = {name: np.zeros(10) for name in half.policy}
    for loss in ({"momentum": {}}, {"policy": fresh}):
        resumed = fit(few, BRIEF, fair(), resume=replace(half, **loss))
        assert not same(resumed.model, whole.model)


def test_checkpoints_do_not_change_afterwards(few: Splits) -> None:
    kept: list[tuple[Checkpoint, Checkpoint]] = []
    last = fit(few, BRIEF, fair(), after_epoch=lambda c: bool(kept.append((c, copy.deepcopy(c)))))
    assert [c.epoch for c, _ in kept] == [1, 2, 3, 4]
    for checkpoint, then in kept:
        for name in ("model", "momentum", "policy", "selected"):
            assert same(getattr(checkpoint, name), getattr(then, name))
        assert checkpoint.history == then.history and len(then.history) == then.epoch
    first = kept[0][0]
    for _ in range(2):  # the same checkpoint twice
        assert fit(few, BRIEF, fair(), resume=first).history == last.history
    assert len(first.history) == 1


def test_a_finished_training_resumes_to_itself(few: Splits) -> None:
    last = fit(few, BRIEF, fair())
    again = fit(few, BRIEF, fair(), resume=last)
    assert same(again.model, last.model) and again.history == last.history
    assert again.selected_epoch == last.selected_epoch


def test_stopping(few: Splits) -> None:
    epochs = []

    def enough(checkpoint: Checkpoint) -> bool:
        epochs.append(checkpoint.epoch)
        return checkpoint.epoch >= 2

    assert fit(few, BRIEF, after_epoch=enough).epoch == 2 and epochs == [1, 2]
    whole = fit(few, BRIEF)
    at_the_end = fit(few, BRIEF, after_epoch=lambda c: c.epoch == 4)  # too late to stop anything
    assert at_the_end.history == whole.history and at_the_end.selected_epoch == whole.selected_epoch


# Validation, history, selection


def test_history(few: Splits) -> None:
    last = fit(few, BRIEF, fair())
    assert [entry["epoch"] for entry in last.history] == [0, 1, 2, 3, 4]
    for entry in last.history[:-1]:
        assert entry.keys() == {"epoch", "validation", "loss", "policy", "settings"} and entry["loss"] > 0
        assert entry["validation"]["n"] == [8] * 10
    assert last.history[-1].keys() == {"epoch", "validation"}
    replay = fair()  # the policy of the history is the policy that saw these errors
    for entry in last.history[:-1]:
        replay.update(validation_errors(entry), 1.0)
        assert {name: v.tolist() for name, v in replay.state.items()} == entry["policy"]
        assert {name: v.tolist() for name, v in vars(replay.settings()).items() if v is not None} == (
            entry["settings"]
        )
    assert same(last.policy, replay.state)


def validation_errors(entry: dict[str, Any]) -> ClassErrors:
    return ClassErrors.from_dict(entry["validation"])


def test_validation_uses_the_validation_split_and_the_plain_radius(
    few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(model: nn.Module, split: Split, **settings: Any) -> tuple[Outcomes, Tensor]:
        seen.append((split, settings["attack"], settings["generator"].initial_seed()))
        return real(model, split, **settings)

    real = training.walk
    monkeypatch.setattr(training, "walk", spy)
    fit(few, replace(BRIEF, epochs=2), fair())
    assert all(split is few.validation for split, _, _ in seen) and len(seen) == 3
    assert {(a.eps, a.step_size, a.steps, a.norm) for _, a, _ in seen} == {(0.2, 0.1, 2, "linf")}
    assert len({seed for _, _, seed in seen}) == 3


@pytest.mark.parametrize(
    "select, chosen",
    [("average standard", 3), ("average robust", 2), ("worst robust", 1)],
)
def test_selection_takes_the_first_epoch_with_the_lowest_validation_error(
    select: str, chosen: int, few: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation errors by script; the start model (epoch 0) is the best of all and never chosen."""
    standard = [0, 2, 2, 1, 1]  # mistakes in class 0 after each epoch
    robust = {0: [0, 3, 5, 6, 6], 1: [0, 3, 0, 1, 0]}  # in classes 0 and 1
    turn = iter(range(5))

    def script(model: nn.Module, split: Split, **settings: Any) -> tuple[Outcomes, Tensor]:
        epoch = next(turn)
        label = np.repeat(np.arange(10), 8).astype(np.uint8)
        clean, adversarial = label.copy(), label.copy()
        clean[: standard[epoch]] = 9
        adversarial[: robust[0][epoch]] = 9
        adversarial[8 : 8 + robust[1][epoch]] = 9
        return Outcomes(label, clean, adversarial), torch.zeros(80, dtype=torch.bool)

    monkeypatch.setattr(training, "walk", script)
    weights = {}
    last = fit(few, replace(BRIEF, objective="natural", select=select),
               after_epoch=lambda c: bool(weights.update({c.epoch: c.model})))  # fmt: skip
    assert last.selected_epoch == chosen
    assert last.selected_error == pytest.approx({1: 3 / 8, 2: 5 / 80, 3: 1 / 80}[chosen])
    assert same(last.selected, weights[chosen]) and not same(last.selected, last.model)


# Bad input


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"objective": "free"}, "unknown objective 'free'; known: natural, noise, pgd, trades"),
        ({"norm": "l1"}, "unknown norm 'l1'; known: linf, l2"),
        ({"select": "best"}, "unknown select 'best'; known: average standard, average robust, worst robust"),
        *(({name: 0}, f"{name} must be positive, got 0") for name in (
            "epochs", "lr", "batch_size", "eps", "step_size", "steps", "beta", "validation_steps")),
        ({"eps": -0.1}, "eps must be positive, got -0.1"),
        ({"eps": 8}, "eps is a fraction of the pixel range, got 8: did you mean 8 / 255"),
        ({"lr": float("nan")}, "lr must be positive, got nan"),
    ],
)  # fmt: skip
def test_bad_settings(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(BRIEF, **bad)


def test_a_batch_larger_than_the_training_split(few: Splits) -> None:
    with pytest.raises(UserError, match="a batch of 141 is larger than the 140 training images"):
        fit(few, replace(BRIEF, batch_size=141))
    fit(few, replace(BRIEF, objective="natural", batch_size=140, epochs=1))


def test_a_loss_that_is_not_finite(few: Splits) -> None:
    with pytest.raises(UserError, match=r"the loss is (nan|inf) in epoch \d: lower the learning rate \(1e\+30\)"):
        fit(few, replace(BRIEF, objective="natural", lr=1e30))


# It learns


def test_natural_training_learns_the_digits(digits: Splits) -> None:
    how = Training("natural", 6, lr=0.1, milestones=(4,), batch_size=64, eps=0.3, step_size=0.1, validation_steps=1)
    last = validation_errors(fit(digits, how).history[-1])
    assert last.average("standard") < 0.05
    assert last.average("robust") > 0.5  # and is not robust


def test_pgd_training_learns_to_resist(digits: Splits) -> None:
    how = Training("pgd", 6, lr=0.1, milestones=(4,), batch_size=64, eps=0.15, step_size=0.06, steps=3,
                   validation_steps=10)  # fmt: skip
    history = fit(digits, how).history
    first, last = validation_errors(history[0]), validation_errors(history[-1])
    assert first.average("standard") > 0.8
    assert last.average("standard") < 0.15
    assert last.average("robust") < 0.4  # natural training: nearly every digit breaks


def test_a_training_that_diverges_can_be_told_by_another_process(digits: Splits) -> None:
    how = replace(BRIEF, lr=1e12, epochs=1)
    with pytest.raises(Diverged, match="in epoch 1: lower the learning rate") as caught:
        fit(digits, how)
    told = pickle.loads(pickle.dumps(caught.value))
    assert (str(told), told.what) == (str(caught.value), caught.value.what)
