"""Checks of finished runs: what is stored, and that an interruption changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frlcore import data, models
from frlcore.errors import UserError
from frlcore.repro.runs import checks
from frlcore.repro.runs.engines import run_local
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Check, Run
from frlcore.repro.runs.worker import carry_out
from frlcore.smoothing import certify
from frlcore.training import generator_for

Make = Callable[..., Run]
SMOOTHING = {"sigma": 0.25, "n0": 10, "n": 200, "alpha": 0.01, "every": 2}


@pytest.fixture
def noisy(tiny_run: Make) -> Run:
    return tiny_run(training={"objective": "noise", "sigma": 0.25, "epochs": 3})


def outcomes(store: Store, check: Check) -> dict[str, np.ndarray]:
    result = store.result(check.key)
    assert result is not None and result["description"] == check.description
    return result["outcomes"]["last"]


def test_a_certification_is_made_after_its_run_and_holds_every_kth_image(store: Store, noisy: Run) -> None:
    check = Check(noisy, "certify", SMOOTHING)
    assert run_local([check, noisy], store, workers=2, device="cpu") == 0
    found = outcomes(store, check)
    splits = data.load("digits", fold=0, folds=4)
    assert found["index"].tolist() == splits.test.index[::2].tolist()
    assert found["label"].tolist() == splits.test.labels[::2].tolist()
    assert ((found["certified"] == -1) == (found["radius"] == 0)).all()
    assert store.provenance(check.key)["precision"] == "float32"
    right = found["certified"] == found["label"]
    assert 0.3 < right.mean() < 1 and found["radius"].max() < 0.25 * 3  # Phi^-1 of a bound from 200 draws is below 3


def test_what_is_certified_is_the_last_model(store: Store, noisy: Run) -> None:
    check = Check(noisy, "certify", SMOOTHING | {"n": 20_000, "every": 150})
    assert carry_out(noisy, store, device="cpu") and carry_out(check, store, device="cpu")
    model = models.build("preact_small", num_classes=10, in_channels=1, seed=0)
    model.load_state_dict(store.weights(noisy.key))
    images = data.to_float(data.load("digits", fold=0, folds=4).test.images[::150], 16)
    own = torch.Generator().manual_seed(5)  # other draws: the radii agree up to sampling error
    classes, radius = certify(model, images, sigma=0.25, n0=100, n=20_000, alpha=0.01, generator=own)
    found = outcomes(store, check)
    both = (found["radius"] > 0.05) & (radius.numpy() > 0.05)
    assert both.any() and (found["certified"][both] == classes.numpy()[both]).all()
    assert np.abs(found["radius"] - radius.numpy())[both].max() < 0.04


def test_an_interrupted_check_ends_with_the_same_bytes(store: Store, noisy: Run, tmp_path: object) -> None:
    check = Check(noisy, "certify", SMOOTHING | {"n": 4000, "every": 20})
    assert carry_out(noisy, store, device="cpu")
    steps: list[int] = []

    def stop_now(step: int) -> bool:
        steps.append(step)
        return True

    stops = 0
    while not carry_out(check, store, device="cpu", after_step=stop_now):
        stops += 1
        assert not store.done(check.key) and store.load_part(check.key)
    assert stops > 3 and steps == sorted(steps) and steps[-1] == 100
    path = store.folder(check.key) / "result.json"
    first = path.read_bytes()
    path.unlink()
    assert carry_out(check, store, device="cpu") and path.read_bytes() == first
    assert not (store.folder(check.key) / "state.safetensors").exists()


def test_autoattack_breaks_at_least_what_was_broken_clean(store: Store, tiny_run: Make) -> None:
    run = tiny_run(training={"epochs": 3})
    check = Check(run, "autoattack", {"eps": 0.1, "norm": "linf", "every": 150, "queries": 10})
    assert run_local([run, check], store, workers=1, device="cpu") == 0
    found = outcomes(store, check)
    result = store.result(run.key)
    assert result is not None
    clean = result["outcomes"]["last"]["clean"][::150]
    wrong = clean != found["label"]
    assert (found["autoattack"][wrong] == clean[wrong]).all()
    assert (found["autoattack"] != found["label"]).mean() >= wrong.mean()


def test_autoattack_takes_as_many_images_of_each_class(store: Store, tiny_run: Make) -> None:
    run = tiny_run()
    check = Check(run, "autoattack", {"eps": 0.1, "norm": "linf", "per_class": 2, "queries": 10})
    assert run_local([run, check], store, workers=1, device="cpu") == 0
    found, test = outcomes(store, check), data.load("digits", fold=0, folds=4).test
    assert np.bincount(found["label"]).tolist() == [2] * 10
    first = [position for c in range(10) for position in np.flatnonzero(test.labels.numpy() == c)[:2]]
    assert found["index"].tolist() == test.index[sorted(first)].tolist()


def test_a_check_without_its_run_says_what_to_do(store: Store, noisy: Run) -> None:
    with pytest.raises(UserError, match="last weights of run .* are missing"):
        carry_out(Check(noisy, "certify", SMOOTHING), store, device="cpu")


def test_a_certification_is_asked_for_by_its_settings_with_other_numbers_each_portion(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7000 copies of each of 5 images: 3 images make up the 20,000 of a portion."""
    asked: list[tuple[int, dict[str, Any], int]] = []

    def certain(model: nn.Module, x: Tensor, *, generator: torch.Generator, **how: Any) -> tuple[Tensor, Tensor]:
        asked.append((len(x), how, generator.initial_seed()))
        return torch.full((len(x),), 300), torch.full((len(x),), 1 / 3, dtype=torch.float64)

    monkeypatch.setattr(checks, "certify", certain)
    how = {"sigma": 0.5, "n0": 10, "n": 7000, "alpha": 0.01}
    check, splits = Check(tiny_run(seed=4), "certify", how | {"every": 90}), data.load("digits", fold=0, folds=4)
    found = checks.carry_out_check(check, nn.Identity(), splits, store, lambda step: False)
    assert found is not None and found["certified"].tolist() == [300] * 5 and found["radius"].tolist() == [1 / 3] * 5
    seeds = [generator_for("certify", 4, number, "cpu").initial_seed() for number in (0, 1)]
    assert asked == [(3, how, seeds[0]), (2, how, seeds[1])]


def test_autoattack_is_asked_for_by_its_settings_with_every_images_label(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def untouched(model: nn.Module, x: Tensor, y: Tensor, **how: Any) -> Tensor:
        assert how == {"eps": 0.2, "norm": "l2", "seed": 4, "queries": 10}
        asked.append((x, y))
        return y

    monkeypatch.setattr(checks, "autoattack", untouched)
    monkeypatch.setattr(checks, "ATTACKED", 3)
    check = Check(tiny_run(seed=4), "autoattack", {"eps": 0.2, "norm": "l2", "every": 90, "queries": 10})
    splits = data.load("digits", fold=0, folds=4)
    checks.carry_out_check(check, nn.Identity(), splits, store, lambda step: False)
    x, y = (torch.cat(parts) for parts in zip(*asked, strict=True))
    assert len(asked) == 2 and torch.equal(y, splits.test.labels[::90])
    assert torch.equal(x, data.to_float(splits.test.images[::90], 16))
