"""`frl export`: the file holds the network of the run that was named, and what cannot be named is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from frlcore import load_model, models
from frlcore.errors import UserError
from frlcore.repro.paper import plan
from frlcore.repro.runs import store as stores
from frlcore.repro.runs.export import export
from frlcore.repro.runs.files import pack
from frlcore.repro.runs.store import Store

RUN, OTHER = plan.run("smoke", "pgd"), plan.run("smoke", "natural")


def finish(store: Store, run: plan.Task, weights: bool = True) -> dict[str, torch.Tensor]:
    """A finished run of weights that no training has seen."""
    model = models.build("preact_small", num_classes=10, in_channels=1, seed=7)
    last = {"last": model.state_dict()} if weights else {}
    outcomes = {"last": {"label": pack(np.arange(10, dtype=np.uint8))}}
    store.finish(run.key, {"description": run.description, "outcomes": outcomes}, {}, last)
    return model.state_dict()


@pytest.mark.parametrize("half", [False, True])
def test_the_file_is_the_network_of_the_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: bool
) -> None:
    weights = finish(store, RUN)
    finish(store, OTHER)
    if half:
        monkeypatch.setattr(stores, "LARGE", (store.folder(RUN.key) / "last.safetensors").stat().st_size - 1)
        store.publish(RUN.key, weights=True)
        (store.folder(RUN.key) / "last.safetensors").unlink()
    said = export(RUN.key[:12], tmp_path / "m.safetensors", store)
    precision = "half precision" if half else "float32"
    assert said == f"preact_small on digits (uniform policy, pgd objective, seed 0; {precision})"
    model, classes = load_model(tmp_path / "m.safetensors")
    assert classes == tuple("0123456789") and not model.training
    for name, found in model.state_dict().items():
        wanted = weights[name].half().float() if half and found.is_floating_point() else weights[name]
        assert torch.equal(found, wanted)
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata()["run"] == RUN.key and file.metadata()["weights"] == f"last, {precision}"


def test_what_is_not_one_run_with_weights_is_one_line(store: Store, tmp_path: Path) -> None:
    finish(store, RUN, weights=False)
    check = plan.run("smoke", "pgd+autoattack")
    finish(store, check, weights=False)
    taken = tmp_path / "taken.safetensors"
    taken.write_text("mine")
    target = tmp_path / "m.safetensors"
    for begin, path, words in (
        ("pgd", target, "its key's first digits, 6 or more"),
        ("*" * 12, target, "its key's first digits, 6 or more"),
        ("0" * 12, target, "no single finished run has a key that begins with 000000000000"),
        (RUN.key[:30] + "0" * 10, target, "no single finished run"),
        (RUN.key, tmp_path / "m.pt", "m.pt should end in .safetensors"),
        (RUN.key, taken, "is there already; choose another --out"),
        (check.key[:12], target, f"a stronger test of run {RUN.key[:12]}"),
        (RUN.key, target, f"the weights of run {RUN.key[:12]} are not at hand"),
    ):
        with pytest.raises(UserError) as failed:
            export(begin, path, store)
        assert words in str(failed.value) and "\n" not in str(failed.value)
    assert taken.read_text() == "mine" and not target.exists()


def test_digits_that_two_runs_share_name_both(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "keys", lambda begin: ["ab" * 32, "abcdef" + "0" * 58])
    with pytest.raises(UserError, match="there are abababababababababab, abcdef00000000000000"):
        export("abcdef", tmp_path / "m.safetensors", store)


def test_a_damaged_record_is_named(store: Store) -> None:
    finish(store, RUN)
    (store.folder(RUN.key) / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json is truncated or damaged"):
        store.keys(RUN.key[:12])
