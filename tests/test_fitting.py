"""`frlcore.fit`: two stages, honest selection, going on after a stop, and one line for what does not fit."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frlcore
from frlcore import fitting, models
from frlcore.attacks import steady_slope
from frlcore.classwise import ClassErrors
from frlcore.data import Split, Splits
from frlcore.errors import UserError
from frlcore.evaluate import outcomes, predict
from frlcore.fitting import STAGES, Fitted, recipe
from frlcore.policies import FRL, Uniform
from frlcore.saving import load_model, save_model
from frlcore.seam import ClassSettings
from frlcore.settings import DataInfo, Training
from frlcore.successors import CFA
from frlcore.training import Checkpoint, generator_for

INFO = DataInfo("blobs", ("left", "middle", "right"), (1, 6, 6), 255, "none", "")
START, FAIR = (replace(how, steps=2, validation_steps=2) for how in recipe(0.1, epochs=2, fine_tune_epochs=3,
                                                                           batch_size=16))  # fmt: skip


def blobs(count: int, seed: int) -> Split:
    """Bright columns at three places, one class each, under noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 1, 6, 6), generator=random)
    for c in range(3):
        images[labels == c, :, :, 2 * c] += 100
    return Split(images.to(torch.uint8), labels, torch.arange(count))


TRAIN, VALIDATION = blobs(48, 0), blobs(30, 1)


def linear(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, outputs))


def fitted(model: nn.Module | None = None, **changes: Any) -> Fitted:
    settings = {"policy": FRL(3, alpha=1.0), "warm_up": START, "training": FAIR, "device": "cpu"}
    splits = Splits(changes.pop("info", INFO), changes.pop("train", TRAIN), changes.pop("validation", VALIDATION))
    return frlcore.fit(model or linear(), splits, **settings | changes)


@pytest.fixture(scope="module")
def done() -> Fitted:
    return fitted()


def validation_errors(model: nn.Module, epoch: int) -> ClassErrors:
    found = outcomes(model, VALIDATION, scale=255, attack=FAIR.validation_attack,
                     generator=generator_for("validation", 0, epoch, "cpu"))  # fmt: skip
    return ClassErrors.from_predictions(found.label, found.clean, found.adversarial, 3)


def test_import_frlcore_is_light() -> None:
    code = "import sys, frlcore; assert 'torch' not in sys.modules; frlcore.fit; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        frlcore.fti  # noqa: B018


def test_the_model_has_the_weights_that_validation_chose(done: Fitted) -> None:
    assert validation_errors(done.model, done.selected_epoch).to_dict() == done.after.to_dict()
    worst = [max(entry["validation"]["robust"]) for entry in done.history["fine-tuning"]]
    assert worst[done.selected_epoch] == min(worst[1:]) and done.selected_epoch >= 1
    assert not done.model.training


def test_before_is_the_robust_start(done: Fitted) -> None:
    model = linear()
    model.load_state_dict(done.start)
    assert validation_errors(model, 0).to_dict() == done.before.to_dict()
    average = [sum(entry["validation"]["robust"]) for entry in done.history["robust start"]]
    assert [len(done.history[stage]) for stage in STAGES] == [3, 4]
    assert sum(done.before.robust) <= min(average[1:]) + 0.2  # chosen among these, attacked from other points


def test_it_learns(done: Fitted) -> None:
    assert done.after.average("standard") < 0.1 < validation_errors(linear(), 0).average("standard")


def test_a_robust_model_is_fine_tuned_only() -> None:
    model = linear()
    own = {name: t.clone() for name, t in model.state_dict().items()}
    found = fitted(model, warm_up=None)
    assert list(found.history) == ["fine-tuning"] and found.model is model
    assert all(torch.equal(found.start[name], t) for name, t in own.items())


def test_the_policy_acts_and_stays_as_it_was(done: Fitted) -> None:
    assert fitted(policy=FRL(3, alpha=1.0)).history == done.history
    assert fitted(policy=Uniform(3)).history["robust start"] == done.history["robust start"]
    policy = FRL(3, "remargin", alpha_margin=2.0, max_margin=4.0)
    moved = fitted(policy=policy)
    assert moved.history["fine-tuning"][-2]["settings"]["margin"] != [1.0] * 3
    assert all((value == 0).all() for value in policy.state.values())


def test_labels_of_other_integers_and_what_after_epoch_answers_change_nothing(done: Fitted) -> None:
    small = [replace(split, labels=split.labels.int()) for split in (TRAIN, VALIDATION)]
    found = fitted(train=small[0], validation=small[1], after_epoch=lambda *_: True)  # type: ignore[arg-type]
    assert found.history == done.history


def test_both_stages_follow_the_seed_and_validate_with_the_steady_slope(
    done: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, slopes = fitting.train_stage, []
    monkeypatch.setattr(fitting, "train_stage", lambda *a, **how: slopes.append(how["slope"]) or stage(*a, **how))
    other = fitted(seed=1)
    assert slopes == [steady_slope] * 2
    for name in STAGES:
        assert other.history[name][0]["loss"] != done.history[name][0]["loss"]


def test_the_fine_tuning_starts_from_the_weights_that_validation_chose() -> None:
    kept: dict[tuple[str, int], dict[str, Tensor]] = {}
    hardly = replace(START, lr=1e-6)  # the first epoch is as good
    found = fitted(warm_up=hardly, after_epoch=lambda stage, last: kept.update({(stage, last.epoch): last.model}))
    first, last = (kept[STAGES[0], epoch]["1.weight"] for epoch in (1, 2))
    assert torch.equal(found.start["1.weight"], first) and not torch.equal(first, last)


@pytest.mark.parametrize(("stage", "epoch"), [(STAGES[0], 1), (STAGES[0], 2), (STAGES[1], 2)])
def test_a_stopped_fit_goes_on_to_the_same_end(done: Fitted, stage: str, epoch: int) -> None:
    kept: dict[str, Checkpoint] = {}

    def keep(name: str, checkpoint: Checkpoint) -> None:
        kept[name] = checkpoint
        if (name, checkpoint.epoch) == (stage, epoch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(after_epoch=keep)
    epochs: list[tuple[str, int]] = []
    found = fitted(resume=kept, after_epoch=lambda name, checkpoint: epochs.append((name, checkpoint.epoch)))
    every = [(STAGES[0], 1), (STAGES[0], 2), (STAGES[1], 1), (STAGES[1], 2), (STAGES[1], 3)]
    assert epochs == every[every.index((stage, epoch)) + 1 :]
    assert found.history == done.history and found.selected_epoch == done.selected_epoch
    for name, t in done.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], t)


class Cut(Uniform):
    """A policy of 3 classes with a radius for two."""

    def settings(self) -> ClassSettings:
        return replace(super().settings(), margin=np.ones(2))


class Locked(Uniform):
    """A policy that cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_the_averaged_weights_are_at_hand(done: Fitted) -> None:
    assert done.average is None
    kept: dict[str, Checkpoint] = {}
    memory = 1 / math.log(2)  # half of what was, half of what is
    gated = replace(FAIR, average=memory, gate=1e-9)
    found = fitted(training=gated, after_epoch=lambda stage, checkpoint: kept.update({stage: checkpoint}))
    assert found.average is not None and kept[STAGES[1]].epoch == 3 and found.history == done.history
    for name, t in kept[STAGES[1]].average.items():  # has not seen the last weights' validation, so moves once more
        torch.testing.assert_close(found.average[name], (t + kept[STAGES[1]].model[name]) / 2)
    linear().load_state_dict(found.average)
    again = fitted(training=gated, resume=kept)
    assert again.average is not None and all(torch.equal(again.average[name], t) for name, t in found.average.items())
    assert fitted(warm_up=None, training=replace(FAIR, epochs=1, average=0.5)).average is not None
    assert fitted(warm_up=replace(START, average=0.5)).average is None


def shown(split: Split, **changes: Any) -> Split:
    return replace(split, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": FRL(4)}, "the policy is made for 4 classes, the data have 3"),
        ({"policy": Cut(3)}, "Cut's margin must be an array of 3 numbers"),
        ({"policy": Locked(3)}, "Locked cannot be copied, .*: TypeError: cannot pickle '_thread.lock'"),
        ({"policy": CFA(3), "training": replace(FAIR, objective="natural")}, "CFA watches attacked images, and the"),
        ({"model": linear(5)}, "answers with 5 classes, the data have 3"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(35, 3))}, "the model does not take images of shape"),
        ({"train": shown(TRAIN, labels=TRAIN.labels * 0 + 1)}, "class 'left' has no image in the training split"),
        ({"train": shown(TRAIN, labels=TRAIN.labels % 2)}, "class 'right' has no image in the training split"),
        ({"validation": shown(VALIDATION, labels=VALIDATION.labels + 1)}, "validation split: .* run from 1 to 3"),
        ({"train": shown(TRAIN, images=TRAIN.images / 255)}, "must be torch.uint8"),
        ({"validation": shown(VALIDATION, images=VALIDATION.images[:, :, 1:])}, "validation images must be"),
        ({"training": replace(FAIR, batch_size=49)}, "49 is larger than the 48 training images; .* 32 would fit"),
        ({"warm_up": replace(START, batch_size=999)}, "999 is larger than the 48 training .* 32 would fit"),
        ({"device": "abacus"}, "device 'abacus' is not available here"),
    ],
)
def test_what_does_not_fit_is_said_before_training(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        fitted(**changes, after_epoch=lambda *_: pytest.fail("it trained"))
    assert "\n" not in str(raised.value)


class Odd(nn.Module):
    """A linear network whose forward does something `odd` to its logits, in train mode alone with `training`."""

    def __init__(self, odd: Callable[[Tensor], Any], training: bool) -> None:
        super().__init__()
        self.body, self.odd, self.only = linear(), odd, training

    def forward(self, x: Tensor) -> Any:
        logits = self.body(x)
        return self.odd(logits) if self.training or not self.only else logits


def made_under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return linear()


NORMED = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (linear().requires_grad_(False), {}, r"no weight of the model may change; use model.requires_grad_\(\)"),
        (made_under_inference_mode(), {}, r"the model was made under torch.inference_mode\(\), .* outside of that"),
        (Odd(lambda z: (z, z), True), {}, "the model answers with a tuple, not with a tensor of logits"),
        (Odd(lambda z: z.detach(), True), {}, "no gradient reaches the model's weights; remove"),
        (Odd(lambda z: z.detach(), False), {"warm_up": None}, "no gradient reaches the model's weights; remove"),
        (nn.Sequential(Odd(Tensor.detach, False), nn.Linear(3, 3)), {}, "no gradient reaches the images through the"),
        (linear(), {"seed": -1}, "a seed is a whole number from 0 to 2.31 - 1, got -1"),
        (NORMED, {"training": replace(FAIR, batch_size=1)}, "1 at a time in training: ValueError: E"),
        (NORMED, {"warm_up": replace(START, batch_size=1)}, "1 at a time in training: ValueError: E"),
    ],
)
def test_a_model_that_cannot_be_trained(model: nn.Module, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        fitted(model, **changes, after_epoch=lambda *_: pytest.fail("it trained"))
    assert "\n" not in str(raised.value)


def test_a_batch_too_large_for_the_device_names_one_that_fits() -> None:
    def crowded(logits: Tensor) -> Tensor:
        if len(logits) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logits

    with pytest.raises(UserError, match="a batch of 16 images needs more memory than the device has; 4 images fit"):
        fitted(Odd(crowded, True), after_epoch=lambda *_: pytest.fail("it trained"))


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_must_be_switched_on(without: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match=r"gradients are switched off; leave torch.no_grad\(\)"), without():
        fitted(after_epoch=lambda *_: pytest.fail("it trained"))


def test_a_part_of_a_model_can_be_trained() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3).requires_grad_(False), nn.Linear(3, 3))
    first = model[1].weight.clone()
    assert fitted(model).selected_epoch >= 1 and torch.equal(model[1].weight, first)


LAST = Checkpoint(1, linear().state_dict(), {}, {})


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        (LAST, "resume maps the stages 'robust start' and 'fine-tuning' to their last checkpoints, got a Checkpoint"),
        ([LAST], "resume maps the stages 'robust start' and 'fine-tuning' to their last checkpoints, got a list"),
        ({"warm_up": LAST}, "resume names a stage 'warm_up'; the stages are 'robust start' and 'fine-tuning'"),
        ({STAGES[0]: LAST.model}, "resume must have a Checkpoint for 'robust start', got a OrderedDict"),
        ({STAGES[1]: replace(LAST, model=linear(4).state_dict())},
         r"'fine-tuning': the checkpoint is one of another network: its 1.weight is \(4, 36\), the model's \(3, 36\)"),
        ({STAGES[0]: LAST, STAGES[1]: replace(LAST, model={})}, "'fine-tuning': .* its 1.weight is absent"),
    ],
)  # fmt: skip
def test_what_cannot_be_gone_on_with_is_said_before_training(resume: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        fitted(resume=resume, after_epoch=lambda *_: pytest.fail("it trained"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("batch_size", [32, 48])
def test_the_batch_size_it_names_and_all_images_fit(batch_size: int) -> None:
    assert fitted(training=replace(FAIR, batch_size=batch_size)).selected_epoch >= 1


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_the_recipe(epochs: int) -> None:
    start, fair = recipe(0.2, epochs=epochs, fine_tune_epochs=epochs + 10, lr=0.05)
    assert start.objective == "pgd" and (fair.objective, fair.select) == ("trades", "worst robust")
    assert start.step_size == fair.step_size == 0.05 and start.steps == 10
    assert (start.lr, fair.lr) == (0.05, 0.005) and start.decay(0) == fair.decay(0) == 1
    if epochs == 30:
        assert start.milestones == (24, 28) and fair.milestones == (28,)
    assert (start.epochs, fair.epochs) == (epochs, epochs + 10)
    assert isinstance(start, Training)
    with pytest.raises(UserError):
        recipe(0.0)


def test_the_recipe_unless_told_otherwise() -> None:
    start, fair = recipe()
    assert (start.epochs, fair.epochs, start.lr, fair.lr) == (30, 20, 0.1, 0.01)
    assert all((how.eps, how.step_size, how.batch_size) == (8 / 255, 2 / 255, 128) for how in (start, fair))


# --------------------------------------------------------------------------------------------------------- model files


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    model = models.build("preact_small", num_classes=3, in_channels=1, seed=3)
    path = tmp_path / "model.safetensors"
    save_model(path, model, name="preact_small", info=INFO, notes={"eps": "8/255", "model": "not this one"})
    again, classes = load_model(path)
    assert classes == INFO.classes and not again.training and [file.name for file in tmp_path.iterdir()] == [path.name]
    assert torch.equal(predict(again, VALIDATION.images, scale=255), predict(model, VALIDATION.images, scale=255))
    assert frlcore.load_model is load_model


def test_model_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    model = models.build("preact_small", num_classes=3, in_channels=1, seed=3)
    path = tmp_path / "model.safetensors"
    save_model(path, model, name="preact_small", info=INFO)
    (tmp_path / "half").write_bytes(path.read_bytes()[:5000])
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    for name, message in (("gone", "no model can be read"), ("half", "truncated"), ("foreign", "was not written by")):
        with pytest.raises(UserError, match=message):
            load_model(tmp_path / name)
    with pytest.raises(UserError, match="unknown model 'resnet'"):
        save_model(path, model, name="resnet", info=INFO)
    with pytest.raises(UserError, match="cannot write"):
        save_model(path / "below a file", model, name="preact_small", info=INFO)


def test_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, models.build("preact_small", num_classes=3, in_channels=1, seed=3), name="preact_small", info=INFO)
    content = path.read_bytes()
    header = content.index(b'"shape":"[1, 6, 6]"')
    for place in (header + 10, content.index(b"left"), content.index(b'"digest"') + 12, len(content) // 2,
                  len(content) - 1):  # fmt: skip
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match="is damaged") as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    load_model(path)


@pytest.mark.parametrize(
    "change",
    [{"classes": ("a", "a", "b")}, {"classes": (0, 1, 2)}, {"classes": ("a", "b", None)}, {"classes": {"a", "b", "c"}},
     {"shape": (1, 2**16 + 1, 6)}, {"shape": (1, 6)}, {"shape": (1, 6.0, 6)}, {"shape": None}],
)  # fmt: skip
def test_what_could_not_be_loaded_is_not_saved(change: dict[str, Any], tmp_path: Path) -> None:
    model = models.build("preact_small", num_classes=3, in_channels=1, seed=3)
    with pytest.raises(UserError, match="the names of the classes must be texts that differ, .* whole numbers"):
        save_model(tmp_path / "m", model, name="preact_small", info=replace(INFO, **change))
    assert not any(tmp_path.iterdir())


def test_numpy_shapes_and_any_notes_are_saved_and_paths_without_a_name_are_one_line(tmp_path: Path) -> None:
    model, path = models.build("preact_small", num_classes=3, in_channels=1, seed=3), tmp_path / "m"
    given = replace(INFO, shape=tuple(np.array(INFO.shape)))
    save_model(path, model, name="preact_small", info=given, notes={1: "a", "file": "caf\udce9"})
    assert load_model(path)[1] == INFO.classes
    for bad in ("", ".", f"{path}\0"):
        with pytest.raises(UserError, match="cannot write") as caught:
            save_model(bad, model, name="preact_small", info=INFO)
        assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_not_saved(tmp_path: Path) -> None:
    for model, message in (
        (models.build("preact_small", num_classes=4, in_channels=1, seed=0), r"head.bias is \(4,\), not \(3,\)"),
        (models.build("preact_wide", num_classes=3, in_channels=1, seed=0), "blocks.0.bn1.bias is .*, not"),
        (nn.Linear(2, 3), "bias is .*, not absent"),
    ):
        with pytest.raises(UserError, match=f"not those of a preact_small with 3 classes .* {message}"):
            save_model(tmp_path / "m", model, name="preact_small", info=INFO)
    assert not any(tmp_path.iterdir())
