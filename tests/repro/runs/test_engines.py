"""The local engine: plans carried out side by side, through failures, time limits and kills, to the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import frlcore
from frlcore import data, models, training
from frlcore.acceleration import Accelerated
from frlcore.errors import UserError
from frlcore.evaluate import outcomes
from frlcore.repro import cli
from frlcore.repro.paper import plan
from frlcore.repro.places import PROJECT
from frlcore.repro.runs import engines, worker
from frlcore.repro.runs.engines import run_local, unfinished
from frlcore.repro.runs.job import Ended, Job, Message, Progress
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run, canonical
from frlcore.repro.runs.worker import carry_out
from frlcore.settings import Attack

Make = Callable[..., Run]
COMMAND = """
from dataclasses import replace
from frlcore.repro import cli
from frlcore.repro.paper import plan
smoke = plan.EDITIONS["smoke"]
plan.PLANS["tiny"] = ("pgd", "frl-reweight+remargin-0.05")
plan.EDITIONS["slow"] = replace(smoke, name="slow", base=replace(smoke.base, steps=5000))  # minutes an epoch
cli.main()
"""
LONG = ("run", "tiny", "--edition", "smoke", "--seeds", "20", "--workers", "2", "--device", "cpu")  # never ends in time
SLOW = ("run", "tiny", "--edition", "slow", "--workers", "2", "--device", "cpu")


def results(store: Store, runs: list[Run]) -> list[bytes]:
    return [(store.folder(run.key) / "result.json").read_bytes() for run in runs]


def failure(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------- plain runs


def test_parents_go_first_and_their_children_start_from_their_weights(undisturbed: Store, tiny_plan: list[Run]) -> None:
    assert all(undisturbed.done(run.key) for run in tiny_plan)
    for run in tiny_plan:
        result = undisturbed.result(run.key)
        assert result is not None
        assert canonical(result["description"]) == canonical(run.description)
        assert [entry["epoch"] for entry in result["history"]] == [0, 1, 2]
        assert 1 <= result["selected_epoch"] <= 2
        assert undisturbed.load_state(run.key) is None
        made = undisturbed.provenance(run.key)
        assert made["threads"] == 1 and made["resumed_at_epoch"] == 0 and len(made["epoch_seconds"]) == 2
        assert made.get("start") == (undisturbed.digest(run.start.key) if run.start else None)
    for child in tiny_plan[2:]:
        assert child.start is not None
        parent, own = undisturbed.result(child.start.key), undisturbed.result(child.key)
        assert parent is not None and own is not None
        start, end = own["history"][0]["validation"]["standard"], parent["history"][-1]["validation"]["standard"]
        assert start == end  # standard errors need no random numbers: the same weights have the same


def test_every_test_image_has_its_outcome(undisturbed: Store, tiny_plan: list[Run]) -> None:
    seen: list[int] = []
    for run in tiny_plan[:2]:  # both folds of one method
        result = undisturbed.result(run.key)
        assert result is not None and set(result["outcomes"]) == {"last", "selected"}
        seen += result["outcomes"]["last"]["index"].tolist()
        for arrays in result["outcomes"].values():
            assert len({len(values) for values in arrays.values()}) == 1
            wrong = arrays["clean"] != arrays["label"]
            assert (arrays["any"][wrong] == arrays["clean"][wrong]).all()  # a clean mistake is a robust one
            assert ((arrays["last"] != arrays["label"]) <= (arrays["any"] != arrays["label"])).all()
    assert sorted(seen) == list(range(1797))


def test_a_second_go_makes_nothing_again(undisturbed: Store, tiny_plan: list[Run]) -> None:
    stamps = [path.stat().st_mtime_ns for path in sorted(undisturbed.root.rglob("*.json"))]
    seen: list[Progress] = []
    assert run_local(tiny_plan, undisturbed, on_progress=seen.append) == 0
    assert seen == [] and [path.stat().st_mtime_ns for path in sorted(undisturbed.root.rglob("*.json"))] == stamps


def test_progress_counts_every_epoch_and_every_run_once(store: Store, tiny_run: Make) -> None:
    runs = [tiny_run(seed=0, training={"epochs": 2}), tiny_run(seed=1)]
    seen: list[Progress] = []
    assert run_local(runs, store, workers=2, device="cpu", on_progress=seen.append) == 0
    for run in runs:
        mine = [(one.step, one.done) for one in seen if isinstance(one, Progress) and one.run.key == run.key]
        last = run.training.epochs
        assert mine == [(epoch, False) for epoch in range(1, last + 1)] + [(last, True)]


def test_a_run_can_start_from_a_published_parent(
    undisturbed: Store, tiny_plan: list[Run], tmp_path: Path
) -> None:
    fresh = Store(tmp_path / "fresh", published=undisturbed.root)
    child = tiny_plan[-1]
    assert fresh.done(child.key)
    other = Run(**{**vars_of(child), "policy": "uniform", "policy_settings": {}})
    assert run_local([other], fresh, workers=1, device="cpu") == 0
    assert [path.name for path in fresh.root.iterdir()] == [other.key[:20]]


def vars_of(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in run.__dataclass_fields__}


# --------------------------------------------------------------------------------------------------------- failures


def test_a_failing_run_does_not_stop_the_others(store: Store, tiny_run: Make) -> None:
    bad = tiny_run(seed=1)
    child = tiny_run(policy="frl", start=bad)
    good = [tiny_run(seed=2), tiny_run(seed=3)]
    damaged = store.folder(bad.key) / "state.safetensors"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no checkpoint")
    said = failure(lambda: run_local([bad, child, *good], store, workers=1, device="cpu"))
    assert str(damaged) in said
    assert all(store.done(run.key) for run in good)
    assert not store.done(bad.key) and not store.folder(child.key).exists()
    assert damaged.read_bytes() == b"no checkpoint"


def test_several_failures_are_counted_in_one_line(store: Store, tiny_run: Make) -> None:
    runs = [tiny_run(training={"batch_size": 5000}), tiny_run(training={"lr": 1e30}), tiny_run()]
    said = failure(lambda: run_local(runs, store, workers=2, device="cpu"))
    assert said.startswith("2 runs failed; the first: ")
    assert "5000" in said or "learning rate" in said
    assert store.done(runs[2].key)


def test_a_worker_that_is_killed_is_reported_and_its_run_goes_on_later(store: Store, tiny_run: Make) -> None:
    """As the system does when memory runs out."""
    run = tiny_run(training={"epochs": 40})

    def kill(message: Message) -> None:
        now = isinstance(message, Progress) and message.step == 2
        for process in multiprocessing.active_children() if now else ():
            process.kill()

    said = failure(lambda: run_local([run], store, workers=1, device="cpu", on_progress=kill))
    assert "exit code -9" in said and "run again" in said
    state = store.load_state(run.key)
    assert state is not None and state.epoch >= 2


def test_each_run_has_a_log_that_its_failure_names(store: Store, tiny_run: Make) -> None:
    good, bad = tiny_run(training={"epochs": 2}), tiny_run(training={"lr": 1e30})
    said = failure(lambda: run_local([good, bad], store, workers=1, device="cpu"))
    log = store.folder(bad.key) / "run.log"
    assert f"(log: {log})" in said and "failed" in log.read_text()
    lines = (store.folder(good.key) / "run.log").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["step 1 of 2", "step 2 of 2", "done"]


def test_an_unexpected_failure_leaves_its_traceback_in_the_log(store: Store, tiny_run: Make) -> None:
    run = tiny_run(training={"epochs": 2})
    state = store.folder(run.key) / "result.json"
    state.mkdir(parents=True)  # where the result should be written
    said = failure(lambda: run_local([run], store, workers=1, device="cpu"))
    log = store.folder(run.key) / "run.log"
    assert str(log) in said and str(state) in log.read_text()


def test_a_run_in_other_hands_is_passed_over_and_taken_up_when_it_is_free(store: Store, tiny_run: Make) -> None:
    """One worker, and the first run in its order locked: the second is made, then the first."""
    held, free = tiny_run(training={"epochs": 2}), tiny_run(seed=1)
    done: list[int] = []
    with ExitStack() as stack:
        stack.enter_context(store.lock(held.key))

        def see(message: Message) -> None:
            if isinstance(message, Progress) and message.done:
                done.append(message.run.seed)
                stack.close()  # the other process lets go

        assert run_local([held, free], store, workers=1, device="cpu", on_progress=see) == 0
    assert done == [1, 0]


def test_at_the_deadline_runs_in_other_hands_are_left(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked at again every two seconds, not all the time."""
    start, looks = engines._start, []
    monkeypatch.setattr(engines, "_start", lambda *how: looks.append(1) or start(*how))
    run = tiny_run()
    with store.lock(run.key):
        assert run_local([run], store, workers=1, device="cpu", deadline=time.time() + 3) == 1
    assert len(looks) <= 3


@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize("name", ["workers", "threads"])
def test_the_number_of_workers_and_threads_is_checked(store: Store, tiny_run: Make, name: str, number: int) -> None:
    said = failure(lambda: run_local([tiny_run()], store, device="cpu", **{name: number}))
    assert said == f"{name} must be at least 1, got {number}" and not store.root.exists()


def test_the_engine_leaves_control_c_and_the_folder_of_temporary_files_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), tempfile.tempdir
    engines._context()
    assert (signal.getsignal(signal.SIGINT), tempfile.tempdir) == before


class Processes:
    """Starts no process: notes the jobs, each of which is left undone at once."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.pipes: list[Connection] = []

    def Pipe(self, duplex: bool) -> tuple[Connection, Connection]:  # noqa: N802
        ours, theirs = multiprocessing.Pipe(duplex)
        self.pipes += ours, theirs
        return ours, theirs

    def Process(self, target: object, args: tuple[Connection, Job], daemon: bool) -> SimpleNamespace:  # noqa: N802
        assert target is engines._work and daemon  # it ends with the engine
        args[0].send(Ended("left"))
        self.jobs.append(args[1])
        return SimpleNamespace(start=lambda: None)


def test_a_job_is_as_it_was_asked_for_and_a_free_device_serves_the_next(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = Processes(), []
    monkeypatch.setattr(engines, "_context", lambda: made)
    monkeypatch.setattr(engines, "places", lambda *how: asked.append(how) or ["cuda:0", "cuda:1"])
    deadline, runs = time.time() + 60, [tiny_run(seed=seed) for seed in range(4)]
    assert run_local(runs, store, workers=2, threads=3, deadline=deadline) == 4
    assert asked == [("cpu", 2)]  # of "auto", for images as small as these
    devices = [job.device for job in made.jobs]
    assert devices[:2] == ["cuda:0", "cuda:1"] and set(devices[2:]) <= {"cuda:0", "cuda:1"}
    assert made.jobs == [
        Job(run, store.root, store.published, 3, device, deadline, patient=False)
        for run, device in zip(runs, devices, strict=True)
    ]
    assert all(pipe.closed for pipe in made.pipes)


@pytest.mark.parametrize("device", ["cuda:99", "tpu-of-mine"])
def test_a_device_that_is_not_there(store: Store, tiny_run: Make, device: str) -> None:
    said = failure(lambda: run_local([tiny_run()], store, workers=1, device=device))
    assert device in said and "such as cpu" in said


# ------------------------------------------------------------------------------ interrupted and taken up again


def test_stopping_after_every_epoch_ends_with_the_same_bytes(
    undisturbed: Store, store: Store, tiny_plan: list[Run]
) -> None:
    """Also after the last one, where only validation and test are left to do."""
    parent, child = tiny_plan[0], tiny_plan[2]
    assert child.start is not None and child.start.key == parent.key
    for run in (parent, child):
        assert not carry_out(run, store, device="cpu", after_step=lambda step: True)
        state = store.load_state(run.key)
        assert state is not None and state.epoch == 1 and not store.done(run.key)
        assert carry_out(run, store, device="cpu", after_step=lambda step: True)
        made = store.provenance(run.key)  # the time of all epochs, whoever made them
        assert made["resumed_at_epoch"] == 1 and len(made["epoch_seconds"]) == 2
        assert made["seconds"] > sum(made["epoch_seconds"]) > state.seconds[0] == made["epoch_seconds"][0] > 0
        whole = len(data.load(run.dataset, fold=run.fold, folds=run.folds).train) // run.training.batch_size
        speed = 2 * whole * run.training.batch_size / sum(made["epoch_seconds"])
        assert made["training_images_per_second"] == pytest.approx(speed, abs=0.1)
    assert results(store, [parent, child]) == results(undisturbed, [parent, child])


def test_a_record_is_what_its_description_gives_by_hand(store: Store, tiny_run: Make) -> None:
    how = {"objective": "natural", "epochs": 2, "batch_size": 32}  # one that has learned, so that every number counts
    run = tiny_run(seed=3, fold=1, test=Attack(eps=0.3, step_size=0.01, steps=1), training=how)
    assert carry_out(run, store, device="cpu")
    splits = data.load("digits", fold=1, folds=4)
    model = models.build("preact_small", num_classes=10, in_channels=1, seed=3)
    last = training.train(model, splits, run.training, run.build_policy(), seed=3)
    numbers = training.generator_for("test", 3, 0, "cpu")
    found = outcomes(model, splits.test, scale=16, attack=run.test, generator=numbers)
    assert (found.clean == found.label).mean() > 0.5 and (found.adversarial != found.clean).any()
    result = store.result(run.key)
    assert result is not None and result["history"] == last.history and result["classes"] == list("0123456789")
    tested = result["outcomes"]["last"]
    assert tested["label"].tolist() == found.label.tolist() and tested["index"].tolist() == splits.test.index.tolist()
    assert tested["clean"].tolist() == found.clean.tolist() and tested["any"].tolist() == found.adversarial.tolist()
    assert all(torch.equal(t, store.weights(run.key)[name]) for name, t in last.model.items())


def test_provenance_has_the_hour_in_utc_and_says_what_is_not_committed(
    tmp_path: Path, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Nowhere-9")
        time.tzset()
        finished = worker._made(tiny_run(), Store(tmp_path), 0.0)["finished"]
    time.tzset()
    assert abs(datetime.fromisoformat(finished) - datetime.now(UTC)).total_seconds() < 60
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *command], check=True)
    (tmp_path / "new").touch()
    subprocess.run(["git", "-C", str(tmp_path), "add", "new"], check=True)
    for place, words in ((tmp_path, "-dirty"), (tmp_path / "gone", "unknown"), (None, frlcore.__version__)):
        monkeypatch.setattr(worker, "PROJECT", place)
        assert worker._commit.__wrapped__().endswith(words)


def test_where_checkpoints_are_rare_the_last_and_that_of_a_stop_are_kept(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, and the stopped run goes on from where it stopped."""
    kept: list[int] = []
    save = Store.save_state
    monkeypatch.setattr(Store, "save_state", lambda self, key, c: kept.append(c.epoch) or save(self, key, c))
    monkeypatch.setitem(worker.SAVE_EVERY, "cpu", 3600.0)
    run = tiny_run(training={"epochs": 6})
    assert not carry_out(run, store, device="cpu", after_step=lambda epoch: epoch == 4)
    assert kept == [4]
    assert carry_out(run, store, device="cpu") and kept == [4, 6]
    assert store.provenance(run.key)["resumed_at_epoch"] == 4


def test_provenance_names_the_arithmetic_that_training_chose(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run begun in bfloat16 that goes on on a machine without it; and one that was in float32 throughout."""
    plain, mixed = tiny_run(), tiny_run(training={"epochs": 2}, seed=1)
    assert carry_out(plain, store, device="cpu")
    assert store.provenance(plain.key)["precision"] == "float32"
    with monkeypatch.context() as patch:
        patch.setattr(training, "accelerate", lambda model: Accelerated(model, compiler=None))
        assert not carry_out(mixed, store, device="cpu", after_step=lambda epoch: True)
    assert carry_out(mixed, store, device="cpu")
    found = store.provenance(mixed.key)["precision"]
    assert found == "bfloat16 (forward autocast, attack bfloat16), then float32 training, float32 test"


def test_weights_that_are_both_last_and_selected_are_tested_once(
    store: Store, tiny_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests: list[Run] = []
    test = worker._test
    monkeypatch.setattr(worker, "_test", lambda run, *rest: tests.append(run) or test(run, *rest))
    once, twice = tiny_run(), tiny_run(training={"epochs": 3, "lr": 1e-9})  # hardly moving: the first is as good
    for run in (once, twice):
        assert carry_out(run, store, device="cpu")
    results = [store.result(run.key) or {} for run in (once, twice)]
    assert [result["selected_epoch"] for result in results] == [1, 1]
    assert tests.count(once) == 1 and tests.count(twice) == 2
    assert results[0]["outcomes"].keys() == results[1]["outcomes"].keys() == {"last", "selected"}


def test_a_kill_during_the_test_ends_with_the_same_bytes(
    undisturbed: Store, store: Store, tiny_plan: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    run = tiny_plan[0]
    with monkeypatch.context() as patch:
        patch.setattr("frlcore.repro.runs.worker._test", killed)
        with pytest.raises(Killed):
            carry_out(run, store, device="cpu")
    state = store.load_state(run.key)
    assert state is not None and state.epoch == run.training.epochs
    assert carry_out(run, store, device="cpu")
    assert results(store, [run]) == results(undisturbed, [run])


@pytest.mark.parametrize("limited", [False, True])
def test_with_a_time_limit_the_order_is_the_plans_and_else_the_long_go_first(
    store: Store, tiny_run: Make, limited: bool
) -> None:
    runs = [tiny_run(seed=n, training={"epochs": n}) for n in (1, 3, 2)]
    seen: list[Progress] = []
    deadline = time.time() + 3600 if limited else None
    assert run_local(runs, store, workers=1, device="cpu", deadline=deadline, on_progress=seen.append) == 0
    done = [one.run.seed for one in seen if isinstance(one, Progress) and one.done]
    assert done == ([1, 3, 2] if limited else [3, 2, 1])


def test_the_deadline_stops_at_an_epochs_end_and_the_next_go_ends_with_the_same_bytes(
    undisturbed: Store, store: Store, tiny_plan: list[Run]
) -> None:
    first = [run for run in tiny_plan if not run.start]
    for run in first:  # the deadline is over when the first epoch ends
        assert not carry_out(run, store, device="cpu", after_step=lambda step: True)
    states = [store.load_state(run.key) for run in tiny_plan]
    assert [state.epoch if state else None for state in states] == [1, 1, None, None]
    assert run_local(tiny_plan, store, workers=2, device="cpu", deadline=time.time() - 1) == 4
    assert run_local(tiny_plan, store, workers=2, device="cpu") == 0
    assert results(store, tiny_plan) == results(undisturbed, tiny_plan)


@contextmanager
def frl(store: Store, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process group of its own, as a terminal starts it."""
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | {"PYTHONPATH": path, "FRL_STORE": str(store.root)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        for one in (process.pid, *members(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        process.communicate()


def members(group: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has just ended
        if int(its_group) == group and state not in "ZX":
            found.append(int(entry.parent.name))
    return found


def until(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@needs_proc
def test_kill_the_engine_at_any_moment_and_start_again(
    undisturbed: Store, store: Store, tiny_plan: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = random.uniform(0, 0.8)
    print(f"killed {pause:.3f} s after the first checkpoint")
    with frl(store, *LONG) as process:
        assert until(lambda: list(store.root.glob("*/state.safetensors")), 60)
        time.sleep(pause)
        assert process.poll() is None and len(members(process.pid)) > 2
        process.kill()
        process.wait()
        assert until(lambda: not members(process.pid), 30), "a worker outlived the engine"
    begun = {run.key: store.load_state(run.key) for run in tiny_plan if not store.done(run.key)}
    monkeypatch.setattr(sys, "argv", ["frl", "run", "tiny", "--edition", "smoke", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert results(store, tiny_plan) == results(undisturbed, tiny_plan)
    for key, state in begun.items():  # nothing but the epoch in flight was made again
        assert store.provenance(key)["resumed_at_epoch"] == (state.epoch if state else 0)


@needs_proc
def test_no_worker_outlives_a_killed_engine_to_the_end_of_its_epoch(store: Store) -> None:
    with frl(store, *SLOW) as process:
        assert until(lambda: len(list(store.root.glob("*/lock"))) == 2, 60)
        time.sleep(0.5)
        process.kill()
        process.wait()
        assert until(lambda: not members(process.pid), 30), "a worker outlived the engine"


@needs_proc
@pytest.mark.parametrize("moment", ["while torch is imported", "while training", "at the end of a batch job"])
def test_control_c_says_one_line(store: Store, moment: str) -> None:
    """And so does the SIGTERM with which a batch system ends a job."""
    with frl(store, *SLOW) as process:
        assert process.stdout is not None
        assert "4 to go" in process.stdout.readline()
        if moment != "while torch is imported":
            assert until(lambda: len(list(store.root.glob("*/lock"))) == 2, 60)
        else:
            assert until(lambda: len(members(process.pid)) > 2, 60)  # the engine, a tracker, and the server of workers
            time.sleep(0.3)
        if moment == "at the end of a batch job":
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=90)  # the server of workers imports torch to the end
        assert process.returncode == 130
        assert err.splitlines() == ["frl: stopped; run the same command again to go on from the last whole epoch"]
        assert until(lambda: not members(process.pid), 10)


def test_the_parents_of_a_parent_without_weights_are_trained_again_too(undisturbed: Store, tmp_path: Path) -> None:
    names = ("pgd", "frl-reweight+remargin-0.05", "frl-reweight+remargin-0.05+autoattack")
    runs = [plan.run("smoke", method) for method in names]
    store = Store(tmp_path / "store", tmp_path / "published")
    for run in runs[:2]:
        shutil.copytree(undisturbed.folder(run.key), store.published / run.key[:20])
        (store.published / run.key[:20] / "last.safetensors").unlink()
    assert unfinished(runs[:2], store) == [] and unfinished(runs[1:], store) == runs[1:]
    assert unfinished(runs, store) == unfinished(runs[::-1], store)[::-1] == runs


def test_a_published_parent_without_weights_is_trained_again(undisturbed: Store, tmp_path: Path) -> None:
    parent, child = (plan.run("smoke", method) for method in ("pgd", "frl-reweight+remargin-0.05"))
    store = Store(tmp_path / "store", tmp_path / "published")
    shutil.copytree(undisturbed.folder(parent.key), store.published / parent.key[:20])
    (store.published / parent.key[:20] / "last.safetensors").unlink()
    assert store.done(parent.key) and not store.trained(parent.key)
    assert unfinished([parent], store) == []  # nothing needs its weights
    assert unfinished([parent, child], store) == [parent, child]
    assert run_local([parent, child], store, device="cpu") == 0
    for run in (parent, child):
        name = f"{run.key[:20]}/result.json"
        assert (store.root / name).read_bytes() == (undisturbed.root / name).read_bytes()
