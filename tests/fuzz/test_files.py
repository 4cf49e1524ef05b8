"""Records, checkpoints, model files and folders of images that are not as they should be: read right, or one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from outcome import JSON, changed, damaged, outcome
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, save

from frlcore import data, models
from frlcore.repro.own import model as models_given
from frlcore.repro.runs.files import pack, tensor_digest
from frlcore.repro.runs.pace import recorded
from frlcore.repro.runs.store import Store
from frlcore.repro.runs.task import Run, canonical
from frlcore.saving import BLANK, load_model, save_model
from frlcore.settings import Attack, DataInfo, Training
from frlcore.training import Checkpoint

RUN = Run("digits", "preact_small", Training("pgd", 2, lr=0.1), Attack(0.1, 0.1, 2))
KEY = RUN.key
BODY = {
    "description": {"seed": 0}, "classes": ["a", "b"], "history": [{"epoch": 0, "loss": 0.25}], "selected_epoch": 1,
    "outcomes": {"last": {"label": pack(np.array([0, 1], np.uint8)), "index": pack(np.array([7, 9], np.uint32))}},
}  # fmt: skip
WEIGHTS = {"last": {"w": torch.arange(6.0).reshape(2, 3)}}
STATE = Checkpoint(
    epoch=1, model={"w": torch.ones(2, 3), "n": torch.tensor(7)}, momentum={"w": torch.zeros(2, 3)},
    policy={"phi": np.array([0.5, 0.25])}, selected={"w": torch.ones(2, 3)}, selected_epoch=1, selected_error=0.5,
    history=[{"epoch": 0, "loss": 0.25}], seconds=[1.5],
)  # fmt: skip
PROVENANCE = {"seconds": 1.5, "device": "x", "finished": "2026-01-01T00:00:00Z", "resumed_at_epoch": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("fuzz"), None)
    store.finish(KEY, BODY, PROVENANCE, WEIGHTS)
    store.save_state(KEY, STATE)
    return store


WHOLE: dict[Path, bytes] = {}


@contextmanager
def instead(path: Path, content: bytes) -> Iterator[None]:
    """Another content of a file, for a while."""
    whole = WHOLE.setdefault(path, path.read_bytes())
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


# -------------------------------------------------------------------------------------------- records and checkpoints


def says(content: bytes) -> Any:
    """What is in a file, whatever white space lies between the words of a JSON text."""
    try:
        return json.loads(content)
    except ValueError:
        return content.strip()


@given(st.data())
def test_a_damaged_file_of_a_run(store: Store, draw: st.DataObject) -> None:
    name = draw.draw(st.sampled_from(["result.json", "last.safetensors", "state.safetensors", "provenance.json"]))
    path = store.folder(KEY) / name
    content = draw.draw(damaged(path.read_bytes()))
    same = says(content) == says(path.read_bytes())
    with instead(path, content):
        found = {
            "result.json": lambda: store.result(KEY), "last.safetensors": lambda: store.weights(KEY),
            "state.safetensors": lambda: store.load_state(KEY), "provenance.json": lambda: store.provenance(KEY),
        }[name]  # fmt: skip
        read = outcome(found)
        assert read is None or same or name == "provenance.json"  # which has no digest: it decides nothing
        outcome(lambda: store.load_part(KEY))
        outcome(lambda: recorded([RUN], store))


@given(changed(BODY | {"format": 1, "key": KEY}))
def test_a_result_of_another_shape_with_the_right_digest(store: Store, body: Any) -> None:
    if isinstance(body, dict):
        with suppress(ValueError):  # of NaN, which no canonical text has
            body = body | {"sha256": hashlib.sha256(canonical(body)).hexdigest()}
    with instead(store.folder(KEY) / "result.json", json.dumps(body).encode()):
        found = outcome(lambda: store.result(KEY))
    if found is not None:
        assert found["key"] == KEY
        arrays = [values for kind in found["outcomes"].values() for values in kind.values()]
        assert all(isinstance(values, np.ndarray) and values.ndim == 1 for values in arrays)


@given(changed(PROVENANCE))
def test_a_provenance_of_another_shape(store: Store, made: Any) -> None:
    with instead(store.folder(KEY) / "provenance.json", json.dumps(made).encode()):
        found = outcome(lambda: store.provenance(KEY))
        assert found is None or isinstance(found, dict)
        outcome(lambda: recorded([RUN], store))


REST = {"epoch": 1, "policy": {"phi": [0.5, 0.25]}, "selected_epoch": 1, "selected_error": 0.5,
        "history": [{"epoch": 0, "loss": 0.25}], "arithmetic": [], "seconds": [1.5]}  # fmt: skip
KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float8_e5m2]


@given(st.data())
def test_a_checkpoint_of_another_shape_with_the_right_digest(store: Store, draw: st.DataObject) -> None:
    rest = draw.draw(changed(REST) | st.just(REST))
    text = draw.draw(st.sampled_from([json.dumps(rest), None, "", "{", "[" * 5000, "NaN"]))
    facts = {"key": KEY} | ({} if text is None else {"rest": text})
    names = st.sampled_from(["model/w", "momentum/w", "selected/w", "w", "other/w", "model/", "/"])
    kinds = st.sampled_from(KINDS)
    tensors = {name: torch.zeros(draw.draw(st.sampled_from([(), (0,), (2, 3)])), dtype=kind)
               for name, kind in draw.draw(st.dictionaries(names, kinds, max_size=3)).items()}  # fmt: skip
    digest = "0"
    with suppress(TypeError):  # of kinds of numbers that a store has none of
        digest = tensor_digest(tensors, facts)
    with instead(store.folder(KEY) / "state.safetensors", save(tensors, facts | {"sha256": digest})):
        found = outcome(lambda: store.load_state(KEY))
        outcome(lambda: store.load_part(KEY))
    if found is not None:
        assert isinstance(found.epoch, int) and isinstance(found.history, list)


# -------------------------------------------------------------------------------------------------------- model files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    model = models.build("preact_small", num_classes=3, in_channels=3, seed=0)
    save_model(path, model, name="preact_small", info=DataInfo("x", ("a", "b", "c"), (3, 8, 8), 255, "none", ""))
    return path


@given(st.data())
def test_a_damaged_model_file(saved: Path, draw: st.DataObject) -> None:
    whole = saved.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")  # most of the damage where the file describes itself
    content = draw.draw(damaged(whole[:head])) + whole[head:] if draw.draw(st.booleans()) else draw.draw(damaged(whole))
    with instead(saved, content):
        found = outcome(lambda: load_model(saved))
        assert found is None or content == whole


@given(st.data())
def test_a_model_file_that_says_something_else_with_the_right_digest(saved: Path, draw: st.DataObject) -> None:
    whole = saved.read_bytes()
    with safe_open(saved, "pt") as file:
        facts = file.metadata()
    tensors = load(whole)
    texts = JSON.map(json.dumps) | st.text(max_size=8) | st.sampled_from([
        '["a", "b", "c"]', '["a", "a", "b"]', '["a", "b"]', "[3, 8, 8]", "[1, 8, 8]", "[3, 8]", "[0, 8, 8]",
        "[3, 8, -1]", "[1e99, 8, 8]", "[123456789123456789, 8, 8]", "[3.0, 8, 8]", "[" * 9000, "NaN", "preact_wide",
    ])  # fmt: skip
    names = st.sampled_from(["model", "classes", "shape", "format", "scale"])
    facts |= draw.draw(st.dictionaries(names, texts, max_size=2))
    for name in draw.draw(st.sets(names | st.just("digest"), max_size=1)):
        del facts[name]
    if draw.draw(st.integers(0, 3)) == 0:
        name = draw.draw(st.sampled_from(sorted(tensors)))
        shape = draw.draw(st.sampled_from([(), (1,), tensors[name].shape]))
        tensors[name] = torch.zeros(shape, dtype=draw.draw(st.sampled_from(KINDS)))
    if "digest" in facts:
        facts["digest"] = BLANK
        content = save(tensors, facts)
        content = content.replace(BLANK.encode(), hashlib.sha256(content).hexdigest().encode(), 1)
    else:
        content = save(tensors, facts)
    with instead(saved, content):
        found = outcome(lambda: models_given.weights(saved))
    if found is not None:
        assert all(isinstance(name, str) for name in found.classes) and type(found.size) is int and found.size > 0
        assert found.model(torch.zeros(1, 3, 8, 8)).shape == (1, len(found.classes))


# -------------------------------------------------------------------------------------------------- folders of images


def encoded(kind: str, **how: Any) -> bytes:
    content = BytesIO()
    Image.fromarray(np.arange(75, dtype=np.uint8).reshape(5, 5, 3)).save(content, kind, **how)
    return content.getvalue()


PICTURES = {".png": encoded("PNG"), ".jpg": encoded("JPEG"), ".gif": encoded("GIF"), ".bmp": encoded("BMP"),
            ".webp": encoded("WEBP"), ".tif": encoded("TIFF"), ".ppm": encoded("PPM"), ".tga": encoded("TGA"),
            }  # fmt: skip
FILENAMES = st.one_of(
    st.text(min_size=1, max_size=12), st.binary(min_size=1, max_size=8).map(os.fsdecode),
    st.sampled_from(["train", "val", "test", ".hidden", "Thumbs.db", "-rf", "~", "a" * 240, "...", " ", "\u202ecat"]),
    st.sampled_from(["caf\u00e9", "cafe\u0301"]),  # alike in two forms
)  # fmt: skip


def possible(name: str) -> bool:
    """Whether the system can have a file of this name."""
    with suppress(UnicodeEncodeError):  # half of a surrogate pair
        return name not in (".", "..") and not {"/", "\0"} & set(name) and len(os.fsencode(name)) < 250
    return False


NAMES = FILENAMES.filter(possible)


@st.composite
def entry(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """The name of a file, what it is, and its content."""
    suffix = draw(st.sampled_from([*PICTURES, ".PNG", ".txt", "", ".heic"]))
    name = draw(NAMES)[: 240 - len(suffix)] + suffix
    kind = draw(st.sampled_from(["file"] * 6 + ["broken", "folder", "link", "dangling", "pipe", "loop"]))
    whole = draw(st.sampled_from(sorted(PICTURES.values())))
    return name, kind, draw(damaged(whole)) if kind == "broken" else whole + draw(st.binary(max_size=2))


def put(folder: Path, name: str, kind: str, content: bytes) -> None:
    path = folder / name
    if os.path.lexists(path) or len(os.fsencode(name)) > 255:
        return
    if kind in ("file", "broken"):
        path.write_bytes(content)
    elif kind == "folder":
        path.mkdir()
        (path / "inner.png").write_bytes(content)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": "/etc/hostname", "dangling": "nowhere", "loop": path.name}[kind])


@given(st.dictionaries(NAMES, st.lists(entry(), max_size=4), max_size=4), st.integers(0, 3), st.integers(-1, 9))
def test_a_folder_of_images(classes: dict[str, list[tuple[str, str, bytes]]], more: int, size: int) -> None:
    """Mostly with a few sound pictures in each class, so that odd ones are what decides."""
    root = Path(tempfile.mkdtemp())
    try:
        for number, (name, entries) in enumerate(classes.items()):
            folder = root / name
            folder.mkdir(exist_ok=True)
            for i in range(3 * (more > 0)):
                Image.new("RGB", (4, 4), (80 * i, 60 * number, 0)).save(folder / f"sound{i}.png")
            for one in entries:
                put(folder, *one)
        found = outcome(lambda: data.image_folder(root, size=size, say=lambda line: None))
        if found is not None:
            assert found.train.images.shape[1:] == (3, size, size) and len(found.info.classes) >= 2
    finally:
        shutil.rmtree(root)


@given(st.text(max_size=20) | st.just("x" * 300) | NAMES)
def test_a_folder_that_is_not_there(name: str) -> None:
    assert outcome(lambda: data.image_folder(f"/nowhere/{name}", size=4)) is None
    outcome(lambda: models_given.load(name, "linf") if not name.startswith("robustbench:") else None)
