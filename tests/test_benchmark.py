"""The benchmark at its smallest: it runs, and both sides train the network."""

from __future__ import annotations

import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from frlcore import data

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "frl_epoch.py"


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
