"""An attack one can see: images of a hard and an easy class, what is added to them, and what models take them for.

Ten images are attacked anew from the weights that runs left, which is asking a model and not training one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frlcore import data
from frlcore.attacks import pgd
from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.paper import plan
from frlcore.repro.paper.drawing import closed
from frlcore.repro.paper.records import Results
from frlcore.repro.paper.trained import trained
from frlcore.repro.runs.store import Store, default_store
from frlcore.repro.style import BLUE, PANEL, VERMILLION, panels

METHODS = ("natural", "pgd", "frl-reweight+remargin-0.05")
GAP = 0.35  # of an image's width, between the images of a row; between rows more, for the words
ROW = 1.75


@dataclass(frozen=True)
class Attacked:
    """Images of the first test fold before and after PGD on one model; `(N, C, H, W)` in [0, 1], the others `(N,)`."""

    method: str
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray
    answers: tuple[np.ndarray, np.ndarray]  # classes before and after
    surety: tuple[np.ndarray, np.ndarray]  # the probability the model gives to its answer


def hard_and_easy(found: Results) -> tuple[int, int]:
    """The classes of the highest and the lowest robust error after PGD training; of standard error without it."""
    errors = found.errors("pgd").robust if "pgd" in found.present else found.errors("natural").standard
    return int(errors.argmax()), int(errors.argmin())


def attack(found: Results, method: str, classes: Sequence[int], each: int = 2, store: Store | None = None) -> Attacked:
    """Attack the first `each` test images of every class with the edition's test attack (PGD-20).

    Raises UserError where the weights or the data set are not at hand; nothing is trained and nothing fetched.
    """
    ed = found.edition
    model, _ = trained(ed.name, method, store=store)
    splits = data.load(ed.dataset, root=places.downloads(), fold=0, folds=ed.folds, download=False)
    test = splits.tested()
    chosen = torch.cat([torch.nonzero(test.labels == c)[:each, 0] for c in classes])
    x, y, how = data.to_float(test.images[chosen], splits.info.scale), test.labels[chosen], ed.test
    generator = torch.Generator().manual_seed(0)
    after = pgd(model, x, y, eps=how.eps, step_size=how.step_size, steps=how.steps, norm=how.norm, generator=generator)
    with torch.no_grad():
        surest = [model(images).softmax(1).max(1) for images in (x, after)]
    answers, surety = (tuple(getattr(one, name).numpy() for one in surest) for name in ("indices", "values"))
    return Attacked(method, y.numpy(), x.numpy(), after.numpy(), answers, surety)


def attacks(found: Results, store: Store | None = None) -> tuple[list[Attacked], list[str]]:
    """The attacks on every one of `METHODS` whose weights and images are at hand, and what makes the others."""
    store, ed = store or default_store(), found.edition
    done, reasons = [], []
    for method in METHODS:
        key = plan.run(ed.name, method).key
        if not any(store.find(key, f"{name}.safetensors") for name in ("last", "half")):
            reasons.append(f"{plan.label(method)}: its weights are not at hand; `{found.command}` makes them")
            continue
        try:
            done.append(attack(found, method, hard_and_easy(found), store=store))
        except UserError:  # names a folder of this machine, which is no matter of the page
            fetched = f"the images of {ed.title} are not at hand; `{found.command}` fetches them"
            reasons.append(f"{plan.label(method)}: {fetched}")
    return done, reasons


def amplified(found: Results) -> float:
    """By how much a perturbation is enlarged to be seen: its largest value then is half the range of a pixel."""
    return 0.5 / found.edition.test.eps


def gallery(found: Results, done: Sequence[Attacked]) -> Figure:
    """A row per image, a panel per model: the image, what the attack adds (grey is nothing), and the attacked image.

    Under the first and the last stand the model's answer and its probability, wrong answers in another colour.
    """
    fig, axes = plt.subplots(1, len(done), figsize=(PANEL * len(done), 1.38 * len(done[0].labels) + 0.5), squeeze=False)
    panels(fig, len(done))
    for ax, one in zip(axes[0], done, strict=True):
        _panel(ax, found, one)
    return closed(fig)


def _panel(ax: Axes, found: Results, one: Attacked) -> None:
    noise = 0.5 + (one.after - one.before) * amplified(found)
    for row, images in enumerate(zip(one.before, noise, one.after, strict=True)):
        for column, image in enumerate(images):
            left, top = column * (1 + GAP), row * ROW
            seen = np.repeat(image, 3, 0) if len(image) == 1 else image
            ax.imshow(seen.transpose(1, 2, 0).clip(0, 1), extent=(left, left + 1, top + 1, top), interpolation="none")
            if column == 1:
                continue
            answer, sure = one.answers[column > 0][row], 100 * one.surety[column > 0][row]
            color = BLUE if answer == one.labels[row] else VERMILLION
            words = f"{found.classes[answer]} ({sure:.0f}%)"
            ax.text(left + 0.5, top + 1.06, words, color=color, ha="center", va="top")
        ax.text(1.5 + GAP, row * ROW + 1.06, f"× {amplified(found):.3g}", ha="center", va="top", fontsize="small")
        ax.text(-0.08, row * ROW + 0.5, found.classes[one.labels[row]], rotation=90, ha="right", va="center")
    ax.set(xlim=(-0.3, 3 + 2 * GAP + 0.1), ylim=(len(one.labels) * ROW - 0.2, -0.1), title=plan.label(one.method))
    ax.axis("off")


def where_they_go(found: Results, method: str) -> str:
    """For every class in words, what its attacked images are most often taken for, and for how many of them."""
    lines = []
    for c, name in enumerate(found.classes):
        taken = found.predictions(method, found.broken)[:, found.labels == c]
        counts = np.bincount(taken.ravel(), minlength=len(found.classes))
        counts[c] = 0
        lines.append(f"“{name}” for “{found.classes[counts.argmax()]}” ({100 * counts.max() / taken.size:.0f}%)")
    return f"After {plan.label(method)}, attacked images are most often mistaken: {', '.join(lines)}."
