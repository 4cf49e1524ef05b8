"""The store: what is read back is what was written, or one line says which file is bad. Nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frlcore.errors import UserError
from frlcore.repro.places import PROJECT
from frlcore.repro.runs import store as store_module
from frlcore.repro.runs.engines import _context
from frlcore.repro.runs.files import pack, unpack
from frlcore.repro.runs.store import Store, default_store
from frlcore.repro.runs.task import canonical
from frlcore.training import Checkpoint

KEY, OTHER = "ab" * 32, "cd" * 32
WEIGHTS = {"last": {"w": torch.arange(6.0).reshape(2, 3)}, "selected": {"w": torch.ones(2, 3)}}
BODY = {
    "description": {"seed": 0},
    "history": [{"epoch": 0, "loss": 0.25}],  # no other digits mean the same number
    "outcomes": {"last": {"label": pack(np.array([0, 1, 2], np.uint8)), "index": pack(np.array([70000], np.uint32))}},
}


def checkpoint(epoch: int = 3, value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        epoch=epoch,
        model={"a.weight": torch.full((2, 3), value), "a.count": torch.tensor(7)},
        momentum={"a.weight": torch.full((2, 3), 0.1)},
        policy={"phi": np.array([0.1 + 0.2, 1 / 3, 0.0])},
        selected={"a.weight": torch.zeros(2, 3), "a.count": torch.tensor(5)},
        selected_epoch=2,
        selected_error=1 / 3,
        history=[{"epoch": 0, "loss": 0.1 + 0.2}],
    )


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


def finish(store: Store) -> None:
    store.finish(KEY, BODY, {"seconds": 1.5}, WEIGHTS)


def files(store: Store) -> set[str]:
    return {path.name for path in store.folder(KEY).iterdir()}


def message(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- round trips


def test_a_result_comes_back_as_it_was_written(store: Store) -> None:
    assert not store.done(KEY) and store.result(KEY) is None and store.provenance(KEY) == {}
    finish(store)
    body = store.result(KEY)
    assert store.done(KEY) and body is not None and not store.done(OTHER)
    assert body["history"] == BODY["history"] and body["key"] == KEY
    assert body["outcomes"]["last"]["label"].tolist() == [0, 1, 2]
    assert body["outcomes"]["last"]["label"].dtype == np.uint8
    assert body["outcomes"]["last"]["index"].tolist() == [70000]
    assert store.provenance(KEY) == {"seconds": 1.5}
    assert same(store.weights(KEY), WEIGHTS["last"]) and same(store.weights(KEY, "selected"), WEIGHTS["selected"])
    assert files(store) == {"result.json", "provenance.json", "last.safetensors", "selected.safetensors"}


def test_a_result_is_the_same_bytes_whoever_made_it(store: Store) -> None:
    finish(store)
    before = (store.folder(KEY) / "result.json").read_bytes()
    store.finish(KEY, dict(reversed(BODY.items())), {"seconds": 99.0}, WEIGHTS)
    assert (store.folder(KEY) / "result.json").read_bytes() == before


def test_a_checkpoint_comes_back_as_it_was_written(store: Store) -> None:
    assert store.load_state(KEY) is None
    wanted = checkpoint()
    store.save_state(KEY, wanted)
    found = store.load_state(KEY)
    assert found is not None
    for name in ("model", "momentum", "selected"):
        assert same(getattr(found, name), getattr(wanted, name)), name
    assert found.policy.keys() == wanted.policy.keys() and (found.policy["phi"] == wanted.policy["phi"]).all()
    for name in ("epoch", "selected_epoch", "selected_error", "history"):
        assert getattr(found, name) == getattr(wanted, name), name


def test_a_checkpoint_with_nothing_selected_yet_comes_back(store: Store) -> None:
    store.save_state(KEY, Checkpoint(epoch=1, model={"w": torch.ones(1)}, momentum={}, policy={}))
    found = store.load_state(KEY)
    assert found is not None and found.selected == {} and found.selected_error == float("inf")


def test_a_newer_checkpoint_replaces_the_older_one_and_a_result_removes_it(store: Store) -> None:
    for epoch in (1, 2):
        store.save_state(KEY, checkpoint(epoch, float(epoch)))
    found = store.load_state(KEY)
    assert found is not None and found.epoch == 2 and found.model["a.weight"][0, 0] == 2.0
    assert store.epochs(KEY) == 2
    assert files(store) == {"state.safetensors"}
    finish(store)
    assert store.load_state(KEY) is None and store.epochs(KEY) == 0


@pytest.mark.parametrize("kind", ["u1", "<u2", "<u4", "<i8"])
def test_arrays_pack_into_text_and_back(kind: str) -> None:
    values = np.array([0, 1, 127, 255], kind)
    found = unpack(pack(values))
    assert found.dtype == values.dtype and (found == values).all()
    assert (unpack(pack(values[::2])) == values[::2]).all()
    assert unpack(pack(np.array([], kind))).shape == (0,)


# ------------------------------------------------------------------------------------------------ damaged records


def flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


READERS: dict[str, Callable[[Store], object]] = {
    "result.json": lambda store: store.result(KEY),
    "last.safetensors": lambda store: store.weights(KEY),
    "state.safetensors": lambda store: store.load_state(KEY),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated by one byte": lambda content: content.rstrip()[:-1],
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "another file altogether": lambda content: b"[1, 2]",
    "a number": lambda content: b"7",
    "binary": lambda content: b"\xff\xfe" + content,
    "one bit flipped": lambda content: flip(content, 8 * (len(content) - 24) + 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_and_left_alone(store: Store, name: str, damage: str) -> None:
    finish(store)
    store.save_state(KEY, checkpoint())
    path = store.folder(KEY) / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    before = path.read_bytes()
    said = message(lambda: READERS[name](store))
    assert str(path) in said and "delete" in said and "run again" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_how_far_a_run_is_can_be_asked_of_a_damaged_checkpoint(store: Store, damage: str) -> None:
    store.save_state(KEY, checkpoint(3))
    path = store.folder(KEY) / "state.safetensors"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert store.epochs(KEY) in ((3,) if "bit" in damage else (0,))  # its head alone is read


@pytest.mark.parametrize("name", READERS)
def test_no_single_flipped_bit_goes_unnoticed(store: Store, name: str) -> None:
    finish(store)
    store.save_state(KEY, checkpoint())
    path = store.folder(KEY) / name
    whole = path.read_bytes()
    step = max(1, len(whole) * 8 // 400) | 1  # odd: meets every bit of a byte
    for bit in range(0, 8 * len(whole.rstrip()), step):
        path.write_bytes(flip(whole, bit))
        said = message(lambda: READERS[name](store))
        assert str(path) in said, bit


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_run_is_refused(store: Store, name: str) -> None:
    finish(store)
    store.save_state(KEY, checkpoint())
    store.folder(OTHER).mkdir()
    moved = store.folder(OTHER) / name
    moved.write_bytes((store.folder(KEY) / name).read_bytes())
    read = {"result.json": store.result, "last.safetensors": store.weights, "state.safetensors": store.load_state}
    assert str(moved) in message(lambda: read[name](OTHER))
    assert moved.exists()


def test_another_format_is_refused_by_its_number(store: Store) -> None:
    finish(store)
    path = store.folder(KEY) / "result.json"
    body = json.loads(path.read_bytes()) | {"format": 2}
    path.write_bytes(canonical(body))
    said = message(lambda: store.result(KEY))
    assert str(path) in said and "format 2" in said and "update" in said


def test_a_changed_number_is_noticed(store: Store) -> None:
    """The case that a person makes: an edit that leaves a well-formed file."""
    finish(store)
    path = store.folder(KEY) / "result.json"
    body = json.loads(path.read_bytes())
    body["history"][0]["loss"] = 0.01
    path.write_bytes(canonical(body))
    assert "changed" in message(lambda: store.result(KEY))


def test_damaged_provenance_is_named(store: Store) -> None:
    finish(store)
    path = store.folder(KEY) / "provenance.json"
    for content in (b'{"seconds": 1.', b"[]"):
        path.write_bytes(content)
        assert str(path) in message(lambda: store.provenance(KEY))


def test_outcomes_that_are_no_arrays_are_named(store: Store) -> None:
    store.finish(KEY, BODY | {"outcomes": {"last": {"label": "many"}}}, {}, {})
    path = store.folder(KEY) / "result.json"
    assert f"{path} is no result of a run; delete its folder" in message(lambda: store.result(KEY))


def test_missing_weights_say_what_to_do(store: Store) -> None:
    finish(store)
    (store.folder(KEY) / "last.safetensors").unlink()
    said = message(lambda: store.weights(KEY))
    assert "last" in said and KEY[:12] in said and f"delete {store.folder(KEY)}" in said


# ------------------------------------------------------------------------------------------------ writing goes wrong


def test_a_kill_between_writing_and_renaming_leaves_the_old_file_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(source: object, target: object) -> None:
        raise Killed

    store.save_state(KEY, checkpoint(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a killed process tidies nothing up
        with pytest.raises(Killed):
            store.save_state(KEY, checkpoint(2))
    assert len(files(store)) == 2  # the kill left its temporary file ...
    found = store.load_state(KEY)
    assert found is not None and found.epoch == 1
    with store.lock(KEY):
        assert files(store) == {"state.safetensors", "lock"}  # ... which goes when the run is taken up again


def test_the_result_is_written_last(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever interrupts `finish`: a run with a result has its weights, one without still has its checkpoint."""
    store.save_state(KEY, checkpoint())
    replace, order = os.replace, []

    def note(source: Any, target: Any) -> None:
        order.append(Path(target).name)
        assert not store.done(KEY) and store.load_state(KEY) is not None
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    finish(store)
    assert order == ["last.safetensors", "selected.safetensors", "provenance.json", "result.json"]


def test_what_is_renamed_is_on_the_disk_under_a_name_of_this_process_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, sizes, names = os.replace, [], []
    monkeypatch.setattr(os, "fsync", lambda number: sizes.append(os.fstat(number).st_size))
    monkeypatch.setattr(os, "replace", lambda source, target: names.append(source.name) or replace(source, target))
    store.save_state(KEY, checkpoint())
    assert sizes == [(store.folder(KEY) / "state.safetensors").stat().st_size]
    assert names == [f".state.safetensors.{platform.node()}.{os.getpid()}"]


def test_a_failure_without_words_and_one_at_the_very_end_are_said(store: Store) -> None:
    def fails() -> None:
        with store.writing(Path("x")):
            raise TimeoutError

    assert "cannot write x: TimeoutError; make room" in message(fails)
    state = store.folder(KEY) / "state.safetensors"
    state.mkdir(parents=True)
    assert f"cannot write {state}" in message(lambda: finish(store))


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullFile:
    """A file on a full disk: takes half of what it is given."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "wb")  # noqa: SIM115

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        raise FULL


def on_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store_module, "open", lambda path, mode: FullFile(path), raising=False)


def on_flush(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fsync", fail)


def on_rename(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "replace", fail)


def fail(*_: object) -> None:
    raise FULL


@pytest.mark.parametrize("fault", [on_write, on_flush, on_rename])
def test_a_full_disk_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    store.save_state(KEY, checkpoint(1))
    with monkeypatch.context() as patch:
        fault(patch)
        for act in (lambda: store.save_state(KEY, checkpoint(2)), lambda: finish(store)):
            said = message(act)
            assert str(store.folder(KEY)) in said and "No space left" in said and "FRL_STORE" in said
    assert files(store) == {"state.safetensors"}
    found = store.load_state(KEY)
    assert found is not None and found.epoch == 1 and not store.done(KEY)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_is_said_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "mkdir", refuse)
    for act in (lambda: store.save_state(KEY, checkpoint()), lambda: store.lock(KEY).__enter__()):
        said = message(act)
        assert str(store.root) in said and os.strerror(error) in said and "FRL_STORE" in said
    assert not store.root.exists()


def test_a_store_below_a_regular_file_is_said_in_one_line(tmp_path: Path) -> None:
    blocked = Store(tmp_path / "file" / "store", tmp_path / "published")
    (tmp_path / "file").write_text("mine")
    assert not blocked.done(KEY)
    for act in (lambda: blocked.save_state(KEY, checkpoint()), lambda: blocked.lock(KEY).__enter__()):
        assert str(tmp_path / "file") in message(act)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_with_an_impossible_name_is_said_in_one_line(tmp_path: Path) -> None:
    impossible = Store(tmp_path / ("x" * 300), tmp_path / "published")
    assert "FRL_STORE" in message(lambda: impossible.done(KEY))
    assert "FRL_STORE" in message(lambda: impossible.save_state(KEY, checkpoint()))


# --------------------------------------------------------------------------------- two places, two processes


def test_published_records_are_read_and_never_written(store: Store) -> None:
    finish(Store(store.published))
    published = store.published / KEY[:20]
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in published.iterdir()}
    assert store.done(KEY) and same(store.weights(KEY), WEIGHTS["last"])
    with store.lock(KEY):
        store.save_state(KEY, checkpoint())
        store.finish(KEY, BODY | {"description": {"seed": 5}}, {}, WEIGHTS)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in published.iterdir()} == before
    mine = store.result(KEY)
    assert mine is not None and mine["description"] == {"seed": 5}  # the local record comes first


def test_the_keys_of_both_places_come_in_order(store: Store) -> None:
    keys = [f"ab{digit * 62}" for digit in "2013"]
    places = (store, store, Store(store.published), Store(store.published))
    for place, key in zip(places, keys, strict=True):
        place.finish(key, BODY, {}, {})
    store.finish(OTHER, BODY, {}, {})
    assert store.keys("ab") == sorted(keys) and store.keys(keys[0]) == [keys[0]]
    assert store.keys(keys[0][:20] + "f" * 44) == []


@pytest.mark.parametrize(("room", "wanted"), [(0, ["last"]), (-1, ["half"]), (None, [])])
def test_large_weights_are_published_in_half_precision_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch, room: int | None, wanted: list[str]
) -> None:
    """Weights of exactly the limit are not large."""
    weights = {"w": torch.full((100,), 1 / 3), "count": torch.tensor(7)}
    store.finish(KEY, BODY, {"seconds": 1.5}, {"last": weights})
    place, size = store.published / KEY[:20], (store.folder(KEY) / "last.safetensors").stat().st_size
    store.publish(KEY, weights=False)
    assert {path.name for path in place.iterdir()} == {"result.json", "provenance.json"}
    monkeypatch.setattr(store_module, "LARGE", 100 if room is None else size + room)
    store.publish(KEY, weights=True)
    assert [path.stem for path in place.glob("*.safetensors")] == wanted


def test_halved_weights_are_the_same_bytes_again_and_whole_ones_go_before_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {"w": torch.full((4,), 1 / 3), "count": torch.tensor(7)}
    store.finish(KEY, BODY, {}, {"last": weights})
    monkeypatch.setattr(store_module, "LARGE", 4 * 2 + 8)  # the halves and the count
    half, contents = store.published / KEY[:20] / "half.safetensors", []
    for _ in range(2):
        store.publish(KEY, weights=True)
        contents.append(half.read_bytes())
        half.write_bytes(contents[0][:-1])  # damaged, and whole again after the next time
    assert contents[0] == contents[1] and same(store.any_weights(KEY), weights)
    half.write_bytes(contents[0])
    (store.folder(KEY) / "last.safetensors").unlink()
    assert same(store.any_weights(KEY), weights | {"w": weights["w"].half().float()})


def test_a_process_that_waits_leaves_what_another_one_writes(store: Store) -> None:
    with store.lock(KEY):
        (store.folder(KEY) / ".state.safetensors.host.1").touch()
        with Store(store.root, store.published).lock(KEY, deadline=0.0) as mine:
            assert not mine and ".state.safetensors.host.1" in files(store)


def test_the_default_store_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FRL_STORE", str(tmp_path))
    assert default_store().root == tmp_path
    monkeypatch.setenv("FRL_STORE", "")
    assert default_store().root == PROJECT / "data" / "cache"
    monkeypatch.delenv("FRL_STORE")
    assert default_store().root == PROJECT / "data" / "cache"
    assert default_store().published == PROJECT / "data" / "runs"


def hold(pipe: Connection, root: Path) -> None:
    with Store(root, root / "published").lock(KEY):
        pipe.send("locked")
        time.sleep(60)


def test_a_lock_keeps_a_second_process_out_and_dies_with_its_own(store: Store) -> None:
    ours, theirs = _context().Pipe()
    process = _context().Process(target=hold, args=(theirs, store.root), daemon=True)
    process.start()
    assert ours.poll(60) and ours.recv() == "locked"
    entered = threading.Event()

    def enter() -> None:
        with store.lock(KEY):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    assert not entered.wait(0.5)
    process.kill()
    assert entered.wait(10)
    thread.join(10)
    process.join(10)


def test_a_relative_store_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRL_STORE", "somewhere")
    here = default_store().root
    monkeypatch.chdir(tmp_path)
    assert default_store().root == here == PROJECT / "somewhere"
    monkeypatch.setenv("FRL_STORE", "~/runs")
    assert default_store().root == Path.home() / "runs"


def test_the_lock_is_not_waited_for_beyond_the_deadline(store: Store) -> None:
    with store.lock(KEY) as first:
        begin = time.monotonic()
        with Store(store.root, store.published).lock(KEY, deadline=time.time() + 0.2) as second:
            assert first and not second
        assert time.monotonic() - begin < 10
