"""What a model is given and what it answers, in every public function that takes one: one line, or the right result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frlcore
from frlcore import evaluate, smoothing, strong
from frlcore.answers import check_trainable
from frlcore.attacks import fgsm, pgd
from frlcore.data import Split, Splits
from frlcore.errors import UserError
from frlcore.policies import Uniform
from frlcore.settings import Attack, DataInfo, Training
from frlcore.training import batch_loss

CLASSES = 4
X = torch.rand(8, 1, 5, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % CLASSES
PIXELS = (X * 255).byte()
INFO = DataInfo("made", ("a", "b", "c", "d"), (1, 5, 5), 255, "none", "")
BRIEF = Training("pgd", 1, lr=0.01, batch_size=8, steps=1, validation_steps=1)


class Net(nn.Module):
    """A linear network whose logits pass through `end`."""

    def __init__(self, end: Callable[[Tensor], Any] = lambda z: z, classes: int = CLASSES) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.head = nn.Linear(25, classes)
        self.end = end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.head(x.flatten(1)))


def split(images: Tensor = PIXELS, y: Tensor = Y) -> Split:
    return Split(images, y, torch.arange(8))


FLOATS: dict[str, Callable[..., Any]] = {
    "pgd": lambda m, x=X, y=Y: pgd(m, x, y, eps=0.1, step_size=0.05, steps=2),
    "fgsm": lambda m, x=X, y=Y: fgsm(m, x, y, eps=0.1),
    "autoattack": lambda m, x=X, y=Y: strong.autoattack(m, x, y, eps=0.1, queries=2),
    "smoothing.predict": lambda m, x=X, y=Y: smoothing.predict(m, x, sigma=0.1, n=20),
    "smoothing.certify": lambda m, x=X, y=Y: smoothing.certify(m, x, sigma=0.1, n0=5, n=20),
}
BYTES: dict[str, Callable[..., Any]] = {
    "predict": lambda m, x=PIXELS, y=Y: evaluate.predict(m, x, scale=255),
    "outcomes": lambda m, x=PIXELS, y=Y: evaluate.outcomes(m, split(x, y), scale=255, attack=Attack(0.1, 0.05, 2)),
    "fit": lambda m, x=PIXELS, y=Y: frlcore.fit(
        m, Splits(INFO, split(), split(x, y)), policy=Uniform(CLASSES), warm_up=None, training=BRIEF, device="cpu"
    ),
}
ALL = FLOATS | BYTES
LABELLED = ("pgd", "fgsm", "autoattack", "outcomes", "fit")
COUNTING = ("smoothing.predict", "smoothing.certify", "predict")  # these ask for the largest answer alone


def refused(name: str, message: str, *given: Any) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ALL[name](*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ALL)
def test_answers_that_are_no_logits(name: str) -> None:
    refused(name, "answers with a tuple, not with a tensor", Net(lambda z: (z, None)))
    refused(name, "answers with a dict, not with a tensor", Net(lambda z: {"logits": z}))
    refused(name, "answers to 8 of 8 images are not finite", Net(lambda z: z * float("nan")))
    refused(name, r"a tensor of shape \(8,\); it should be \(8, classes\)", Net(lambda z: z[:, 0]))
    refused(name, "a single output; it needs a logit for every class", Net(classes=1))
    refused(name, "float16", Net().half())
    refused(name, r"does not take images of shape \(1, 5, 5\)", nn.Sequential(nn.Flatten(), nn.Linear(24, 4)))


@pytest.mark.parametrize("name", ALL)
def test_probabilities_are_counted_but_not_climbed(name: str) -> None:
    model = Net(lambda z: (20 * z).softmax(1))
    if name not in COUNTING:
        return refused(name, "answers with probabilities, .* take the softmax off", model)
    answers = ALL[name](model)
    assert len(answers if isinstance(answers, Tensor) else answers[0]) == 8


class Subtracts(Net):
    """Normalises the images in the caller's memory."""

    def forward(self, x: Tensor) -> Any:
        x -= 0.5
        return super().forward(x)


@pytest.mark.parametrize("name", ALL)
def test_a_model_that_changes_its_images_is_refused_and_they_stay(name: str) -> None:
    images, pixels = X.clone(), PIXELS.clone()
    refused(name, "changes the images it is given; let it work on a copy", Subtracts())
    assert torch.equal(X, images) and torch.equal(PIXELS, pixels)


def unclimbable() -> dict[str, Callable[[Tensor], Tensor]]:
    net = Net()

    def numpy(x: Tensor) -> Tensor:
        return net(torch.from_numpy(x.numpy()))

    return {"no_grad": torch.no_grad()(net), "inference": torch.inference_mode()(net), "numpy": numpy,
            "detach": lambda x: net(x.detach()), "constant": lambda x: torch.arange(4.0).expand(len(x), 4)}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in LABELLED if name != "fit"])  # which takes modules
@pytest.mark.parametrize("kind", unclimbable())
def test_a_model_without_a_gradient_is_not_climbed(name: str, kind: str) -> None:
    refused(name, r"no gradient reaches the images .* remove torch.no_grad\(\)", unclimbable()[kind])


def test_what_is_float64_is_said() -> None:
    double = Net().double()
    for name in set(FLOATS) - {"autoattack"}:  # which turns them to float32
        refused(name, r"the images are float64: use images.float\(\)", Net(), X.double())
        refused(name, r"its weights are float64: use model.float\(\)", double)


@pytest.mark.parametrize("name", LABELLED)
def test_labels(name: str) -> None:
    model = Net()

    def given(y: Any) -> tuple[Any, ...]:
        return model, (X if name in FLOATS else PIXELS), y

    refused(name, "labels run from 1 to 4; .* subtract 1", *given(Y + 1))
    refused(name, "between 0 and 3, got -1 to 2", *given(Y - 1))
    refused(name, r"look one-hot; .* y.argmax\(1\)", *given(torch.eye(CLASSES)[Y]))
    refused(name, r"whole numbers, not float32: use y.long\(\)", *given(Y.float()))
    refused(name, "not bool", *given(Y > 1))
    refused(name, "one label for each of the 8 images", *given(Y[:7]))
    refused(name, "torch.Tensor of whole numbers, not list", *given(Y.tolist()))
    ALL[name](*given(Y.int()))


@pytest.mark.parametrize("name", FLOATS)
def test_images_meant_as_floats(name: str) -> None:
    model = Net()
    refused(name, "uint8; give floats", model, PIXELS)
    refused(name, "look like pixels: divide them", model, X * 255)
    refused(name, "look normalised", model, (X - 0.5) / 0.2)
    refused(name, "divided by 255 twice", model, PIXELS / 255 / 255)
    refused(name, "float16, too coarse", model, X.half())
    refused(name, "not finite", model, X / 0)
    refused(name, r"a batch \(N, ...\), got a tensor of shape \(8,\)", model, X[:, 0, 0, 0])
    refused(name, "torch.Tensor, not ndarray", model, X.numpy())
    ALL[name](model, torch.zeros_like(X))  # black is a picture


@pytest.mark.parametrize("name", BYTES)
def test_images_meant_as_pixels(name: str) -> None:
    refused(name, "torch.uint8, pixels from 0 to 255, not float32", Net(), X)
    refused(name, "no pixel is above 1 of 255", Net(), (X > 0.5).byte())
    ALL[name](Net(), torch.zeros_like(PIXELS))


@pytest.mark.parametrize("name", ["predict", "outcomes"])
def test_floats_of_scale_1(name: str) -> None:
    def asked(images: Tensor, batch_size: int = 3) -> Any:
        if name == "predict":
            return evaluate.predict(Net(), images, scale=1, batch_size=batch_size)
        attack = Attack(0.1, 0.05, 2)
        return evaluate.outcomes(Net(), split(images), scale=1, attack=attack, batch_size=batch_size)

    for images, message in ((4 * X - 2, "look normalised"), (255 * X, "look like pixels"), (X / 0, "not finite")):
        with pytest.raises(UserError, match=message):
            asked(images)
    for size in (0, -1, 2.5, True):
        with pytest.raises(UserError, match=f"batch_size must be at least 1, a whole number, got {size}"):
            asked(X, size)
    asked(X / 255)  # an audit's darkest images may be a batch
    asked(X, np.int64(3))


def test_pixels_above_their_scale() -> None:
    with pytest.raises(UserError, match="above the scale of 16"):
        evaluate.predict(Net(), PIXELS, scale=16)
    for scale in (0, -1, 256, float("nan"), float("inf"), None):  # of which infinity made all pictures black
        with pytest.raises(UserError, match=f"above 0 and at most 255, got {scale}"):
            evaluate.predict(Net(), PIXELS, scale=scale)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"as a batch \(N, C, H, W\), got a tensor of shape"):
        evaluate.predict(Net(), PIXELS[0], scale=255)


@pytest.mark.parametrize("objective, forwards", [("pgd", 1 + 2), ("trades", 2 + 1 + 2)])
def test_the_training_loop_asks_nothing(objective: str, forwards: int) -> None:
    """The loss's own forwards, TRADES' clean target, two steps: no look at the answers, whatever they are."""
    calls: list[int] = []
    model = Net(lambda z: (calls.append(len(z)), z.softmax(1))[1])
    how = Training(objective, 1, lr=0.1, steps=2)
    assert batch_loss(model, X, Y, how, *torch.ones(3, 8), generator=None).isfinite()
    assert len(calls) == forwards


@pytest.mark.parametrize("norm, eps", [("linf", 0.01), ("l2", 0.05)])
def test_larger_logits_make_no_model_more_robust(norm: str, eps: float) -> None:
    """A linear model of two classes: the exact distance of every image to the border is known."""
    w = torch.linspace(-1, 1, 25)
    images = torch.randint(100, 156, (200, 1, 5, 5), generator=torch.Generator().manual_seed(2)).byte()
    z = (images.flatten(1) / 255 - 0.5) @ w
    y = (z > 0).long()
    reach = z.abs() / w.norm(p=1 if norm == "linf" else 2)
    assert 0.2 < (reach > eps).float().mean() < 0.8 and (reach - eps).abs().min() > 1e-6
    part = Split(images, y, torch.arange(200))
    for scale in (1.0, 20.0, 1e3, 1e6):
        model = Net(lambda z, scale=scale: scale * z, classes=2)
        with torch.no_grad():
            model.head.weight.copy_(torch.stack([0 * w, w]))
            model.head.bias.copy_(torch.tensor([0, -0.5 * w.sum()]))
        found = evaluate.outcomes(model, part, scale=255, attack=Attack(eps, eps / 2, 20, norm))
        assert ((found.adversarial == found.label) == (reach > eps).numpy()).mean() > 0.99, scale


def test_a_gradient_that_vanishes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    steps = Net(lambda z: (4 * z).round() + 0 * z)  # a staircase: flat wherever one looks
    with caplog.at_level(logging.WARNING):
        found = evaluate.outcomes(steps, split(y=evaluate.predict(steps, PIXELS, scale=255)), scale=255,
                                  attack=Attack(1e-4, 1e-4, 2))  # fmt: skip
        assert (found.adversarial == found.label).all()
        pgd(steps, X, Y, eps=0.1, step_size=0.1, steps=1)
        pgd(Net(), X, Y, eps=0.1, step_size=0.1, steps=1)
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == [
        "the gradient vanished for 8 of 8 images (100%)"
    ] * 2


@pytest.mark.parametrize("alpha, predicts, certifies", [(0.001, 11, 10), (0.1, 5, 4), (0.25, 3, 3)])
def test_draws_that_can_only_abstain_are_refused(alpha: float, predicts: int, certifies: int) -> None:
    """2 / 2^n <= alpha for the vote, alpha^(1/n) > 1/2 for the certificate."""
    model = Net(lambda z: z * 0 + torch.arange(4.0))
    for act, least in ((smoothing.predict, predicts), (smoothing.certify, certifies)):
        with pytest.raises(UserError, match=f"n = {least - 1} draws can only abstain; it takes at least n = {least}$"):
            act(model, X, sigma=0.1, n=least - 1, alpha=alpha)
        found = act(model, X, sigma=0.1, n=least, alpha=alpha)
        assert ((found if isinstance(found, Tensor) else found[0]) == 3).all()


def test_to_ask_whether_a_model_can_be_trained_leaves_it_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(25), nn.Dropout(0.5), nn.Linear(25, CLASSES))
    model[1].eval()
    before, random = {name: t.clone() for name, t in model.state_dict().items()}, torch.get_rng_state()
    check_trainable(model, X)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    with pytest.raises(UserError, match="1 at a time in training: ValueError: Expected more than 1"):
        check_trainable(model, X[:1])
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
