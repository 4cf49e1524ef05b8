"""Files that somebody else made: no code in them runs, nothing is unpacked outside its folder, digests come first."""

from __future__ import annotations

import ast
import io
import pickle
import sys
import tarfile
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import frlcore
from frlcore import data
from frlcore.data.folders import scan
from frlcore.errors import UserError
from frlcore.repro.own import images as own_images
from frlcore.repro.own import model as models_given

# what runs code that a file holds, or unpacks archives; torchvision's readers and ours ask for a digest before
RUNS_CODE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "tarfile", "zipfile"}
CALLS = {"eval", "exec", "torch.load", "np.load", "numpy.load", "yaml.load", "shutil.unpack_archive", "os.system"}
ALLOWED = {
    ("repro/own/images.py", "zipfile"): "the name of an error",
    ("repro/own/images.py", "np.load"): "allow_pickle=False",
}


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "code ran"


def test_the_bomb_goes_off_where_it_is_unpickled(mark: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()


def used(path: Path) -> Iterator[str]:
    """Modules a file imports, and dotted names that it calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_no_code_of_ours_unpickles_unpacks_or_evaluates() -> None:
    root = Path(frlcore.__file__).parent
    found = {(path.relative_to(root).as_posix(), name) for path in root.rglob("*.py") for name in used(path)
             if name in RUNS_CODE | CALLS}  # fmt: skip
    assert found == set(ALLOWED)
    text = (root / "repro/own/images.py").read_text(encoding="utf-8")
    assert text.count("allow_pickle") == text.count("allow_pickle=False") == text.count("np.load(") == 1


# ------------------------------------------------------------------------------------------------------ named data sets


@pytest.mark.parametrize("name", ["data_batch_1", "test_batch", "batches.meta"])
def test_a_batch_of_cifar10_is_compared_with_its_digest_before_it_is_unpickled(
    tmp_path: Path, mark: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10, utils

    folder = tmp_path / "raw" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    for file, _ in (*CIFAR10.train_list, *CIFAR10.test_list, ("batches.meta", "")):
        (folder / file).write_bytes(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}))
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    known = {file.name: utils.calculate_md5(file) for file in folder.iterdir() if file.name != name}
    for part in ("train_list", "test_list"):  # all the others are as they should be
        monkeypatch.setattr(CIFAR10, part, [[file, known.get(file, md5)] for file, md5 in getattr(CIFAR10, part)])
    with pytest.raises(UserError, match=f"{name} is incomplete or damaged"):
        data.load("cifar10", root=tmp_path / "raw", download=False)
    assert not mark.exists()


@pytest.mark.parametrize("known", [False, True])
def test_an_archive_is_unpacked_under_its_folder_or_not_at_all(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one with the right digest."""
    from torchvision.datasets import CIFAR10, utils

    root = tmp_path / "raw"
    root.mkdir()
    archive = root / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("cifar-10-batches-py/data_batch_1", "../outside", str(tmp_path / "absolute")):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", lambda url, file, **_: None)  # leaves the archive that is there
    if known:
        monkeypatch.setattr(CIFAR10, "tgz_md5", utils.calculate_md5(archive))
    with pytest.raises(UserError):
        data.load("cifar10", root=root)
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}
    assert known or [path.name for path in root.iterdir()] == [archive.name]


def test_files_of_svhn_are_compared_with_their_digests_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scipy.io.loadmat", lambda *_: pytest.fail("it was read"))
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (tmp_path / name).write_bytes(b"another file")
    with pytest.raises(UserError, match="is incomplete or damaged"):
        data.load("svhn", root=tmp_path, download=False)


# ------------------------------------------------------------------------------------------- models and unfinished work


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".PT"])
def test_no_pickle_is_taken_for_a_model(tmp_path: Path, mark: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save({"weight": Bomb(mark)}, path)
    with pytest.raises(UserError, match="holds weights without their network, or code|no model can be read"):
        models_given.load(str(path), "linf")
    with pytest.raises(UserError):
        frlcore.load_model(path)
    assert not mark.exists()


@pytest.mark.parametrize("asked", [{}, {"weights_only": False}])
def test_what_robustbench_downloads_is_read_as_tensors_alone(
    tmp_path: Path, mark: Path, asked: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Name.pt"
    torch.save({"weight": Bomb(mark)}, path)
    utils = types.ModuleType("robustbench.utils")
    utils.load_model = lambda **_: torch.load(path, **asked)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "robustbench", types.ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.utils", utils)
    monkeypatch.delenv(models_given.FORCED, raising=False)
    with pytest.raises(UserError, match="RobustBench gives no CIFAR-10 model 'Name'"):
        models_given.load("robustbench:Name", "linf")
    assert not mark.exists()
    torch.load(path, weights_only=False)  # elsewhere torch.load is as it was
    assert mark.exists()


def test_images_that_an_earlier_call_kept_hold_no_code(tmp_path: Path, mark: Path) -> None:
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name / "0.png")
    listing = scan(tmp_path / "images")
    state = tmp_path / "state"
    state.mkdir()
    files = own_images._fingerprint(listing, 8)
    np.savez(state / own_images.KEPT, files=files, images=np.array([Bomb(mark)], dtype=object))
    found = own_images.read(listing, 8, state, Console(quiet=True))
    assert found.shape == (2, 3, 8, 8) and found.dtype == np.uint8 and not mark.exists()
