"""Whether a model's answers are logits of the classes at hand, before hours go into attacking something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from frlcore.answers import Model, eval_mode
from frlcore.classwise import paired_bootstrap
from frlcore.errors import UserError

NORMALISED = (  # mean and standard deviation of each channel in training scripts: ImageNet's, CIFAR-10's, one for all
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
CLEAR = 0.1  # so much more accuracy with normalised input is no accident


def examine(
    model: Model, x: Tensor, labels: Tensor, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[str]]:
    """The names of the classes, and in a sentence each what a reader of the audit has to know of the model.

    Asks the model about some images `x: (N, C, H, W) float in [0, 1]`; without `classes` they are called by number.
    Raises UserError for a model that fails on them, answers with anything but one finite logit a class, or with
    probabilities, gives no gradient, or wants normalised input.
    """
    notes = []
    if isinstance(model, nn.Module) and any(m.training for m in model.modules()):
        notes.append("The model was in train mode; it is audited in eval mode.")
    with eval_mode(model):
        logits = _ask(model, x, classes)
        names = tuple(classes or map(str, range(logits.shape[1])))
        _logits(logits, names)
        _gradient(model, x[:1])
        missed = (logits.argmax(1).cpu() != labels).numpy()
        if x.shape[1] == 3:
            _input(model, x, labels.numpy(), missed)
    if len(set(logits.argmax(1).tolist())) == 1:
        notes.append(f"The model answers “{names[int(logits[0].argmax())]}” to each of {len(x)} images of all classes.")
    return names, notes


def _ask(model: Model, x: Tensor, classes: Sequence[str] | None) -> Tensor:
    try:
        with torch.no_grad():
            found = model(x)
    except Exception as error:  # anything may happen in a stranger's model
        what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UserError(f"the model fails on images of shape {tuple(x.shape[1:])}: {what}") from error
    if not isinstance(found, Tensor):
        raise UserError(
            f"the model answers with a {type(found).__name__}, not a tensor; wrap it so that it returns logits alone"
        )
    if found.dim() != 2 or len(found) != len(x):
        raise UserError(
            f"the model answers {len(x)} images with shape {tuple(found.shape)}; it should be ({len(x)}, C), a logit "
            "for each of C classes"
        )
    if classes and found.shape[1] != len(classes):
        named = ", ".join(classes) if len(classes) <= 20 else f"{classes[0]} to {classes[-1]}"
        raise UserError(f"the model has {found.shape[1]} outputs and the data {len(classes)} classes: {named}")
    return found


def _logits(logits: Tensor, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise UserError("the model has one output; an audit needs a logit for each of at least two classes")
    if not bool(logits.isfinite().all()):
        raise UserError("the model answers with numbers that are not finite")
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise UserError(
            "the model answers with probabilities (its outputs are positive and sum to 1), which hide the gradient "
            "from attacks; leave out its softmax"
        )


def _gradient(model: Model, x: Tensor) -> None:
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        answer = model(x)
        (gradient,) = (
            torch.autograd.grad(answer.logsumexp(1).sum(), x, allow_unused=True) if answer.requires_grad else (None,)
        )
    if gradient is None:
        raise UserError("no gradient reaches the images through the model; remove torch.no_grad() or .detach() from it")


def _input(model: Model, x: Tensor, labels: np.ndarray, missed: np.ndarray) -> None:
    """Refuse a model that is far more often right on normalised images than on pixels from 0 to 1."""
    for mean, deviation in NORMALISED:
        centre, width = (x.new_tensor(values).view(1, 3, 1, 1) for values in (mean, deviation))
        with torch.no_grad():
            other = (model((x - centre) / width).argmax(1).cpu().numpy()) != labels
        if paired_bootstrap(labels, missed, other, "average", draws=500).low > CLEAR:
            raise UserError(
                f"the model is right on {100 * (1 - missed.mean()):.0f}% of {len(x)} images and on "
                f"{100 * (1 - other.mean()):.0f}% of them normalised (mean {mean}, deviation {deviation}): put that "
                "normalisation inside the model, so that the radius stays in pixels"
            )
