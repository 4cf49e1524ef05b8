"""The Ray engine: the same bytes as the local one; and what it says when it cannot."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from frlcore.errors import UserError
from frlcore.repro import cli
from frlcore.repro.runs import cluster
from frlcore.repro.runs.cluster import Site, _carry, _code, _need, run_cluster
from frlcore.repro.runs.engines import run_local
from frlcore.repro.runs.job import Ended, Job, Message, Progress
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run

Make = Callable[..., Run]
os.environ |= cluster.QUIET  # Ray reads them when it is imported
ray = pytest.importorskip("ray")


def results(store: Store, runs: list[Run]) -> list[bytes]:
    return [(store.folder(run.key) / "result.json").read_bytes() for run in runs]


# ------------------------------------------------------------------------------------------------ with Ray itself

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray leaves files and processes to its own end


def test_a_ray_of_its_own_makes_the_same_bytes_and_leaves_nothing(
    undisturbed: Store, store: Store, tiny_plan: list[Run], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    folders = set(Path("/tmp").glob("frl-ray-*"))
    monkeypatch.setattr(sys, "argv", ["frl", "run", "tiny", "--edition", "smoke", "--engine", "ray", "--workers", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert not ended.value.code and err == ""
    assert all(line.startswith(("0 of 4", "[", "Trained and tested 4 runs")) for line in out.splitlines()), out
    assert results(store, tiny_plan) == results(undisturbed, tiny_plan)
    assert {path.name for path in store.root.iterdir()} == {run.key[:20] for run in tiny_plan}
    assert not ray.is_initialized() and set(Path("/tmp").glob("frl-ray-*")) == folders


def test_a_lost_node_costs_at_most_an_epoch_and_no_bit(store: Store, tiny_run: Make, tmp_path: Path) -> None:
    """The node that has the run is killed with all its processes, then another one joins."""
    from ray.cluster_utils import Cluster

    size = {"num_gpus": 0, "object_store_memory": 80 * 2**20}
    soon = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "include_dashboard": False, "no_monitor": True, "_system_config": soon}
    nodes = Cluster(initialize_head=True, head_node_args={**size, **head})
    run, steps = tiny_run(training={"epochs": 12}), list[int]()

    def see(message: Message) -> None:
        if isinstance(message, Progress) and not message.done:
            steps.append(message.step)
            if message.step == 4:
                (raylet,) = working.all_processes["raylet"]
                for process in psutil.Process(raylet.process.pid).children(recursive=True):
                    process.kill()
                nodes.remove_node(working, allow_graceful=False)
                nodes.add_node(num_cpus=1, **size)

    try:
        working = nodes.add_node(num_cpus=1, **size)
        assert run_cluster([run], store, address=nodes.address, on_progress=see) == 0
    finally:
        nodes.shutdown()
    resumed = store.provenance(run.key)["resumed_at_epoch"]
    assert 4 <= resumed < 12 and steps[-1] == 12
    assert len(steps) - len(set(steps)) <= 1
    plain = Store(tmp_path / "plain", None)
    assert run_local([run], plain, device="cpu") == 0
    assert results(store, [run]) == results(plain, [run])


# --------------------------------------------------------------------------------------------- without starting it


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_ray_one_line_says_how_to_install_it(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'ray[default]'" in failure(lambda: run_cluster([tiny_run()], store))
    assert not store.root.exists()


def test_a_cluster_that_does_not_answer(store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Could not connect\nand a long story")

    monkeypatch.setattr(ray, "init", refuse)
    said = failure(lambda: run_cluster([tiny_run()], store, address="10.0.0.1:6379"))
    assert "10.0.0.1:6379 (Could not connect)" in said
    assert not store.root.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 0}, "at least 1"),
        ({"workers": 0}, "at least 1"),
        ({"workers": 2, "address": "auto"}, "leave out --workers"),
    ],
)
def test_numbers_are_checked_first(store: Store, tiny_run: Make, changes: dict[str, Any], said: str) -> None:
    assert said in failure(lambda: run_cluster([tiny_run()], store, **changes))


def test_what_a_run_asks_of_its_node() -> None:
    """Four GPUs take eight runs, two on each, where there are processors for them."""
    gpus = {"CPU": 16.0, "GPU": 4.0}
    need = _need(gpus, "auto", 1)
    assert (need.cpus, need.gpus, need.side(gpus)) == (1, 0.5, 8)
    assert _need(gpus, "cuda", 4).side(gpus) == 4
    assert _need(gpus, "cpu", 1).gpus == 0 and _need(gpus, "cpu", 3).side(gpus) == 5
    assert _need({"CPU": 2.0}, "auto", 1).side({"CPU": 2.0}) == 2
    assert "has a GPU" in failure(lambda: _need({"CPU": 2.0}, "cuda", 1))
    assert "3 threads" in failure(lambda: _need({"CPU": 2.0}, "cpu", 3))
    assert "cuda:1" in failure(lambda: _need(gpus, "cuda:1", 1))


def test_a_task_looks_at_its_node_first(store: Store, tiny_run: Make) -> None:
    store.root.mkdir()
    beacon = store.root / "beacon"
    job = Job(tiny_run(), store.root, None, 1, "cpu", None)
    assert "other code" in _carry(job, Site(beacon, "another digest", None)).why
    assert str(store.root) in _carry(job, Site(beacon, _code(), None)).why
    beacon.touch()
    assert _carry(job, Site(beacon, _code(), None), Ended("failed", "why")) == Ended("left")
    late = Job(tiny_run(), store.root, None, 1, "cpu", time.time() - 1)
    assert _carry(late, Site(beacon, _code(), None)) == Ended("left")
    assert [path.name for path in store.root.iterdir()] == ["beacon"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--engine", "slurm"], "known: local, ray"), (["--address", "auto"], "add --engine ray")],
)
def test_the_command_says_which_engines_there_are(
    store: Store, tiny_plan: list[Run], monkeypatch: pytest.MonkeyPatch, capsys: Any, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["frl", "run", "tiny", "--edition", "smoke", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and said in capsys.readouterr().err
