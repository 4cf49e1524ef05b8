"""What runs need of a machine: networks counted by hand, and the line that says that it has too little."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from frlcore.errors import UserError
from frlcore.repro.paper import plan
from frlcore.repro.runs import needs
from frlcore.repro.runs.engines import run_local
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run

Make = Callable[..., Run]


def test_a_network_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear layer of 64 pixels and 10 classes keeps its input for the backward pass, 64 floats an image."""
    from torch import nn

    monkeypatch.setattr(needs.models, "build", lambda *_, **__: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert needs.network.__wrapped__("any", "digits") == (4 * (64 * 10 + 10), 4 * 64)


def test_the_estimates_by_hand(monkeypatch: pytest.MonkeyPatch, tiny_run: Make) -> None:
    """Weights of 1 MB and 2 MB kept an image: 150 MB + 7 copies + 2 x 1000 images; on disk 2 a run and 6 under way."""
    monkeypatch.setattr(needs, "network", lambda model, dataset: (1_000_000, 2_000_000))
    runs = [tiny_run(seed=seed) for seed in range(3)]
    assert needs.memory(runs[0]) == 4_157_000_000
    assert needs.disk(runs, 2) == 3 * 2_000_000 + 2 * 6_000_000
    check = plan.run("smoke", "pgd+autoattack")
    assert needs.memory(check) == 4_157_000_000 and needs.disk([check], 2) == 0


def test_the_digits_and_the_two_core_edition_need_what_was_measured() -> None:
    """0.15 to 0.19 GB and 2.4 GB of private memory a worker."""
    small, large = (needs.memory(plan.run(name, "pgd")) / 1e9 for name in ("digits", "laptop"))
    assert small == pytest.approx(0.19, abs=0.01) and large == pytest.approx(2.4, abs=0.05)


def test_too_little_disk_is_said_before_the_first_run(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(UserError) as caught:
        run_local([tiny_run()], store, workers=1, device="cpu")
    assert str(store.root) in str(caught.value) and "0.0 GB are free" in str(caught.value)
    assert not store.root.exists()


def test_too_little_memory_names_how_many_runs_fit(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [tiny_run(seed=seed) for seed in range(4)]
    one = needs.memory(runs[0])
    for room, said in ((2.5 * one, "or ask for --workers 2"), (0.5 * one, "make room")):
        monkeypatch.setattr(needs, "free_memory", lambda room=room: int(room))
        with pytest.raises(UserError, match="3 runs at a time need about") as caught:
            needs.check(runs, store, 3, "cpu")
        assert str(caught.value).endswith(said)
    needs.check(runs, store, 3, "cuda:0")  # a GPU has its own
    monkeypatch.setattr(needs, "free_memory", lambda: None)
    needs.check(runs, store, 3, "cpu")


def test_free_memory_is_read_from_the_system(tmp_path: Path) -> None:
    report = tmp_path / "meminfo"
    report.write_text("MemTotal:       24000000 kB\nMemFree: 10 kB\nMemAvailable:   12000 kB\n")
    assert needs.free_memory(report) == 12_288_000
    assert needs.free_memory(tmp_path / "none") is None
