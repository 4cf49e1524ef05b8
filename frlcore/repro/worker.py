"""Carry out one run from its description to its records. Imported once by the process that forks the workers."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import sklearn.datasets  # noqa: F401 (this and the next: seconds that forked workers need not spend again)
import torch
import torch._dynamo  # noqa: F401 (torch.optim imports it at the first optimizer)

from frlcore import data, models
from frlcore.errors import UserError
from frlcore.evaluate import outcomes
from frlcore.repro.config import Run
from frlcore.repro.store import PROJECT, Store, pack
from frlcore.training import Checkpoint, generator_for, train


def pick_device(name: str) -> torch.device:
    """The device called `name` (cpu, cuda, cuda:1), or the best one for "auto"; UserError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("not a device for training")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' is not available here; try --device cpu") from error
    return device


def carry_out(
    run: Run,
    store: Store,
    *,
    device: str = "auto",
    after_epoch: Callable[[int], bool] = lambda epoch: False,
    deadline: float | None = None,
) -> bool:
    """Train, test and store `run`, going on from its last whole epoch; False if `after_epoch` stopped it.

    Test predictions are made once, at the end, for the last and the validation-selected weights, in float32. A run
    that another process has in hand is waited for, until `deadline` (`time.time()`) if there is one.
    """
    where = pick_device(device)
    with store.lock(run.key, deadline) as held:
        if not held:
            return False
        if store.done(run.key) and store.trained(run.key):
            return True
        splits = _to(data.load(run.dataset, root=PROJECT / "data" / "raw", fold=run.fold, folds=run.folds), where)
        model = _model(run, store, where)
        policy = run.build_policy()
        started, seconds = time.perf_counter(), []

        def keep(checkpoint: Checkpoint) -> bool:
            store.save_state(run.key, checkpoint)
            seconds.append(round(time.perf_counter() - started - sum(seconds), 4))
            return after_epoch(checkpoint.epoch)

        resume = store.load_state(run.key)
        last = train(model, splits, run.training, policy, seed=run.seed, resume=resume, after_epoch=keep)
        if last.epoch < run.training.epochs:
            return False
        weights = {"last": last.model, "selected": last.selected}
        body = {
            "description": run.description,
            "classes": list(splits.info.classes),
            "history": last.history,
            "selected_epoch": last.selected_epoch,
            "outcomes": {name: _test(run, model, w, splits, where) for name, w in weights.items()},
        }
        images = len(splits.train) // run.training.batch_size * run.training.batch_size * len(seconds)
        made = {
            "seconds": round(time.perf_counter() - started, 3),
            "epoch_seconds": seconds,
            "resumed_at_epoch": resume.epoch if resume else 0,
            "training_images_per_second": round(images / max(sum(seconds), 1e-9), 1),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **machine(where),
        }
        store.finish(run.key, body, made, weights)
        return True


def machine(device: torch.device) -> dict[str, Any]:
    """What made a record: versions, commit, processor."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "commit": _commit(),
    }


def _model(run: Run, store: Store, device: torch.device) -> torch.nn.Module:
    facts = data.info(run.dataset)
    model = models.build(run.model, num_classes=len(facts.classes), in_channels=facts.shape[0], seed=run.seed)
    if run.start:
        model.load_state_dict(store.weights(run.start.key))
    return model.to(device)


def _to(splits: data.Splits, device: torch.device) -> data.Splits:
    parts = (splits.train, splits.validation, splits.test)
    return data.Splits(splits.info, *(data.Split(*(t.to(device) for t in vars(part).values())) for part in parts))


def _test(
    run: Run, model: torch.nn.Module, weights: dict[str, torch.Tensor], splits: data.Splits, device: torch.device
) -> dict[str, str]:
    """Predictions on the test split, packed; "last" is the verdict of the attack's last point."""
    model.load_state_dict(weights)
    generator = generator_for("test", run.seed, 0, device)
    with torch.backends.cudnn.flags(allow_tf32=False):  # true float32 on a GPU, too
        found = outcomes(
            model, splits.test, scale=splits.info.scale, attack=run.test, generator=generator, last_iterate=True
        )
    assert found.last is not None
    arrays = {"label": found.label, "clean": found.clean, "any": found.adversarial, "last": found.last}
    arrays["index"] = splits.test.index.cpu().numpy().astype(np.uint32)
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
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
