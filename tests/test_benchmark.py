"""The benchmarks at their smallest: they run, and both sides train the network."""

from __future__ import annotations

import csv
import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from frlcore import data, models

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "frl_epoch.py"
SPEED = BENCHMARK.with_name("cifar10_speed.py")


def few(split: data.Split, count: int) -> data.Split:
    picks = torch.cat([(split.labels == c).nonzero().squeeze(1)[:count] for c in range(10)])
    return data.Split(split.images[picks], split.labels[picks], split.index[picks])


def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = runpy.run_path(str(BENCHMARK), run_name="frl_epoch")
    whole = data.load("digits")
    splits = data.Splits(whole.info, few(whole.train, 7), few(whole.validation, 3), whole.test)
    short = {"epochs": 1, "steps": 1, "validation_steps": 1, "milestones": ()}
    base, fine_tune = (replace(how, **short) for how in (benchmark["EDITION"].base, benchmark["EDITION"].fine_tune))
    with torch.random.fork_rng():
        seconds, found = benchmark["run"](splits, base, fine_tune, rounds=1, seeds=2, epochs=1)
    assert len(seconds) == 4 and all(len(v) == 1 and v[0] > 0 for v in seconds.values())
    assert [c.kind for c in found] == ["standard", "robust"]
    assert all(len(c.ours) == len(c.other) == 2 and min(c.ours + c.other) >= 0 for c in found)
    printed = capsys.readouterr().out
    assert "as released" in printed and not any(math.isnan(c.difference) for c in found)


def test_the_interval_is_welchs() -> None:
    compare = runpy.run_path(str(BENCHMARK), run_name="frl_epoch")["Comparison"]
    ours, other = [0.1, 0.2, 0.4], [0.3, 0.35, 0.2]
    wanted = stats.ttest_ind(ours, other, equal_var=False).confidence_interval(0.95)
    assert compare("robust", ours, other).interval == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize("bad", [["--rounds", "0"], ["--seeds", "1"], ["--threads", "0"]])
def test_bad_arguments(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(BENCHMARK), run_name="frl_epoch")["main"](bad)
    assert stop.value.code == 2 and "must be at least 1" in capsys.readouterr().err


def test_the_speed_at_the_size_of_cifar10(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = runpy.run_path(str(SPEED), run_name="cifar10_speed")
    report = benchmark["run"](
        torch.device("cpu"), batch_size=8, batches=1, test_images=10, rounds=2, matrix=32, model="preact_narrow"
    )
    report.print()
    report.write(tmp_path)
    rows = json.loads((tmp_path / "cifar10_speed.json").read_text())["rows"]
    assert [(r["task"].split("-")[0], r["loop"]) for r in rows] == [
        (task, loop) for task in ("PGD", "TRADES", "PGD") for loop in ("ours", "straightforward")
    ]
    assert all(r["images_per_second"] > 0 and r["ratio_low"] <= r["ratio"] <= r["ratio_high"] for r in rows)
    assert all(r["ratio"] == 1 for r in rows if r["loop"] == "ours")
    assert report.clean_agreement == 1 and report.robust_agreement >= 0.9
    with open(tmp_path / "cifar10_speed.csv") as file:
        assert [r["task"] for r in csv.DictReader(file)] == [r["task"] for r in rows]
    printed = capsys.readouterr().out
    assert "seconds over ours" in printed and "equal verdicts" in printed


def test_the_model_s_operations_are_counted() -> None:
    """PreActResNet-18: 1.11 GFLOP an image, counted here layer by layer, without batch norm and additions."""
    benchmark = runpy.run_path(str(SPEED), run_name="cifar10_speed")
    count, size, channels = 2 * 27 * 64 * 32**2 + 2 * 512 * 10, 32, 64
    for stage, width in enumerate((64, 128, 256, 512)):
        size //= 2 if stage else 1
        count += 2 * size**2 * width * 9 * (channels + 3 * width)
        count += 2 * size**2 * width * channels if stage else 0  # the shortcut
        channels = width
    model = models.build("preact_resnet18", num_classes=10, in_channels=3, seed=0)
    assert benchmark["forward_flop"](model, torch.device("cpu")) == count


@pytest.mark.parametrize(("bad", "said"), [(["--rounds", "0"], "must be at least 1"), ([], "--tiny runs on the CPU")])
def test_bad_arguments_of_the_speed(
    bad: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SPEED), run_name="cifar10_speed")["main"](bad)
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_precisions_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SPEED.parent))
    benchmark = runpy.run_path(str(SPEED.with_name("cpu_training.py")), run_name="cpu_training")
    task = "TRADES-10 training"
    monkeypatch.setitem(benchmark["HOW"], task, replace(benchmark["HOW"][task], steps=1))
    rows = benchmark["compare"](
        "preact_narrow", task, ("bfloat16", "straightforward"), rounds=1, batches=1, batch_size=4
    )
    assert [row.loop for row in rows] == ["float32", "bfloat16", "straightforward"]
    assert [row.computed_in for row in rows] == ["float32", "bfloat16 (forward autocast, attack bfloat16)", "float32"]
    assert rows[0].ratio == 1 and all(row.images_per_second > 0 and row.first_seconds > 0 for row in rows)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # at foolbox's import
def test_audits_beside_other_tools() -> None:
    run = runpy.run_path(str(BENCHMARK.with_name("audit_speed.py")), run_name="audit_speed")["run"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = run.__globals__["ten_lines"]().eval()
    run.__globals__["networks"] = lambda epochs: {"untrained": network}
    rows = run(rounds=1, epochs=1, images=30)
    assert [row[1] for row in rows] == ["frlcore.audit", "foolbox", "pyautoattack"] and rows[0][-1] == "100.0%"
    assert all(float(row[2]) > 0 for row in rows) and rows[0][3] == "" and float(rows[1][3].split()[0]) > 0
