"""Faults that are really injected while runs are under way; after each the records are those of an undisturbed go.

A `Hurt` run is an ordinary run that harms the process which carries it out. Whole epochs are counted in a log beside
the store: whatever a fault costs is an epoch that stands there twice.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from frlcore.errors import UserError
from frlcore.repro.runs.engines import run_local
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run
from frlcore.repro.runs.worker import carry_out
from frlcore.training import Checkpoint

BALLAST = "ballast"
LOG = "epochs.log"  # beside the store: a line for every epoch that was trained to its end
EPOCHS = 2  # of each run of the smoke edition


class Hurt(Run):
    """A run that does harm to the process it is handed to, once `fault` is set; description and key are the run's."""

    fault: str | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if multiprocessing.current_process().name != "MainProcess" and not hasattr(Store, "counted"):
            Store.counted = True  # type: ignore[attr-defined]
            count_epochs()
            if self.fault:
                FAULTS[self.fault]()


def hurt(runs: Sequence[Run], fault: str | None = None) -> list[Run]:
    found = [Hurt(**{name: getattr(run, name) for name in run.__dataclass_fields__}) for run in runs]
    for one in found:
        object.__setattr__(one, "fault", fault)
    return list(found)


def on_save(act: Callable[[Store, Checkpoint], object], *, before: bool) -> None:
    """Do something in this process whenever it keeps a checkpoint."""
    save = Store.save_state

    def replacement(self: Store, key: str, checkpoint: Checkpoint) -> None:
        if before:
            act(self, checkpoint)
        save(self, key, checkpoint)
        if not before:
            act(self, checkpoint)

    Store.save_state = replacement  # type: ignore[method-assign]


def count_epochs() -> None:
    save = Store.save_state

    def counted(self: Store, key: str, checkpoint: Checkpoint) -> None:
        with open(self.root.parent / LOG, "a") as log:
            log.write(f"{key[:20]} {checkpoint.epoch}\n")
        save(self, key, checkpoint)

    Store.save_state = counted  # type: ignore[method-assign]


# -------------------------------------------------------------------------------------------- what happens to a worker


def the_memory_is_gone() -> None:
    """After the first epoch no more memory is granted, and what the process still had to itself is used up."""
    kept: list[bytearray] = []

    def exhaust(*_: object) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
        for size in (2**20, 2**16):
            try:
                while True:
                    kept.append(bytearray(size))
            except MemoryError:
                pass

    on_save(exhaust, before=False)


def the_disk_fills() -> None:
    """After the first epoch all that is left is taken by another file."""

    def fill(store: Store, _: Checkpoint) -> None:
        ballast = os.open(store.root.parent / BALLAST, os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            for _ in range(2048):  # at most 128 MB, should it not be the small disk
                os.write(ballast, bytes(2**16))
        os.close(ballast)

    on_save(fill, before=False)


def a_file_is_cut_off() -> None:
    """After the first epoch a file may have 20 kB: the next checkpoint is cut off while it is written."""
    on_save(lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)), before=False)


def it_is_killed_while_it_writes() -> None:
    """When the second checkpoint is written, and not renamed yet."""

    def kill(source: object, target: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    on_save(lambda _, checkpoint: setattr(os, "replace", kill) if checkpoint.epoch == EPOCHS else None, before=True)


def there_are_no_locks() -> None:
    """What a network file system without locks answers."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = fcntl.lockf = refuse  # type: ignore[assignment]


def the_clock_goes_back() -> None:
    """An hour at every look at it."""
    begin, looks = time.time(), itertools.count()
    time.time = lambda: begin - 3600.0 * next(looks)


FAULTS = {act.__name__: act for act in (
    the_memory_is_gone, the_disk_fills, a_file_is_cut_off, it_is_killed_while_it_writes, there_are_no_locks,
    the_clock_goes_back,
)}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ what is asked


@pytest.fixture
def two(tiny_plan: list[Run]) -> list[Run]:
    """PGD's run on the first fold, and FRL's, which starts from it."""
    return [tiny_plan[0], tiny_plan[2]]


def go(runs: Sequence[Run], store: Store, **how: Any) -> str:
    """Carry the runs out with one worker; what the engine complains of, "" where all was well."""
    try:
        assert run_local(runs, store, workers=1, device="cpu", **how) == 0
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def is_undisturbed(store: Store, undisturbed: Store, runs: Sequence[Run], faults: int) -> None:
    """The records are those of an undisturbed go, byte for byte, and each fault cost one epoch at most."""
    for run in runs:
        name = f"{run.key[:20]}/result.json"
        assert (store.root / name).read_bytes() == (undisturbed.root / name).read_bytes()
        assert not list(store.folder(run.key).glob(".*")) and store.load_state(run.key) is None
    trained = Counter((store.root.parent / LOG).read_text().splitlines())
    assert set(trained) == {f"{run.key[:20]} {epoch}" for run in runs for epoch in range(1, EPOCHS + 1)}
    assert trained.total() <= EPOCHS * len(runs) + faults


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (the_memory_is_gone, "(failed unexpectedly|exit code|memory)"),
        (a_file_is_cut_off, "cannot write .*: File too large; make room"),
        (it_is_killed_while_it_writes, "exit code -9.*run again"),
    ],
)
def test_a_worker_is_lost_and_its_run_goes_on(
    fault: Callable[[], None], words: str, store: Store, undisturbed: Store, two: list[Run]
) -> None:
    """Once in the parent's second epoch, and once in the child's."""
    harmful = hurt(two, fault.__name__)
    for run in two:
        said = go(harmful, store)
        assert re.search(words, said), said
        state = store.load_state(run.key)
        assert state is not None and state.epoch >= 1 and not store.done(run.key)
        assert go(hurt(two[:1]), store) == ""  # the parent, so that the child has its turn
    assert go(hurt(two), store) == ""
    is_undisturbed(store, undisturbed, two, faults=2)
    assert all(store.provenance(run.key)["resumed_at_epoch"] >= 1 for run in two)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_in_mid_run_and_is_freed_again(
    small_disk: Path, undisturbed: Store, two: list[Run], tmp_path: Path
) -> None:
    store = Store(small_disk / "store", tmp_path / "published")
    said = go(hurt(two, the_disk_fills.__name__), store)
    assert "No space left on device; make room" in said and str(store.folder(two[0].key)) in said
    state = store.load_state(two[0].key)
    assert state is not None and state.epoch == 1
    assert "make room" in go(hurt(two), store)  # still full: said before anything begins
    (small_disk / BALLAST).unlink()
    assert go(hurt(two), store) == ""
    is_undisturbed(store, undisturbed, two, faults=2)
    assert store.provenance(two[0].key)["resumed_at_epoch"] == 1


# ----------------------------------------------------------------------------------------------- what happens around it


def engine(root: Path, published: Path, runs: list[Run]) -> None:
    sys.exit(run_local(runs, Store(root, published), workers=2, device="cpu"))


@pytest.mark.parametrize("fault", [None, there_are_no_locks])
def test_two_engines_at_once_make_every_epoch_once(
    fault: Callable[[], None] | None, store: Store, undisturbed: Store, tiny_plan: list[Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also on a file system that knows no locks."""
    runs = hurt(tiny_plan, fault and fault.__name__)
    if fault:
        for name in ("flock", "lockf"):
            monkeypatch.setattr(fcntl, name, None)  # put back at the end
        fault()
    other = multiprocessing.get_context("spawn").Process(target=engine, args=(store.root, store.published, runs))
    other.start()
    while not (store.root.exists() and any(store.root.iterdir())) and other.is_alive():
        time.sleep(0.01)  # it takes seconds to start; both are to be at work
    assert run_local(runs, store, workers=2, device="cpu") == 0
    other.join(120)
    assert other.exitcode == 0
    is_undisturbed(store, undisturbed, tiny_plan, faults=0)


def test_a_clock_that_goes_back_changes_nothing(
    store: Store, undisturbed: Store, two: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = time.time() + 3600
    first = hurt(two[:1])[0]
    assert not carry_out(first, store, device="cpu", after_step=lambda step: True)
    os.utime(store.folder(two[0].key) / "state.safetensors", (4e9, 4e9))  # written in the year 2096
    monkeypatch.setattr(time, "time", time.time)  # put back at the end
    the_clock_goes_back()
    assert go(hurt(two, the_clock_goes_back.__name__), store, deadline=deadline) == ""
    with open(store.root.parent / LOG, "a") as log:
        log.write(f"{two[0].key[:20]} 1\n")  # that first epoch was not counted
    is_undisturbed(store, undisturbed, two, faults=0)
    assert [store.provenance(run.key)["resumed_at_epoch"] for run in two] == [1, 0]
    assert all(store.provenance(run.key)["seconds"] > 0 for run in two)


def test_read_only_published_records_are_built_upon_and_stay_as_they_are(
    small_disk: Path, undisturbed: Store, two: list[Run], tmp_path: Path
) -> None:
    """A published parent, and a child whose published checkpoint is gone on with."""
    parent, child = two
    published = small_disk / "published"
    shutil.copytree(undisturbed.folder(parent.key), published / parent.key[:20])
    elsewhere = Store(tmp_path / "elsewhere", published)
    assert not carry_out(child, elsewhere, device="cpu", after_step=lambda step: True)
    assert elsewhere.hand_on(child.key)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = {path: path.is_file() and path.read_bytes() for path in published.rglob("*")}
    store = Store(tmp_path / "store", published)
    assert go(hurt(two), store) == ""
    name = f"{child.key[:20]}/result.json"
    assert (store.root / name).read_bytes() == (undisturbed.root / name).read_bytes()
    assert store.provenance(child.key)["resumed_at_epoch"] == 1 and not store.folder(parent.key).exists()
    assert (tmp_path / LOG).read_text() == f"{child.key[:20]} 2\n"
    assert before == {path: path.is_file() and path.read_bytes() for path in published.rglob("*")}
