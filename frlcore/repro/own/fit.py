"""`frl fit`: a fair robust classifier from a folder of images, with a report on images it has never seen.

<out>/model.safetensors   weights, with what `frlcore.load_model` needs
<out>/report.html         class-wise errors on the test split before and after, settings, how to use the model
<out>/report.csv          the numbers of the report
<out>/classes.svg         the picture of the report, where matplotlib is installed
<out>/.state/             while the work is unfinished: the last whole epoch, from which the same command goes on
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from frlcore import models
from frlcore.checkpoint import Checkpoint
from frlcore.data import Splits
from frlcore.data.folders import divide, scan
from frlcore.device import pick_device
from frlcore.errors import Diverged, UserError
from frlcore.fitting import STAGES, check, fit, recipe
from frlcore.policies import build
from frlcore.repro.bar import Bar
from frlcore.repro.own import duration, report
from frlcore.repro.own import images as fit_images
from frlcore.repro.own.model import Given, weights
from frlcore.repro.own.unfinished import STATE, apart, at_work, finish
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import canonical
from frlcore.repro.surroundings import processors
from frlcore.saving import put, save_model
from frlcore.settings import MODELS, Attack, seeded
from frlcore.successors import PUBLISHED, scaled

METHODS = ("frl", *PUBLISHED)
OUTPUTS = ("model.safetensors", "report.csv", "classes.svg", "report.html")
TEST_STEPS = 20
MAY_KNOW = "If the model started from was trained on some of the test images, its errors before and after are too low."


@dataclass(frozen=True)
class Job:
    """What `frl fit` is asked for; raises UserError for a radius, model or seed that cannot be."""

    path: Path
    eps: str = "8/255"
    tau: float = 0.05
    size: int = 32
    model: str = "preact_resnet18"
    variant: str = "reweight+remargin"
    epochs: int = 30
    fine_tune_epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    augment: str = "crop_flip"
    seed: int = 0
    start: Path | None = None  # a robust model that is there already: the fine-tuning alone
    method: str = "frl"

    def __post_init__(self) -> None:
        radius(self.eps)
        if self.model not in MODELS:
            raise UserError(f"unknown model '{self.model}'; known: {', '.join(MODELS)}")
        if self.method not in METHODS:
            raise UserError(f"unknown method '{self.method}'; known: {', '.join(METHODS)}")
        if self.method != "frl" and (self.tau, self.variant) != (Job.tau, Job.variant):
            raise UserError(f"--tau and --variant are settings of FRL; leave them out with --method {self.method}")
        for name in ("epochs", "fine_tune_epochs"):
            if not 1 <= getattr(self, name) < 2**31:
                raise UserError(f"--{name.replace('_', '-')} is a positive number, not {getattr(self, name)}")
        if self.size < 1:
            raise UserError(f"--size is a positive number of pixels, not {self.size}")
        if self.batch_size < 2:
            raise UserError(f"--batch-size must be at least 2, since batch norm compares images; got {self.batch_size}")
        seeded(self.seed)

    def settings(self) -> dict[str, Any]:
        """What counts for this method; of images and start their content does, not where they lie."""
        others = ("method",) if self.method == "frl" else ("tau", "variant")
        found = {name: value for name, value in asdict(self).items() if name not in ("path", "start", *others)}
        return found if self.start is None else found | {"start": hashlib.sha256(self.start.read_bytes()).hexdigest()}


def number(text: str, examples: str) -> float:
    """An eps written as a number or a fraction; UserError, with `examples`, for anything else."""
    above, slash, below = text.partition("/")
    try:
        return float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"eps is a number such as {examples}, not '{text}'") from error


def radius(text: str) -> float:
    """A radius written as 8/255 or 0.03, a fraction of the pixel range above 0 and at most 1; UserError otherwise."""
    value = number(text, "8/255 or 0.03")
    if not 0 < value <= 1:
        meant = f"; did you mean {text.strip()}/255?" if 1 < value <= 255 and "/" not in text else ""
        raise UserError(f"eps is a fraction of the pixel range, above 0 and at most 1, not '{text}'{meant}")
    return value


def fit_folder(job: Job, out: Path, *, device: str = "auto", console: Console) -> report.Comparison:
    """Train on the images of `job.path` and write the OUTPUTS into `out`; an interrupted call goes on where it was.

    Raises UserError, before anything is written, for settings and images that cannot be trained with, and for an
    `out` that holds anything but the unfinished work of the same call.
    """
    eps = radius(job.eps)
    job, given = _started(job)
    stages = recipe(eps, epochs=job.epochs, fine_tune_epochs=job.fine_tune_epochs, batch_size=job.batch_size, lr=job.lr)
    pick_device(device)
    torch.set_num_threads(min(torch.get_num_threads(), processors()))  # torch sees the cores, not a quota of them
    apart(out, job.path)
    listing = scan(job.path)
    if given and given.classes != listing.classes:
        own, theirs = (", ".join(names) for names in (given.classes or (), listing.classes))
        raise UserError(f"the classes of {job.start} are not those of {job.path}: {own} | {theirs}")
    published: dict[str, Any] = scaled(job.method, stages[1])
    chosen = published if job.method != "frl" else {"variant": job.variant, "tau": job.tau}
    policy = build(job.method, len(listing.classes), **chosen)
    with at_work(out, job.settings(), "frl fit") as state:
        images = fit_images.read(listing, job.size, state, console)
        splits, notes = divide(listing, images, seed=job.seed, augment=job.augment)
        notes = [*listing.notes, *notes, *([MAY_KNOW] if given else [])]
        for line in notes:
            console.print(line, soft_wrap=True, markup=False)
        check(splits, policy, list(stages))
        settings = {**job.settings(), "digest": splits.info.digest}
        keys = {stage: hashlib.sha256(canonical({**settings, "stage": stage})).hexdigest() for stage in STAGES}
        store = Store(state, elsewhere="another --out", published=None)
        fit_images.keep(images, listing, job.size, state)
        resume = {stage: saved for stage, key in keys.items() if (saved := store.load_state(key))}
        model = models.build(job.model, num_classes=len(splits.info.classes), in_channels=3, seed=job.seed)
        if given:
            model.load_state_dict(given.model.state_dict())
        ahead = dict(list(zip(STAGES, stages, strict=True))[1 if given else 0 :])
        if not resume:
            for line in duration.forecast(model, splits, list(ahead.values()), pick_device(device), TEST_STEPS):
                console.print(line, soft_wrap=True, markup=False)
        totals = {stage: how.epochs for stage, how in ahead.items()}
        with _diverging(job, out), _Bar(totals, resume, console) as bar:

            def keep(stage: str, checkpoint: Checkpoint) -> None:
                _save(store, keys[stage], checkpoint, out)
                bar.see(stage, checkpoint.epoch)

            fitted = fit(
                model, splits, policy=policy, warm_up=ahead.get(STAGES[0]), training=stages[1], seed=job.seed,
                device=device, resume=resume, after_epoch=keep,
            )  # fmt: skip
        attack = Attack(eps, eps / 4, TEST_STEPS)
        found = report.compare(fitted, splits.tested(), info=splits.info, attack=attack, method=job.method.upper(),
                               seed=job.seed)  # fmt: skip
        save_model(out / OUTPUTS[0], model, name=job.model, info=splits.info, notes=job.settings())
        _report(found, job, splits, notes, fitted.selected_epoch, out, console)
        finish(state)
    for name in OUTPUTS:
        for stale in out.glob(f".{name}.*"):  # a process that died while it wrote
            stale.unlink(missing_ok=True)
    return found


def _started(job: Job) -> tuple[Job, Given | None]:
    """The job with the network and image size of the model it starts from, and that model; None without one."""
    if job.start is None:
        return job, None
    if job.start.suffix != ".safetensors":
        raise UserError(
            f"--start takes weights that frlcore wrote, not {job.start}; with any other network use frlcore.fit(model, "
            "splits, policy=..., warm_up=None) in Python"
        )
    given = weights(job.start)
    assert given.name and given.size  # those of a file, unlike those of a function, are known
    for name, own in (("model", given.name), ("size", given.size)):
        if getattr(job, name) not in (own, getattr(Job, name)):
            raise UserError(f"{job.start} is a {given.name} for {given.size} pixels a side; leave out --{name}")
    return replace(job, model=given.name, size=given.size), given


def _save(store: Store, key: str, checkpoint: Checkpoint, out: Path) -> None:
    try:
        store.save_state(key, checkpoint)
    except UserError as error:  # the store's advice is for its own users
        reason = getattr(error.__cause__, "strerror", None) or error
        raise UserError(f"cannot write into {out}: {reason}; make room, then run the same command again") from error


@contextmanager
def _diverging(job: Job, out: Path) -> Iterator[None]:
    """Say which option to change when the loss runs away, and let go of work that can only end the same way."""
    try:
        yield
    except Diverged as error:
        shutil.rmtree(out / STATE)
        advice = f"choose a lower --lr than {job.lr} (the fine-tuning takes a tenth of it)"
        raise UserError(f"{error.what}: {advice}") from error


def _report(
    found: report.Comparison, job: Job, splits: Splits, notes: list[str], epoch: int, out: Path, console: Console
) -> None:
    frame = found.frame()
    put(out / "report.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    try:
        picture = report.svg(found)
        put(out / "classes.svg", picture)
    except (ImportError, ValueError) as error:  # matplotlib is not there, or its MPLBACKEND is none it knows
        picture = None
        gone = error.name if isinstance(error, ModuleNotFoundError) else ""
        why = f"the package {gone} is not installed." if gone else str(error)
        console.print(f"No picture: {why}", soft_wrap=True, markup=False)
    page = report.page(
        found, frame, picture, title=splits.info.name, size=job.size, settings=_words(job, splits, notes, epoch)
    )
    put(out / "report.html", page.encode())


def _words(job: Job, splits: Splits, notes: list[str], epoch: int) -> dict[str, str]:
    """The settings as the report shows them."""
    parts = f"{len(splits.train)} training, {len(splits.validation)} validation, {len(splits.tested())} test"
    shown = {name.replace("_", " "): str(value) for name, value in job.settings().items()}
    return {
        "images": f"{parts}, RGB, {job.size} x {job.size} pixels; what is transparent lies over grey",
        "left out and repeated": "; ".join(notes) or "nothing",
    } | shown | {
        "test attack": f"PGD-{TEST_STEPS}, l-inf, radius {job.eps}, steps of a quarter of it",
        "weights": f"after epoch {epoch} of {job.fine_tune_epochs} of the fine-tuning, chosen on validation by the "
        "robust error of the worst class",
        "images, sha256": splits.info.digest,
    }  # fmt: skip


class _Bar(Bar):
    """Epochs done and the time left."""

    def __init__(self, totals: dict[str, int], resume: dict[str, Checkpoint], console: Console) -> None:
        super().__init__(console, "starting", sum(totals.values()), sum(state.epoch for state in resume.values()))
        self.totals = totals
        if self.done:
            console.print(f"Going on after {self.done} of {self.total} epochs.")

    def see(self, stage: str, epoch: int) -> None:
        """Take in one finished epoch."""
        done = self.done + 1
        self.show(done, f"{stage}, epoch {epoch} of {self.totals[stage]}, about {self.left(done)} left")
