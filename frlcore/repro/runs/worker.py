"""Carry out one run from its description to its records. Imported once by the process that forks the workers."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import sklearn.datasets  # noqa: F401 (this and the next: seconds that forked workers need not spend again)
import torch
import torch._dynamo  # noqa: F401 (torch.optim imports it at the first optimizer)

import frlcore
from frlcore import data, models
from frlcore.acceleration import PLAIN
from frlcore.checkpoint import Checkpoint
from frlcore.device import arithmetic, pick_device
from frlcore.evaluate import walk
from frlcore.repro.places import PROJECT, downloads
from frlcore.repro.runs.checks import carry_out_check, packed
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.pace import FirstBatches
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Check, Run, Task
from frlcore.training import generator_for, train

# Seconds between two checkpoints: on a CPU every epoch has one, on a GPU it can take as long as the epoch.
SAVE_EVERY = {"cpu": 0.0, "cuda": 60.0}


class InHand(Exception):
    """Another process has the run in hand."""


def carry_out(
    run: Task,
    store: Store,
    *,
    device: str = "auto",
    after_step: Callable[[int], bool] = lambda step: False,
    deadline: float | None = None,
    on_pace: Callable[[float], object] = lambda seconds: None,
    patient: bool = True,
) -> bool:
    """Train, test and store `run`, going on from its last checkpoint; False if `after_step` stopped it.

    A step is an epoch of a run, a hundredth of a check. Test predictions are made once, at the end, for the last and
    the validation-selected weights, in float32. A run that another process has in hand is waited for, until `deadline`
    (`time.time()`) if there is one; when not `patient` it raises InHand at once. There is a checkpoint after every
    epoch, on a GPU at most once a minute, and where `after_step` stops the run. On a CPU `on_pace` is told how fast the
    first batches went (`pace.FirstBatches`).
    """
    where = pick_device(device)
    with store.lock(run.key, deadline if patient else 0.0) as held:
        if not held and not patient:
            raise InHand(run.key)
        if not held:
            return False
        if store.done(run.key) and (isinstance(run, Check) or store.trained(run.key)):
            return True
        if isinstance(run, Check):
            return _check(run, store, where, after_step)
        return _run(run, store, where, after_step, on_pace)


def _run(
    run: Run,
    store: Store,
    where: torch.device,
    after_step: Callable[[int], bool],
    on_pace: Callable[[float], object],
) -> bool:
    splits = _splits(run, where)
    model = _model(run, where)
    if run.start:
        model.load_state_dict(store.weights(run.start.key))
    resume = store.load_state(run.key)
    seconds = list(resume.seconds) if resume else []
    started = time.perf_counter() - sum(seconds)  # as if it had never stopped
    saved = time.perf_counter()

    def keep(checkpoint: Checkpoint) -> bool:
        nonlocal saved
        seconds.append(round(time.perf_counter() - started - sum(seconds), 4))
        checkpoint = replace(checkpoint, seconds=seconds)
        due = time.perf_counter() - saved >= SAVE_EVERY[where.type] or checkpoint.epoch == run.training.epochs
        if due:
            store.save_state(run.key, checkpoint)
            saved = time.perf_counter()
        stop = after_step(checkpoint.epoch)
        if stop and not due:
            store.save_state(run.key, checkpoint)
        return stop

    first = FirstBatches(run, len(splits.train), on_pace) if where.type == "cpu" else None
    last = train(
        model, splits, run.training, run.build_policy(), seed=run.seed, resume=resume, after_epoch=keep,
        after_batch=first.see if first else lambda: None,
    )  # fmt: skip
    if last.epoch < run.training.epochs:
        return False
    weights = {"last": last.model, "selected": last.selected} | ({"average": last.average} if last.average else {})
    tested = {name: _test(run, model, one, splits, where) for name, one in weights.items() if name != "selected"}
    same = last.selected_epoch == last.epoch
    tested["selected"] = tested["last"] if same else _test(run, model, last.selected, splits, where)
    body = {
        "description": run.description,
        "classes": list(splits.info.classes),
        "history": last.history,
        "selected_epoch": last.selected_epoch,
        "outcomes": tested,
    }
    images = len(splits.train) // run.training.batch_size * run.training.batch_size * len(seconds)
    made = {
        **_made(run, store, started),
        "epoch_seconds": seconds,
        "resumed_at_epoch": resume.epoch if resume else 0,
        "training_images_per_second": round(images / max(sum(seconds), 1e-9), 1),
        **machine(where, last.arithmetic),
    }
    store.finish(run.key, body, made, weights)
    return True


def machine(device: torch.device, trained: Sequence[str] = ()) -> dict[str, Any]:
    """What made a record: versions, commit, processor, and the precision of its arithmetic.

    `trained` is what training says it computed in (`Checkpoint.arithmetic`); tests and checks compute in float32.
    """
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "precision": f"{', then '.join(trained)} training, float32 test" if set(trained) - {PLAIN} else PLAIN,
        "commit": _commit(),
    }


def _model(run: Run, device: torch.device) -> torch.nn.Module:
    facts = data.info(run.dataset)
    model = models.build(run.model, num_classes=len(facts.classes), in_channels=facts.shape[0], seed=run.seed)
    return model.to(device)


def _check(check: Check, store: Store, device: torch.device, after_step: Callable[[int], bool]) -> bool:
    begin = time.perf_counter()
    splits = _splits(check.start, device)
    model = _model(check.start, device)
    model.load_state_dict(store.weights(check.start.key))
    with arithmetic(device, tf32=False, benchmark=False):  # as in the test
        found = carry_out_check(check, model, splits, store, after_step)
    if found is None:
        return False
    body = {"description": check.description, "classes": list(splits.info.classes), "outcomes": {"last": packed(found)}}
    store.finish(check.key, body, _made(check, store, begin) | machine(device), {})
    return True


def _made(run: Task, store: Store, begin: float) -> dict[str, Any]:
    made = {
        "seconds": round(time.perf_counter() - begin, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return made | ({"start": store.digest(run.start.key)} if run.start else {})


def _splits(run: Run, device: torch.device) -> data.Splits:
    splits = data.load(run.dataset, root=downloads(), fold=run.fold, folds=run.folds)
    return data.Splits(
        splits.info, splits.train.to(device), splits.validation.to(device), splits.tested().to(device)
    )


def _test(
    run: Run, model: torch.nn.Module, weights: dict[str, torch.Tensor], splits: data.Splits, device: torch.device
) -> dict[str, str]:
    """Predictions on the test split, packed; "last" is the verdict of the attack's last point."""
    model.load_state_dict(weights)
    generator = generator_for("test", run.seed, 0, device)
    with arithmetic(device, tf32=False, benchmark=False):  # true float32 on a GPU, too
        found, _ = walk(
            model, splits.tested(), scale=splits.info.scale, attack=run.test, generator=generator, last_iterate=True
        )
    assert found.last is not None
    arrays = {"label": found.label, "clean": found.clean, "any": found.adversarial, "last": found.last}
    arrays["index"] = splits.tested().index.cpu().numpy().astype(np.uint32)
    return {name: pack(values) for name, values in arrays.items()}


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        return f"{names[0]}, {os.cpu_count()} cores"
    except (OSError, IndexError):
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


@cache
def _commit() -> str:
    if PROJECT is None:
        return f"frlcore {frlcore.__version__}"
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
