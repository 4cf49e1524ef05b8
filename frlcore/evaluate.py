"""What a model predicts on every example of a split, clean and under attack.

The paper's robust error is "there exists a perturbation" (Sec. 3, notation), so an example counts as broken at the
first misclassified point that the attack visits, and leaves the batch there. The released code looks at the last
point only; `last_iterate=True`, as in the final test, keeps every example to the end and records both verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frlcore.answers import Model, ask, check_labels, check_model, check_pixels, eval_mode
from frlcore.attacks import Ball, Slope, Watch, climb, input_gradient, say_flat, steady_slope
from frlcore.classwise import Outcomes
from frlcore.data import Split, to_float
from frlcore.errors import UserError
from frlcore.frozen import freeze
from frlcore.settings import Attack, counted

PIXELS = 1000 * 32**2  # of a batch, in each channel: larger images in thousands would take a machine's memory
GPU_MULTIPLE = 128  # a batch that shrinks on a GPU has few different sizes: cuDNN looks for kernels at each


def predict(model: Model, images: Tensor, *, scale: int, batch_size: int = 1000) -> Tensor:
    """Class indices `(N,) int64` for uint8 images, or floats in [0, 1] at `scale` 1, model in eval mode.

    Raises UserError for images and answers that are not as in `answers`, and for a batch of no image.
    """
    check_pixels(images, scale)
    batch_size = counted("batch_size", batch_size)
    return torch.cat([ask(model, to_float(b, scale)).argmax(1) for b in images.split(batch_size)])


def batch_for(images: Tensor) -> int:
    """How many of these images `(N, C, H, W)` are attacked at a time: 1000, or fewer of more than 32 x 32 pixels."""
    return max(1, min(1000, PIXELS // (images.shape[2] * images.shape[3])))


def outcomes(
    model: Model,
    split: Split,
    *,
    scale: int,
    attack: Attack,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
    last_iterate: bool = False,
) -> Outcomes:
    """Run `attack` over a split and say what the model answered (Sec. 5.1: PGD-20).

    The cross-entropy is climbed also where float32 rounds its slope to 0 (`attacks.steady_slope`), so a model is not
    called more robust for larger logits; images whose gradient vanishes all the same and that withstand are
    counted in a warning. Batches are of `batch_size`, or as `batch_for` has them. Raises UserError for images, labels
    and a model that are not as in `answers`, and when one image is too many for the device's memory.
    """
    check_pixels(split.images, scale)
    batch_size = batch_for(split.images) if batch_size is None else counted("batch_size", batch_size)

    def classes(size: int) -> int:
        return max(check_model(model, to_float(part, scale)) for part in split.images.split(size))

    labels = check_labels(split.labels, len(split.images), _within_memory(classes, batch_size, None))
    found, flat = walk(
        model, Split(split.images, labels, split.index), scale=scale, attack=attack, generator=generator,
        batch_size=batch_size, last_iterate=last_iterate, slope=steady_slope,
    )  # fmt: skip
    say_flat(flat.cpu() & torch.from_numpy(found.adversarial == found.label))
    return found


def walk(
    model: Model,
    split: Split,
    *,
    scale: int,
    attack: Attack,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
    last_iterate: bool = False,
    slope: Slope | None = None,
) -> tuple[Outcomes, Tensor]:
    """`outcomes` on trust, as training and records have it, and which images met a vanishing gradient, `(N,) bool`.

    Without a `slope` the cross-entropy is climbed as float32 has it, and no gradient is watched. Where a batch needs
    more memory than a GPU has, it starts again with half of it, from other random points; raises UserError when one
    image is too many.
    """
    return _within_memory(
        lambda size: _walk(model, split, scale, attack, generator, size, last_iterate, slope),
        batch_size or batch_for(split.images), generator,
    )  # fmt: skip


def _within_memory(work: Callable[[int], Any], batch_size: int, generator: torch.Generator | None) -> Any:
    """What `work` makes with the largest batch that fits, `batch_size` or a half, a quarter of it and so on."""
    before = None if generator is None else generator.get_state()
    while True:
        try:
            return work(batch_size)
        except torch.OutOfMemoryError as error:
            if batch_size == 1:
                raise UserError("the device's free memory does not suffice for one image; free some of it") from error
        batch_size //= 2
        if generator is not None and before is not None:
            generator.set_state(before)


def _walk(
    model: Model,
    split: Split,
    scale: int,
    attack: Attack,
    generator: torch.Generator | None,
    batch_size: int,
    last_iterate: bool,
    slope: Slope | None,
) -> tuple[Outcomes, Tensor]:
    clean, adversarial, last, flat = [], [], [], []
    with eval_mode(model):
        frozen = freeze(model, *split.images.shape[2:])
        for images, y in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
            x = to_float(images, scale)
            with torch.no_grad():
                clean.append(frozen(x).argmax(1))
            watch = Watch(len(y), y.device, slope) if slope else None
            worst, final = _attack(frozen, x, y, clean[-1], attack, generator, last_iterate, watch)
            adversarial.append(worst)
            last.append(final)
            flat.append(watch.flat if watch else torch.zeros_like(y, dtype=torch.bool))
    found = Outcomes(
        label=_small([split.labels]),
        clean=_small(clean),
        adversarial=_small(adversarial),
        last=_small(last) if last_iterate else None,
    )
    return found, torch.cat(flat)


def _attack(
    model: Model,
    x: Tensor,
    y: Tensor,
    clean: Tensor,
    attack: Attack,
    generator: torch.Generator | None,
    keep_all: bool,
    watch: Watch | None,
) -> tuple[Tensor, Tensor]:
    """First wrong and last predictions `(N,)` of one batch; with `keep_all` broken examples stay in the batch."""
    worst, last = clean.clone(), clean.clone()
    active = torch.arange(len(y), device=y.device)  # positions of the examples still under attack
    multiple = GPU_MULTIPLE if x.device.type == "cuda" else 1

    def go_on() -> Tensor | None:
        """Where in the batch the examples stand that go on; None if all do."""
        nonlocal active
        if keep_all:
            return None
        kept = _kept(worst[active] == y[active], multiple)
        if len(kept) == len(active):
            return None
        active = active[kept]
        if watch:
            watch.active = active
        return kept

    def visit(logits: Tensor) -> Tensor | None:
        last[active] = logits.argmax(1)
        worst[active] = torch.where(worst[active] == y[active], last[active], worst[active])
        return go_on()

    ball = Ball(x, attack.eps, attack.norm, (0, 1))
    x_adv = ball.random_point(generator)
    if (kept := go_on()) is not None:
        x_adv, ball = x_adv[kept], ball.select(kept)
    gradient_of = watch.gradient_of if watch else input_gradient
    x_adv = climb(model, ball, x_adv, y[active], attack.step_size, attack.steps, visit, gradient_of)
    if len(active):
        with torch.no_grad():
            visit(model(x_adv))
    return worst, last


def _kept(alive: Tensor, multiple: int) -> Tensor:
    """Positions that stay in the batch: all that are alive, filled up with others to a multiple of `multiple`.

    The others are broken already, and stay so whatever the attack does to them.
    """
    positions = alive.nonzero().squeeze(1)
    missing = -len(positions) % multiple
    return torch.cat([positions, (~alive).nonzero().squeeze(1)[:missing]]) if missing else positions


def _small(parts: list[Tensor]) -> np.ndarray:
    """Class indices in as few bytes as hold them."""
    found = torch.cat(parts).cpu().numpy()
    return found.astype(np.uint8 if not len(found) or found.max() < 256 else np.uint16)
