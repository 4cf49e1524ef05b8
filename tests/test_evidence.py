"""What training shows policies: tallies and losses by hand, what reaches the loss, resumed runs; others do not pay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frlcore import evidence, policies, training
from frlcore.data import Splits
from frlcore.errors import Diverged, UserError
from frlcore.evidence import Tally
from frlcore.models import build
from frlcore.policies import Uniform
from frlcore.seam import ClassSettings, Seen
from frlcore.settings import Training
from frlcore.training import batch_loss, train

BRIEF = Training("trades", 3, lr=0.05, batch_size=32, eps=0.2, step_size=0.1, steps=1, validation_steps=1, beta=1.5)


def small() -> nn.Module:
    return build("preact_small", num_classes=10, in_channels=1, seed=0)


@dataclass
class Curious(Uniform):
    """A uniform policy that keeps all it is shown."""

    shown: list[Seen] = field(default_factory=list)
    needs: ClassVar[frozenset[str]] = frozenset({"robust", "softmax", "loss_nat", "loss_bndy"})

    def observe(self, seen: Seen) -> None:
        self.shown.append(seen)


def test_a_tally_by_hand() -> None:
    policy = Curious(3)
    tally = Tally(policy, 3, torch.device("cpu"))
    half = torch.tensor([[0.0, 0.0, -100.0], [0.0, -100.0, 0.0]])  # 1/2, 1/2, 0 and 1/2, 0, 1/2; the first of equals
    sure = torch.tensor([[-100.0, 100.0, -100.0]])
    assert tally(torch.tensor([0, 1]), half) is None
    assert tally(torch.tensor([0]), sure) is None
    tally.show()
    (seen,) = policy.shown
    np.testing.assert_allclose(seen.softmax[0], [0.25, 0.75, 0], atol=1e-7)  # type: ignore[index]
    np.testing.assert_allclose(seen.softmax[1], [0.5, 0, 0.5], atol=1e-7)  # type: ignore[index]
    np.testing.assert_allclose(seen.robust, [0.5, 0, np.nan])  # type: ignore[arg-type]
    assert np.isnan(seen.softmax[2]).all() and seen.loss_nat is None  # type: ignore[index]


def test_margins_of_a_batch_by_hand() -> None:
    asked: list[Any] = []

    class Asking(Uniform):
        def weigh(self, margin: np.ndarray, count: np.ndarray) -> np.ndarray:
            asked.append((margin, count))
            return np.array([1.0, 2.0, 3.0])

    logits = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.1, 0.6, 0.3]]).log()
    factors = Tally(Asking(3), 3, torch.device("cpu"))(torch.tensor([0, 0, 1]), logits)
    assert factors is not None and factors.tolist() == [1, 1, 2]
    (margin, count), = asked
    np.testing.assert_allclose(margin, [(-0.5 + 0.5) / 2, -0.3, 0], atol=1e-6)
    assert count.tolist() == [2, 1, 0]


def test_factors_multiply_both_losses(few: Splits) -> None:
    x, y = few.train.images[:32].float() / 16, few.train.labels[:32]
    each = torch.linspace(0.5, 1.5, 10)

    class Fixed(Uniform):
        def weigh(self, margin: np.ndarray, count: np.ndarray) -> np.ndarray:
            return each.numpy()

    def loss(w: Tensor, tally: Tally | None) -> Tensor:
        random = torch.Generator().manual_seed(0)
        return batch_loss(small(), x, y, BRIEF, w, 2 * w, torch.ones(32), random, tally)

    ones = torch.ones(32)
    torch.testing.assert_close(loss(ones, Tally(Fixed(10), 10, x.device)), loss(each[y], None))
    assert not torch.allclose(loss(ones, None), loss(each[y], None))


def test_a_policys_beta_replaces_the_trainings(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Own(Uniform):
        def settings(self) -> ClassSettings:
            return ClassSettings(np.ones(10), np.full(10, 9.0), np.ones(10), np.arange(1.0, 11.0))

    def spy(model: nn.Module, x: Tensor, y: Tensor, how: Training, w_nat: Tensor, w_bndy: Tensor, *_: Any) -> Tensor:
        seen.append((how.beta, y, w_bndy))
        return model(x).sum() * 0

    monkeypatch.setattr(training, "batch_loss", spy)
    last = train(small(), few, replace(BRIEF, epochs=1), Own(10), seed=0)
    assert all(beta == 1 and torch.equal(w, y + 1.0) for beta, y, w in seen)
    assert last.history[0]["settings"]["beta"] == list(range(1, 11))


def test_losses_on_validation_are_means_over_each_class(few: Splits) -> None:
    policy, model, validation = Curious(10), small().eval(), few.validation
    model.head.weight.data *= 30  # type: ignore[union-attr, operator]
    calls = []

    def spy(*args: Any, **settings: Any) -> Tensor:
        calls.append((x_adv := real(*args, **settings), settings))
        return x_adv

    real = evidence.perturb
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "perturb", spy)
        evidence.on_validation(policy, model, validation, 16, BRIEF, torch.Generator().manual_seed(0))
    (x_adv, settings), = calls
    assert settings["loss"] == "kl" and settings["eps"] == BRIEF.eps and settings["steps"] == BRIEF.steps
    with torch.no_grad():
        p, q = model(validation.images.float() / 16).softmax(1), model(x_adv).softmax(1)
    for c in range(10):
        mine = validation.labels == c
        assert policy.shown[0].loss_nat[c] == pytest.approx(-p[mine, c].log().mean().item(), rel=1e-4)  # type: ignore[index]
        kl = (p[mine] * (p[mine] / q[mine]).log()).sum(1).mean().item()
        assert policy.shown[0].loss_bndy[c] == pytest.approx(kl, rel=1e-3)  # type: ignore[index]


def test_validation_is_seen_in_eval_mode(few: Splits) -> None:
    policy, model = Curious(10), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    for mode in (True, False):
        evidence.on_validation(policy, model.train(mode), few.validation, 16, BRIEF, torch.Generator().manual_seed(0))
    first, second = policy.shown
    for name in ("loss_nat", "loss_bndy"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_validation_is_shown_before_every_update_and_the_epoch_after_it(few: Splits) -> None:
    policy = Curious(10)
    train(small(), few, BRIEF, policy, seed=0)
    assert [seen.loss_nat is not None for seen in policy.shown] == [True, False] * 3
    assert [seen.robust is not None for seen in policy.shown] == [False, True] * 3


def test_being_watched_changes_nothing(few: Splits) -> None:
    plain, watched = (train(small(), few, BRIEF, policy, seed=0) for policy in (Uniform(10), Curious(10)))
    assert all(torch.equal(plain.model[name], watched.model[name]) for name in plain.model)
    assert plain.history == watched.history


def test_who_asks_for_nothing_is_shown_nothing(few: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **rest: Any) -> None:
        raise AssertionError("nobody asked")

    monkeypatch.setattr(Tally, "__call__", never)
    monkeypatch.setattr(evidence, "perturb", never)
    train(small(), few, replace(BRIEF, epochs=1), policies.FRL(10), seed=0)


@pytest.mark.parametrize("name, settings", [("cfa", {"start": 1}), ("dafa", {"warm_up": 1}), ("wat", {}), ("faal", {})])
def test_interrupted_successors_end_as_undisturbed_ones(name: str, settings: dict[str, Any], few: Splits) -> None:
    kept: list[Any] = []

    def stop(checkpoint: Any) -> bool:
        kept.append(checkpoint)
        return checkpoint.epoch == 2

    def run(**rest: Any) -> Any:
        return train(small(), few, BRIEF, policies.build(name, 10, **settings), seed=0, **rest)

    whole = run()
    run(after_epoch=stop)
    resumed = run(resume=kept[-1])
    assert whole.history == resumed.history
    assert all(torch.equal(whole.model[key], resumed.model[key]) for key in whole.model)
    plain = train(small(), few, BRIEF, Uniform(10), seed=0)
    assert not torch.equal(whole.model["head.weight"], plain.model["head.weight"])


def test_what_a_training_cannot_show_is_said_beforehand(few: Splits) -> None:
    for name in ("cfa", "dafa", "faal"):
        with pytest.raises(UserError, match="watches attacked images, and the objective 'natural' has none"):
            train(small(), few, replace(BRIEF, objective="natural"), policies.build(name, 10), seed=0)

    class Greedy(Curious):
        needs: ClassVar[frozenset[str]] = frozenset({"robust", "tea"})

    with pytest.raises(UserError, match="Greedy needs tea; known: loss_bndy, loss_nat, robust, softmax"):
        train(small(), few, BRIEF, Greedy(10), seed=0)

    class Blind(Uniform):
        needs: ClassVar[frozenset[str]] = frozenset({"robust"})

    with pytest.raises(UserError, match=r"Blind has needs and no observe\(\)"):
        train(small(), few, BRIEF, Blind(10), seed=0)


def own(state: Any = None, **changes: Any) -> Any:
    """A policy of 3 classes with something wrong in what it remembers or answers."""

    class Own(Uniform):
        def settings(self) -> ClassSettings:
            ones = {name: np.ones(3) for name in ("w_nat", "w_bndy", "margin")}
            return ClassSettings(**ones | changes)

    return Own(3, {} if state is None else state)


@pytest.mark.parametrize(
    "policy, words",
    [
        (Uniform, r"the policy is the class Uniform, not one of its objects; write Uniform\(3\)"),
        ("frl", "the policy str has no state; a policy has state, settings"),
        (own(state=[1.0]), "Own's state must be a dict of arrays, by name, got a list"),
        (own(state={"phi": np.float64(1)}), r"Own's state 'phi' must be a numpy array .* \(C,\), got a float64"),
        (own(state={"phi": np.zeros((3, 2))}), r"Own's state 'phi' .* got float64 of shape \(3, 2\)"),
        (own(state={"phi": np.array([None])}), "Own's state 'phi' .* got object"),
        (Uniform(4), "the policy is made for 4 classes, the data have 3"),
        (own(w_nat=np.float64(1)), "Own's w_nat must be an array of 3 numbers, one for each class, got a float64"),
        (own(w_bndy=np.ones(2)), r"Own's w_bndy must be an array of 3 numbers, .* got float64 of shape \(2,\)"),
        (own(w_bndy=None), "Own's w_bndy must be an array of 3 numbers, .* got a NoneType"),
        (own(margin=np.ones((3, 1))), "Own's margin must be an array of 3 numbers"),
        (own(beta=np.ones(4)), "Own's beta must be an array of 3 numbers"),
        (own(w_nat=np.array([1, np.nan, 1])), "Own's w_nat must be finite and not below 0, got nan for class 1"),
        (own(w_bndy=np.array([1, 1, -0.5])), "Own's w_bndy must be finite and not below 0, got -0.5 for class 2"),
        (own(margin=np.array([0.0, 1, 1])), "Own's margin must be finite and above 0, got 0.0 for class 0"),
        (own(beta=np.array([np.inf, 1, 1])), "Own's beta must be finite and not below 0, got inf for class 0"),
    ],
)
def test_policies_that_training_cannot_use(policy: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        evidence.check_policy(policy, 3, "trades")
    assert "\n" not in str(raised.value)


def test_weights_of_zero_and_any_numbers_will_do() -> None:
    found = evidence.check_policy(own(state={"n": np.arange(5)}, w_nat=[0, 1, 2], beta=np.zeros(3)), 3, "trades")
    assert found is None


@pytest.mark.parametrize("answer", [np.ones(9), 1.0, None, -np.ones(10), np.full(10, np.nan)])
def test_what_weigh_answers_is_looked_at(few: Splits, answer: Any) -> None:
    class Weighing(Uniform):
        def weigh(self, margin: np.ndarray, count: np.ndarray) -> np.ndarray:
            return answer

    with pytest.raises(UserError, match=r"what Weighing's weigh\(\) answers must be"):
        train(small(), few, BRIEF, Weighing(10), seed=0)


def test_what_an_update_makes_is_looked_at(few: Splits) -> None:
    class Falling(Uniform):
        def settings(self) -> ClassSettings:
            left = np.full(10, 1.0 - len(self.state.get("seen", ())))
            return ClassSettings(np.ones(10), left, np.ones(10))

        def update(self, errors: Any, decay: float) -> None:
            self.state["seen"] = np.ones(len(self.state.get("seen", ())) + 1)

    epochs: list[int] = []
    with pytest.raises(UserError, match="Falling's w_bndy must be finite and not below 0, got -1.0 for class 0"):
        train(small(), few, BRIEF, Falling(10), seed=0, after_epoch=lambda c: bool(epochs.append(c.epoch)))
    assert epochs == [1]


@pytest.mark.parametrize("name", ["wat", "faal"])
def test_a_network_that_has_diverged_is_not_the_policys_fault(name: str, few: Splits) -> None:
    model = small()
    model.head.weight.data.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(Diverged, match="the loss is nan in epoch 1: lower the learning rate"):
        train(model, few, BRIEF, policies.build(name, 10), seed=0)
