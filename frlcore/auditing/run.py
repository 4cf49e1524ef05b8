"""The audit itself: the model is asked whether it is what it says, then attacked image by image."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from frlcore import attacks
from frlcore.answers import Model, ask, check_images, check_labels, check_model, check_pixels, eval_mode, reason
from frlcore.auditing import order
from frlcore.auditing.kept import Kept, fingerprint
from frlcore.auditing.probe import SUBSET, TWICE, examine, kind_of, names_of
from frlcore.auditing.quick import quick
from frlcore.auditing.result import Audit, Example
from frlcore.classwise import Outcomes
from frlcore.data import Split, to_float
from frlcore.device import arithmetic, pick_device
from frlcore.errors import UserError
from frlcore.evaluate import outcomes
from frlcore.settings import STANDARD_QUERIES, Attack, counted, is_positive, radius, seeded
from frlcore.strong import Heard, autoattack
from frlcore.training import generator_for

ATTACKS = ("pgd", "autoattack")
ASKED = 500  # images that the model is tried with first
SHOWN = 4  # images of each extreme class in the report
FEW = {  # classes: what AutoAttack does without its targeted DLR attack
    2: "AutoAttack ran without an attack on the DLR loss, which two classes do not have; the cross-entropy, which APGD "
       "climbed, follows the margin between them.",
    3: "AutoAttack ran APGD on the untargeted DLR loss, since the targeted one needs four classes.",
}  # fmt: skip


def audit(
    model: Model,
    images: Tensor | np.ndarray,
    labels: ArrayLike,
    *,
    classes: Sequence[str | int] | None = None,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    steps: int = 20,
    queries: int = STANDARD_QUERIES,
    precision: float | None = None,
    batch_size: int = 500,
    seed: int = 0,
    device: str = "auto",
    keep: str | Path | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Audit:
    """Attack every image within `eps` and say how each class fares, for any model from images in [0, 1] to logits.

    Arguments:
    - `model`: any function or network; a network is moved to `device` and asked in eval mode (on a CPU through a copy
      with batch norm folded into convolutions, where its answers and gradients are the same; `auditing.quick`)
    - `images`: `(N, C, H, W)`, uint8 from 0 to 255 or floats from 0 to 1
    - `labels`: `(N,)`, whole numbers from 0 on
    - `classes`: their names in the order of the outputs, text or numbers
    - `eps`: the radius, a fraction of the pixel range, in `norm`: "linf" or "l2"
    - `attack`: "pgd", with `steps` steps of eps / 4, or "autoattack", standard but for `queries` of its Square attack
    - `precision`: a class stops once the interval of its robust error reaches at most this far (a fraction) to either
      side; the looks are fixed beforehand and the intervals wider for them (`auditing.order`)
    - `batch_size`: how many images are attacked at a time (by AutoAttack at most 500), taken from all classes in turn
    - `seed`: of everything random
    - `device`: "auto", "cpu", "cuda", "cuda:1", ...
    - `keep`: a file that keeps what is done after every batch; the same call goes on from it
    - `progress`: hears at first and after every batch how many images are done or spared; within a batch of AutoAttack,
      too, in fractions, as if every image took it as long as one can

    Returns: predictions, errors with intervals, tests against another audit, and a report (`Audit`).

    Raises: UserError for images, labels and settings that cannot be, and for a model whose answers are no logits of
    these classes.

    Source: Sec. 5.1 (PGD-20); Croce and Hein 2020 (AutoAttack).

    >>> import torch, frlcore
    >>> grey = torch.tensor([0.6, 0.9, 0.1, 0.2]).view(4, 1, 1, 1).expand(4, 1, 3, 3)
    >>> brightness = lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1) - 0.5
    >>> found = frlcore.audit(brightness, grey, [0, 0, 1, 1], classes=["bright", "dark"], eps=0.2, device="cpu")
    >>> found.worst("robust")
    ('bright', 0.5)
    """
    if attack not in ATTACKS:
        raise UserError(f"unknown attack '{attack}'; known: {', '.join(ATTACKS)}")
    if precision is not None and not (is_positive(precision) and precision < 1):
        raise UserError(f"precision is a fraction between 0 and 1, as 0.03 for three points, not {precision!r}")
    eps, seed, precision = radius(eps, norm), seeded(seed), None if precision is None else float(precision)
    batch_size, steps, queries = counted("batch_size", batch_size), counted("steps", steps), counted("queries", queries)
    how = Attack(eps, eps / 4, steps, norm)
    split, scale = _split(images, labels)
    where = pick_device(device)
    split, names, some, taken, notes = _tried(model, split, scale, classes, where)
    settings = [eps, norm, attack, steps, queries, precision, batch_size, seed]
    weights = fingerprint(model, taken)
    key = hashlib.sha256(json.dumps([weights, _digest(split), settings]).encode()).hexdigest()
    kept, truth = Kept(Path(keep) if keep else None, key, len(split)), split.labels.numpy()
    attacked = quick(model, some[:TWICE])
    gone = int(kept.done.sum())
    progress(gone)
    with arithmetic(where, tf32=False, benchmark=False):  # true float32 on a GPU, too
        for number, (batch, left) in enumerate(order.batches(truth, batch_size, seed, precision, kept)):
            if kept.done[batch].all():
                continue
            begin, part = time.monotonic(), Split(*(t[batch].to(where) for t in vars(split).values()))
            with _noted(kept.heard):
                if attack == "pgd":
                    one = outcomes(attacked, part, scale=scale, attack=how, batch_size=batch_size,
                                   generator=generator_for("audit", seed, number, where))  # fmt: skip
                    clean, broken = one.clean, one.adversarial
                else:
                    x = to_float(part.images, scale)
                    answers = autoattack(attacked, x, part.labels, eps=eps, norm=norm, seed=seed, queries=queries,
                                         progress=_within(progress, gone, len(batch)))  # fmt: skip
                    clean, broken = ask(attacked, x).argmax(1).cpu().numpy(), answers.cpu().numpy()
            kept.add(batch, clean, broken, time.monotonic() - begin)
            gone = len(split) - left
            progress(gone)
        done = kept.done
        split = Split(*(t[torch.from_numpy(done)] for t in vars(split).values()))
        found = Outcomes(*(part[done].astype(np.int64) for part in (truth, kept.clean, kept.adversarial)))
        with _noted({}):  # said of all images already
            examples = _examples(model, split, scale, found, how, where)
    if attack == "autoattack" and len(names) in FEW:
        notes.append(FEW[len(names)])
    for said, many in kept.heard.items():
        notes.append(f"{said[0].upper()}{said[1:]}" + f" (so or alike in {many} batches of images)" * (many > 1) + ".")
    if precision is not None:
        notes.append(order.sentence(truth, precision, done))
    words, level = _words(attack, steps, queries), order.level(truth, precision)
    return Audit(names, found, eps, norm, words, kept.seconds, _digest(split), tuple(notes), examples, level,
                 None if done.all() else np.flatnonzero(done), weights)  # fmt: skip


def look(
    model: Model, images: Tensor | np.ndarray, labels: ArrayLike, *, classes: Sequence[str | int], device: str
) -> None:
    """Raise UserError for a model, images and labels that `audit` would refuse, before any image is attacked."""
    _tried(model, *_split(images, labels), classes, pick_device(device))


def _tried(
    model: Model, split: Split, scale: int, classes: Sequence[str | int] | None, where: torch.device
) -> tuple[Split, tuple[str, ...], Tensor, Tensor, list[str]]:
    """The images with sound labels, the names of the classes, some of the images and `examine`'s answer to them."""
    _move(model, where)
    at = torch.linspace(0, len(split) - 1, min(ASKED, len(split))).long()  # of all classes, should they be in order
    some = to_float(split.images[at].to(where), scale)
    names = names_of(check_model(model, some), classes)
    split = Split(split.images, check_labels(split.labels, len(split.images), len(names)), split.index)
    taken, notes = examine(model, some, split.labels[at], names)
    counts = split.labels.bincount(minlength=len(names))
    if (counts == 0).any():
        raise UserError(f"class '{names[int(counts.argmin())]}' has no image; {SUBSET}")
    return split, names, some, taken, notes


def _move(model: Model, where: torch.device) -> None:
    if isinstance(model, nn.Module):
        try:
            model.to(where)
        except Exception as error:  # weights without data, or more than the device holds
            raise UserError(f"the model cannot be moved to {where}: {reason(error)}") from error


def _words(attack: str, steps: int, queries: int) -> str:
    if attack == "pgd":
        return f"PGD-{steps}"
    short = f"AutoAttack, {queries} queries instead of {STANDARD_QUERIES}"
    return "standard AutoAttack" if queries == STANDARD_QUERIES else short


def _within(progress: Callable[[float], None], gone: int, size: int) -> Callable[[float], None]:
    """`progress` for the shares of a batch of `size` images that follows `gone` others."""
    return lambda share: progress(gone + share * size)


@contextmanager
def _noted(heard: dict[str, int]) -> Iterator[None]:
    """Count the warnings of this package in `heard` instead of showing each batch's."""
    log, ear = logging.getLogger("frlcore"), Heard(logging.WARNING)
    log.addHandler(ear)
    before, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(ear)
        log.propagate = before
    for sentence in ear.sentences.values():
        heard[sentence] = heard.get(sentence, 0) + 1


def _digest(split: Split) -> str:
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()


def _split(images: Tensor | np.ndarray, labels: ArrayLike) -> tuple[Split, int]:
    """Images and labels on the CPU, and the pixel value that means 1; UserError for what they cannot be."""
    pixels = _tensor(images, "images must be one tensor or array (N, C, H, W), as torch.stack makes").contiguous()
    truth = _tensor(labels, "labels must be one list, array or tensor of whole numbers (N,), the places of the classes")
    if pixels.dim() != 4:
        raise UserError(f"images must be (N, C, H, W), got {tuple(pixels.shape)}")
    scale = 255 if pixels.dtype == torch.uint8 else 1
    check_images(pixels) if scale == 1 else check_pixels(pixels, scale)
    if truth.shape[:1] != pixels.shape[:1]:  # before the model is tried with the images that have labels
        raise UserError(f"there must be one label for each of the {len(pixels)} images, got labels of shape "
                        f"{tuple(truth.shape)}")  # fmt: skip
    return Split(pixels, truth, torch.arange(len(pixels))), scale


def _tensor(given: Any, wanted: str) -> Tensor:
    """What was given, on the CPU and in torch's order of bytes; UserError where it is nothing of the kind."""
    try:
        if hasattr(given, "__array__") and not isinstance(given, Tensor):
            array = np.asarray(given)
            given = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])  # torch goes through none backwards
        return torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{wanted}, not {kind_of(given)}") from error


def _examples(
    model: Model, split: Split, scale: int, found: Outcomes, how: Attack, where: torch.device
) -> tuple[Example, ...]:
    """The first images of the least and the most robust class before and after PGD."""
    missed = found.adversarial != found.label
    rate = [missed[found.label == c].mean() for c in range(int(found.label.max()) + 1)]
    extremes = dict.fromkeys((int(np.argmax(rate)), int(np.argmin(rate))))
    at = torch.from_numpy(np.concatenate([np.flatnonzero(found.label == c)[:SHOWN] for c in extremes]))
    x, y = to_float(split.images[at].to(where), scale), split.labels[at].to(where)
    after = attacks.pgd(model, x, y, eps=how.eps, step_size=how.step_size, steps=how.steps, norm=how.norm,
                        generator=torch.Generator(where).manual_seed(0))  # fmt: skip
    with eval_mode(model), torch.no_grad():
        answers = [model(part).argmax(1).tolist() for part in (x, after)]
    pixels = [(255 * part).round().to(torch.uint8).cpu().numpy() for part in (x, after)]
    return tuple(Example(*one) for one in zip(y.tolist(), *pixels, *answers, strict=True))
