"""Results and checkpoints by key: written whole or not at all, checked when read.

    <store>/<key>/result.json           deterministic: description, outcomes per test example, history; its presence
                                        means "done"
    <store>/<key>/provenance.json       seconds, machine, versions, commit: what may differ between two makings; "start"
                                        is the sha256 in the record of the run whose weights this one met
    <store>/<key>/last.safetensors      weights after the last epoch; selected.safetensors: those validation chose
    <store>/<key>/half.safetensors      published in place of last weights that are large: the same in half precision
    <store>/<key>/state.safetensors     all that training needs to go on, while it is unfinished; published if asked

Two places are read: the local store (`places.results()`), and the checkout's `data/runs`, the records that are
published with the book. Runs write into the local store alone; `publish` and `hand_on` copy to the other one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frlcore.errors import UserError
from frlcore.repro import places
from frlcore.repro.runs import files, locks
from frlcore.repro.runs.files import DAMAGE, load_tensors, unpack
from frlcore.repro.runs.task import canonical

if TYPE_CHECKING:
    from torch import Tensor

    from frlcore.checkpoint import Checkpoint

FORMAT = 1
LARGE = 25 * 2**20  # bytes: larger weights are published in half precision, or not at all


def default_store() -> Store:
    """The store that commands and notebooks use: `places.results()`, and the records of the checkout."""
    return Store(places.results())


class Store:
    """A folder of runs by key. Every method that reads damaged or foreign bytes raises a UserError naming the file."""

    def __init__(
        self, root: Path, published: Path | None = places.PUBLISHED, *, elsewhere: str = "another folder with FRL_STORE"
    ) -> None:
        self.root, self.published = Path(root), published
        self.elsewhere = elsewhere  # what to choose when this place will not do

    def folder(self, key: str) -> Path:
        return self.root / key[:20]

    def find(self, key: str, name: str) -> Path | None:
        """Where a run's file stands, local before published; None if nowhere."""
        for root in filter(None, (self.root, self.published)):
            path = root / key[:20] / name
            try:
                if path.is_file():
                    return path
            except OSError as error:  # no permission, or a name that cannot be one
                reason = f"cannot read {path}: {error.strerror}"
                raise UserError(f"{reason}; choose {self.elsewhere}") from error
        return None

    def done(self, key: str) -> bool:
        return self.find(key, "result.json") is not None

    def keys(self, begin: str) -> list[str]:
        """The keys of the finished runs that begin so, in order."""
        found = set()
        for root in filter(None, (self.root, self.published)):
            for path in root.glob(f"{begin[:20]}*/result.json"):
                try:
                    found.add(str(json.loads(path.read_bytes())["key"]))
                except DAMAGE as error:
                    raise UserError(f"{path} is truncated or damaged; delete its folder and run again") from error
        return sorted(key for key in found if key.startswith(begin))

    def trained(self, key: str) -> bool:
        """Whether a run's last weights are at hand: published records come without."""
        return self.find(key, "last.safetensors") is not None

    def result(self, key: str) -> dict[str, Any] | None:
        """The result of a finished run, with byte arrays decoded; None if it is not finished."""
        path = self.find(key, "result.json")
        if path is None:
            return None
        try:
            body = json.loads(path.read_bytes())
            digest = body.pop("sha256")
            found = hashlib.sha256(canonical(body)).hexdigest()
        except DAMAGE as error:
            raise UserError(f"{path} is truncated or damaged; delete its folder and run again") from error
        if body.get("format") != FORMAT:
            raise UserError(f"{path} has format {body.get('format')}, this code reads {FORMAT}; delete it or update")
        if found != digest or body.get("key") != key:
            raise UserError(f"{path} was changed after it was written; delete its folder and run again")
        try:
            tested = {of: {name: unpack(text) for name, text in one.items()} for of, one in body["outcomes"].items()}
        except DAMAGE as error:
            raise UserError(f"{path} is no result of a run; delete its folder and run again") from error
        return body | {"outcomes": tested}

    def digest(self, key: str) -> str:
        """The sha256 of a finished run's record: which of its trainings this is, should there be several."""
        self.result(key)  # whole and unchanged, or it says so
        path = self.find(key, "result.json")
        if path is None:
            raise UserError(f"run {key[:12]} is not finished: {self.folder(key)} has no result.json")
        return str(json.loads(path.read_bytes())["sha256"])

    def provenance(self, key: str) -> dict[str, Any]:
        """Who made a finished run, on what, in how long; {} if that file is gone."""
        path = self.find(key, "provenance.json")
        try:
            return dict(**json.loads(path.read_bytes())) if path else {}
        except DAMAGE as error:
            raise UserError(f"{path} is truncated or damaged; delete its folder and run again") from error

    def finish(
        self, key: str, body: dict[str, Any], provenance: dict[str, Any], weights: dict[str, dict[str, Tensor]]
    ) -> None:
        """Write weights and provenance, and last the result that makes the run count as done."""
        body = {"format": FORMAT, "key": key, **body}
        body["sha256"] = hashlib.sha256(canonical(body)).hexdigest()
        for name, tensors in weights.items():
            self._save_tensors(self.folder(key) / f"{name}.safetensors", tensors, {"key": key})
        self._write(self.folder(key) / "provenance.json", json.dumps(provenance, indent=1).encode() + b"\n")
        self._write(self.folder(key) / "result.json", canonical(body) + b"\n")
        state = self.folder(key) / "state.safetensors"
        with self.writing(state):
            state.unlink(missing_ok=True)

    def publish(self, key: str, weights: bool) -> None:
        """Copy a finished run's records to those published with the book, and its last weights if asked.

        Weights of more than `LARGE` bytes go in half precision, to be loaded but not to be trained on, so that a
        fine-tune is what its key says wherever it is made; those that are too large even so stay behind. Raises
        UserError where another record of the run is published, or of the run whose weights it starts from: other
        threads or another processor round otherwise.
        """
        target = self._records() / key[:20]
        self._compare(key, Store(target.parent, published=None))
        last = self.find(key, "last.safetensors")
        if weights and last and last.stat().st_size > LARGE:
            half = {name: t.half() if t.is_floating_point() else t for name, t in self.weights(key).items()}
            if sum(t.nbytes for t in half.values()) <= LARGE:
                self._save_tensors(target / "half.safetensors", half, {"key": key})
        elif weights and last:
            self._write(target / last.name, last.read_bytes())
        if not (target / "result.json").is_file():  # or it is the same, and keeps its provenance
            for name in ("provenance.json", "result.json"):
                if path := self.find(key, name):
                    self._write(target / name, path.read_bytes())
        (target / "state.safetensors").unlink(missing_ok=True)

    def _compare(self, key: str, published: Store) -> None:
        """Raise UserError where a run, or what it starts from, is not the one whose record is published."""
        description = (self.result(key) or {}).get("description", {})  # whole and unchanged, or it says so
        start, met = description.get("of") or description.get("start"), self.provenance(key).get("start")
        own, there = self.find(key, "result.json"), published.folder(key)
        if own and published.done(key) and own.read_bytes() != (there / "result.json").read_bytes():
            raise UserError(
                f"run {key[:12]} is published already and came out otherwise here, as with other threads or on another "
                f"processor; delete {own.parent} to keep the published record, or {there} to replace it"
            )
        if start and met and published.done(start) and met != published.digest(start):
            raise UserError(
                f"run {key[:12]} was made from weights of run {start[:12]} that are not those of its published record; "
                f"delete {self.folder(key)} and {self.folder(start)}, and run again with the threads of that record"
            )

    def hand_on(self, key: str) -> bool:
        """Copy an unfinished run's checkpoint to the published records, so that it can go on elsewhere; False if none.

        `publish` takes it away again when the run is done.
        """
        state = self.folder(key) / "state.safetensors"
        if not state.is_file():
            return False
        self._write(self._records() / key[:20] / state.name, state.read_bytes())
        return True

    def _records(self) -> Path:
        return self.published or places.checkout("publishing") / "data" / "runs"

    def weights(self, key: str, name: str = "last") -> dict[str, Tensor]:
        """The weights "last" or "selected" of a finished run; UserError if they are missing."""
        path = self.find(key, f"{name}.safetensors")
        if path is None:
            folder = (self.find(key, "result.json") or self.folder(key) / "result.json").parent
            raise UserError(f"the {name} weights of run {key[:12]} are missing; delete {folder} and run again")
        return load_tensors(path, key)[0]

    def any_weights(self, key: str) -> dict[str, Tensor]:
        """The last weights of a finished run, or those published in half precision (as float32)."""
        half = self.find(key, "half.safetensors")
        if self.trained(key) or half is None:
            return self.weights(key)
        return {name: t.float() if t.is_floating_point() else t for name, t in load_tensors(half, key)[0].items()}

    def save_state(self, key: str, checkpoint: Checkpoint) -> None:
        """Keep an unfinished run's checkpoint, replacing the one before."""
        self._write(self.folder(key) / "state.safetensors", files.state_bytes(key, checkpoint))

    def load_state(self, key: str) -> Checkpoint | None:
        """The checkpoint of an unfinished run; None if it has not begun."""
        path = self.find(key, "state.safetensors")
        return files.load_state(path, key) if path else None

    def epochs(self, key: str) -> int:
        """How many epochs an unfinished run has behind it; 0 where that cannot be read, as the run itself will say."""
        path = self.find(key, "state.safetensors")
        return files.epochs(path) if path else 0

    def save_part(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep what an unfinished check has so far, replacing what it had before."""
        self._save_tensors(self.folder(key) / "state.safetensors", tensors, {"key": key})

    def load_part(self, key: str) -> dict[str, Tensor]:
        """What an unfinished check had so far; {} if it has not begun."""
        path = self.find(key, "state.safetensors")
        return load_tensors(path, key)[0] if path else {}

    @contextmanager
    def lock(self, key: str, deadline: float | None = None) -> Iterator[bool]:
        """Hold a run for this process: True, or False when another process still has it at `deadline` (`time.time()`).

        The lock dies with its process.
        """
        with ExitStack() as stack:
            with self.writing(self.folder(key)):
                self.folder(key).mkdir(parents=True, exist_ok=True)
                timeout = -1 if deadline is None else max(0.0, deadline - time.time())
                mine = stack.enter_context(locks.held(self.folder(key) / "lock", timeout))
                for stale in self.folder(key).glob(".*.*") if mine else ():  # a process that died while it wrote
                    stale.unlink(missing_ok=True)
            yield mine

    def _write(self, path: Path, content: bytes) -> None:
        with self.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
            try:
                with open(temporary, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def _save_tensors(self, path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self._write(path, files.tensor_bytes(tensors, metadata))

    @contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"cannot write {path}: {error.strerror or type(error).__name__}"
            raise UserError(f"{reason}; make room or choose {self.elsewhere}, then run again") from error
