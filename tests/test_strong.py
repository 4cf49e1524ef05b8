"""AutoAttack finds the known optimum of linear models, is no weaker than PGD, and leaves no trace."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frlcore.answers import Model
from frlcore.data import Split, Splits, load, to_float
from frlcore.errors import UserError
from frlcore.evaluate import outcomes
from frlcore.models import PreActResNet
from frlcore.policies import Uniform
from frlcore.settings import Attack
from frlcore.strong import _undisturbed, autoattack
from frlcore.training import Training, train

SHAPE = (1, 6, 6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """`classes` logits, linear in the image."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(36, classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(classes, 36, generator=seeded(classes)))
            self.head.bias.copy_(-0.5 * self.head.weight.sum(1))  # a tie on mid-grey

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def distance(model: Linear, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """How far the nearest misclassified point is, exactly (N,); negative or 0 where x itself is misclassified."""
    w, logits = model.head.weight.detach(), model(x).detach()
    gap = logits.gather(1, y[:, None]) - logits  # (N, C) to be closed
    slope = (w[None] - w[y][:, None]).norm(dim=2, p=1 if norm == "linf" else 2)  # (N, C), of the dual norm
    return (gap / slope).scatter(1, y[:, None], float("inf")).amin(1)


@pytest.mark.parametrize("norm, classes", [("linf", 2), ("linf", 3), ("linf", 12), ("l2", 2), ("l2", 4)])
def test_survivors_of_a_linear_model_are_those_of_the_closed_form(norm: str, classes: int) -> None:
    model = Linear(classes)
    x = 0.3 + 0.4 * torch.rand(40, *SHAPE, generator=seeded(1))
    clean = model(x).argmax(1)
    y = clean.clone()
    y[:6] = (y[:6] + 1) % classes  # misclassified as they are
    exact = distance(model, x, y, norm)
    eps = float(exact[6:].median())
    assert 0 < eps < 0.3  # the box cuts no ball
    sure = (exact - eps).abs() > 0.01 * eps  # float32 cannot be asked about the border itself
    assert sure.sum() > 30
    found = autoattack(model, x, y, eps=eps, norm=norm, batch_size=25, queries=20)
    assert found.dtype == torch.int64
    assert torch.equal((found == y)[sure], (exact > eps)[sure])
    assert torch.equal(found[:6], clean[:6])  # what is wrong already keeps its clean prediction


def test_no_weaker_than_pgd_on_a_trained_network() -> None:
    def four_classes(split: Split, n: int) -> Split:
        few = (split.labels < 4).nonzero().squeeze(1)[:n]
        return Split(split.images[few], split.labels[few], split.index[few])

    splits = load("digits")
    parts = (four_classes(part, n) for part, n in ((splits.train, 384), (splits.validation, 20), (splits.test, 60)))
    splits = Splits(replace(splits.info, classes=("0", "1", "2", "3")), *parts)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PreActResNet(stem=4, widths=(6, 8), blocks=1, num_classes=4, in_channels=1)
    training = Training(objective="pgd", epochs=6, lr=0.1, eps=0.3, step_size=0.15, steps=3, validation_steps=1,
                        batch_size=64)  # fmt: skip
    train(model, splits, training, Uniform(4), seed=0)
    pgd = outcomes(model, splits.test, scale=16, attack=Attack(0.3, 0.075, 20), generator=seeded())
    clean, worst = (torch.from_numpy(v).long() for v in (pgd.clean, pgd.adversarial))
    y = splits.test.labels
    broken = worst != y
    found = autoattack(model, to_float(splits.test.images, 16), y, eps=0.3, queries=20)
    assert 5 < broken.sum() < 50  # neither is a foregone conclusion
    assert (found != y).sum() >= broken.sum()
    assert (found != y)[broken].float().mean() >= 0.9  # what PGD breaks is broken here too
    assert torch.equal(found[clean != y], clean[clean != y])


def test_the_prediction_is_one_the_network_makes_inside_the_ball() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    model = Linear(5)

    def watched(x: Tensor) -> Tensor:
        logits = model(x)
        seen.append((x.detach().clone(), logits.detach().argmax(1)))
        return logits

    x = torch.rand(1, *SHAPE, generator=seeded(8))
    y = model(x).argmax(1)
    found = autoattack(watched, x, y, eps=0.5, queries=5)
    assert found != y
    points, answers = (torch.cat(v) for v in zip(*seen, strict=True))
    inside = ((points - x).abs().flatten(1).amax(1) <= 0.5 + 1e-6) & (points.flatten(1).amin(1) >= 0)
    assert found in answers[inside & (points.flatten(1).amax(1) <= 1)]


def test_colour_images_in_channels_last_memory_and_convolutions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PreActResNet(stem=4, widths=(4, 6), blocks=1, num_classes=10, in_channels=3).eval()
    x = torch.rand(6, 3, 24, 24, generator=seeded()).contiguous(memory_format=torch.channels_last)
    y = model(x).argmax(1)
    assert (autoattack(model, x, y, eps=0.3, queries=2) != y).all()


def test_it_leaves_no_trace(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2))
    model.train()
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    x = torch.rand(12, *SHAPE, generator=seeded(3))
    before, y = x.clone(), torch.arange(12) % 2
    state, trace, log = torch.get_rng_state(), sys.gettrace(), logging.getLogger("auto-attack")
    set_up = log.level, log.propagate, list(log.handlers)

    def here(frame: object, event: str, argument: object) -> None:
        return None

    sys.settrace(here)
    try:
        first = autoattack(model, x, y, eps=0.1, queries=5)
        assert sys.gettrace() is here  # coverage and debuggers go on
    finally:
        sys.settrace(trace)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, autoattack(model, x, y, eps=0.1, queries=5))
    assert all(m.training for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(t, kept[name]) for name, t in model.state_dict().items())
    assert torch.equal(x, before) and not x.requires_grad
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert (log.level, log.propagate, log.handlers) == set_up


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(UserError) as caught:
        autoattack(Linear(4), torch.rand(2, *SHAPE), torch.zeros(2, dtype=torch.int64), eps=0.1)
    assert str(caught.value) == "AutoAttack needs the package pyautoattack: pip install -e '.[eval]'"


GREY, ZEROS = torch.full((2, *SHAPE), 0.5), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": GREY[0]}, r"takes float images \(N, C, H, W\)"),
        ({"x": GREY[None]}, r"takes float images \(N, C, H, W\)"),
        ({"x": GREY[:0], "y": ZEROS[:0]}, "there are no images"),
        ({"y": ZEROS[:1]}, "one label for each of the 2 images"),
        ({"y": torch.tensor([0, 4])}, "between 0 and 3"),
        ({"x": GREY.to(torch.uint8)}, "the images are uint8; give floats"),
        ({"x": 16 * GREY}, "must lie in .*, got values from 8 to 8"),
        ({"x": GREY[..., :4], "norm": "l2"}, "at least 5 pixels a side"),
        ({"x": GREY[:, :, :4], "norm": "l2"}, "at least 5 pixels a side"),
        ({"norm": "l1"}, "unknown norm 'l1'; known: linf, l2"),
        ({"eps": 0.0}, "eps must be a positive"),
        ({"eps": float("nan")}, "eps must be a positive"),
        ({"eps": "8/255"}, "eps must be a positive"),
        ({"eps": 8}, "did you mean 8 / 255"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict[str, object], message: str) -> None:
    good = {"model": Linear(4), "x": GREY, "y": ZEROS, "eps": 0.1}
    with pytest.raises(UserError, match=message) as caught:
        autoattack(**(good | change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


class Package:
    """Notes what is asked of pyautoattack and finds every image robust."""

    made: Package

    def __init__(self, predict: Model, **how: Any) -> None:
        self.predict, self.how = predict, how
        self.square, self.apgd_targeted, self.fab = SimpleNamespace(), SimpleNamespace(), SimpleNamespace()
        self.attacks_to_run = ["apgd-ce", "apgd-t", "fab-t", "square"]
        Package.made = self

    def run_standard_evaluation(self, x: Tensor, y: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
        self.x, self.batch_size = x, batch_size
        return x, y


@pytest.mark.parametrize(
    ("classes", "targets", "attacks"),
    [
        (2, 1, ["apgd-ce", "fab-t", "square"]),
        (3, 2, ["apgd-ce", "apgd-dlr", "fab-t", "square"]),
        (4, 3, ["apgd-ce", "apgd-t", "fab-t", "square"]),
        (12, 9, ["apgd-ce", "apgd-t", "fab-t", "square"]),
    ],
)
def test_what_the_package_is_asked_for(
    classes: int, targets: int, attacks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", SimpleNamespace(AutoAttack=Package))
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(25, classes)).train()
    x = torch.rand(3, 5, 5, 1, generator=seeded()).permute(0, 3, 2, 1).double()
    y = torch.arange(3) % classes
    assert torch.equal(autoattack(model, x, y, eps=1.5, norm="l2", seed=7, batch_size=2, queries=40), y)
    made = Package.made
    assert made.how == {"norm": "L2", "eps": 1.5, "seed": 7, "device": x.device, "version": "standard"}
    assert (made.batch_size, made.square.n_queries, made.attacks_to_run) == (2, 40, attacks)
    assert made.apgd_targeted.n_target_classes == made.fab.n_target_classes == targets
    assert made.x.dtype == torch.float32 and made.x.is_contiguous() and torch.equal(made.x, x.float())
    assert torch.equal(made.predict(made.x), model.eval()(made.x))


def test_a_model_that_cannot_be_copied_is_one_line() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 4))
    model.scaled = model[1].weight * 2  # no leaf
    with pytest.raises(UserError, match=r"cannot be copied; detach the tensors that it keeps \(RuntimeError: Only"):
        autoattack(model, torch.rand(2, 1, 5, 5), torch.zeros(2, dtype=torch.int64), eps=0.1, queries=2)


def test_what_the_package_warns_of_reaches_the_user_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("auto-attack")
    with _undisturbed(torch.device("cpu")):
        for count in (3, 5):  # said again and again with other numbers
            log.warning("there are %d points with zero gradient! See flags_doc.md for details.", count)
        log.warning("with only 3 classes it is not possible to use the targeted DLR loss!")
        log.info("robust accuracy: 50%%")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["AutoAttack warns: there are 5 points with zero gradient!"]


@pytest.mark.parametrize("classes", [2, 3, 4, 12])
def test_progress_reaches_its_end_with_images_that_nothing_changes_and_stops_short_with_others(classes: int) -> None:
    model = Linear(classes)
    x = 0.3 + 0.4 * torch.rand(4, *SHAPE, generator=seeded(1))
    y = model(x).argmax(1)
    for eps, least, most in ((1e-6, 0.9, 1.0), (0.5, 0.0, 0.3)):
        heard: list[float] = []
        autoattack(model, x, y, eps=eps, queries=300, progress=heard.append)
        assert heard == sorted(heard) and least <= heard[-1] <= most
