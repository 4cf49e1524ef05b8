"""`frl audit`: how each class fares with any model, on CIFAR-10's test images or a folder's, with a report.

<out>/report.html      errors of every class, the worst one, what attacked images are taken for, the exact command
<out>/report.csv       the numbers of the report
<out>/report.json      the same with the predictions' confusion, settings, tests and the machine
<out>/predictions.csv  what every image was taken for, from which all of it follows
<out>/comparison.csv   with --against: paired tests class by class
<out>/.state/          while the work is unfinished: the images that are done, from which the same command goes on
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import frlcore
from frlcore import data
from frlcore.auditing import Audit, audit
from frlcore.auditing.report import in_words
from frlcore.auditing.run import ATTACKS, look
from frlcore.data.folders import scan
from frlcore.data.pictures import decode
from frlcore.data.splits import shuffled_classes
from frlcore.device import pick_device
from frlcore.errors import UserError, plain
from frlcore.repro import places
from frlcore.repro.bar import Bar
from frlcore.repro.own.findings import terminal, write
from frlcore.repro.own.fit import number, radius
from frlcore.repro.own.model import FORMS, Given, load
from frlcore.repro.own.unfinished import apart, at_work, finish
from frlcore.repro.runs.worker import machine
from frlcore.repro.surroundings import processors
from frlcore.settings import NORMS, seeded

CIFAR = "cifar10"
BATCH = {"pgd": 100, "autoattack": 20}  # images between two signs of progress; what a kill can lose
BATCH_GPU = 500
KEPT = ("this.json", "other.json")  # what is done of each model
SIZE = 32  # pixels a side of a folder's images, for a model that does not know its own
CUT = f"The images are cut to {SIZE} x {SIZE} pixels; --size chooses another size."
MAY_KNOW = "All images of the folder were taken; if the model was trained on some of them, its errors are too low."


@dataclass(frozen=True)
class Job:
    """What `frl audit` is asked for; raises UserError for what cannot be, before a model or an image is read."""

    model: str
    data: str
    against: str | None = None
    eps: str = "8/255"
    norm: str = "linf"
    attack: str = "pgd"
    precision: float | None = None
    per_class: int | None = None
    size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("norm", NORMS), ("attack", ATTACKS)):
            if getattr(self, name) not in known:
                raise UserError(f"unknown --{name} '{getattr(self, name)}'; choose {' or '.join(known)}")
        if "" in (self.model, self.against):
            raise UserError(f"the name of a model is empty; {FORMS}")
        self.radius  # noqa: B018 (raises for what is none)
        for name in ("per_class", "size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
        if self.precision is not None and not 0 < self.precision < 100:
            raise UserError(f"--precision is in points, above 0 and below 100, not {self.precision:g}")
        if self.precision is not None and self.against:
            raise UserError("--against compares on the same images, and with --precision every class of a model stops "
                            "by itself; leave out one of them, and choose --per-class for less work")  # fmt: skip
        seeded(self.seed)

    @property
    def radius(self) -> float:
        """`eps` as a number; raises UserError for what is none."""
        return radius(self.eps) if self.norm == "linf" else _length(self.eps)


def _length(text: str) -> float:
    """An l2 radius: with the pixel range as unit it may be above 1."""
    value = number(text, "0.5 or 128/255")
    if not 0 < value < 100:
        raise UserError(f"an l2 eps is a positive length in units of the pixel range, such as 0.5, not '{text}'")
    return value


def audit_files(job: Job, out: Path, *, command: str, device: str = "auto", console: Console) -> Audit:
    """Audit the model, and the one it is set against, and write the report into `out`, a new or empty folder.

    Raises UserError, with nothing written, for models, images and settings that do not fit together.
    """
    where = pick_device(device)
    torch.set_num_threads(min(torch.get_num_threads(), processors()))  # torch sees the cores, not a quota of them
    if job.data != CIFAR:
        apart(out, Path(job.data))
    with at_work(out, asdict(job), "frl audit") as state:
        given = {name: load(name, job.norm) for name in (job.model, job.against) if name}
        images, labels, classes, notes = _images(job, given)
        chosen = _chosen(labels, job.per_class, job.seed)
        images, labels = images[chosen], labels[chosen]
        for line in notes:
            console.print(line, soft_wrap=True, markup=False)
        if job.against:  # or it would be refused when hours have gone into the first
            look(given[job.against].model, images, labels, classes=classes, device=str(where))
        found = {}
        for file, (name, model) in zip(KEPT, given.items(), strict=False):
            with _Bar(name, len(images), console) as bar:
                found[name] = audit(
                    model.model, images, labels, classes=classes, eps=job.radius, norm=job.norm, attack=job.attack,
                    precision=job.precision and job.precision / 100, seed=job.seed, device=str(where),
                    batch_size=BATCH_GPU if where.type == "cuda" else BATCH[job.attack], keep=state / file,
                    progress=bar.see,
                )  # fmt: skip
            for line in found[name].notes:
                console.print(line, soft_wrap=True, markup=False)
        this = found[job.model]
        against = found[job.against] if job.against else None
        write(out, this, against, names=(job.model, job.against), data=job.data, images=chosen.numpy(), notes=notes,
              facts={"command": command, "machine": _machine(where)})  # fmt: skip
        finish(state)
    console.print(terminal(this))
    for line in [this.in_words(), *([in_words(this.compare(against))] if against else [])]:
        console.print(line, soft_wrap=True, markup=False)
    return this


def _images(job: Job, given: dict[str, Given]) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...], list[str]]:
    """Images (N, C, H, W) uint8, labels, the names of the classes, and what to say of them."""
    if job.data == CIFAR:
        if job.size not in (None, SIZE):
            raise UserError(f"CIFAR-10's images have {SIZE} pixels a side, so leave out --size")
        splits = data.load(CIFAR, root=places.downloads())
        images, labels, classes, notes = splits.tested().images, splits.tested().labels, splits.info.classes, []
    else:
        listing = scan(job.data)
        classes = listing.classes
    known = {name: one.classes for name, one in given.items() if one.classes}
    for name, own in known.items():
        if sorted(own) != sorted(classes):
            raise UserError(
                f"the classes of {name} are not those of {job.data}: {', '.join(own)} | {', '.join(classes)}"
            )
    order = next(iter(known.values()), classes)
    if any(own != order for own in known.values()):
        raise UserError("the two models have the same classes in different orders")
    if job.data != CIFAR:
        sizes = {one.size for one in given.values() if one.size} | ({job.size} if job.size else set())
        if len(sizes) > 1:
            raise UserError(f"the models and --size ask for images of different sizes: {sorted(sizes)} pixels a side")
        test = [i for i, part in enumerate(listing.parts) if part == "test"]
        taken = test or range(len(listing.files))
        pixels = decode([listing.files[i] for i in taken], next(iter(sizes), SIZE), root=listing.root)
        images, labels = torch.from_numpy(pixels), torch.tensor([listing.labels[i] for i in taken])
        taken_of = f"Only the {len(test)} images of its test folder were taken." if test else MAY_KNOW
        notes = [*listing.notes, *([] if sizes else [CUT]), taken_of]
    return images, torch.tensor([order.index(name) for name in classes])[labels], order, notes


def _chosen(labels: torch.Tensor, per_class: int | None, seed: int) -> torch.Tensor:
    """Positions of `per_class` images of each class, drawn with `seed`, in their order; of all where it is None."""
    if per_class is None:
        return torch.arange(len(labels))
    return torch.from_numpy(np.sort(np.concatenate([o[:per_class] for o in shuffled_classes(labels.numpy(), seed)])))


def _machine(device: torch.device) -> dict[str, Any]:
    """What computed an audit."""
    shown = ("device", "threads", "torch", "numpy", "python", "system")
    return {name: value for name, value in machine(device).items() if name in shown} | {
        "frlcore": frlcore.__version__, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    }  # fmt: skip


class _Bar(Bar):
    """Images done and the time left."""

    def __init__(self, what: str, total: int, console: Console) -> None:
        self.what, self.begun = plain(what), False
        super().__init__(console, self.what, total)

    def see(self, done: float) -> None:
        """Take in how many images are done, at first, after every batch, and in fractions within one."""
        if not self.begun:
            self.begun, self.first, self.begin = True, done, time.monotonic()
            if done:
                self.console.print(f"Going on after {done:.0f} of {self.total} images.", soft_wrap=True, markup=False)
            return
        left = f"{'about' if done == int(done) else 'at most about'} {self.left(done)} left"
        self.show(done, f"{self.what}, {left}", f"{self.what}: {done:.0f} of {self.total} images, {left}")
