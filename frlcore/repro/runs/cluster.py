"""The Ray engine: carries a plan out on the nodes of a Ray cluster, or on this machine through a Ray of its own.

Each run is a task of Ray, which waits for the run it starts from. When a node is lost, Ray gives its runs to another
one, which goes on from their last checkpoints: the store must be on a file system that all nodes share. Every task
looks whether it is, and whether its node has the same code.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import frlcore
from frlcore.errors import UserError
from frlcore.repro.runs.engines import PER_GPU, unfinished, usual
from frlcore.repro.runs.job import Ended, Job, Message, Progress, Side, summary, work
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Task
from frlcore.repro.surroundings import processors

RETRIES = 5  # times that a run is begun again elsewhere when its node or its process is lost
LISTEN = 0.2  # seconds between two looks at what the nodes have told
PACKAGE = Path(frlcore.__file__).parent
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def run_cluster(
    runs: Sequence[Task],
    store: Store,
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    deadline: float | None = None,
    on_progress: Callable[[Message], None] = lambda message: None,
) -> int:
    """Carry out every run that is not done yet, as `run_local` does; returns how many are still not done.

    `address` is that of a Ray cluster of which this machine is a node ("auto": the one that runs here); without it Ray
    is started here, for `workers` runs side by side, and ended with the last one. Raises UserError also when Ray is
    not installed, does not start or does not answer, and for what no node of the cluster has.
    """
    if threads < 1 or (workers is not None and workers < 1):
        raise UserError(f"threads and workers must be at least 1, got {threads} and {workers}")
    if address and workers:
        raise UserError("a cluster runs as many side by side as its nodes have room for: leave out --workers")
    ray = _ray()
    todo = unfinished(runs, store)
    order = sorted(todo, key=lambda run: -run.cost) if deadline is None else todo
    with _connected(ray, address, (workers or processors()) * threads, threads), _beacon(store) as beacon:
        need = _need(ray.cluster_resources(), usual(todo, device), threads)
        site = Site(beacon, _code(), _mailbox(ray))
        refs = _submit(ray, order, store, site, need, threads, deadline)
        ended = _follow(ray, site.mailbox, {refs[run.key]: run for run in todo}, need, on_progress)
    failures = {
        run.key: ended[run.key].why for run in todo
        if ended[run.key].how == "failed" and not (run.start and ended.get(run.start.key, DONE).how == "failed")
    }  # fmt: skip
    if failures:
        raise summary(failures)
    return sum(one.how != "done" for one in ended.values())


DONE = Ended("done")


@dataclass(frozen=True)
class Site:
    """What a task compares its node with: a file of the store, and the code; and where it sends its messages."""

    beacon: Path
    code: str
    mailbox: Any


class _Mailbox:
    """An actor beside the engine that keeps the messages of all tasks until the engine takes them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def put(self, message: Message) -> None:
        self.messages.append(message)

    def take(self) -> list[Message]:
        taken, self.messages = self.messages, []
        return taken


def _carry(job: Job, site: Site, *parents: Ended) -> Ended:
    """The task: the run in a process of some node, after those it starts from."""
    if any(parent.how != "done" for parent in parents) or (job.deadline and time.time() > job.deadline):
        return Ended("left")
    here = platform.node()
    if _code() != site.code:
        return Ended("failed", f"node {here} has other code than this machine in {PACKAGE}; bring them to one state")
    if not site.beacon.is_file():
        return Ended("failed", f"node {here} does not see {job.root}: the store must be a folder that all nodes share")
    sent: list[Any] = []
    ended = work(job, lambda message: sent.append(site.mailbox.put.remote(message)))
    _ray().get(sent[-1:])  # so that the engine has all messages before the end
    return ended


def _mailbox(ray: Any) -> Any:
    """The actor, on this very node."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()


def _submit(
    ray: Any, order: Sequence[Task], store: Store, site: Site, need: Need, threads: int, deadline: float | None
) -> dict[str, Any]:
    """A task for every run, parents first; what stands for its end, by key."""
    carry = ray.remote(max_retries=RETRIES, num_cpus=need.cpus, num_gpus=need.gpus)(_carry)
    missing, refs = {run.key for run in order}, dict[str, Any]()

    def submit(run: Task) -> Any:
        if run.key not in refs:
            before = [submit(run.start)] if run.start and run.start.key in missing else []
            where = "cuda" if need.gpus else "cpu"
            job = Job(run, store.root.absolute(), store.published, threads, where, deadline)
            refs[run.key] = carry.remote(job, site, *before)
        return refs[run.key]

    for run in order:
        submit(run)
    return refs


def _follow(
    ray: Any, mailbox: Any, pending: dict[Any, Task], need: Need, on_progress: Callable[[Message], None]
) -> dict[str, Ended]:
    """Hand the messages on until all tasks have ended; how they did, by key."""
    ended: dict[str, Ended] = {}
    side = 0
    while pending:
        if side != (side := need.side(ray.cluster_resources())):  # nodes may come and go
            on_progress(Side(side))
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=LISTEN)
        for message in ray.get(mailbox.take.remote()):
            on_progress(message)
        for ref in ready:
            run = pending.pop(ref)
            try:
                ended[run.key] = ray.get(ref)
            except ray.exceptions.RayError as error:
                why = str(error).strip().splitlines()[0]
                ended[run.key] = Ended("failed", f"Ray gave up run {run.key[:12]} ({why}); run again to go on")
            if ended[run.key].how == "done":
                on_progress(Progress(run, run.steps, done=True))
    return ended


@dataclass(frozen=True)
class Need:
    """What a run asks of its node."""

    cpus: int
    gpus: float

    def side(self, cluster: Mapping[str, float]) -> int:
        """How many runs a cluster with these resources has room for."""
        cores = int(cluster.get("CPU", 0)) // self.cpus
        return min(cores, int(cluster.get("GPU", 0) / self.gpus)) if self.gpus else cores


def _need(cluster: Mapping[str, float], device: str, threads: int) -> Need:
    """Processors and share of a GPU for each run; UserError for what the cluster does not have."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"Ray chooses among the GPUs itself: --device is cpu, cuda or auto, not '{device}'")
    if device == "cuda" and not cluster.get("GPU"):
        raise UserError("no node of the Ray cluster has a GPU; add one or choose --device cpu")
    need = Need(threads, 1 / PER_GPU if device != "cpu" and cluster.get("GPU") else 0)
    if not need.side(cluster):
        raise UserError(f"the Ray cluster has no room for a run with {threads} threads; add nodes or ask for fewer")
    return need


@contextmanager
def _connected(ray: Any, address: str | None, cpus: int, threads: int) -> Iterator[None]:
    """Joined to the cluster at `address`, or to a Ray on this machine that ends with the block; quietly."""
    os.environ.update(QUIET)
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}}
    common = {"runtime_env": environment, "log_to_driver": False, "logging_level": logging.ERROR}
    folder = None if address else tempfile.mkdtemp(prefix="frl-ray-", dir="/tmp")  # its sockets' names must be short
    own = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 80 * 2**20, "_temp_dir": folder}
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address=address or "local", **common, **({} if address else own))
        except Exception as error:  # of whatever kind: Ray has none of its own for this
            what = f"does not answer at {address}" if address else "did not start on this machine"
            why = str(error).strip().splitlines()[0]
            raise UserError(f"Ray {what} ({why}); see `ray status`, or leave out --engine ray") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray sets one of its own
        ray._private.worker._worker_logs_enabled = False  # or a lost node's log is printed here
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _beacon(store: Store) -> Iterator[Path]:
    """A file that a node sees if it shares the store."""
    with store.writing(store.root):
        store.root.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".engine-", dir=store.root.absolute())
        os.close(number)
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            os.unlink(name)


@cache
def _code() -> str:
    """A digest of the package's source."""
    sha = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        sha.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return sha.hexdigest()


def _ray() -> Any:
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.util.scheduling_strategies")
    except ModuleNotFoundError as error:
        raise UserError("--engine ray needs Ray: pip install 'ray[default]', the extra [cluster]") from error
    return ray
