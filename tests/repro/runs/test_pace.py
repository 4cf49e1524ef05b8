"""How long it takes: from first batches, from records, and on a GPU that is there for a limited time."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from frlcore.errors import UserError
from frlcore.repro.bar import clock
from frlcore.repro.paper import device_plan, plan, tables
from frlcore.repro.paper.records import results
from frlcore.repro.runs import engines, pace
from frlcore.repro.runs.job import Measured, Progress
from frlcore.repro.runs.progress import Report
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run
from frlcore.repro.runs.worker import carry_out

Make = Callable[..., Run]


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock_ = Clock()
    monkeypatch.setattr(time, "perf_counter", clock_)
    monkeypatch.setattr(time, "monotonic", clock_)
    return clock_


def test_the_pace_of_the_first_batches_leaves_out_the_first(tiny_run: Make, hand: Clock) -> None:
    """PGD with one step has 3 + 2 passes an image: batches of 2 s, ten an epoch, make 20 / 5 s for a unit of cost."""
    run, told = tiny_run(training={"batch_size": 100}), []
    first = pace.FirstBatches(run, 1050, told.append)
    for now in (60, 62, 64):  # the first takes a minute to compile
        hand.now = now
        first.see()
    assert run.passes == 5 and told == []
    for now in (66, 90):
        hand.now = now
        first.see()
    assert told == [4.0]


def test_a_worker_tells_its_pace_while_it_trains(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LISTEN", 0.0)
    told: list[float] = []
    run = tiny_run()
    assert carry_out(run, store, device="cpu", on_pace=told.append)
    assert len(told) == 1
    assert 0.1 < told[0] * run.passes / store.provenance(run.key)["epoch_seconds"][0] < 2  # the epoch validates, too


def record(store: Store, run: Run, seconds: float, finished: str, device: str) -> None:
    folder = store.folder(run.key)
    folder.mkdir(parents=True)
    made = {"seconds": seconds, "finished": finished, "device": device}
    (folder / "provenance.json").write_text(json.dumps(made))
    (folder / "result.json").write_text("{}")


def test_the_newest_record_gives_the_pace(store: Store) -> None:
    control, natural = (plan.run("cifar10", method) for method in ("control", "natural"))
    assert isinstance(control, Run) and isinstance(natural, Run)
    runs = plan.alike(plan.edition("cifar10"))
    assert {run.model for run in runs} == {"preact_resnet18"} and {run.dataset for run in runs} == {"cifar10"}
    assert pace.recorded(runs, store) is None
    record(store, control, 2 * control.cost, "2026-01-02T00:00:00Z", "new")
    record(store, natural, 9 * natural.cost, "2026-01-01T00:00:00Z", "old")
    assert pace.recorded(runs, store) == pace.Recorded(2.0, "new")


def test_a_page_says_hours_where_a_record_gives_them_and_else_the_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "default_store", lambda: store)
    found = results("table1", "cifar10-paper", store)
    natural, pgd = (plan.run("cifar10-paper", method) for method in ("natural", "pgd"))
    assert f"{natural.cost + pgd.cost:,.0f} more forward passes" in tables.note(found).data
    assert "hours" not in tables.note(found).data
    other = plan.run("cifar10", "control")
    assert isinstance(other, Run)
    record(store, other, 7.2 * other.cost, "2026-01-02T00:00:00Z", "one core")
    said = tables.note(found).data
    assert f"About {(natural.cost + pgd.cost) * 7.2 / 3600:.1f} hours more for a seed" in said and "(one core)" in said


def test_the_time_left_is_that_of_the_first_batches_until_epochs_are_over(tiny_run: Make, hand: Clock) -> None:
    """Two runs of 10 epochs of 5.3 passes, 106 units; at 4 s a unit on two workers 212 s."""
    runs = [tiny_run(seed=seed, training={"epochs": 10}) for seed in (0, 1)]
    console = Console(file=io.StringIO(), width=200)
    with Report(runs, {run.key: f"run {run.seed}" for run in runs}, console, workers=2) as report:
        report.see(Measured(runs[0], 4.0))
        report.see(Measured(runs[1], 5.0))  # said once
        hand.now = 30.0
        report.see(Progress(runs[0], 1))  # a twentieth of the work in 30 s: 19 times as long for the rest
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("At the pace of the first batches: about 3 min 32 s left.") == 1
    assert "epoch 1 of 10, about 9 min 30 s left" in said


def test_work_that_an_earlier_process_did_is_not_to_be_done_again(tiny_run: Make, hand: Clock) -> None:
    """Two runs of 10 epochs, 53 units each, one of them with 9 behind it: 58 units, of which the first epoch is 5.3."""
    runs = [tiny_run(seed=seed, training={"epochs": 10}) for seed in (0, 1)]
    console = Console(file=io.StringIO(), width=200)
    with Report(runs, {run.key: "a run" for run in runs}, console, begun={runs[0].key: 9}) as report:
        assert report.rest() == pytest.approx(1.1 * runs[0].cost)
        hand.now = 30.0
        report.see(Progress(runs[0], 10, done=True))
        assert report.rest() == pytest.approx(runs[1].cost) and report.gained == pytest.approx(0.1 * runs[0].cost)
    assert "epoch 10 of 10, about 5 min 0 s left" in console.file.getvalue()  # type: ignore[attr-defined]


def test_spans_of_time() -> None:
    assert [clock(s) for s in (-1, 59.6, 600, 7199, 7200, 90_000)] == [
        "0 s", "1 min 0 s", "10 min 0 s", "119 min 59 s", "2 h 0 min", "25 h 0 min",
    ]  # fmt: skip


# Places


def test_runs_side_by_side_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, one of them too small for two runs; as many as CUDA_VISIBLE_DEVICES lets torch count."""
    rooms = {"cuda:0": 80, "cuda:1": 12}
    monkeypatch.setattr("frlcore.device.pick_device", lambda name: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    class Properties:
        def __init__(self, name: str) -> None:
            self.total_memory = rooms[name] * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)
    assert engines.places("auto") == engines.places("cuda") == ["cuda:0", "cuda:1", "cuda:0"]
    assert engines.places("cuda:1") == ["cuda:1"]
    assert engines.places("cuda", 5) == ["cuda:0", "cuda:1"] * 2 + ["cuda:0"]
    rooms["cuda:1"] = 4  # one run is tried in any case
    assert engines.places("cuda:1") == ["cuda:1"]
    digits, cifar = plan.run("digits", "pgd"), plan.run("laptop", "pgd")
    assert engines.usual([digits], "auto") == "cpu" and engines.usual([digits], "cuda") == "cuda"
    assert engines.usual([digits, cifar], "auto") == "auto"
    assert set(engines.places("cpu")) == {"cpu"} and engines.places("cpu", 3) == ["cpu"] * 3


# A GPU for a limited time


def test_what_fits_by_hand(store: Store) -> None:
    """At 23 passes an image, 47,000 images a second take 1 / 23 s for a unit of cost; a minute comes on top."""
    pgd, control = (plan.run("cifar10", method) for method in ("pgd", "control"))
    assert isinstance(pgd, Run) and pgd.passes == device_plan.PASSES
    assert pgd.cost == 30 * (23 + 3) and control.cost == 20 * (27 + 3)
    times = [780 / 23 + 60, 600 / 23 + 60]
    for seconds, count in ((sum(times) + 1, 2), (sum(times) - 1, 1), (times[0] - 1, 0)):
        done, spent = device_plan.fitting([pgd, control], seconds, 47_000)
        assert done == [pgd, control][:count] and spent == pytest.approx(sum(times))


def test_the_plan_for_a_lent_gpu(store: Store) -> None:
    said = device_plan.text(27, store).splitlines()
    assert "    .venv/bin/frl run all --edition cifar10 --device cuda --time-limit 1500s" in said
    heads = [i for i, line in enumerate(said) if line.startswith("At ")]
    assert [said[i].split()[1] for i in heads] == ["5,000", "10,000"]
    slow, fast = heads
    order = [line.strip() for line in said[slow + 1 : fast]]
    assert [plan.label(method) in line for method, line in zip(("pgd", "control"), order, strict=False)] == [True] * 2
    assert set(order) < {line.strip() for line in said[fast + 1 : -1]}  # more at twice the speed
    with pytest.raises(UserError, match="too short"):
        device_plan.text(2, store)
    for minutes in (math.nan, math.inf):
        with pytest.raises(UserError, match="minutes are a number"):
            device_plan.text(minutes, store)
