"""The commands for your own images and models, `frl fit` and `frl audit`: their options, in words."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from frlcore.repro.terminal import Terminal
from frlcore.settings import MODELS

DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ..., or auto.")]
out = Terminal()


def fit(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder with one directory of images per class.")],
    eps: Annotated[str, typer.Option(help="l-inf radius in units of the pixel range, as 8/255 or 0.03.")] = "8/255",
    method: Annotated[str, typer.Option(help="frl, or one of its successors: cfa, dafa, wat, faal.")] = "frl",
    tau: Annotated[float, typer.Option(help="FRL: how far a class may lie above the average unhelped.")] = 0.05,
    size: Annotated[int, typer.Option(help="Images are cut to this many pixels a side.")] = 32,
    model: Annotated[str, typer.Option(help=f"One of {', '.join(MODELS)}.")] = "preact_resnet18",
    variant: Annotated[str, typer.Option(help="FRL: reweight, remargin or reweight+remargin.")] = "reweight+remargin",
    epochs: Annotated[int, typer.Option(help="Epochs of PGD adversarial training, the robust start.")] = 30,
    fine_tune_epochs: Annotated[int, typer.Option(help="Epochs of the method.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a batch.")] = 128,
    lr: Annotated[float, typer.Option(help="First learning rate; the fine-tuning takes a tenth.")] = 0.1,
    augment: Annotated[str, typer.Option(help="crop_flip, crop (keeps left and right apart) or none.")] = "crop_flip",
    seed: Annotated[int, typer.Option(help="Seed of the split, the weights and the training.")] = 0,
    start: Annotated[
        Path | None, typer.Option(help="A robust model.safetensors to repair: its fine-tuning alone, no --epochs.")
    ] = None,
    device: DeviceOption = "auto",
    target: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("my-images-frl"),
) -> None:
    """Train a fair robust classifier on the images in PATH; leave it and a report on held-out images in --out."""
    from frlcore.repro.own import report as fit_report
    from frlcore.repro.own.fit import Job, fit_folder

    job = Job(path, eps, tau, size, model, variant, epochs, fine_tune_epochs, batch_size, lr, augment, seed,
              start, method)  # fmt: skip
    found = fit_folder(job, target, device=device, console=out)
    out.print(fit_report.terminal(found, found.frame()))
    out.print(fit_report.price(found), soft_wrap=True)
    out.print(f"Wrote {target / 'report.html'} and the model beside it.", soft_wrap=True, markup=False)


def audit(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Weights that frlcore wrote, FILE.py:FUNCTION (the file "
                                         "is run), or robustbench:NAME; takes images in [0, 1], answers logits.")],
    data: Annotated[str, typer.Option(help="cifar10 (its test images), or a folder with a directory per class.")],
    against: Annotated[str | None, typer.Option(help="Another model, to be compared on the same images.")] = None,
    eps: Annotated[str, typer.Option(help="Radius in units of the pixel range, as 8/255 or 0.03.")] = "8/255",
    norm: Annotated[str, typer.Option(help="linf or l2.")] = "linf",
    attack: Annotated[str, typer.Option(help="pgd (20 steps) or autoattack (much slower).")] = "pgd",
    precision: Annotated[
        float | None, typer.Option(help="Stop a class once its robust error is known to so many points up and down.")
    ] = None,
    per_class: Annotated[int | None, typer.Option(help="Only so many images of each class.")] = None,
    size: Annotated[int | None, typer.Option(help="A folder's images are cut to this many pixels a side; 32.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the attack and of the choice of images.")] = 0,
    device: DeviceOption = "auto",
    target: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("audit"),
) -> None:  # fmt: skip
    """Say which classes MODEL deserts: errors of every class with intervals, tests against another, a report.

    Interrupted, it goes on when the command is given again.
    """
    from frlcore.repro.own.audit import Job, audit_files

    job = Job(model, data, against, eps, norm, attack, precision, per_class, size, seed)
    audit_files(job, target, command=shlex.join(["frl", *sys.argv[1:]]), device=device, console=out)
    out.print(f"Wrote {target / 'report.html'} and its numbers beside it.", soft_wrap=True, markup=False)
