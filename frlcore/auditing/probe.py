"""What an audit asks of a model beyond `answers`, before hours go into attacking something else."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from frlcore.answers import Model, ask, eval_mode
from frlcore.errors import UserError
from frlcore.models import PreActResNet
from frlcore.significance import mcnemar

NORMALISED = (  # mean and standard deviation of each channel in training scripts: ImageNet's, CIFAR-10's, one for all
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
CLEAR = 0.1  # so much more accuracy with normalised input is no accident
SURE = 1e-3  # p-value of the difference, so that a few images refuse no model
OTHERWISE = 0.4  # nor is so much more with the classes in another order
TWICE = 50  # images that the model is asked about a second time
SUBSET = "if these are some of its classes, wrap it in a module that answers with their columns, model(x)[:, columns]"


def names_of(answered: int, classes: Sequence[str | int] | None) -> tuple[str, ...]:
    """The names of a model's outputs as text, numbers without `classes`.

    Raises UserError where there are more or fewer outputs, and for names without an order or of another kind.
    """
    if classes is None:
        return tuple(map(str, range(answered)))
    if not isinstance(classes, Sequence) and getattr(classes, "ndim", 0) != 1:  # nor an array
        raise UserError(f"the names of the classes must be a list in the order of the outputs, not {kind_of(classes)}")
    given = list(classes)
    for name in given:
        if not isinstance(name, str | Integral):
            raise UserError(f"the name of a class is text or a whole number, not {kind_of(name)}")
    names = tuple(map(str, given)) or tuple(map(str, range(answered)))
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two classes are called '{twice}'; give each a name of its own")
    if answered != len(names):
        named = ", ".join(names) if len(names) <= 20 else f"{names[0]} to {names[-1]}"
        subset = f"; {SUBSET}" if answered > len(names) else ""
        raise UserError(f"the model has {answered} outputs and the data {len(names)} classes: {named}{subset}")
    return names


def kind_of(given: object) -> str:
    """What somebody gave: its type, and of an array or a list what is in it."""
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype}"
    inside = f" of {type(given[0]).__name__}" if isinstance(given, list | tuple) and given else ""
    return f"{type(given).__name__}{inside}"


def examine(model: Model, x: Tensor, labels: Tensor, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """What the model takes some images for, `(N,) int64`, and in a sentence each what a reader has to know of it.

    Asks about `x: (N, C, H, W) float in [0, 1]`. Raises UserError, beyond what `answers` does, for a model that wants
    normalised input; of networks of ours, which are trained on pixels, it is told as a doubt.
    """
    notes = []
    if isinstance(model, nn.Module) and any(m.training for m in model.modules()):
        notes.append("The model was in train mode; it is audited in eval mode.")
    answers = ask(model, x)
    if not torch.allclose(ask(model, x[:TWICE]), answers[:TWICE], rtol=1e-3, atol=1e-3):
        notes.append("The model answers differently when it is asked twice: its errors are one draw of many.")
    taken = answers.argmax(1).cpu()
    notes += _order(taken, labels, names)
    if x.shape[1] == 3:
        with eval_mode(model):
            notes += _input(model, x, labels.numpy(), (taken != labels).numpy())
    if len(taken.unique()) == 1:
        notes.append(f"The model answers “{names[int(taken[0])]}” to each of {len(x)} images of all classes.")
    return taken, notes


def _order(taken: Tensor, labels: Tensor, names: Sequence[str]) -> list[str]:
    """A warning where the model is far more often right with its outputs in another order: classes sorted otherwise."""
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (labels.numpy(), taken.numpy()), 1)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    right, other = confusion.trace() / len(labels), confusion[rows, columns].sum() / len(labels)
    if other - right < OTHERWISE:
        return []
    order = ", ".join(names[int(row)] for row in np.argsort(columns)[:20])
    return [f"The model is right on {100 * right:.0f}% of {len(labels)} images, and with its outputs in another order "
            f"({order}) on {100 * other:.0f}%: are these its classes?"]  # fmt: skip


def _input(model: Model, x: Tensor, labels: np.ndarray, missed: np.ndarray) -> list[str]:
    """Refuse a model that is far more often right on normalised images than on pixels from 0 to 1, or doubt it."""
    if missed.mean() <= CLEAR:
        return []
    for mean, deviation in NORMALISED:
        centre, width = (x.new_tensor(values).view(1, 3, 1, 1) for values in (mean, deviation))
        with torch.no_grad():
            other = (model((x - centre) / width).argmax(1).cpu().numpy()) != labels
        constant = np.bincount(labels).max() / len(labels)  # right for answering the same to all
        better = min(missed.mean(), 1 - constant) - other.mean()
        if better > CLEAR and mcnemar(missed, other) < SURE:
            found = (
                f"model is right on {100 * (1 - missed.mean()):.0f}% of {len(x)} images and on "
                f"{100 * (1 - other.mean()):.0f}% of them normalised (mean {mean}, deviation {deviation})"
            )
            if isinstance(model, PreActResNet):
                return [f"The {found}: has it seen normalised images in training, or little training?"]
            raise UserError(f"the {found}: put that normalisation inside the model, so that the radius stays in pixels")
    return []
