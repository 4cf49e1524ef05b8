"""Fair robust training on data of your own, in one call.

    splits = data.image_folder("my-images", size=32)
    model = models.build("preact_resnet18", num_classes=len(splits.info.classes), in_channels=3, seed=0)
    policy = FRL(len(splits.info.classes), "reweight+remargin", tau=0.05)
    fitted = frlcore.fit(model, splits, policy=policy)
    fitted.after.worst("robust")  # (class, error) on the validation split

Two stages of the same loop (`training.train`): PGD adversarial training, which gives the robust model that Algorithm 1
starts from, then fine-tuning under the policy. Each stage ends with the weights that validation chose. The test split
is not asked for: it stays untouched until the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frlcore.answers import check_labels, check_model, check_pixels, check_trainable, reason
from frlcore.attacks import steady_slope
from frlcore.checkpoint import Checkpoint, check_fits
from frlcore.classwise import ClassErrors
from frlcore.data import Split, Splits, to_float
from frlcore.device import pick_device, within_memory
from frlcore.errors import UserError
from frlcore.evidence import check_policy
from frlcore.policies import Uniform
from frlcore.seam import Policy
from frlcore.settings import Training, seeded
from frlcore.training import train as train_stage

STAGES = ("robust start", "fine-tuning")


def recipe(
    eps: float = 8 / 255, *, epochs: int = 30, fine_tune_epochs: int = 20, batch_size: int = 128, lr: float = 0.1
) -> tuple[Training, Training]:
    """How the two stages train unless told otherwise: PGD-10 at radius `eps` in steps of eps / 4.

    The robust start keeps the weights with the lowest average robust error, the fine-tuning those with the lowest
    robust error of the worst class. The fine-tuning's learning rate is a tenth of `lr`; both fall to a tenth near the
    end of their stage. Raises UserError for a value that is not positive.
    """
    shared: dict[str, Any] = {"eps": eps, "step_size": eps / 4, "batch_size": batch_size}
    drops = (round(0.8 * epochs), round(0.93 * epochs))
    return (
        Training("pgd", epochs, lr=lr, milestones=drops, **shared),
        Training("trades", fine_tune_epochs, lr=lr / 10, milestones=(round(0.7 * fine_tune_epochs),),
                 select="worst robust", **shared),
    )  # fmt: skip


WARM_UP, FINE_TUNE = recipe()


@dataclass
class Fitted:
    """What `fit` made: the model with the weights that validation chose, and the way there.

    `before` and `after` are class-wise errors on the validation split, at the start of the fine-tuning and at the
    chosen epoch; the choice was made on the same images, so `after` is on the low side. `start` are the weights before
    the fine-tuning; `history` holds every epoch of each stage (`training.train`). `average` are the averaged weights at
    the end of the fine-tuning, for `model.load_state_dict`, where its `Training.average` asks for them, else None.
    """

    model: nn.Module
    before: ClassErrors
    after: ClassErrors
    selected_epoch: int
    start: dict[str, Tensor]
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    average: dict[str, Tensor] | None = None


def fit(
    model: nn.Module,
    splits: Splits,
    *,
    policy: Policy,
    warm_up: Training | None = WARM_UP,
    training: Training = FINE_TUNE,
    seed: int = 0,
    device: str = "auto",
    resume: Mapping[str, Checkpoint] | None = None,
    after_epoch: Callable[[str, Checkpoint], None] = lambda stage, checkpoint: None,
) -> Fitted:
    """Train `model`, any network from images in [0, 1] to logits, in place to be robust and fair (Algorithm 1).

    Arguments:
    - `model`: takes `(N, C, H, W) float` and gives logits `(N, classes)`
    - `splits`: uint8 images; no test split is needed or looked at: `Splits(info, train, validation)` will do
    - `policy`: the fair method, for as many classes; it is taken as it stands and not changed
    - `warm_up`: how the robust start is trained; None says that the model is robust already
    - `training`: how the fine-tuning under the policy goes
    - `seed`: of everything random
    - `device`: "auto", "cpu", "cuda", "cuda:1", ...
    - `after_epoch`: called with the stage's name and its checkpoint after every epoch; what it raises ends the training
    - `resume`: the last checkpoint of each stage, from which it goes on, by the stages' names "robust start" and
      "fine-tuning", as `after_epoch` is told them

    Returns: the model with the weights that validation chose, and class-wise errors before and after (`Fitted`).

    Raises: UserError, before anything is trained, when data, policy, model and checkpoints do not fit together, for a
    model that cannot be trained, for a batch that needs more memory than the device has, and for a device that is not
    there.

    Source: Algorithm 1 and Sec. 5.1.

    >>> from frlcore import FRL, Training, fit, models
    >>> from frlcore.data import load
    >>> digits = load("digits")
    >>> model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
    >>> brief = Training("trades", epochs=1, lr=0.02, eps=0.3, step_size=0.15, steps=1, validation_steps=1)
    >>> fitted = fit(model, digits, policy=FRL(10), warm_up=None, training=brief, device="cpu")
    >>> fitted.after.robust.shape
    (10,)
    """
    stages, seed = dict(zip(STAGES, (warm_up, training), strict=True)), seeded(seed)
    check(splits, policy, [how for how in stages.values() if how])
    where, info = pick_device(device), splits.info
    train, validation = (
        Split(part.images.to(where), part.labels.to(where, torch.int64), part.index.to(where))
        for part in (splits.train, splits.validation)
    )
    model.to(where)

    def attempt(count: int) -> None:
        check_trainable(model, to_float(train.images[:count], info.scale))

    for batch_size in {how.batch_size for how in stages.values() if how}:
        within_memory(partial(attempt, batch_size), attempt, batch_size)
    parts = validation.images.split(training.batch_size)
    found = max(check_model(model, to_float(part, info.scale)) for part in parts)
    if found != len(info.classes):
        raise UserError(f"the model answers with {found} classes, the data have {len(info.classes)}")
    _check_resume(model, resume or {})
    start, history = _weights(model), {}
    for stage, how in stages.items():
        if how is None:
            continue
        rule = copy.deepcopy(policy) if stage == STAGES[1] else Uniform(len(info.classes))

        def tell(checkpoint: Checkpoint, stage: str = stage) -> bool:
            after_epoch(stage, checkpoint)
            return False

        last = train_stage(
            model, Splits(info, train, validation), how, rule, seed=seed, resume=(resume or {}).get(stage),
            after_epoch=tell, slope=steady_slope,
        )  # fmt: skip
        model.load_state_dict(last.selected)
        history[stage] = last.history
        if stage == STAGES[0]:
            start = last.selected
    before, after = (ClassErrors.from_dict(last.history[e]["validation"]) for e in (0, last.selected_epoch))
    return Fitted(model.eval(), before, after, last.selected_epoch, start, history, last.average or None)


def check(splits: Splits, policy: Policy, trainings: list[Training]) -> None:
    """Raise UserError unless the splits, the policy and the batches fit together; the last training is the policy's."""
    info, train, validation = splits.info, splits.train, splits.validation
    classes = len(info.classes)
    check_policy(policy, classes, trainings[-1].objective)
    try:
        copy.deepcopy(policy)
    except Exception as error:  # a stranger's policy may hold anything
        name = type(policy).__name__
        raise UserError(f"{name} cannot be copied, which `fit` does to leave it as it is: {reason(error)}") from error
    for name, part in (("training", train), ("validation", validation)):
        try:
            check_pixels(part.images, info.scale)
            labels = check_labels(part.labels, len(part.images), classes)
        except UserError as error:
            raise UserError(f"the {name} split: {error}") from error
        if tuple(part.images.shape[1:]) != info.shape:
            found = tuple(part.images.shape)
            raise UserError(f"the {name} images must be torch.uint8 of shape (N, *{info.shape}), not {found}")
        counts = labels.bincount(minlength=classes)
        if (counts == 0).any():
            raise UserError(f"class '{info.classes[int(counts.argmin())]}' has no image in the {name} split")
    for how in trainings:
        if how.batch_size > len(train):
            fits = 2 ** (len(train).bit_length() - 1)
            raise UserError(
                f"a batch of {how.batch_size} is larger than the {len(train)} training images; a batch size of "
                f"{fits} would fit"
            )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def _check_resume(model: nn.Module, resume: Mapping[str, Checkpoint]) -> None:
    """Raise UserError unless `resume` maps names of stages to checkpoints of this network."""
    stages = f"'{STAGES[0]}' and '{STAGES[1]}'"
    if not isinstance(resume, Mapping):
        raise UserError(f"resume maps the stages {stages} to their last checkpoints, got a {type(resume).__name__}")
    for stage, checkpoint in resume.items():
        if stage not in STAGES:
            raise UserError(f"resume names a stage '{stage}'; the stages are {stages}")
        if not isinstance(checkpoint, Checkpoint):
            raise UserError(f"resume must have a Checkpoint for '{stage}', got a {type(checkpoint).__name__}")
        try:
            check_fits(model, checkpoint)
        except UserError as error:
            raise UserError(f"the stage '{stage}': {error}") from error
