"""The audit itself: the model is asked whether it is what it says, then attacked image by image."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from frlcore import attacks
from frlcore.answers import Model, eval_mode
from frlcore.auditing.probe import examine
from frlcore.auditing.result import Audit, Example
from frlcore.data import Split, to_float
from frlcore.device import arithmetic, pick_device
from frlcore.errors import UserError
from frlcore.evaluate import Outcomes, outcomes, predict
from frlcore.settings import Attack
from frlcore.strong import autoattack

ATTACKS = ("pgd", "autoattack")
STANDARD = 5000  # queries of AutoAttack's Square attack
ASKED = 500  # images that the model is tried with first
SHOWN = 4  # images of each extreme class in the report


def audit(
    model: Model,
    images: Tensor | np.ndarray,
    labels: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd",
    steps: int = 20,
    queries: int = STANDARD,
    batch_size: int = 500,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[int], None] = lambda done: None,
) -> Audit:
    """Attack every image within `eps` and say how each class fares, for any model from images in [0, 1] to logits.

    Arguments:
    - `model`: any function or network; a network is moved to `device` and asked in eval mode
    - `images`: `(N, C, H, W)`, uint8 from 0 to 255 or floats from 0 to 1
    - `labels`: `(N,)`, whole numbers from 0 on
    - `classes`: their names
    - `eps`: the radius, a fraction of the pixel range, in `norm`: "linf" or "l2"
    - `attack`: "pgd", with `steps` steps of eps / 4, or "autoattack", standard but for `queries` of its Square attack
    - `batch_size`: how many images are attacked at a time
    - `seed`: of everything random
    - `device`: "auto", "cpu", "cuda", "cuda:1", ...
    - `progress`: hears how many images are done

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
    begin = time.monotonic()
    if attack not in ATTACKS:
        raise UserError(f"unknown attack '{attack}'; known: {', '.join(ATTACKS)}")
    how = Attack(eps, eps / 4, steps, norm)
    split, scale = _split(images, labels)
    where = pick_device(device)
    if isinstance(model, nn.Module):
        model.to(where)
    some = torch.linspace(0, len(split) - 1, min(ASKED, len(split))).long()  # of all classes, should they be in order
    names, notes = examine(model, to_float(split.images[some].to(where), scale), split.labels[some], classes)
    counts = split.labels.bincount(minlength=len(names))
    if len(counts) > len(names):
        raise UserError(f"labels must be between 0 and {len(names) - 1}, got {len(counts) - 1}")
    if (counts == 0).any():
        raise UserError(f"class '{names[int(counts.argmin())]}' has no image")
    generator, parts = torch.Generator(where).manual_seed(seed), []
    with arithmetic(where, tf32=False, benchmark=False):  # true float32 on a GPU, too
        for start in range(0, len(split), batch_size):
            part = Split(*(t[start : start + batch_size].to(where) for t in vars(split).values()))
            if attack == "pgd":
                parts.append(outcomes(model, part, scale=scale, attack=how, generator=generator, batch_size=batch_size))
            else:
                x = to_float(part.images, scale)
                broken = autoattack(model, x, part.labels, eps=eps, norm=norm, seed=seed, queries=queries)
                clean = predict(model, part.images, scale=scale)
                parts.append(Outcomes(*(t.cpu().numpy() for t in (part.labels, clean, broken))))
            progress(min(start + batch_size, len(split)))
        found = Outcomes(*(np.concatenate([getattr(part, name) for part in parts])
                           for name in ("label", "clean", "adversarial")))  # fmt: skip
        examples = _examples(model, split, scale, found, how, where)
    words = f"PGD-{steps}" if attack == "pgd" else "standard AutoAttack"
    if attack == "autoattack" and queries != STANDARD:
        words = f"AutoAttack, {queries} queries instead of {STANDARD}"
    if attack == "autoattack" and len(names) < 4:
        notes.append("AutoAttack ran without its targeted DLR attack, which needs four classes.")
    digest = hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()
    return Audit(names, found, eps, norm, words, time.monotonic() - begin, digest, tuple(notes), examples)


def _split(images: Tensor | np.ndarray, labels: ArrayLike) -> tuple[Split, int]:
    """Images and labels on the CPU, and the pixel value that means 1; UserError for what they cannot be."""
    pixels, truth = torch.as_tensor(images).cpu().contiguous(), torch.as_tensor(labels).cpu()
    if pixels.dim() != 4 or not len(pixels) or truth.shape != pixels.shape[:1]:
        raise UserError(f"images must be (N, C, H, W) and labels (N,), got {tuple(pixels.shape)}, {tuple(truth.shape)}")
    if truth.is_floating_point() or int(truth.min()) < 0:
        raise UserError("labels must be whole numbers from 0 on")
    if pixels.dtype != torch.uint8 and not (
        pixels.is_floating_point() and float(pixels.amin()) >= 0 and float(pixels.amax()) <= 1
    ):
        raise UserError("images must be uint8 from 0 to 255 or floats from 0 to 1, without normalisation")
    return Split(pixels, truth.long(), torch.arange(len(pixels))), 255 if pixels.dtype == torch.uint8 else 1


def _examples(
    model: Model, split: Split, scale: int, found: Outcomes, how: Attack, where: torch.device
) -> tuple[Example, ...]:
    """The first images of the least and the most robust class before and after PGD."""
    missed = found.adversarial != found.label
    rate = [missed[found.label == c].mean() for c in range(int(found.label.max()) + 1)]
    extremes = dict.fromkeys((int(np.argmax(rate)), int(np.argmin(rate))))
    at = torch.from_numpy(np.concatenate([np.flatnonzero(found.label == c)[:SHOWN] for c in extremes]))
    x, y = to_float(split.images[at].to(where), scale), split.labels[at].to(where)
    attacked = attacks.pgd(model, x, y, eps=how.eps, step_size=how.step_size, steps=how.steps, norm=how.norm,
                           generator=torch.Generator(where).manual_seed(0))  # fmt: skip
    with eval_mode(model), torch.no_grad():
        answers = [model(part).argmax(1).tolist() for part in (x, attacked)]
    pixels = [(255 * part).round().to(torch.uint8).cpu().numpy() for part in (x, attacked)]
    return tuple(Example(*one) for one in zip(y.tolist(), *pixels, *answers, strict=True))
