"""What several test files share: one thread, a store of their own, and runs that take a second."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported here, and for every process the tests start

import pytest
import torch
from hypothesis import HealthCheck, settings

from frlcore.data import Split, Splits, load
from frlcore.evaluate import Attack
from frlcore.repro.paper import plan
from frlcore.repro.runs.engines import run_local
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run
from frlcore.training import Training

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl-C
# Tests that draw their input: the same 200 examples in every run of the suite, 10,000 new ones in `make fuzz`.
shared = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", max_examples=200, derandomize=True, database=None, **shared)
settings.register_profile("long", max_examples=10_000, print_blob=True, **shared)
settings.load_profile("short")
TINY = ("pgd", "frl-reweight+remargin-0.05")  # a parent and its child: 4 runs on the smoke edition


@pytest.fixture(scope="session")
def few() -> Splits:
    """100 training and 40 validation digits, as many of each."""
    splits = load("digits")

    def part(split: Split, count: int) -> Split:
        picks = torch.cat([(split.labels == c).nonzero().squeeze(1)[:count] for c in range(10)])
        return Split(split.images[picks], split.labels[picks], split.index[picks])

    return Splits(splits.info, part(splits.train, 10), part(splits.validation, 4))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, also for the command line (FRL_STORE); `tmp_path / "published"` is its published part."""
    monkeypatch.setenv("FRL_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store", tmp_path / "published")


@pytest.fixture
def tiny_run() -> Callable[..., Run]:
    """A run of a second; keywords change the run, those of `training` its training."""

    def make(*, training: dict[str, object] | None = None, **changes: object) -> Run:
        settings = {"objective": "pgd", "epochs": 1, "lr": 0.05, "batch_size": 128, "eps": 0.3, "step_size": 0.15,
                    "steps": 1, "validation_steps": 1} | (training or {})  # fmt: skip
        run = {"dataset": "digits", "model": "preact_small", "test": Attack(eps=0.3, step_size=0.15, steps=1),
               "folds": 4, "training": Training(**settings)} | changes  # fmt: skip
        return Run(**run)  # type: ignore[arg-type]

    return make


@pytest.fixture
def tiny_plan(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The plan "tiny", known to the command line of this process: four runs of the smoke edition."""
    monkeypatch.setitem(plan.PLANS, "tiny", TINY)
    return plan.runs("tiny", "smoke")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which the plan "tiny" was carried out without a disturbance. Read it, never write it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    store = Store(folder / "store", folder / "published")
    runs = {run.key: run for method in TINY for fold in range(2) for run in [plan.run("smoke", method, fold)]}
    assert run_local(list(runs.values()), store, workers=2, device="cpu") == 0
    return store
